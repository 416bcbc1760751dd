"""The store in memory: the same laws as PostgreSQL (`tests/laws`), row locks and all.

The tables outlive every process. A transaction sees what is committed (read committed), waits for
locks as PostgreSQL does, and writes everything at its commit or nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from orchestrator.errors import Conflict, Fenced, Unavailable
from orchestrator.ports import (
    Case,
    Changes,
    DueTimer,
    LimitKey,
    Lost,
    Movement,
    Partition,
    SagaKey,
    TimelineEntry,
)
from orchestrator.saga import codec
from orchestrator.saga.instance import Saga
from schemas.dead_letters import DeadLetter

from .line import Line, Server
from .loop import Life

LockKey = tuple[Any, ...]


@dataclass(slots=True)
class Row:
    """One row of the table of sagas; terms and state as the codec writes them."""

    named: Saga  # As first saved: the columns that never change.
    terms: str
    state: str
    revision: int
    due: int | None

    def saga(self) -> Saga:
        """The saga that the row holds."""
        named = self.named.terms
        terms = codec.decode_terms(
            self.terms,
            saga_id=named.saga_id,
            key_hash=named.key_hash,
            origin=named.origin,
            account=named.account,
            request_id=named.request_id,
            programme=named.programme,
            programme_version=named.programme_version,
            accepted_at=named.accepted_at,
        )
        return codec.decode_state(self.state, terms, self.revision, self.due)


class Database(Server):
    """The tables, and who holds which lock."""

    def __init__(self) -> None:
        super().__init__("PostgreSQL")
        self.sagas: dict[UUID, Row] = {}
        self.timeline: dict[tuple[UUID, int], TimelineEntry] = {}
        self.movements: dict[tuple[UUID, int], Movement] = {}
        self.used: dict[LimitKey, int] = {}
        self.positions: dict[Partition, int] = {}
        self.lost: dict[Partition, Lost] = {}
        self.letters: dict[str, DeadLetter] = {}
        self.cases: dict[UUID, Case] = {}
        self.open: list[MemoryTransaction] = []
        self.commits = 0
        self._holders: dict[LockKey, MemoryTransaction] = {}
        self._queues: dict[LockKey, deque[tuple[MemoryTransaction, asyncio.Future[None]]]] = {}

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        return {
            "saga": len(self.sagas),
            "timeline": len(self.timeline),
            "transfer": len(self.movements),
            "account_limit": len(self.used),
            "position": len(self.positions),
            "dead_letter": len(self.letters),
            "parked_case": len(self.cases),
        }

    def next_due(self) -> int | None:
        """When the first timer rings."""
        return min((row.due for row in self.sagas.values() if row.due is not None), default=None)

    # -- sessions -------------------------------------------------------------------------------

    def begin(self, life: Life | None) -> MemoryTransaction:
        """Begin a transaction for a process."""
        if life is not None and life.dead:
            raise Unavailable("PostgreSQL: nobody is there any more")
        transaction = MemoryTransaction(self, life)
        self.open.append(transaction)
        return transaction

    def cut(self, life: Life | None = None) -> int:
        """End the sessions of a process, or all; how many transactions that rolled back."""
        gone = [one for one in self.open if life is None or one.life is life]
        for transaction in gone:
            transaction.abort()
        return len(gone)

    def finish(self, transaction: MemoryTransaction) -> None:
        """A transaction is over: give its locks to whoever waits."""
        self.open.remove(transaction)
        for key in transaction.held:
            self._pass_on(key)

    def _pass_on(self, key: LockKey) -> None:
        del self._holders[key]
        queue = self._queues.get(key)
        while queue:
            heir, turn = queue.popleft()
            if not heir.over and not turn.done():
                self._holders[key] = heir
                heir.held.append(key)
                turn.set_result(None)
                break
        if queue is not None and not queue:
            del self._queues[key]

    # -- locks ----------------------------------------------------------------------------------

    def holder(self, key: LockKey) -> MemoryTransaction | None:
        """Who has the lock."""
        return self._holders.get(key)

    async def lock(self, transaction: MemoryTransaction, key: LockKey) -> None:
        """Take a lock, after those who came earlier.

        Raises:
            Unavailable: the wait would never end, or the session was ended meanwhile.
        """
        transaction.check_alive()
        holder = self._holders.get(key)
        if holder is transaction:
            return
        if holder is None:
            self._holders[key] = transaction
            transaction.held.append(key)
            return
        before: MemoryTransaction | None = holder
        while before is not None:
            if before is transaction:
                raise Unavailable("PostgreSQL: deadlock detected")
            before = self._holders.get(before.waits) if before.waits else None
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(key, deque()).append((transaction, turn))
        transaction.waits, transaction.turn = key, turn
        try:
            await turn
        finally:
            transaction.waits = transaction.turn = None
        transaction.check_alive()

    # -- timers ---------------------------------------------------------------------------------

    def lease(self, now: int, until: int, count: int) -> list[DueTimer]:
        """Push the timers of due rows that nobody holds."""
        due = sorted(
            (row.due, saga_id)
            for saga_id, row in self.sagas.items()
            if row.due is not None and row.due <= now and ("saga", saga_id) not in self._holders
        )
        found = []
        for _, saga_id in due[:count]:
            row = self.sagas[saga_id]
            row.due = until
            terms = row.named.terms
            found.append(DueTimer(saga_id, row.revision, terms.origin, terms.account))
        return found


class MemoryTransaction:
    """One batch in the database."""

    def __init__(self, database: Database, life: Life | None) -> None:
        self._database = database
        self._changes: list[Changes] = []
        self._line: Line | None = None
        self.life = life
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

    async def load(self, keys: Iterable[SagaKey], strays: Iterable[UUID]) -> dict[UUID, Saga]:
        """The sagas that exist."""
        rows = self._database.sagas
        wanted, loose = sorted(set(keys)), sorted(set(strays))

        def serve() -> dict[UUID, Saga]:
            found = [
                saga_id
                for key_hash, saga_id in wanted
                if saga_id in rows and rows[saga_id].named.terms.key_hash == key_hash
            ]
            found += [saga_id for saga_id in loose if saga_id in rows and saga_id not in found]
            return {saga_id: rows[saga_id].saga() for saga_id in found}

        found: dict[UUID, Saga] = await self._ask("load", serve)
        return found

    async def limits(self, keys: Iterable[LimitKey]) -> dict[LimitKey, int]:
        """How much of each limit is used, locked."""
        wanted = sorted(set(keys))
        if not wanted:
            return {}
        used = self._database.used
        for key in wanted:
            if key in used:
                await self._database.lock(self, ("limit", *key))

        def serve() -> dict[LimitKey, int]:
            return {key: used[key] for key in wanted if ("limit", *key) in self.held}

        found: dict[LimitKey, int] = await self._ask("limits", serve)
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
        for key in sorted(changes.limits):
            await database.lock(self, ("limit", *key))
            change = changes.limits[key]
            if change.was is not None and database.used.get(key, 0) != change.was:
                raise Conflict("an account limit is not what was read")
        await self._ask("save", lambda: self._changes.append(changes))

    def _compare(self, saga_id: UUID, changes: Changes) -> None:
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
        for partition, (before, after) in changes.positions.items():
            assert after > (before or 0), f"{partition} moves back from {before} to {after}"
            database.positions[partition] = after
        for saga_id, change in changes.sagas.items():
            saga = change.now
            state = codec.encode_state(saga)
            row = database.sagas.get(saga_id)
            if row is None:
                terms = codec.encode_terms(saga.terms)
                database.sagas[saga_id] = Row(saga, terms, state, saga.revision, saga.wake_at)
            else:
                row.state, row.revision, row.due = state, saga.revision, saga.wake_at
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


class MemoryStore:
    """One process's way to the database; a Store."""

    def __init__(self, database: Database, line: Line | None = None) -> None:
        self._database = database
        self._line = line or Line(database)
        self.written: Counter[str] = Counter()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryTransaction]:
        """One batch's transaction."""
        life = self._line.life
        found = await self._line.ask("begin", lambda: self._database.begin(life))
        transaction = found.through(self._line)
        try:
            yield transaction
            await self._line.ask("commit", transaction.commit)
        finally:
            transaction.abort()

    async def positions(self) -> Mapping[Partition, int]:
        """The next offset of every partition that was ever read."""
        return await self._line.ask("positions", lambda: dict(self._database.positions))

    async def recovery(self) -> Mapping[Partition, Lost]:
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
                known = self._database.lost.get(one, Lost(0, 0))
                self._database.lost[one] = Lost(max(until, known.until), 0)

        await self._line.ask("begin recovery", serve)

    async def lease_due(self, now: int, until: int, count: int) -> Sequence[DueTimer]:
        """Take sagas whose timer is due, and push their timers."""
        return await self._line.ask("lease", lambda: self._database.lease(now, until, count))

    async def check_schema(self) -> None:
        """There is one schema here."""
