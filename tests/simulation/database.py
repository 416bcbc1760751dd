"""The tables in memory, which outlive every process, and who holds which row."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from orchestrator.admission.board import HealthReport
from orchestrator.admission.breaker import Breaker
from orchestrator.engine import codec
from orchestrator.engine.instance import Saga
from orchestrator.engine.kind import LimitKey
from orchestrator.engine.operator import OperatorDecision
from orchestrator.errors import Unavailable
from orchestrator.ports import (
    Case,
    DecisionOutcome,
    DecisionRow,
    DueDecision,
    Movement,
    Partition,
    PartitionShare,
    RecoveryRange,
    TimelineEntry,
)
from orchestrator.sagas import KINDS, Kinds
from schemas.dead_letters import DeadLetter
from schemas.ids import SagaId
from tests.simulation.line import Server
from tests.simulation.loop import Life

if TYPE_CHECKING:
    from tests.simulation.store import MemoryTransaction

LockKey = tuple[Any, ...]
_TABLES: Final = (
    "sagas",
    "timeline",
    "movements",
    "used",
    "positions",
    "lost",
    "letters",
    "cases",
    "decisions",
    "in_flight",
    "breakers",
    "sights",
    "heard",
)


@dataclass(slots=True)
class Row:
    """One row of the table of sagas; terms and state as the codec writes them."""

    named: Saga  # As first saved: the columns that never change.
    terms: str
    state: str
    revision: int
    due: int | None
    kinds: Kinds = field(default_factory=lambda: KINDS)

    def saga(self) -> Saga:
        """The saga that the row holds."""
        named = self.named.terms
        terms = codec.decode_terms(
            self.terms,
            self.kinds,
            saga_id=named.saga_id,
            key_hash=named.key_hash,
            origin=named.origin,
            account=named.account,
            request_id=named.request_id,
            programme=named.programme,
            programme_version=named.programme_version,
            accepted_at=named.accepted_at,
        )
        return codec.decode_state(self.state, terms, self.kinds, self.revision, self.due)


@dataclass(slots=True)
class StoredDecision:
    """The audited row of what a person decided, approved by a second one."""

    key_hash: int
    saga_id: SagaId
    leg: str
    ruling: OperatorDecision
    due: int | None
    settled: DecisionOutcome | None = None

    def audited(self) -> DecisionRow:
        """As a batch reads it."""
        settled = self.settled is not None
        return DecisionRow(self.saga_id, self.leg, self.ruling, approved=True, settled=settled)


def _copied(table: Any) -> Any:
    """A table of the same kind with rows of its own."""
    found = copy(table)
    for key, row in table.items():
        found[key] = copy(row)
    return found


class Database(Server):
    """The tables, and who holds which lock."""

    def __init__(self, kinds: Kinds = KINDS) -> None:
        super().__init__("PostgreSQL")
        self.kinds = kinds
        self.sagas: dict[SagaId, Row] = {}
        self.timeline: dict[tuple[SagaId, int], TimelineEntry] = {}
        self.movements: dict[tuple[SagaId, int], Movement] = {}
        self.used: dict[LimitKey, int] = {}
        self.positions: dict[Partition, int] = {}
        self.lost: dict[Partition, RecoveryRange] = {}
        self.letters: dict[str, DeadLetter] = {}
        self.cases: dict[SagaId, Case] = {}
        self.decisions: dict[int, StoredDecision] = {}
        self.in_flight: Counter[tuple[str, str]] = Counter()  # By coordinator and participant.
        self.breakers: dict[str, Breaker] = {}
        self.sights: dict[tuple[str, str], HealthReport] = {}  # By coordinator and participant.
        self.heard: dict[str, int] = {}  # When each coordinator was last heard of.
        self.open: list[MemoryTransaction] = []
        self.commits = 0
        self._holders: dict[LockKey, MemoryTransaction] = {}
        self._queues: dict[LockKey, deque[tuple[MemoryTransaction, asyncio.Future[None]]]] = {}

    def backup(self) -> dict[str, Any]:
        """All that is committed now."""
        return {name: _copied(getattr(self, name)) for name in _TABLES}

    def restore(self, backup: Mapping[str, Any]) -> None:
        """Be what was backed up."""
        for name, table in backup.items():
            setattr(self, name, _copied(table))

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
        """When the first timer rings, or the first decision is to be published."""
        due = [row.due for row in self.sagas.values()]
        due += [row.due for row in self.decisions.values()]
        return min((at for at in due if at is not None), default=None)

    # -- sessions -------------------------------------------------------------------------------

    def begin(
        self,
        life: Life | None,
        begin: Callable[[Database, Life | None], MemoryTransaction],
    ) -> MemoryTransaction:
        """Begin a transaction for a process."""
        if life is not None and life.dead:
            raise Unavailable("PostgreSQL: nobody is there any more")
        transaction = begin(self, life)
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

    def due(
        self, since: int, now: int, share: PartitionShare, but: Collection[SagaId], count: int
    ) -> list[Saga]:
        """The sagas of some of the partitions whose timer has become due, but some."""
        rows = self.sagas.items()
        mine = [(row, one) for one, row in rows if share.holds(row.named.terms.key_hash)]
        due = sorted(
            (row.due, one) for row, one in mine if row.due is not None and since < row.due <= now
        )
        return [self.sagas[one].saga() for _, one in due if one not in but][:count]

    def lease_decisions(self, now: int, until: int, count: int) -> list[DueDecision]:
        """Push the decisions that are to be published and that nobody settles just now."""
        found: list[DueDecision] = []
        for number, row in sorted(self.decisions.items()):
            held = ("decision", number) in self._holders
            if row.due is not None and row.due <= now and not held and len(found) < count:
                row.due = until
                terms = self.sagas[row.saga_id].named.terms
                found.append(
                    DueDecision(row.saga_id, row.leg, row.ruling, terms.origin, terms.account)
                )
        return found
