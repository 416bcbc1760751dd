"""What this machine lacks to run UPRP, and the command that repairs it."""

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from adapters.embedded.caches import cache_folder
from adapters.embedded.kafka import jars_folder, java
from adapters.embedded.postgres import account, installation
from adapters.embedded.processes import EmbeddedError, Which, free_port

INSTALL_JAVA: Final = "apt-get install -y openjdk-17-jre-headless maven"
JAVA_MIN: Final = 17
DISK_FREE_MIN_MIB: Final = 2_048
# The heap of the broker, PostgreSQL's buffers, a coordinator and the companies.
MEMORY_FREE_MIN_MIB: Final = 1_536
OPEN_FILES_MIN: Final = 1_024
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check; `repair_command` is None when it is well or no command helps."""

    name: str
    ok: bool
    detail: str
    repair_command: str | None = None


def output_of(command: Sequence[str]) -> str:
    """Run a command and return what it printed, on either stream; raises OSError if it cannot."""
    done = subprocess.run(  # noqa: S603 - called with absolute paths that were just looked up.
        command, capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Machine:
    """What the checks ask of this machine; a test gives another."""

    folder: Path = field(default_factory=Path.cwd)
    cache: Path = field(default_factory=cache_folder)
    which: Which = shutil.which
    run: Callable[[Sequence[str]], str] = output_of


def examine(machine: Machine | None = None) -> tuple[Finding, ...]:
    """Run every check; changes nothing on the machine."""
    subject = machine or Machine()
    return tuple(check(subject) for check in CHECKS)


def _python(_machine: Machine) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    repair = None if ok else "apt-get install -y python3.11 python3.11-venv"
    return Finding("Python 3.11 to 3.13", ok, version + built_how(), repair)


def built_how(maps: Path = Path("/proc/self/maps")) -> str:
    """What to know of how the interpreter was built: empty when nothing makes it slow."""
    try:
        if "libpython" in maps.read_text("utf-8", "replace"):
            return ", its code in a shared library: about a sixth slower than in one piece"
    except OSError:  # Not Linux: nobody knows.
        pass
    return ""


def _java(machine: Machine) -> Finding:
    name = f"Java {JAVA_MIN} or newer"
    try:
        path = java(machine.which)
        printed = machine.run([path, "-version"])
    except (EmbeddedError, OSError) as error:
        return Finding(name, False, f"Apache Kafka cannot run: {error}", INSTALL_JAVA)
    version = re.search(r'version "(\d+)(?:\.(\d+))?', printed)
    # Java 8 called itself 1.8.
    major = 0 if version is None else int(version[1] if version[1] != "1" else version[2] or 0)
    ok = major >= JAVA_MIN
    detail = f"{path}: version {major or 'unknown'}"
    return Finding(name, ok, detail, None if ok else INSTALL_JAVA)


def _maven(machine: Machine) -> Finding:
    path = machine.which("mvn")
    if path is not None:
        return Finding("Maven", True, path)
    if _fetched(machine):
        return Finding("Maven", True, "not installed, and not needed: the jars are there")
    return Finding("Maven", False, "not installed; it fetches Apache Kafka", INSTALL_JAVA)


def _jars(machine: Machine) -> Finding:
    count = _fetched(machine)
    # None is well enough: `uprp up` fetches them.
    where = f"{count} in {machine.cache / jars_folder().name}"
    detail = where if count else "not fetched yet; the first `uprp up` does it"
    return Finding("Apache Kafka's jars", True, detail)


def _fetched(machine: Machine) -> int:
    return len(list((machine.cache / jars_folder().name).glob("*.jar")))


def _postgres(machine: Machine) -> Finding:
    name = "PostgreSQL's binaries"
    try:
        printed = machine.run([str(installation() / "bin" / "postgres"), "--version"]).strip()
        who = "" if account() is None else ", run as `nobody` because we are root"
    except (EmbeddedError, OSError, KeyError) as error:
        return Finding(name, False, str(error), "make setup")
    ok = "PostgreSQL" in printed
    return Finding(name, ok, f"{printed}{who}", None if ok else "make setup")


def _writable(machine: Machine) -> Finding:
    for folder in (machine.cache, machine.folder):
        present = _first_present(folder)
        if not os.access(present, os.W_OK | os.X_OK):
            return Finding(
                "Folders",
                False,
                f"{present} cannot be written",
                'export UPRP_CACHE_DIR="$PWD/.uprp/cache"' if folder == machine.cache else None,
            )
    return Finding("Folders", True, f"{machine.cache} and {machine.folder} can be written")


def _ports(_machine: Machine) -> Finding:
    try:
        free_port()
    except EmbeddedError as error:
        return Finding("Ports on 127.0.0.1", False, str(error), "ss -ltn")
    return Finding("Ports on 127.0.0.1", True, "there are free ones")


def _disk(machine: Machine) -> Finding:
    free = shutil.disk_usage(_first_present(machine.folder)).free // MIB
    ok = free >= DISK_FREE_MIN_MIB
    detail = f"{free} MiB free, {DISK_FREE_MIN_MIB} needed"
    return Finding("Disk", ok, detail, None if ok else "df -h .")


def _memory(_machine: Machine) -> Finding:
    free = psutil.virtual_memory().available // MIB
    ok = free >= MEMORY_FREE_MIN_MIB
    return Finding("Memory", ok, f"{free} MiB available, {MEMORY_FREE_MIN_MIB} needed")


def _open_files(_machine: Machine) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ok = soft >= OPEN_FILES_MIN
    detail = f"up to {soft}, {OPEN_FILES_MIN} needed"
    repair = f"ulimit -n {min(OPEN_FILES_MIN, hard)}"
    return Finding("Open files", ok, detail, None if ok else repair)


def _first_present(path: Path) -> Path:
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


CHECKS: Final[tuple[Callable[[Machine], Finding], ...]] = (
    _python,
    _java,
    _maven,
    _jars,
    _postgres,
    _writable,
    _ports,
    _disk,
    _memory,
    _open_files,
)
