"""What people want to know about sagas, read outside any batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from adapters.postgres.errors import translated
from adapters.postgres.queries import sql
from adapters.postgres.rows import saga_from
from orchestrator.engine.instance import Saga
from orchestrator.engine.operator import TWO_PERSONS, Action, OperatorDecision
from orchestrator.ports import SagaKey
from schemas.ids import SagaId


@dataclass(frozen=True, slots=True)
class SagaLine:
    """One saga in a list."""

    saga_id: SagaId
    kind: str  # A redemption, a balance.
    status: str
    origin: str
    account: str
    request_id: str
    programme: str
    revision: int
    accepted_at: datetime
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """One accepted event of a saga."""

    revision: int
    at: datetime
    event: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TransferLine:
    """One movement of a saga, in the journal's order."""

    seq: int
    debit: str
    credit: str
    unit: str
    amount: int


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """One decision of a person: its audited row."""

    id: int
    key_hash: int
    saga_id: SagaId
    leg: str
    action: Action
    amount: int | None
    reference: str | None
    evidence: str
    reason: str
    actor: str
    decided_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    due_at: datetime | None
    outcome: str | None
    why: str | None
    settled_by: str | None
    settled_at: datetime | None
    revision: int | None

    @property
    def status(self) -> str:
        """`proposed`: waits for a second person; `approved`: waits for the platform; or its end."""
        if self.outcome is not None:
            return self.outcome
        waits = self.action in TWO_PERSONS and self.approved_by is None
        return "proposed" if waits else "approved"

    @property
    def ruling(self) -> OperatorDecision:
        """The decision as the engine takes it."""
        return OperatorDecision(self.id, self.action, self.amount, self.reference)


def decision_from(row: Mapping[str, Any]) -> DecisionLine:
    """The decision that a row of the table holds."""
    known = {"action": Action(row["action"]), "saga_id": str(row["saga_id"])}
    return DecisionLine(**{**row, **known})


@dataclass(frozen=True, slots=True)
class SagaStory:
    """Everything about one saga: its state, events, movements and decisions."""

    saga: Saga
    timeline: tuple[TimelineLine, ...]
    transfers: tuple[TransferLine, ...]
    decisions: tuple[DecisionLine, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """The balance of one account in one unit: what came in less what went out."""

    account: str
    unit: str
    balance: int


class Views:
    """Reads over one connection; never locks."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def sagas(
        self,
        *,
        status: str | None = None,
        account: str | None = None,
        programme: str | None = None,
        limit: int = 50,
    ) -> list[SagaLine]:
        """The newest sagas that match."""
        rows = await self._connection.fetch(sql("list_sagas"), status, account, programme, limit)
        return [SagaLine(**{**row, "saga_id": str(row["saga_id"])}) for row in rows]

    async def saga(self, saga_id: SagaId) -> SagaStory | None:
        """One saga with its history; a probe in every bucket, since only the id is known."""
        row = await self._connection.fetchrow(sql("find_saga"), saga_id)
        if row is None:
            return None
        key = (row["key_hash"], saga_id)
        found = await self._connection.fetchrow(sql("read_saga"), *key)
        timeline = await self._connection.fetch(sql("read_timeline"), *key)
        transfers = await self._connection.fetch(sql("read_transfers"), *key)
        decisions = await self.decisions_of([key])
        return SagaStory(
            saga_from(found),
            tuple(
                TimelineLine(r["revision"], r["at"], r["event"], orjson.loads(r["detail"]))
                for r in timeline
            ),
            tuple(TransferLine(**dict(r)) for r in transfers),
            tuple(decisions),
        )

    async def decisions_of(self, keys: Iterable[SagaKey]) -> list[DecisionLine]:
        """All decisions about some sagas, in order."""
        wanted = list(keys)
        if not wanted:
            return []
        rows = await self._connection.fetch(sql("decisions_of"), *zip(*wanted, strict=True))
        return [decision_from(row) for row in rows]

    async def counts(self) -> dict[str, int]:
        """How many sagas there are, by status."""
        rows = await self._connection.fetch(sql("count_by_status"))
        return {row["status"]: row["count"] for row in rows}

    async def balances(self) -> list[AccountBalance]:
        """The balance of every account of the journal."""
        rows = await self._connection.fetch(sql("sum_by_account"))
        return [AccountBalance(**dict(row)) for row in rows]

    async def dead_letters(self) -> list[dict[str, Any]]:
        """The dead letters, oldest first, as plain data."""
        rows = await self._connection.fetch(sql("list_dead_letters"))
        return [dict(row) for row in rows]


@asynccontextmanager
async def open_views(dsn: str) -> AsyncIterator[Views]:
    """Views over a connection of their own. Raises Unavailable while the database is away."""
    async with connected(dsn) as connection:
        yield Views(connection)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    """A connection of its own. Raises Unavailable while the database is away."""
    with translated():
        connection = await asyncpg.connect(dsn, timeout=10)
    try:
        yield connection
    finally:
        await connection.close()
