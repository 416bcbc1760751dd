"""The platform as a partner's operator would start it: three commands, one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka.admin import AdminClient

from adapters.embedded.processes import Child, free_port, spawn, stop, tail
from tests.support import wait_until

ROOT = Path(__file__).resolve().parents[2]
UPRP = [sys.executable, "-m", "adapters.cli.main"]
READY_S = 60.0


def prepare(*command: str, environment: Mapping[str, str]) -> None:
    """Run one command of the platform to its end."""
    done = subprocess.run(
        [*UPRP, *command],
        check=False,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"uprp {' '.join(command)}:\n{done.stdout}\n{done.stderr}"


def without_topics(servers: str) -> None:
    """Take the platform's topics away: what other tests left there is not ours, nor ours theirs."""
    admin = AdminClient({"bootstrap.servers": servers})

    def ours() -> list[str]:
        return [name for name in admin.list_topics(timeout=10).topics if name.startswith("uprp.")]

    if names := ours():
        for deleted in admin.delete_topics(names, operation_timeout=30).values():
            deleted.result()
        wait_until(lambda: not ours(), 30, "topics are gone")


@contextmanager
def running(servers: str, dsn: str, folder: Path) -> Iterator[None]:
    """Topics, tables, a coordinator that is ready; at the end it drains and leaves by itself."""
    port = free_port()
    environment = os.environ | {
        "UPRP_KAFKA__BOOTSTRAP_SERVERS": servers,
        "UPRP_POSTGRES__DSN": dsn,
        "UPRP_HTTP__PORT": str(port),
    }
    without_topics(servers)
    prepare("topics", "apply", environment=environment)
    prepare("db", "migrate", environment=environment)
    log = folder / "coordinator.log"
    child = spawn([*UPRP, "coordinator"], folder=ROOT, log=log, environment=environment)
    left = False
    try:
        wait_until(lambda: _ready(child, port), READY_S, f"coordinator ready; see {log}")
        yield
    except BaseException:
        sys.stderr.write(f"\n{tail(log)}\n")
        raise
    finally:
        left = stop(child, signal.SIGTERM, deadline_s=20)
    without_topics(servers)
    assert left, f"the coordinator did not leave within 20 s of SIGTERM\n{tail(log)}"


def _ready(child: Child, port: int) -> bool:
    assert child.process() is not None, f"the coordinator ended\n{tail(child.log)}"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
