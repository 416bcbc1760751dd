"""What Apache Kafka and PostgreSQL have in common as child processes."""

import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import psutil

from adapters.embedded.processes import (
    Account,
    Child,
    EmbeddedError,
    Progress,
    Steps,
    end,
    finish,
    free_port,
    no_progress,
    send,
    spawn,
    stop,
    until,
)

READY_WITHIN_S: Final = 60.0


class EmbeddedServer(ABC):
    """One server on 127.0.0.1 with its data in a folder.

    It dies with this process unless `detached`; then its pid file lets a later process find it.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_within_s: ClassVar[float] = 20.0
    parent_death_signal: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(
        self,
        data: Path,
        port: int | None = None,
        *,
        detached: bool = False,
        progress: Progress = no_progress,
    ) -> None:
        self.data = data.absolute()
        self.port = port or free_port()
        self.detached = detached
        self.progress = progress
        self._child: Child | None = None

    @property
    def log(self) -> Path:
        """The file with what the server prints."""
        return self.data / "log.txt"

    @property
    def pid(self) -> int | None:
        """The pid of the running server, or None."""
        child = self.child
        return None if child is None else child.pid

    @property
    def child(self) -> Child | None:
        """The running server, found by its pid file if another process started it."""
        if self._child is None or self._child.process() is None:
            self._child = Child.saved(self._pid_file, self.log)
        return self._child

    @property
    def _pid_file(self) -> Path:
        return self.data / "process.json"

    def start(self) -> None:
        """Start and wait until it answers a client; does nothing more if it runs already."""
        finish(self.starting())

    def starting(self) -> Steps:
        """Start in steps, so that several servers can start side by side."""
        child = self.child
        if child is None:
            self.data.mkdir(parents=True, exist_ok=True)
            yield from self._prepare()
            began = time.monotonic()
            child = self._launch()
            yield from until(
                self._answers, child, deadline_s=READY_WITHIN_S, what=f"{self.name} does not start"
            )
            seconds = time.monotonic() - began
            self.progress(f"{self.name} answers on 127.0.0.1:{self.port} after {seconds:.1f} s")
        else:
            what = f"{self.name} (pid {child.pid}) does not answer; stop it with `uprp down`"
            yield from until(self._answers, child, deadline_s=READY_WITHIN_S, what=what)
        self._after_ready()

    def stop(self) -> None:
        """Stop in order, and by force after a deadline; does nothing if it does not run."""
        child = self.child
        if child is not None:
            stop(child, self.stop_signal, deadline_s=self.stop_within_s)
        self.kill()

    def kill(self) -> None:
        """Kill it as a power cut would (SIGKILL), with every process it made."""
        end(self._process_tree(), deadline_s=5)
        self._forget()

    def restart(self) -> None:
        """Stop in order, then start on the same data and port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill it and delete its data."""
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        family = self._process_tree()
        if not family:
            raise EmbeddedError(f"{self.name} does not run; start it first")
        for process in family:
            send(process, number)

    def _process_tree(self) -> list[psutil.Process]:
        """Return the live processes of this server, the first of them first."""
        child = self.child
        process = None if child is None else child.process()
        if process is None:
            return []
        try:
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _launch(self) -> Child:
        self._child = spawn(
            self._command(),
            folder=self.data,
            log=self.log,
            environment=self._environment(),
            account=self._account(),
            parent_death_signal=None if self.detached else self.parent_death_signal,
        )
        self._child.save(self._pid_file)
        return self._child

    def _forget(self) -> None:
        self._child = None
        self._pid_file.unlink(missing_ok=True)

    def _account(self) -> Account | None:
        return None

    def _after_ready(self) -> None:  # noqa: B027 - having nothing left to do is the rule.
        """Do what is left once it answers; must be harmless when done twice."""

    @abstractmethod
    def _prepare(self) -> Steps:
        """Bring the data folder to where the server can start on it."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """Say what to run; the first is an absolute path."""

    @abstractmethod
    def _environment(self) -> dict[str, str]:
        """Say which environment variables it sees."""

    @abstractmethod
    def _answers(self) -> bool:
        """Ask as a client would; must return within half a second or so."""
