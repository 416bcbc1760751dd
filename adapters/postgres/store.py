"""The store in PostgreSQL: one batch is one transaction, with one statement a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from operator import itemgetter
from typing import Any, Final
from uuid import uuid4

import asyncpg

from adapters.postgres import migrate
from adapters.postgres.errors import translated
from adapters.postgres.queries import sql
from adapters.postgres.rows import (
    COLUMNS,
    case_row,
    changed_saga_row,
    dead_letter_row,
    ms_at,
    new_saga_row,
    ruling_from,
    saga_from,
    settled_row,
    time_of,
)
from orchestrator.engine.instance import Saga
from orchestrator.engine.kind import LimitKey
from orchestrator.errors import Conflict, Fenced
from orchestrator.ports import (
    Change,
    Changes,
    DeadLetterReason,
    DecisionKey,
    DecisionRow,
    DueDecision,
    LimitChange,
    Partition,
    PartitionShare,
    RecordPosition,
    RecoveryRange,
    SagaKey,
)
from orchestrator.telemetry import Metrics
from schemas.ids import SagaId

Connection = Any  # A connection, or the proxy of one that a pool hands out.

BY_KEY: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
}
"""Every row of a batch is reached by its primary key. A small or unknown table tempts the planner
to scan it whole instead, once a batch, and it keeps to that while the table grows."""


async def _as_it_is(_connection: Connection) -> None:
    """Leave a session as it is when it goes back to the pool.

    Nothing outlives a transaction in our sessions, no setting, cursor or lock; to reset them all
    the same would cost each batch one more round trip.
    """


class PostgresStore:
    """The store over an asyncpg pool; counts the statements and rows that it writes."""

    def __init__(
        self,
        dsn: str,
        *,
        pool_max: int = 4,
        statement_timeout_s: float = 30.0,
        idle_in_transaction_s: float = 10.0,
        metrics: Metrics | None = None,
    ) -> None:
        self._dsn = dsn
        self._pool_max = pool_max
        self._timeout = statement_timeout_s
        self._idle = idle_in_transaction_s
        self._metrics = metrics or Metrics()
        self._pool: Any = None
        self.instance = str(uuid4())  # Names the rows that only this process writes.

    async def open(self) -> None:
        """Connect. Raises Unavailable while the database is away."""
        with translated():
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=self._pool_max,
                command_timeout=self._timeout,
                reset=_as_it_is,
                server_settings={
                    "application_name": "uprp-coordinator",
                    "jit": "off",
                    **BY_KEY,
                    # A process that stands still in a transaction must not hold its locks for ever.
                    "idle_in_transaction_session_timeout": f"{round(self._idle * 1000)}ms",
                },
            )

    async def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        """The transaction of one batch. Raises Unavailable, also within the block."""
        with translated():
            async with self._pool.acquire(timeout=self._timeout) as connection:
                async with connection.transaction():
                    batch = PostgresTransaction(connection, self.instance)
                    yield batch
                self._metrics.statements.inc(batch.statements + 2)  # begin, commit
                for table, count in batch.rows.items():
                    self._metrics.rows.labels(table).inc(count)

    async def positions(self) -> Mapping[Partition, int]:
        """The next offset of every partition that was ever read."""
        rows = await self._fetch("read_positions")
        return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}

    async def recovery(self) -> Mapping[Partition, RecoveryRange]:
        """What a restored database must still read again: a range of each partition."""
        return {
            (row["topic"], row["partition"]): RecoveryRange(
                row["recover_until"], ms_at(row["recover_since"])
            )
            for row in await self._fetch("read_recovery")
        }

    async def begin_recovery(self, behind: Mapping[Partition, tuple[int, int]]) -> None:
        """Note for each partition its position and the offset up to which it must be read again."""
        rows = [(*partition, at, until) for partition, (at, until) in behind.items()]
        await self._fetch("begin_recovery", *zip(*rows, strict=True))

    async def due(
        self, since: int, now: int, share: PartitionShare, but: Collection[SagaId], count: int
    ) -> Sequence[Saga]:
        """At most `count` sagas of a share of the partitions whose timers became due.

        They became due after `since` and until `now` (both ms); those in `but` are left out.
        """
        times, numbers = (time_of(since), time_of(now)), sorted(share.numbers)
        rows = await self._fetch("due_sagas", *times, share.partitions, numbers, list(but), count)
        return [saga_from(row) for row in rows]

    async def lease_decisions(self, now: int, until: int, count: int) -> Sequence[DueDecision]:
        """At most `count` decisions due at `now`; nobody else gets them before `until` (ms)."""
        rows = await self._fetch("lease_decisions", time_of(now), time_of(until), count)
        return [
            DueDecision(
                str(row["saga_id"]), row["leg"], ruling_from(row), row["origin"], row["account"]
            )
            for row in rows
        ]

    async def check_schema(self) -> None:
        """Raise SchemaTooOld when migrations are missing."""
        with translated():
            async with self._pool.acquire() as connection:
                await migrate.check(connection)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for statements of their own. Raises Unavailable, also within the block."""
        with translated():
            async with self._pool.acquire(timeout=self._timeout) as connection:
                yield connection

    async def _fetch(self, name: str, *arguments: object) -> list[Any]:
        with translated():
            async with self._pool.acquire(timeout=self._timeout) as connection:
                self._metrics.statements.inc()
                rows: list[Any] = await connection.fetch(sql(name), *arguments)
                return rows


