"""Bugs that somebody might write into the loop around the decisions; the simulation must find them.

Each is planted in the shipped coordinator, in what it keeps at hand, or in what it may rely on from
its database. All of these need a crash, a rebalance or a lost answer to do harm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from orchestrator import coordinator
from orchestrator.consequences import Consequences, Decision
from orchestrator.coordinator import Committed, Coordinator
from orchestrator.decode import Arrival
from orchestrator.errors import Unavailable
from orchestrator.ports import Changes, LimitKey, Outgoing, Partition, Record
from orchestrator.recent import Recent
from orchestrator.saga import progress
from orchestrator.saga.machine import TABLE, Event, Status
from orchestrator.sweeper import Sweeper
from tests.simulation.database import MemoryTransaction

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutant:
    """One planted bug, and how many seeds may pass before it shows."""

    name: str
    plant: Callable[[Patch], None]
    seeds: int = 300


def _offsets_before_publish(patch: Patch) -> None:
    right = Coordinator._publish

    async def publish(self: Coordinator, batch: Committed) -> None:
        try:
            await self._source.commit(batch.offsets)
        except Unavailable:
            pass
        await right(self, batch)

    patch.setattr(Coordinator, "_publish", publish)


def _offsets_before_commit(patch: Patch) -> None:
    right = Coordinator._commit

    async def commit(self: Coordinator, records: Sequence[Record]) -> Committed:
        ends = {(one.topic, one.partition): one.offset + 1 for one in records}
        try:
            await self._source.commit(ends)
        except Unavailable:
            pass
        return await right(self, records)

    patch.setattr(Coordinator, "_commit", commit)


def _publish_before_commit(patch: Patch) -> None:
    right = Consequences.finish

    def finish(self: Consequences, loaded: Any) -> Decision:
        decision = right(self, loaded)
        _early.append(list(decision.outgoing))
        return decision

    check = Coordinator._check_dead_letters
    _early: list[list[Outgoing]] = []
    transact = Coordinator._transact

    async def said_first(
        self: Coordinator, arrivals: Sequence[Arrival]
    ) -> tuple[Decision, dict[Partition, int]]:
        _early.clear()
        task = transact(self, arrivals)
        return await task

    def check_and_say(self: Coordinator, decision: Decision) -> None:
        check(self, decision)
        for record in _early[-1]:
            self._bus._broker.append(  # type: ignore[attr-defined]
                record.topic, record.key, record.value, record.headers
            )

    patch.setattr(Consequences, "finish", finish)
    patch.setattr(Coordinator, "_transact", said_first)
    patch.setattr(Coordinator, "_check_dead_letters", check_and_say)


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
    async def check(self: Recent, transaction: Any, decision: Decision) -> None:
        return None

    patch.setattr(Recent, "check", check)


def _a_conflict_changes_nothing(patch: Patch) -> None:
    patch.setattr(Recent, "forget", lambda self: None)


def _a_limit_is_not_locked(patch: Patch) -> None:
    right = MemoryTransaction.save

    async def save(self: MemoryTransaction, changes: Changes) -> None:
        free = {key: replace(change, was=None) for key, change in changes.limits.items()}
        await right(self, replace(changes, limits=free))

    async def limits(self: MemoryTransaction, keys: Any) -> dict[LimitKey, int]:
        used = self._database.used
        return await self._ask("limits", lambda: {key: used[key] for key in keys if key in used})  # type: ignore[no-any-return]

    patch.setattr(MemoryTransaction, "save", save)
    patch.setattr(MemoryTransaction, "limits", limits)


def _redelivery_is_not_noticed(patch: Patch) -> None:
    right = coordinator.decode
    patch.setattr(
        coordinator,
        "decode",
        lambda record, route, *, redelivered: right(record, route, redelivered=False),
    )


def _redelivery_is_skipped(patch: Patch) -> None:
    patch.setattr(Consequences, "_repeat", lambda self, arrival, saga: None)


def _a_failed_publish_is_forgotten(patch: Patch) -> None:
    async def publish(self: Coordinator, batch: Committed) -> None:
        try:
            for part in self._parts(batch.decision.outgoing):
                await self._bus.publish(part)
        except Unavailable:
            pass

    patch.setattr(Coordinator, "_publish", publish)


def _timers_are_leased_for_ever(patch: Patch) -> None:
    async def run_once(self: Sweeper) -> int:
        now = self._clock.now()
        due = await self._store.lease_due(now, now + 10**15, 500)
        if due:
            await self._bus.publish([sweeper_fired(timer, now) for timer in due])
        return len(due)

    from orchestrator.sweeper import _fired as sweeper_fired  # noqa: PLC0415

    patch.setattr(Sweeper, "run_once", run_once)


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


def _cells(patch: Patch, to: Status, *cells: tuple[Status, Event]) -> None:
    table = {status: dict(row) for status, row in TABLE.items()}
    for status, event in cells:
        table[status][event] = to
    patch.setattr(progress, "TABLE", table)


def _silence_is_a_no(patch: Patch) -> None:
    found = ((Status.UNKNOWN, Event.EXHAUSTED), (Status.UNKNOWN, Event.GAVE_UP))
    _cells(patch, Status.REJECTED, *found)


def _a_reading_is_a_no(patch: Patch) -> None:
    asked = (Status.SENT, Status.UNKNOWN)
    _cells(patch, Status.REJECTED, *((status, Event.NOT_RECEIVED) for status in asked))


MUTANTS: Final = (
    Mutant("offsets are committed before the batch is published", _offsets_before_publish),
    Mutant("offsets are committed before the batch is", _offsets_before_commit),
    Mutant("records are published before the commit", _publish_before_commit),
    Mutant("positions are not compared", _any_position_will_do),
    Mutant("revisions are not compared", _whoever_saves_last_wins, 2_000),
    Mutant("what is at hand is believed", _what_is_at_hand_is_believed, 2_000),
    Mutant("a conflict does not empty what is at hand", _a_conflict_changes_nothing, 2_000),
    Mutant("limits are not compared", _a_limit_is_not_locked, 2_000),
    Mutant("a redelivered record counts as new", _redelivery_is_not_noticed),
    Mutant("a redelivered record says nothing", _redelivery_is_skipped),
    Mutant("a failed publish is forgotten", _a_failed_publish_is_forgotten),
    Mutant("a lost timer is never said again", _timers_are_leased_for_ever),
    Mutant("a new assignment reads from the end", _reading_starts_at_the_end),
    Mutant("an exhausted time-out is read as a no", _silence_is_a_no),
    Mutant("NOT_RECEIVED is read as a no", _a_reading_is_a_no),
)
