"""The coordinator and the simulated companies as processes of their own, beside the servers."""

from __future__ import annotations

import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from adapters.embedded.environment import signals_deferred
from adapters.embedded.processes import (
    Child,
    Progress,
    end,
    finish,
    free_port,
    no_progress,
    spawn,
    stop,
    until,
)

ROOT: Final = Path(__file__).resolve().parents[2]
READY_WITHIN_S: Final = 60.0
STOP_WITHIN_S: Final = 25.0
NAMES: Final = ("coordinator", "sandbox")


@dataclass(frozen=True, slots=True)
class Endpoints:
    """How the servers of the demo are reached: Kafka's bootstrap servers, PostgreSQL's URL."""

    bootstrap_servers: str
    dsn: str


class Services:
    """The coordinator and the companies as child processes, with books and logs in a folder.

    They die with this process unless `detached`; then their pid files let `stop` find them later.
    """

    def __init__(
        self, folder: Path, *, detached: bool = False, progress: Progress = no_progress
    ) -> None:
        self.books = folder.absolute() / "sandbox"
        self.http_port: int | None = None
        self._folder = folder.absolute() / "services"
        self._detached = detached
        self._progress = progress
        self._children: dict[str, Child] = {}

    def start(self, endpoints: Endpoints, faults: Path) -> Self:
        """Start both, side by side, and wait until they are ready. Raises EmbeddedError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.http_port = free_port()
        environment = os.environ | {
            "UPRP_KAFKA__BOOTSTRAP_SERVERS": endpoints.bootstrap_servers,
            "UPRP_POSTGRES__DSN": endpoints.dsn,
            "UPRP_HTTP__PORT": str(self.http_port),
        }
        books, rules = str(self.books), str(faults.absolute())
        self._launch("sandbox", ["--data", books, "--faults", rules], environment)
        self._launch("coordinator", [], environment)
        waits = {"sandbox": self._companies_ready, "coordinator": self._coordinator_ready}
        finish(
            *(
                until(
                    waits[name],
                    child,
                    deadline_s=READY_WITHIN_S,
                    what=f"the {name} does not get ready",
                )
                for name, child in self._children.items()
            )
        )
        pids = ", ".join(f"{name} (pid {child.pid})" for name, child in self._children.items())
        self._progress(f"Ready: {pids}")
        return self

    def stop(self) -> bool:
        """Stop what runs, in order, by force after a deadline; returns whether anything ran."""
        running = [(name, child) for name in NAMES if (child := self._child(name)) is not None]
        try:
            for name, child in running:
                self._progress(f"Stopping the {name}")
                stop(child, signal.SIGTERM, deadline_s=STOP_WITHIN_S)
        finally:
            self.kill()
        return bool(running)

    def kill(self) -> None:
        """End what runs at once."""
        with signals_deferred():
            children = [self._child(name) for name in NAMES]
            live = [child.process() for child in children if child is not None]
            end([process for process in live if process is not None], deadline_s=5)
            for name in NAMES:
                self._pid_file(name).unlink(missing_ok=True)

    def _launch(self, name: str, options: Sequence[str], environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "adapters.cli.main", name, *options]
        with signals_deferred():  # Else a Ctrl-C before it is saved would leave it running.
            child = spawn(
                command,
                folder=ROOT,
                log=self._folder / f"{name}.log",
                environment=environment,
                parent_death_signal=None if self._detached else signal.SIGKILL,
            )
            child.save(self._pid_file(name))
            self._children[name] = child

    def _child(self, name: str) -> Child | None:
        known = self._children.get(name)
        return known or Child.saved(self._pid_file(name), self._folder / f"{name}.log")

    def _pid_file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _companies_ready(self) -> bool:
        log = self._folder / "sandbox.log"
        return log.exists() and "sandbox ready" in log.read_text(errors="replace")

    def _coordinator_ready(self) -> bool:
        url = f"http://127.0.0.1:{self.http_port}/readyz"
        try:
            with urllib.request.urlopen(url, timeout=0.5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
