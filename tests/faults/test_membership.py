"""Coordinators that join, die, freeze and leave: one batch is nobody's or one member's."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from orchestrator.errors import NoProgress
from orchestrator.settings import Phase
from tests.consistency import assert_consistent
from tests.faults.lanes import SMALL_BATCHES
from tests.harness import QUICK, Platform
from tests.nodes import Node
from tests.support import wait_until
from tests.wire import redemptions

pytestmark = pytest.mark.servers

ENDLESS = 1_000_000
STOPPED_AT_ONCE = 130
SESSION = {"UPRP_KAFKA__SESSION_TIMEOUT_S": "20"}
"""So long that a member that did not leave is not noticed within the test."""


def works_on(node: Node, what: str) -> None:
    """Wait until a coordinator commits batches of its own."""
    before = node.metrics().get("uprp_batches_total", 0.0)
    wait_until(
        lambda: node.metrics().get("uprp_batches_total", 0.0) > before + 5,
        30,
        f"{node.name} {what}",
    )


def holds(node: Node) -> int:
    """How many partitions it was given last."""
    return int(node.events("coordinator.assigned")[-1]["partitions"])


def test_one_joins_and_one_is_killed_under_load(platform: Platform) -> None:
    platform.start_sandbox(rates="repeat=0.05,delay=0.05,refuse=0.05", seed=7)
    with platform.flowing(redemptions(ENDLESS, 7), per_s=150, seed=7) as requests:
        first = platform.start_coordinator("first", **QUICK, **SMALL_BATCHES).wait_ready()
        works_on(first, "works alone")
        second = platform.start_coordinator("second", **QUICK, **SMALL_BATCHES).wait_ready()
        works_on(second, "has its share")
        works_on(first, "kept its share")
        assert first.kill() == -signal.SIGKILL
        platform.more_end(300, "the other one carries on")
        third = platform.start_coordinator("third", **QUICK, **SMALL_BATCHES).wait_ready()
        works_on(third, "has its share")
        platform.more_end(100, "both work")
    assert_consistent(platform, requests, "joined and killed")
    assert (second.stop(), third.stop()) == (0, 0)


def test_one_that_comes_before_its_servers_waits_for_them(
    platform: Platform, kafka: EmbeddedKafka, postgres: EmbeddedPostgres
) -> None:
    kafka.kill()
    postgres.kill()
    try:
        early = platform.start_coordinator("early", **QUICK)
        wait_until(lambda: early.said("coordinator.starting"), 30, "it has begun")
        postgres.start()
        wait_until(lambda: early.said("Unable connect to"), 30, "it has looked for the broker")
        assert early.alive
    finally:
        postgres.start()
        kafka.start()
    early.wait_ready()
    assert early.stop() == 0


@pytest.mark.parametrize("phase", ("before_commit", "after_commit"))
def test_a_zombie_commits_nothing_and_publishes_nothing(platform: Platform, phase: Phase) -> None:
    platform.start_sandbox(seed=8)
    fault = {"UPRP_FAULT__PHASE": phase, "UPRP_FAULT__AFTER": "4", "UPRP_FAULT__SIGNAL": "SIGSTOP"}
    # One batch at a time: what an earlier one had handed to the Kafka client already may leave when
    # the process wakes (docs/decisions/0006), and would hide what this batch does.
    alone = {"UPRP_COORDINATOR__PUBLISH_AHEAD": "0"}
    zombie = platform.start_coordinator("zombie", **QUICK, **SMALL_BATCHES, **fault, **alone)
    with platform.flowing(redemptions(ENDLESS, 8), per_s=100, seed=8) as requests:
        wait_until(lambda: zombie.stopped, 60, f"it stands still {phase}")
        heir = platform.start_coordinator("heir", **QUICK, **SMALL_BATCHES).wait_ready()
        platform.more_end(100, "the heir has taken over")
    platform.finish(requests)
    wait_until(lambda: platform.idle() and _all_answered(platform), 30, "nothing goes on")
    before = _state(platform)
    heard = platform.tape.of()

    memberships = len(zombie.events("coordinator.assigned"))
    zombie.send(signal.SIGCONT)
    wait_until(
        lambda: len(zombie.events("coordinator.assigned")) > memberships, 30, "it joins again"
    )
    zombie.wait_ready()
    platform.tape.caught_up()
    assert platform.tape.of() == heard
    assert _state(platform) == before
    assert zombie.events("consumer.remade"), "it saw by itself that it was out of date"
    assert_consistent(platform, requests, f"zombie {phase}")
    assert (heir.stop(), zombie.stop()) == (0, 0)


def _all_answered(platform: Platform) -> bool:
    return len(platform.tape.of("replies")) == len(platform.tape.of("commands"))


def _state(platform: Platform) -> tuple[Counter[str], list[tuple[object, ...]]]:
    rows = platform.fetch("select key_hash, saga_id, revision, state::text from saga order by 1, 2")
    positions = platform.fetch("select * from position order by 1, 2")
    counted = platform.fetch(
        "select count(*) from timeline union all select count(*) from transfer"
    )
    found = [tuple(row) for row in itertools.chain(rows, positions, counted)]
    return Counter(platform.counts()), found


def test_sigterm_drains_and_the_other_takes_over_at_once(platform: Platform) -> None:
    platform.start_sandbox(seed=9)
    patient = QUICK | SMALL_BATCHES | SESSION
    with platform.flowing(redemptions(ENDLESS, 9), per_s=100, seed=9) as requests:
        leaving = platform.start_coordinator("leaving", **patient).wait_ready()
        alone = holds(leaving)
        staying = platform.start_coordinator("staying", **patient).wait_ready()
        works_on(leaving, "has its share")
        works_on(staying, "has its share")
        assert 0 < holds(staying) < alone
        assert leaving.stop() == 0
        # Well below the session time-out: it said good-bye.
        wait_until(lambda: holds(staying) == alone, 15, "the other one holds all partitions")
        platform.more_end(100, "the other one carries on", 10)
    assert_consistent(platform, requests, "drained")
    repeated = platform.tape.of("commands", "results")
    why = leaving.events("offsets.not_committed") + staying.events("offsets.not_committed")
    assert len(repeated) == len({one.event_id for one in repeated}), why
    assert staying.stop() == 0


@contextmanager
def locked(platform: Platform) -> Iterator[None]:
    """Nobody can move a position for the length of the block."""

    async def lock() -> asyncpg.Connection:
        connection = await asyncpg.connect(platform.dsn)
        await connection.execute("begin; lock table position in exclusive mode")
        return connection

    with asyncio.Runner() as runner:
        connection = runner.run(lock())
        try:
            yield
        finally:
            runner.run(connection.close())


def test_a_second_signal_stops_at_once(platform: Platform) -> None:
    platform.start_sandbox(seed=10)
    node = platform.start_coordinator("only", **QUICK, **SMALL_BATCHES).wait_ready()
    with locked(platform):
        requests = platform.publish(redemptions(50, 10))
        wait_until(lambda: _waits_for_lock(platform), 20, "a batch waits in the database")
        node.send(signal.SIGTERM)
        wait_until(lambda: node.events("coordinator.draining"), 5, "it drains")
        assert node.alive
        assert node.stop(within_s=2) == STOPPED_AT_ONCE
    heir = platform.start_coordinator("heir", **QUICK).wait_ready()
    assert_consistent(platform, requests, "stopped at once")
    assert heir.stop() == 0


def test_records_wait_and_nothing_commits(platform: Platform) -> None:
    platform.start_sandbox(seed=11)
    impatient = QUICK | {"UPRP_COORDINATOR__PROGRESS_S": "2"}
    node = platform.start_coordinator("stuck", **impatient).wait_ready()
    with locked(platform):
        requests = platform.publish(redemptions(50, 11))
        assert node.wait_exit(20) == NoProgress.exit_code
        assert node.said("records wait")
    heir = platform.start_coordinator("heir", **QUICK).wait_ready()
    assert_consistent(platform, requests, "stuck")
    assert heir.stop() == 0


def _waits_for_lock(platform: Platform) -> bool:
    return bool(platform.fetch("select 1 from pg_locks where not granted"))
