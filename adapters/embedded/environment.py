"""Both servers together: for the length of a block, or detached under a folder."""

import json
import shutil
import signal
import tempfile
import threading
from collections.abc import Collection, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, Literal, Self

from adapters.embedded.caches import lock, locked
from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.embedded.processes import (
    EmbeddedError,
    Progress,
    finish,
    free_port,
    is_free,
    no_progress,
)
from adapters.embedded.server import EmbeddedServer

FOLDER: Final = Path(".uprp")
ServerKey = Literal["kafka", "postgres"]
TERMINATION_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Environment:
    """Apache Kafka and PostgreSQL for the length of a `with` block, gone without a trace after it.

    Everything goes with the block, also when Ctrl-C or SIGTERM ends it; the servers themselves die
    with this process whatever ends it. `folder` is a temporary one unless given; `wanted` are the
    servers to start.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        wanted: Collection[ServerKey] = ("kafka", "postgres"),
        progress: Progress = no_progress,
    ) -> None:
        self.folder = folder.absolute() if folder else Path(tempfile.mkdtemp(prefix="uprp-"))
        self._made_folder = folder is None or not self.folder.exists()
        self.kafka = EmbeddedKafka(self.folder / "kafka", progress=progress)
        self.postgres = EmbeddedPostgres(self.folder / "postgres", progress=progress)
        self._wanted = wanted
        self._signals = ExitStack()

    def __enter__(self) -> Self:
        self._signals.enter_context(_sigterm_as_exit())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._made_folder:
                self.folder.chmod(0o711)  # PostgreSQL's account passes through.
            servers: dict[ServerKey, EmbeddedServer]
            servers = {"kafka": self.kafka, "postgres": self.postgres}
            finish(*(servers[key].starting() for key in self._wanted))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill both servers and delete their data: nobody will read it again."""
        with self._signals, signals_deferred():
            self.kafka.remove()
            self.postgres.remove()
            if self._made_folder:
                shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One server of a detached environment; `endpoint` is what its clients are given."""

    name: str
    running: bool
    pid: int | None
    endpoint: str | None
    log: Path


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """A detached environment; `running` only when all of its servers do.

    The endpoints are None until it was up for the first time.
    """

    folder: Path
    running: bool
    bootstrap_servers: str | None
    dsn: str | None
    servers: tuple[ServerStatus, ...]


class DetachedEnvironment:
    """The servers under a folder (`.uprp`), which live on after the command that started them."""

    def __init__(self, folder: Path = FOLDER, *, progress: Progress = no_progress) -> None:
        self.folder = folder.absolute()
        self._progress = progress

    def up(self) -> EnvironmentStatus:
        """Start what does not run, on the ports and data of the last time. Raises EmbeddedError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with lock(self.folder / "lock") as handle:
            finish(locked(handle, self._progress, "it starts or stops the environment"))
            kafka, postgres = self._servers()
            for server in (kafka, postgres):
                if server.pid is None and not is_free(server.port):
                    self._progress(f"Port {server.port} is taken, {server.name} gets another")
                    server.port = free_port()
            self._remember(kafka, postgres)
            try:
                finish(kafka.starting(), postgres.starting())
            except BaseException:
                # Nothing half up: what came up is stopped in order, so that its data is kept.
                with signals_deferred():
                    self._stop(kafka, postgres)
                raise
        return self._describe(kafka, postgres)

    def down(self) -> EnvironmentStatus:
        """Stop both servers; their data stays."""
        if not self.folder.is_dir():
            return self.status()
        with lock(self.folder / "lock") as handle:
            finish(locked(handle, self._progress, "it starts or stops the environment"))
            kafka, postgres = self._servers()
            self._stop(kafka, postgres)
        return self._describe(kafka, postgres)

    def remove(self) -> EnvironmentStatus:
        """Stop both servers and delete the folder with all their data."""
        stopped = self.down()
        for server in self._servers():
            server.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
        return stopped

    def status(self) -> EnvironmentStatus:
        """Say what runs, without waiting for anybody."""
        return self._describe(*self._servers())

    def _stop(self, *servers: EmbeddedServer) -> None:
        for server in servers:
            if server.pid is not None:
                self._progress(f"Stopping {server.name}")
            server.stop()

    def _servers(self) -> tuple[EmbeddedKafka, EmbeddedPostgres]:
        ports = self._ports()
        kafka = EmbeddedKafka(
            self.folder / "kafka", ports.get("kafka"), detached=True, progress=self._progress
        )
        postgres = EmbeddedPostgres(
            self.folder / "postgres", ports.get("postgres"), detached=True, progress=self._progress
        )
        return kafka, postgres

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    def _ports(self) -> dict[str, int]:
        try:
            return {name: int(port) for name, port in json.loads(self._state.read_text()).items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, TypeError) as error:
            raise EmbeddedError(
                f"{self._state} cannot be read ({error}); delete it and run `uprp up`"
            ) from error

    def _remember(self, kafka: EmbeddedKafka, postgres: EmbeddedPostgres) -> None:
        replacement = self._state.with_suffix(".new")
        replacement.write_text(json.dumps({"kafka": kafka.port, "postgres": postgres.port}))
        replacement.replace(self._state)

    def _describe(self, kafka: EmbeddedKafka, postgres: EmbeddedPostgres) -> EnvironmentStatus:
        known = self._state.exists()  # Else the ports were drawn just now and mean nothing.
        bootstrap_servers = kafka.bootstrap_servers if known else None
        dsn = postgres.dsn if known else None
        servers = tuple(
            ServerStatus(server.name, (pid := server.pid) is not None, pid, endpoint, server.log)
            for server, endpoint in ((kafka, bootstrap_servers), (postgres, dsn))
        )
        running = all(server.running for server in servers)
        return EnvironmentStatus(self.folder, running, bootstrap_servers, dsn, servers)


@contextmanager
def _sigterm_as_exit() -> Generator[None]:
    """Let SIGTERM unwind the stack, as Ctrl-C does, unless the program has its own handler."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    with exit_on_signals(signal.SIGTERM):
        yield


@contextmanager
def exit_on_signals(*numbers: signal.Signals) -> Generator[None]:
    """Let these signals unwind the stack, as Ctrl-C does: SystemExit with 128 and the number."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def signals_deferred() -> Generator[None]:
    """Defer SIGINT and SIGTERM until the block has ended, so that a clean-up is not cut in half."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = [
        (number, signal.signal(number, lambda got, _frame: held.append(got)))
        for number in TERMINATION_SIGNALS
    ]
    try:
        yield
    finally:
        for ending, handler in before:
            signal.signal(ending, handler)
        for number in held[:1]:
            signal.raise_signal(signal.Signals(number))
