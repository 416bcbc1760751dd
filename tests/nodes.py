"""Processes of the platform as tests run them: own log, own port, real signals, exit code."""

from __future__ import annotations

import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from adapters.embedded.processes import free_port, spawn, tail
from tests.support import wait_until

ROOT = Path(__file__).resolve().parents[1]
UPRP = (sys.executable, "-m", "adapters.cli.main")
READY_S = 30.0


class Node:
    """One process: a coordinator or the simulated companies. It dies with the test run."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        port: int = 0,
    ) -> None:
        self.name = name
        self.log = log
        self.port = port
        self._log_began = log.stat().st_size if log.exists() else 0
        child = spawn([*UPRP, *arguments], folder=ROOT, log=log, environment=environment)
        self.pid = child.pid
        # Asked by this object alone: whoever reaps the process takes its exit code away.
        self._process = psutil.Process(child.pid)

    @property
    def exit_code(self) -> int | None:
        """None while it lives; minus the signal when one ended it."""
        try:
            code = self._process.wait(timeout=0)
        except psutil.TimeoutExpired:
            return None
        return 0 if code is None else int(code)

    @property
    def alive(self) -> bool:
        """Whether it has not ended; a stopped process lives."""
        return self.exit_code is None

    @property
    def stopped(self) -> bool:
        """Whether SIGSTOP froze it."""
        return self.alive and self._process.status() == psutil.STATUS_STOPPED

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self.alive:
            self._process.send_signal(number)

    def kill(self) -> int:
        """Kill -9; returns the exit code."""
        self.send(signal.SIGKILL)
        return self.wait_exit(10)

    def stop(self, within_s: float = 20.0) -> int:
        """SIGTERM, then wait; returns the exit code."""
        self.send(signal.SIGTERM)
        return self.wait_exit(within_s)

    def wait_exit(self, within_s: float) -> int:
        """Wait until it ended; returns the exit code."""
        wait_until(lambda: not self.alive, within_s, f"{self.name} ends\n{tail(self.log)}")
        code = self.exit_code
        assert code is not None
        return code

    def ready(self) -> bool:
        """Whether `/readyz` says so; fails when the process has ended."""
        assert self.alive, f"{self.name} ended with {self.exit_code}\n{tail(self.log)}"
        return self._get("/readyz") is not None

    def wait_ready(self, within_s: float = READY_S) -> Node:
        """Wait until it is ready."""
        wait_until(self.ready, within_s, f"{self.name} is ready; see {self.log}")
        return self

    def metrics(self) -> dict[str, float]:
        """`/metrics`, labels as in `uprp_notable_total{kind="stale_replies"}`."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self._get("/metrics") or ""):
            for sample in family.samples:
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
        return found

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The JSON lines of this process's log, all or those of one event."""
        with self.log.open("rb") as log:
            log.seek(self._log_began)
            lines = [line for line in log.read().splitlines() if line.startswith(b"{")]
        rows = [json.loads(line) for line in lines]
        return [row for row in rows if not name or row.get("event") == name]

    def said(self, text: str) -> bool:
        """Whether its log has the text."""
        with self.log.open("rb") as log:
            log.seek(self._log_began)
            return text.encode() in log.read()

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as found:
                text: str = found.read().decode()
                return text if found.status == 200 else None
        except urllib.error.HTTPError as error:
            error.close()
            return None
        except (urllib.error.URLError, OSError):
            return None


def coordinator(name: str, folder: Path, environment: Mapping[str, str]) -> Node:
    """Start a coordinator; nobody waits for it."""
    port = free_port()
    return Node(
        name,
        ["coordinator"],
        log=folder / f"{name}.log",
        environment={**environment, "UPRP_HTTP__PORT": str(port)},
        port=port,
    )
