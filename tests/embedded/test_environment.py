"""An environment leaves nothing behind, whatever ends it; a detached one stays until told."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil
import pytest

from adapters.embedded.environment import DetachedEnvironment
from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from tests.support import wait_until

pytestmark = pytest.mark.servers

ROOT: Final = Path(__file__).resolve().parents[2]
HOLDER: Final = """
import json, sys
from pathlib import Path
from adapters.embedded.environment import Environment
with Environment(Path(sys.argv[1])) as environment:
    row = {"kafka": environment.kafka.pid, "postgres": environment.postgres.pid}
    print(json.dumps(row), flush=True)
    sys.stdin.read()
"""
UP: Final = """
import sys
from pathlib import Path
from adapters.embedded.environment import DetachedEnvironment
DetachedEnvironment(Path(sys.argv[1])).up()
"""


@contextmanager
def held(folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A process that holds an environment, and all the processes below it."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        try:
            assert holder.stdout is not None
            row: dict[str, Any] = json.loads(holder.stdout.readline())
            family = psutil.Process(holder.pid).children(recursive=True)
            assert set(row.values()) < {process.pid for process in family}
            yield holder, family
        finally:
            holder.kill()


def living(family: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def shared_memory(family: list[psutil.Process]) -> list[str]:
    """System V segments that one of these processes made."""
    makers = {str(process.pid) for process in family}
    rows = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return [row for row in rows if row.split()[4] in makers]


@pytest.mark.parametrize(
    ("ending", "code"),
    (("end of the block", 0), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, -2)),
)
def test_nothing_is_left_behind(tmp_path: Path, ending: str | signal.Signals, code: int) -> None:
    folder = tmp_path / "environment"
    with held(folder) as (holder, family):
        assert shared_memory(family)
        if isinstance(ending, signal.Signals):
            holder.send_signal(ending)
        else:
            assert holder.stdin is not None
            holder.stdin.close()
        assert holder.wait(20) == code
        assert not [process for process in family if process.is_running()], "not even a zombie"
        assert not folder.exists()
        assert not EmbeddedPostgres(folder / "postgres").cluster.exists()
        assert not shared_memory(family)


def test_the_servers_die_with_a_process_that_is_killed(tmp_path: Path) -> None:
    with held(tmp_path / "environment") as (holder, family):
        holder.kill()
        holder.wait(5)
        try:
            wait_until(lambda: not living(family), 10, "the servers have ended")
            assert not shared_memory(family)
        finally:
            EmbeddedKafka(tmp_path / "environment" / "kafka").remove()
            EmbeddedPostgres(tmp_path / "environment" / "postgres").remove()


def up_in_another_process(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", UP, str(folder)], cwd=ROOT, check=True, timeout=60)


async def test_a_detached_environment_stays_until_it_is_told(tmp_path: Path) -> None:
    folder = tmp_path / ".uprp"
    up_in_another_process(folder)
    environment = DetachedEnvironment(folder)
    try:
        first = environment.status()
        assert first.running
        assert first.dsn is not None
        connection = await asyncpg.connect(first.dsn)
        await connection.execute("create table kept ()")
        await connection.close()
        assert environment.up() == first, "up is idempotent"

        stopped = environment.down()
        assert [server.pid for server in stopped.servers] == [None, None]
        assert environment.down() == stopped, "down is idempotent"

        again = environment.up()
        assert (again.bootstrap_servers, again.dsn) == (first.bootstrap_servers, first.dsn)
        connection = await asyncpg.connect(first.dsn)
        await connection.execute("select from kept")
        await connection.close()
    finally:
        cluster = EmbeddedPostgres(folder / "postgres").cluster
        environment.remove()
    assert not folder.exists()
    assert not cluster.exists()
