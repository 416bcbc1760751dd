"""The store in memory: the same laws as PostgreSQL (`tests/laws`), row locks and all.

A transaction sees what is committed (read committed), waits for locks as PostgreSQL does, and
writes everything at its commit or nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from orchestrator.admission.board import HealthReport, SharedHealth
from orchestrator.admission.breaker import Breaker
from orchestrator.admission.gate import Slot
from orchestrator.engine import codec
from orchestrator.engine.instance import Saga
from orchestrator.engine.kind import LimitKey
from orchestrator.errors import Conflict, Fenced, Unavailable
from orchestrator.ports import (
    Changes,
    DeadLetterReason,
    DecisionKey,
    DecisionRow,
    DueDecision,
    Partition,
    PartitionShare,
    RecordPosition,
    RecoveryRange,
    SagaKey,
)
from schemas.ids import SagaId
from tests.engine.memory import why_of
from tests.simulation.database import Database, LockKey, Row
from tests.simulation.line import Line
from tests.simulation.loop import Life


class MemoryTransaction:
    """One batch in the database."""

    def __init__(self, database: Database, life: Life | None) -> None:
        self._database = database
        self._changes: list[Changes] = []
        self._line: Line | None = None
        self.life = life
        self.name = life.name if life is not None else ""
        self.over = False
        self.held: list[LockKey] = []
        self.waits: LockKey | None = None
        self.turn: asyncio.Future[None] | None = None

    def through(self, line: Line) -> MemoryTransaction:
        """Speak to the database through this line."""
        self._line = line
        return self

    def check_alive(self) -> None:
        """Raise Unavailable when the server ended the session."""
        if self.over:
            raise Unavailable("PostgreSQL: the session was ended")

    def abort(self) -> None:
        """Forget everything."""
        if not self.over:
            self.over = True
            if self.turn is not None and not self.turn.done():
                self.turn.set_result(None)
            self._database.finish(self)

    async def _ask(self, operation: str, serve: Any) -> Any:
        assert self._line is not None

        def alive() -> Any:
            self.check_alive()
            return serve()

        return await self._line.ask(operation, alive)

    async def load(self, keys: Iterable[SagaKey], strays: Iterable[SagaId]) -> dict[SagaId, Saga]:
        """The sagas that exist."""
        rows = self._database.sagas
        wanted, loose = sorted(set(keys)), sorted(set(strays))

        def serve() -> dict[SagaId, Saga]:
            found = [
                saga_id
                for key_hash, saga_id in wanted
                if saga_id in rows and rows[saga_id].named.terms.key_hash == key_hash
            ]
            found += [saga_id for saga_id in loose if saga_id in rows and saga_id not in found]
            return {saga_id: rows[saga_id].saga() for saga_id in found}

        found: dict[SagaId, Saga] = await self._ask("load", serve)
        return found

    async def revisions(self, keys: Iterable[SagaKey]) -> dict[SagaId, int]:
        """At which revision sagas are."""
        return {one: saga.revision for one, saga in (await self.load(keys, ())).items()}

    async def limits(self, keys: Iterable[LimitKey]) -> dict[LimitKey, int]:
        """How much of each limit is used."""
        wanted, used = sorted(set(keys)), self._database.used
        if not wanted:
            return {}
        found: dict[LimitKey, int] = await self._ask(
            "limits", lambda: {key: used[key] for key in wanted if key in used}
        )
        return found

    async def set_aside(
        self, places: Iterable[RecordPosition]
    ) -> dict[RecordPosition, DeadLetterReason]:
        """Why the records there were set aside."""
        wanted, letters = sorted(set(places)), self._database.letters
        if not wanted:
            return {}
        found: dict[RecordPosition, DeadLetterReason] = await self._ask(
            "set aside",
            lambda: {
                place: why_of(letters[name])
                for place in wanted
                if (name := "/".join(map(str, place))) in letters
            },
        )
        return found

    async def decisions(self, keys: Iterable[DecisionKey]) -> dict[int, DecisionRow]:
        """The audited rows that exist, by their number."""
        wanted, rows = sorted(set(keys)), self._database.decisions
        if not wanted:
            return {}
        found: dict[int, DecisionRow] = await self._ask(
            "decisions",
            lambda: {
                number: rows[number].audited()
                for key_hash, number in wanted
                if number in rows and rows[number].key_hash == key_hash
            },
        )
        return found

    async def save(self, changes: Changes) -> None:
        """Write everything; raise Conflict or Fenced rather than overwrite."""
        database = self._database
        for partition in sorted(changes.positions):
            await database.lock(self, ("position", *partition))
            before, _ = changes.positions[partition]
            if database.positions.get(partition, before) != before:
                raise Fenced("another coordinator moved a position of this batch")
            if before is None and partition in database.positions:
                raise Fenced("another coordinator read this partition first")
        for saga_id in sorted(changes.sagas):
            await database.lock(self, ("saga", saga_id))
            self._compare(saga_id, changes)
        for (_, saga_id), revision in sorted(changes.forgotten.items()):
            await database.lock(self, ("saga", saga_id))
            row = database.sagas.get(saga_id)
            if row is None or row.revision != revision:
                raise Conflict("a saga that was to be forgotten is at another revision")
        for key in sorted(changes.limits):
            await database.lock(self, ("limit", *key))
            change = changes.limits[key]
            compared = change.was is not None and change.delta >= 0
            if compared and database.used.get(key, 0) != change.was:
                raise Conflict("an account limit is not what was read")
        for settled in changes.settled:
            await database.lock(self, ("decision", settled.key[1]))
            if database.decisions[settled.key[1]].settled is not None:
                raise Conflict("a decision was settled since it was read")
        await self._ask("save", lambda: self._changes.append(changes))

    def _compare(self, saga_id: SagaId, changes: Changes) -> None:
        row, was = self._database.sagas.get(saga_id), changes.sagas[saga_id].was
        if was is None and row is not None:
            raise Conflict("a saga that was absent exists now")
        if was is not None and (row is None or row.revision != was.revision):
            raise Conflict("a saga is at another revision than was read")

    def commit(self) -> None:
        """Make it true."""
        self.check_alive()
        for changes in self._changes:
            self._write(changes)
        self._database.commits += 1
        self.over = True
        self._database.finish(self)

    def _write(self, changes: Changes) -> None:
        database = self._database
        self._write_sagas(changes)
        for partition, (before, after) in changes.positions.items():
            assert after > (before or 0), f"{partition} moves back from {before} to {after}"
            database.positions[partition] = after
        for key, limit in changes.limits.items():
            if limit.delta >= 0 or key in database.used:
                database.used[key] = database.used.get(key, 0) + limit.delta
                assert database.used[key] >= 0, f"{key} is used {database.used[key]}"
        for letter in changes.dead_letters:
            database.letters.setdefault(letter.id, letter)
        for saga_id, case in changes.cases.items():
            was = database.cases.get(saga_id)
            opened = case.at if was is None or was.closed else was.at
            database.cases[saga_id] = replace(case, at=opened)

        for participant, legs in changes.in_flight.items():
            database.in_flight[self.name, participant] += legs
        for settled in changes.settled:
            row = database.decisions[settled.key[1]]
            row.settled, row.due = settled, None

    def _write_sagas(self, changes: Changes) -> None:
        database = self._database
        for saga_id, change in changes.sagas.items():
            saga = change.now
            state = codec.encode_state(saga)
            row = database.sagas.get(saga_id)
            if row is None:
                terms = codec.encode_terms(saga.terms, database.kinds)
                database.sagas[saga_id] = Row(
                    saga, terms, state, saga.revision, saga.wake_at, database.kinds
                )
            else:
                row.state, row.revision, row.due = state, saga.revision, saga.wake_at
        for _, saga_id in changes.forgotten:
            del database.sagas[saga_id]
        for entry in changes.timeline:
            at = (entry.key[1], entry.revision)
            assert at not in database.timeline, f"a second event at revision {at}"
            database.timeline[at] = entry
        for movement in changes.movements:
            at, moved = (movement.key[1], movement.seq), movement.transfer
            assert at not in database.movements, f"a second movement {at}"
            assert moved.amount > 0, moved
            assert moved.debit != moved.credit, moved
            database.movements[at] = movement


class MemoryStore:
    """One process's way to the database; a Store."""

    def __init__(self, database: Database, line: Line | None = None) -> None:
        self._database = database
        self._line = line or Line(database)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        """One batch's transaction; whoever gives up before it began leaves none behind."""
        life, begun = self._line.life, list[MemoryTransaction]()
        wanted = True

        def begin() -> MemoryTransaction:
            if not wanted:
                raise Unavailable("PostgreSQL: nobody waits for this session any more")
            begun.append(self._database.begin(life, MemoryTransaction))
            return begun[0]

        try:
            transaction = (await self._line.ask("begin", begin)).through(self._line)
            yield transaction
            await self._line.ask("commit", transaction.commit)
        finally:
            wanted = False
            for one in begun:
                one.abort()

    async def positions(self) -> Mapping[Partition, int]:
        """The next offset of every partition that was ever read."""
        return await self._line.ask("positions", lambda: dict(self._database.positions))

    async def recovery(self) -> Mapping[Partition, RecoveryRange]:
        """What a restored database still lacks."""
        lost, at = self._database.lost, self._database.positions
        return await self._line.ask(
            "recovery",
            lambda: {one: found for one, found in lost.items() if at.get(one, 0) < found.until},
        )

    async def begin_recovery(self, behind: Mapping[Partition, tuple[int, int]]) -> None:
        """Remember the partitions that it is behind in."""

        def serve() -> None:
            for one, (position, until) in behind.items():
                self._database.positions.setdefault(one, position)
                known = self._database.lost.get(one, RecoveryRange(0, 0))
                self._database.lost[one] = RecoveryRange(max(until, known.until), 0)

        await self._line.ask("begin recovery", serve)

    async def due(
        self, since: int, now: int, share: PartitionShare, but: Collection[SagaId], count: int
    ) -> Sequence[Saga]:
        """Sagas of some of the partitions whose timer has become due, but some."""
        return await self._line.ask(
            "due", lambda: self._database.due(since, now, share, but, count)
        )

    async def lease_decisions(self, now: int, until: int, count: int) -> Sequence[DueDecision]:
        """Take decisions that are to be published, and push them."""
        return await self._line.ask(
            "lease decisions", lambda: self._database.lease_decisions(now, until, count)
        )

    async def check_schema(self) -> None:
        """There is one schema here."""


