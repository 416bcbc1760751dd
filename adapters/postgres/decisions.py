"""Parked sagas, and what people decide about them: one audited row for each decision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from adapters.postgres import migrate
from adapters.postgres.errors import translated
from adapters.postgres.queries import sql
from adapters.postgres.rows import saga_from
from adapters.postgres.views import DecisionLine, Views, connected, decision_from
from orchestrator.engine.instance import Saga
from orchestrator.engine.operator import Action
from schemas.ids import SagaId


@dataclass(frozen=True, slots=True)
class Parked:
    """A saga that waits for a person, and the time since which it does."""

    saga: Saga
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a person decides about a leg, upon which evidence, and why."""

    leg: str
    action: Action
    evidence: str
    reason: str
    actor: str
    amount: int | None = None
    reference: str | None = None


class DecisionStore(Views):
    """Reads what `Views` reads, and writes decisions; no column of a row is written twice."""

    async def parked(self, limit: int) -> list[Parked]:
        """The sagas that wait for a person, at most `limit`, those that wait longest first."""
        rows = await self._connection.fetch(sql("list_parked"), limit)
        return [Parked(saga_from(row), row["opened_at"]) for row in rows]

    async def parked_since(self, saga: Saga) -> datetime | None:
        """Since when a saga waits for a person; None when it does not."""
        key = (saga.terms.key_hash, saga.terms.saga_id)
        found: datetime | None = await self._connection.fetchval(sql("parked_since"), *key)
        return found

    async def decision(self, number: int) -> DecisionLine | None:
        """The decision of that number; None when there is none."""
        row = await self._connection.fetchrow(sql("read_decision"), number)
        return None if row is None else decision_from(row)

    async def decisions(self, *, open_only: bool, limit: int) -> list[DecisionLine]:
        """The newest decisions, at most `limit`; with `open_only`, those that are not settled."""
        rows = await self._connection.fetch(sql("list_decisions"), open_only or None, limit)
        return [decision_from(row) for row in rows]

    async def propose(self, key_hash: int, saga_id: SagaId, proposal: Proposal) -> int | None:
        """Write a decision; returns its number, or None when one is open for the leg already."""
        number: int | None = await self._connection.fetchval(
            sql("propose_decision"),
            key_hash,
            saga_id,
            proposal.leg,
            proposal.action,
            proposal.amount,
            proposal.reference,
            proposal.evidence,
            proposal.reason,
            proposal.actor,
            proposal.action is Action.RETRY,
        )
        return number

    async def approve(self, decision: DecisionLine, actor: str) -> bool:
        """Approve as a second person; returns whether that was still possible."""
        done: str = await self._connection.execute(
            sql("approve_decision"), decision.key_hash, decision.id, actor
        )
        return done.endswith(" 1")

    async def decline(self, decision: DecisionLine, actor: str, why: str) -> bool:
        """Decline, whoever one is; returns whether that was still possible."""
        done: str = await self._connection.execute(
            sql("decline_decision"), decision.key_hash, decision.id, actor, why
        )
        return done.endswith(" 1")


@asynccontextmanager
async def open_decision_store(dsn: str) -> AsyncIterator[DecisionStore]:
    """A decision store over a connection of its own.

    Raises:
        Unavailable: the database is away, also within the block.
        SchemaTooOld: the database lacks migrations.
    """
    with translated():
        async with connected(dsn) as connection:
            await migrate.check(connection)
            yield DecisionStore(connection)