class PostgresTransaction:
    """One batch in the database: reads, then one `save`."""

    def __init__(self, connection: Connection, instance: str) -> None:
        self._connection = connection
        self._instance = instance
        self.statements = 0
        self.rows: Counter[str] = Counter()

    async def load(self, keys: Iterable[SagaKey], strays: Iterable[SagaId]) -> dict[SagaId, Saga]:
        """The sagas that exist, by id. `strays` are ids whose bucket is not known."""
        found = await self._load(set(keys))
        return found | await self._load_strays(set(strays) - found.keys())

    async def _load(self, keys: set[SagaKey]) -> dict[SagaId, Saga]:
        if not keys:
            return {}
        hashes, ids = zip(*sorted(keys), strict=True)
        rows = await self._fetch("load_sagas", hashes, ids)
        sagas = [saga_from(row) for row in rows]
        return {saga.terms.saga_id: saga for saga in sagas}

    async def revisions(self, keys: Iterable[SagaKey]) -> dict[SagaId, int]:
        """The revision of each saga that exists."""
        wanted = sorted(set(keys))
        if not wanted:
            return {}
        rows = await self._fetch("load_revisions", *zip(*wanted, strict=True))
        return {str(row["saga_id"]): row["revision"] for row in rows}

    async def _load_strays(self, ids: set[SagaId]) -> dict[SagaId, Saga]:
        """Look in every bucket for sagas whose records came without a key."""
        keys: set[SagaKey] = set()
        for saga_id in ids:
            rows = await self._fetch("find_saga", saga_id)
            keys.update((row["key_hash"], saga_id) for row in rows)
        return await self._load(keys)

    async def limits(self, keys: Iterable[LimitKey]) -> dict[LimitKey, int]:
        """How much is used of each limit that has a row."""
        wanted = sorted(set(keys))
        if not wanted:
            return {}
        rows = await self._fetch("load_limits", *zip(*wanted, strict=True))
        return {(row["key_hash"], row["scope"], row["business_date"]): row["used"] for row in rows}

    async def decisions(self, keys: Iterable[DecisionKey]) -> dict[int, DecisionRow]:
        """The decisions that exist, by number; settling them compares again what they hold."""
        wanted = sorted(set(keys))
        if not wanted:
            return {}
        rows = await self._fetch("load_decisions", *zip(*wanted, strict=True))
        return {
            row["id"]: DecisionRow(
                str(row["saga_id"]), row["leg"], ruling_from(row), row["approved"], row["settled"]
            )
            for row in rows
        }

    async def set_aside(
        self, places: Iterable[RecordPosition]
    ) -> dict[RecordPosition, DeadLetterReason]:
        """Why records became dead letters, by position; records that did not are left out."""
        wanted = sorted(set(places))
        if not wanted:
            return {}
        rows = await self._fetch("why_set_aside", *zip(*wanted, strict=True))
        return {
            (row["topic"], row["partition"], row["offset"]): DeadLetterReason(
                row["error_class"], row["field"], row["message"], row["disposition"]
            )
            for row in rows
        }

    async def save(self, changes: Changes) -> None:
        """Write everything, or nothing.

        Raises:
            Conflict: a row is not what was read.
            Fenced: another coordinator moved a position.
        """
        try:
            await self._save(changes)
        except asyncpg.UniqueViolationError as known:
            raise Conflict(f"what was absent exists now: {known}") from known

    async def _save(self, changes: Changes) -> None:
        await self._positions(changes.positions)
        ordered = sorted(
            changes.sagas.values(), key=lambda c: (c.now.terms.key_hash, c.now.terms.saga_id)
        )
        await self._insert([change for change in ordered if change.was is None])
        await self._update([change for change in ordered if change.was is not None])
        await self._forget(changes.forgotten)
        await self._limits(changes.limits)
        await self._copy(
            "timeline",
            [
                (*row.key, row.revision, time_of(row.at), row.event, row.detail)
                for row in changes.timeline
            ],
        )
        await self._copy(
            "transfer",
            [
                (*row.key, row.seq, moved.debit, moved.credit, moved.unit, moved.amount)
                for row in changes.movements
                for moved in (row.transfer,)
            ],
        )
        await self._many(
            "participant_load",
            "add_in_flight",
            [(name, self._instance, legs) for name, legs in sorted(changes.in_flight.items())],
        )
        await self._many(
            "dead_letter",
            "insert_dead_letters",
            [dead_letter_row(found) for found in changes.dead_letters],
        )
        await self._many(
            "parked_case", "save_cases", [case_row(case) for case in changes.cases.values()]
        )
        settled = sorted([settled_row(one) for one in changes.settled])
        if await self._many("decision", "settle_decisions", settled) != len(settled):
            raise Conflict("a decision was settled since it was read")

    async def _positions(self, positions: Mapping[Partition, tuple[int | None, int]]) -> None:
        rows = [
            (topic, partition, after, -1 if before is None else before)
            for (topic, partition), (before, after) in positions.items()
        ]
        if await self._many("position", "move_positions", rows) != len(rows):
            raise Fenced("another coordinator moved a position of this batch")

    async def _insert(self, changes: Sequence[Change]) -> None:
        await self._copy("saga", [new_saga_row(change.now) for change in changes])

    async def _update(self, changes: Sequence[Change]) -> None:
        moved = [
            changed_saga_row(change.was, change.now) for change in changes if change.was is not None
        ]
        if await self._many("saga", "update_sagas", moved) != len(moved):
            raise Conflict("a saga is at another revision than was read")

    async def _forget(self, forgotten: Mapping[SagaKey, int]) -> None:
        rows = [(*key, revision) for key, revision in sorted(forgotten.items())]
        if await self._many("saga", "forget_sagas", rows) != len(rows):
            raise Conflict("a saga that was to be forgotten is at another revision than was read")

    async def _limits(self, limits: Mapping[LimitKey, LimitChange]) -> None:
        """Compare and set, as for a saga; a limit that was not read is changed whatever it is."""
        ordered = sorted(limits.items(), key=itemgetter(0))
        known = [(*key, c.was, c.delta) for key, c in ordered if c.was and c.delta >= 0]
        if await self._many("account_limit", "move_limits", known) != len(known):
            raise Conflict("an account limit is not what was read")
        fresh = [(*key, c.delta) for key, c in ordered if not c.was and c.delta >= 0]
        if fresh:
            rows = await self._fetch("begin_limits", *zip(*fresh, strict=True))
            self.rows["account_limit"] += len(rows)
            for row in rows:
                change = limits[row["key_hash"], row["scope"], row["business_date"]]
                if change.was is not None and row["used"] != change.delta:
                    raise Conflict("an account limit that was unused is used now")
        freed = [(*key, -change.delta) for key, change in ordered if change.delta < 0]
        await self._many("account_limit", "release_limits", freed)

    async def _copy(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Append rows, in the order of COLUMNS."""
        if rows:
            self.statements += 1
            await self._connection.copy_records_to_table(
                table, records=rows, columns=COLUMNS[table]
            )
            self.rows[table] += len(rows)

    async def _many(self, table: str, name: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run a statement over rows, column by column; returns how many rows it wrote."""
        if not rows:
            return 0
        self.statements += 1
        done: str = await self._connection.execute(sql(name), *zip(*rows, strict=True))
        count = int(done.rpartition(" ")[2])
        self.rows[table] += count
        return count

    async def _fetch(self, name: str, *arguments: object) -> list[Any]:
        self.statements += 1
        rows: list[Any] = await self._connection.fetch(sql(name), *arguments)
        return rows
