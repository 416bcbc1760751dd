"""Child processes that never outlive their purpose: spawn, watch, stop, and find again later."""

import ctypes
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

Progress = Callable[[str], None]
"""Is told, in one line, what a long step is doing."""

Steps = Generator[None]
"""Work that yields whenever it would have to wait, so that several can share one thread."""

Which = Callable[[str], str | None]
"""Finds an installed program by its name, as `shutil.which` does."""

POLL_S: Final = 0.03
LOG_TAIL_LINES: Final = 15
# psutil derives a start time from the wall clock at boot, which a clock correction moves a little.
START_TIME_TOLERANCE_S: Final = 5.0
PR_SET_CHILD_SUBREAPER: Final = 36
PR_GET_CHILD_SUBREAPER: Final = 37
CHILD_LIFETIME: Final = Path(__file__).with_name("child_lifetime.py")
_END: Final = object()

# Linux kills a leashed child when the *thread* that made it ends, not the process. One thread that
# lives as long as we do makes them all, so a server may be started from any short-lived thread.
_spawner: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="uprp-spawner")


class EmbeddedError(RuntimeError):
    """An embedded server cannot do what was asked; says why, and what to run next."""


def silent(_text: str) -> None:
    """Progress for callers that show none."""


@dataclass(frozen=True, slots=True)
class Account:
    """The numeric user and group that a child runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Child:
    """A process, named so that it cannot be mistaken for a later one with the same pid.

    `started` is in seconds since the epoch.
    """

    pid: int
    started: float
    log: Path

    def process(self) -> psutil.Process | None:
        """Return the live process, or None once it has ended; reaps it if it was ours."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started) > START_TIME_TOLERANCE_S:
                return None
            return process if _lives(process) else None
        except psutil.NoSuchProcess:
            return None

    def save(self, path: Path) -> None:
        """Write the pid file that `saved` reads."""
        replacement = path.with_suffix(".new")
        replacement.write_text(json.dumps({"pid": self.pid, "started": self.started}))
        replacement.replace(path)

    @classmethod
    def saved(cls, path: Path, log: Path) -> "Child | None":
        """Return the live process that a pid file names, or None."""
        try:
            row = json.loads(path.read_text())
            child = cls(int(row["pid"]), float(row["started"]), log)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return child if child.process() is not None else None


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a process that may just have ended."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def spawn(
    command: Sequence[str],
    *,
    folder: Path,
    log: Path,
    environment: Mapping[str, str],
    account: Account | None = None,
    leash: signal.Signals | None = signal.SIGKILL,
) -> Child:
    """Start `command` in a session of its own, writing to the end of `log`.

    `leash` is the signal that it gets when this process dies; None lets it live on.
    """
    orders = {
        "folder": str(folder),
        "account": None if account is None else (account.uid, account.gid),
        "leash": leash,
        "parent": os.getpid(),
    }
    # -I -S: neither the user's environment nor site packages, so it is up in 20 ms.
    arguments = [sys.executable, "-I", "-S", str(CHILD_LIFETIME), json.dumps(orders), *command]
    log.parent.mkdir(parents=True, exist_ok=True)
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]

    def make() -> Child:
        pid = os.posix_spawn(arguments[0], arguments, dict(environment), file_actions=files)
        return Child(pid, psutil.Process(pid).create_time(), log)

    return _spawner.submit(make).result()


def finish(*works: Steps) -> None:
    """Advance several pieces of work side by side, in this thread, until all have ended."""
    waiting = list(works)
    try:
        while waiting:
            waiting = [work for work in waiting if next(work, _END) is not _END]
            if waiting:
                time.sleep(POLL_S)
    finally:
        for work in works:
            work.close()


