"""Bugs that somebody might write into the loop around the decisions; the simulation must find them.

Each is planted in the shipped coordinator, in what it keeps at hand, or in what it may rely on from
its database. All of these need a crash, a rebalance or a lost answer to do harm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from orchestrator.batch.decide import Decider
from orchestrator.batch.decode import InboundEvent
from orchestrator.batch.effects import BatchResult, EffectRecorder
from orchestrator.engine import engine, transition
from orchestrator.engine.machine import TABLE, Event, Status
from orchestrator.errors import Unavailable
from orchestrator.ports import Changes, Record
from orchestrator.recovery.published import PublishedLog
from orchestrator.recovery.recovery import Recovery
from orchestrator.runtime import restoration
from orchestrator.runtime.cache import SagaCache
from orchestrator.runtime.coordinator import Coordinator
from orchestrator.runtime.publisher import Committed, Publisher
from orchestrator.runtime.reader import Reader
from orchestrator.timers.fired import FiredTimers
from tests.simulation.store import MemoryTransaction

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutant:
    """One planted bug, how many seeds may pass before it shows, and the first of them that did.

    That one is tried before all others. A change elsewhere may make another run of it: then the bug
    is still found, only later, and `print`ed is the seed to write here.
    """

    name: str
    plant: Callable[[Patch], None]
    seen_at: int
    seeds: int = 300


def _offsets_before_publish(patch: Patch) -> None:
    right = Publisher._publish

    async def publish(self: Publisher, batch: Committed) -> None:
        with suppress(Unavailable):
            await self._source.commit(batch.offsets)
        await right(self, batch)

    patch.setattr(Publisher, "_publish", publish)


def _offsets_before_commit(patch: Patch) -> None:
    right = Coordinator._commit

    async def commit(self: Coordinator, arrivals: Sequence[InboundEvent]) -> Committed:
        records = [arrival.record for arrival in arrivals]
        ends = {(one.topic, one.partition): one.offset + 1 for one in records}
        with suppress(Unavailable):
            await self._source.commit(ends)
        return await right(self, arrivals)

    patch.setattr(Coordinator, "_commit", commit)


def _publish_before_commit(patch: Patch) -> None:
    right = Coordinator._check_dead_letters

    def check(self: Coordinator, decision: BatchResult) -> None:
        right(self, decision)
        said, decision.outgoing = decision.outgoing, []
        bus: Any = self._publisher._bus
        bus._append(said)

    patch.setattr(Coordinator, "_check_dead_letters", check)


def _any_position_will_do(patch: Patch) -> None:
    right = MemoryTransaction.save

    async def save(self: MemoryTransaction, changes: Changes) -> None:
        stored = self._database.positions
        moves = {
            at: (stored.get(at), after)
            for at, (_, after) in changes.positions.items()
            if after > stored.get(at, 0)
        }
        await right(self, replace(changes, positions=moves))

    patch.setattr(MemoryTransaction, "save", save)


def _whoever_saves_last_wins(patch: Patch) -> None:
    patch.setattr(MemoryTransaction, "_compare", lambda self, saga_id, changes: None)


def _what_is_at_hand_is_believed(patch: Patch) -> None:
    async def check(self: SagaCache, transaction: Any, decision: BatchResult) -> None:
        return None

    patch.setattr(SagaCache, "check", check)


def a_conflict_changes_nothing(patch: Patch) -> None:
    """What is at hand stays there: the watchdog heals it within a minute, so no seed shows it."""
    patch.setattr(SagaCache, "forget", lambda self: None)


def _redelivery_is_not_noticed(patch: Patch) -> None:
    right = Reader._decode

    def decode(self: Reader, record: Record) -> list[InboundEvent]:
        return [replace(one, redelivered=False) for one in right(self, record)]

    patch.setattr(Reader, "_decode", decode)


def _redelivery_is_skipped(patch: Patch) -> None:
    patch.setattr(EffectRecorder, "resend", lambda self, arrival, saga: None)


def _a_failed_publish_is_forgotten(patch: Patch) -> None:
    async def publish(self: Publisher, batch: Committed) -> None:
        with suppress(Unavailable):
            for part in self._parts(batch.outgoing):
                await self._bus.publish(part)

    patch.setattr(Publisher, "_publish", publish)


def _timers_ring_for_ever(patch: Patch) -> None:
    right = FiredTimers.published
    years = 10 * 365 * 86_400_000
    patch.setattr(
        FiredTimers, "published", lambda self, sagas, until: right(self, sagas, until + years)
    )


def _reading_starts_at_the_end(patch: Patch) -> None:
    right = Coordinator.on_assigned

    async def on_assigned(self: Coordinator, partitions: Any) -> None:
        mine = list(partitions)
        await right(self, mine)
        bounds = await self._source.bounds(mine)
        for at in mine:
            self._source.seek(at, bounds[at][1])
            self.done_offsets[at] = bounds[at][1]

    patch.setattr(Coordinator, "on_assigned", on_assigned)


def _a_restored_database_is_not_noticed(patch: Patch) -> None:
    async def looks_new(*_: Any) -> bool:
        return False

    patch.setattr(restoration, "behind", lambda *_: {})
    patch.setattr(restoration, "looks_restored", looks_new)


def _nobody_looks_back(patch: Patch) -> None:
    async def looks_new(*_: Any) -> bool:
        return False

    patch.setattr(restoration, "looks_restored", looks_new)


def _replies_come_with_the_requests(patch: Patch) -> None:
    async def lacks(*_: Any) -> bool:
        return False

    async def finished(*_: Any) -> bool:
        return False

    patch.setattr(Recovery, "_lacks", lacks)
    patch.setattr(Recovery, "finished", finished)
    patch.setattr(Decider, "recall", _recalls_nothing)


def _recalls_nothing(self: Decider, *_: Any) -> BatchResult:
    return BatchResult()


def _what_was_told_is_forgotten(patch: Patch) -> None:
    patch.setattr(PublishedLog, "_of", lambda self, key: replace(_of(self, key), result=None))


_of = PublishedLog._of


def _cells(patch: Patch, to: Status, *cells: tuple[Status, Event]) -> None:
    table = {status: dict(row) for status, row in TABLE.items()}
    for status, event in cells:
        table[status][event] = to
    patch.setattr(engine, "TABLE", table)
    patch.setattr(transition, "TABLE", table)


def _silence_is_a_no(patch: Patch) -> None:
    found = ((Status.UNKNOWN, Event.EXHAUSTED), (Status.UNKNOWN, Event.GAVE_UP))
    _cells(patch, Status.REJECTED, *found)


def _a_reading_is_a_no(patch: Patch) -> None:
    asked = (Status.SENT, Status.UNKNOWN)
    _cells(patch, Status.REJECTED, *((status, Event.NOT_RECEIVED) for status in asked))


MUTANTS: Final = (
    Mutant("offsets are committed before the batch is published", _offsets_before_publish, 45),
    Mutant("offsets are committed before the batch is", _offsets_before_commit, 45),
    Mutant("records are published before the commit", _publish_before_commit, 7),
    Mutant("positions are not compared", _any_position_will_do, 53),
    Mutant("revisions are not compared", _whoever_saves_last_wins, 569, 2_000),
    Mutant("what is at hand is believed", _what_is_at_hand_is_believed, 945, 2_000),
    Mutant("a redelivered record counts as new", _redelivery_is_not_noticed, 76),
    Mutant("a redelivered record says nothing", _redelivery_is_skipped, 45),
    Mutant("a failed publish is forgotten", _a_failed_publish_is_forgotten, 54),
    Mutant("a lost timer is never said again", _timers_ring_for_ever, 42),
    Mutant("a new assignment reads from the end", _reading_starts_at_the_end, 1),
    Mutant("a restored database is not noticed", _a_restored_database_is_not_noticed, 37),
    Mutant("a restore is seen by the offsets alone", _nobody_looks_back, 39, 2_000),
    Mutant(
        "what survived a restore is not brought up", _replies_come_with_the_requests, 381, 1_000
    ),
    Mutant("what was told before a restore is forgotten", _what_was_told_is_forgotten, 37),
    Mutant("an exhausted time-out is read as a no", _silence_is_a_no, 28),
    Mutant("NOT_RECEIVED is read as a no", _a_reading_is_a_no, 28),
)
