"""Two processes share the tests of `make test`: what they agree on.

Each has servers of its own. Long files begin first, so that both end together; a test that is
marked `alone` has the machine for itself.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent
LONG: Final = (
    "chaos/test_chaos.py",
    "faults/test_crash_points.py",
    "demo/test_demo.py",
    "faults/test_membership.py",
    "platform/test_unavailable.py",
    "engine/test_walk.py",
    "engine/test_orders.py",
    "embedded/test_environment.py",
    "faults/test_restore.py",
    "audit/test_worlds.py",
    "mutants/test_mutants.py",
    "mutants/test_shell_mutants.py",
    "conform/test_live.py",
    "audit/test_under_load.py",
    "engine/test_restored.py",
    "platform/test_parked.py",
    "engine/test_world.py",
    "cli/test_cli_servers.py",
    "simulation/test_simulation.py",
    "faults/test_amplification.py",
    "embedded/test_servers.py",
    "cli/test_cli.py",
    "platform/test_bad_input.py",
    "platform/test_channel.py",
    "platform/test_timers.py",
    "sandbox/test_process.py",
    "foreign/test_foreign_client.py",
    "platform/test_health.py",
    "platform/test_store.py",
    "audit/test_audit.py",
)
"""Files of more than some ten seconds, the longest first. One that has to run alone is the very
first, and what follows it begins with a short test: the other process comes to its end soon."""


def longest_first(items: list[pytest.Item]) -> None:
    """Put the tests of long files before all others, which keep their order."""
    ranks = {TESTS / name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait until a test may run: beside those of other processes, or when none of them runs.

    `folder` is the one in which all of them meet.
    """
    with (folder / "gate").open("w") as gate, (folder / "room").open("w") as room:
        # Who waits for the room to empty holds the gate, and nobody enters before him.
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)