def until(condition: Callable[[], bool], child: Child, *, deadline_s: float, what: str) -> Steps:
    """Wait for a condition that `child` must bring about.

    Raises EmbeddedError, with the end of the child's log, when it dies or takes too long.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        # Asked first: what died after it did its work is not what we wait for.
        alive = child.process() is not None
        if alive and condition():
            return
        if not alive:
            raise EmbeddedError(f"{what}: the process ended early\n{tail(child.log)}")
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{what}: nothing after {deadline_s:.0f} s\n{tail(child.log)}")
        yield


def complete(child: Child, *, deadline_s: float, what: str) -> Steps:
    """Wait for a command to end well.

    If it does not, or if the wait is given up, kill it with all that it started.
    """
    deadline = time.monotonic() + deadline_s
    process = psutil.Process(child.pid)
    try:
        while True:
            try:
                code = process.wait(timeout=0)
            except psutil.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"{what}: not done after {deadline_s:.0f} s\n{tail(child.log)}"
                    ) from None
                yield
            else:
                break
    finally:
        end(_group_of(process), deadline_s=5)
    if code != 0:
        raise EmbeddedError(f"{what}: exit code {code}\n{tail(child.log)}")


def stop(child: Child, number: signal.Signals, *, deadline_s: float) -> bool:
    """Ask a process to end with `number`; kill it after `deadline_s`. True if it went by itself."""
    process = child.process()
    if process is None:
        return True
    send(process, signal.SIGCONT)  # A paused process would not hear the request.
    send(process, number)
    by_itself = _end_within([process], deadline_s)
    if not by_itself:
        end([process], deadline_s=5)
    return by_itself


def end(processes: Sequence[psutil.Process], *, deadline_s: float) -> None:
    """Kill processes and wait until they are gone."""
    with _reaping_orphans():
        for process in processes:
            send(process, signal.SIGKILL)
        if not _end_within(processes, deadline_s):
            raise EmbeddedError(f"still there after SIGKILL: {[p.pid for p in processes]}")
        for process in processes:
            _lives(process)  # Once more: those whose parent died after them are ours only now.


def _group_of(leader: psutil.Process) -> list[psutil.Process]:
    """Freeze a command that `spawn` made, with what it started, and return them, it first."""
    if not _leads(leader):
        return [leader]  # It has ended, or is not yet itself and has started nothing.
    os.killpg(leader.pid, signal.SIGSTOP)  # Whoever is frozen starts nobody whom we would miss.
    others = (one for one in psutil.process_iter() if one.pid != leader.pid)
    return [leader, *(one for one in others if _group(one) == leader.pid)]


def _leads(process: psutil.Process) -> bool:
    return _lives(process) and _group(process) == process.pid


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


@contextmanager
def _reaping_orphans() -> Generator[None]:
    """Become, for a moment, the parent of whatever our children leave behind.

    Else the children of a killed server fall to process 1, which in a bare container reaps nobody.
    """
    libc = ctypes.CDLL(None)
    before = ctypes.c_int()
    libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


def _end_within(processes: Sequence[psutil.Process], deadline_s: float) -> bool:
    """Wait until processes have ended; False if some have not in time."""
    deadline = time.monotonic() + deadline_s
    while any(_lives(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S / 3)
    return True


def _lives(process: psutil.Process) -> bool:
    """Tell whether a process has not ended; reaps it if it was ours."""
    try:
        if not process.is_running():
            return False
        if process.status() != psutil.STATUS_ZOMBIE:
            return True
        process.wait(timeout=0)
    except psutil.NoSuchProcess:
        return False
    except psutil.TimeoutExpired:
        # A zombie that is not ours to reap has ended, unless some of its threads have yet to.
        return process.ppid() == os.getpid() or process.num_threads() > 1
    return False


def tail(log: Path, lines_max: int = LOG_TAIL_LINES) -> str:
    """Return the end of a log, indented, under its path."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-lines_max:]
    except FileNotFoundError:
        lines = []
    return "\n".join([f"  {log}:", *(f"  | {line}" for line in lines)])


def free_port() -> int:
    """Return a loopback TCP port on which nobody listens.

    Below the range from which the kernel takes the ports of outgoing connections: there, a client
    that keeps calling a killed server can itself be given the server's port, and hold it.
    """
    bounds = Path("/proc/sys/net/ipv4/ip_local_port_range")
    low = int(bounds.read_text().split()[0]) if bounds.exists() else 32_768
    candidates = random.SystemRandom()
    first, last = (15_000, low) if low > 16_000 else (40_000, 60_000)
    for _ in range(200):
        port = candidates.randrange(first, last)
        if is_free(port):
            return port
    raise EmbeddedError("no free TCP port on 127.0.0.1; see what listens with `ss -ltn`")


def is_free(port: int) -> bool:
    """Tell whether a server could listen on a loopback TCP port now."""
    with socket.socket() as probe:
        # As servers do: the remains of closed connections are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def program(name: str, which: Which = shutil.which) -> str:
    """Return the path of an installed program, or raise EmbeddedError naming the repair."""
    path = which(name)
    if path is None:
        raise EmbeddedError(f"{name} is not installed; `uprp doctor` shows how to install it")
    return path