class MemoryBoard:
    """Where coordinators tell each other of the participants' health."""

    def __init__(self, database: Database, line: Line) -> None:
        self._database = database
        self._line = line
        self._mine = line.life.name if line.life is not None else ""

    async def share(
        self, sights: Sequence[HealthReport], now: int, alive_since: int
    ) -> SharedHealth:
        """Tell what was seen here, and read what all have seen."""
        return await self._line.ask("share", lambda: self._share(sights, now, alive_since))

    def _share(self, sights: Sequence[HealthReport], now: int, alive_since: int) -> SharedHealth:
        database, mine = self._database, self._mine
        database.heard[mine] = now
        for sight in sights:
            database.sights[mine, sight.participant] = sight
        alive = sorted(one for one, at in database.heard.items() if at >= alive_since)
        rank = alive.index(mine) if mine in alive else 0
        in_flight: dict[str, int] = {}
        for (_, participant), legs in database.in_flight.items():
            in_flight[participant] = in_flight.get(participant, 0) + legs
        part = Slot(rank, max(1, len(alive)))
        return SharedHealth(
            part, list(database.sights.values()), in_flight, dict(database.breakers)
        )

    async def move(self, participant: str, expected: int, to: Breaker) -> bool:
        """Move a breaker from the revision that is expected."""
        return await self._line.ask("move breaker", lambda: self._move(participant, expected, to))

    def _move(self, participant: str, expected: int, to: Breaker) -> bool:
        known = self._database.breakers.get(participant, Breaker())
        if known.revision != expected:
            return False
        self._database.breakers[participant] = to
        return True

    async def tidy(self, before: int) -> None:
        """Forget coordinators that are gone; what they added up stays."""
        await self._line.ask("tidy", lambda: self._tidy(before))

    def _tidy(self, before: int) -> None:
        database = self._database
        for name in [one for one, at in database.heard.items() if at < before]:
            del database.heard[name]
            for key in [key for key in database.sights if key[0] == name]:
                del database.sights[key]
