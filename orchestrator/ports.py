"""The ports: what the coordinator needs from the database, Kafka and the clock, as protocols.

With them are the values that pass through these ports. Unless stated otherwise, times are in
milliseconds since 1970. The exceptions are in `orchestrator/errors.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.engine.instance import Saga
from orchestrator.engine.kind import LimitKey
from orchestrator.engine.operator import OperatorDecision
from orchestrator.engine.postings import Transfer
from schemas.dead_letters import DeadLetter
from schemas.frozen import value
from schemas.ids import SagaId

Partition = tuple[str, int]
"""A topic, and the number of one of its partitions."""
SagaKey = tuple[int, SagaId]
"""A key hash and a saga id: the primary key of a saga's row."""


@value
class Record:
    """One Kafka record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int = 0  # Of the producer or the broker, as the topic is set up; 0: not known.


@value
class Outgoing:
    """One Kafka record to publish."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


@value
class Change:
    """A saga before and after a batch."""

    was: Saga | None  # None: it is new.
    now: Saga


@value
class TimelineEntry:
    """One accepted event of a saga, for people to read."""

    key: SagaKey
    revision: int  # That the event led to.
    at: int
    event: str  # Its name.
    detail: str  # JSON.


@value
class Movement:
    """One row of the journal."""

    key: SagaKey
    seq: int  # Unique within the saga.
    transfer: Transfer


@value
class LimitChange:
    """A change of the usage of an account limit."""

    delta: int
    was: int | None  # The usage as it was read; None: it was not, so any usage may be changed.


@value
class Case:
    """The case of a parked saga, as operators see it (`domain.md` I11)."""

    key: SagaKey
    at: int  # When it was opened, changed or closed.
    closed: bool  # The saga is not parked any more.
    leg: str  # The path of the parked leg.
    why: str  # A reason code, or the status of the leg.
    stake: int  # The amount in suspense.
    unit: str  # Of the stake.


DecisionKey = tuple[int, int]
"""A key hash and the number of a decision: the primary key of its audited row."""


@value
class DecisionRow:
    """The audited row of a decision of a person."""

    saga_id: SagaId
    leg: str
    ruling: OperatorDecision
    approved: bool  # By a second person.
    settled: bool  # Applied, refused or declined, so that no record of it has any further effect.


RecordPosition = tuple[str, int, int]
"""A topic, the number of one of its partitions and an offset in it."""


@value
class DeadLetterReason:
    """Why a record became a dead letter, as the row of the dead letter has it."""

    error_class: str
    field: str
    message: str
    disposition: str


@value
class DecisionOutcome:
    """What became of a decision: it was applied, or refused."""

    key: DecisionKey
    at: int
    revision: int | None = None  # Of the saga, after it was applied.
    why: str | None = None  # Why it was refused.


@dataclass(slots=True)
class Changes:
    """Everything that one batch writes, in one transaction."""

    sagas: dict[SagaId, Change] = field(default_factory=dict)
    timeline: list[TimelineEntry] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)
    limits: dict[LimitKey, LimitChange] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    cases: dict[SagaId, Case] = field(default_factory=dict)
    settled: list[DecisionOutcome] = field(default_factory=list)
    forgotten: dict[SagaKey, int] = field(default_factory=dict)  # To be deleted; their revisions.
    # By partition: the position that is expected (None: none is stored yet), and the new one.
    positions: dict[Partition, tuple[int | None, int]] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)  # Legs, more or fewer, by participant.


class Transaction(Protocol):
    """The transaction of one batch.

    It is optimistic: saving fails with Conflict if another transaction changed what was read.
    """

    async def load(self, keys: Iterable[SagaKey], strays: Iterable[SagaId]) -> dict[SagaId, Saga]:
        """The sagas that exist. Strays not found by a key are sought in every bucket, slowly."""

    async def revisions(self, keys: Iterable[SagaKey]) -> dict[SagaId, int]:
        """The revisions of the sagas that exist."""

    async def limits(self, keys: Iterable[LimitKey]) -> dict[LimitKey, int]:
        """How much of each limit is used; one that was never used is missing."""

    async def decisions(self, keys: Iterable[DecisionKey]) -> dict[int, DecisionRow]:
        """The audited rows of decisions that exist, by number."""

    async def set_aside(
        self, places: Iterable[RecordPosition]
    ) -> dict[RecordPosition, DeadLetterReason]:
        """Why the records there became dead letters; a position of no dead letter is missing."""

    async def save(self, changes: Changes) -> None:
        """Write everything.

        Raises:
            Conflict: a saga, a limit or a decision is not as it was read.
            Fenced: a position is not the expected one, as another process moved it.
        """


@dataclass(frozen=True, slots=True)
class PartitionShare:
    """Some of the partitions of the inbound topics, which all have the same number of them."""

    partitions: int  # How many partitions each topic has.
    numbers: frozenset[int]  # Those of the share.

    def holds(self, key_hash: int) -> bool:
        """Whether the records with that key hash are in a partition of the share."""
        return key_hash % self.partitions in self.numbers


@dataclass(frozen=True, slots=True)
class DueDecision:
    """A decision that is to be published: it is not settled, and approved if it must be."""

    saga_id: SagaId
    leg: str
    ruling: OperatorDecision
    origin: str
    account: str


@dataclass(frozen=True, slots=True)
class RecoveryRange:
    """What a restored database lacks of one partition."""

    until: int  # Only records below this offset may have been committed in the lost database.
    since: int  # Nothing that is older was lost.


class Store(Protocol):
    """The database, which is the source of truth. Every method may raise Unavailable."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction, as a context: it commits at the end, and rolls back on an exception."""

    async def positions(self) -> Mapping[Partition, int]:
        """The position of every partition that was ever read: the next offset to read."""

    async def recovery(self) -> Mapping[Partition, RecoveryRange]:
        """What a restored database still lacks, for each partition not read again completely."""

    async def begin_recovery(self, behind: Mapping[Partition, tuple[int, int]]) -> None:
        """Store that a restored database is behind.

        Args:
            behind: by partition, its position and the offset up to which it must be read again. A
                partition whose position has moved meanwhile is left out.
        """

    async def due(
        self, since: int, now: int, share: PartitionShare, but: Collection[SagaId], count: int
    ) -> Sequence[Saga]:
        """The sagas of the share whose timers are due: after `since` and by `now`, in that order.

        At most `count`, and none of those in `but`. Nothing is changed.
        """

    async def lease_decisions(self, now: int, until: int, count: int) -> Sequence[DueDecision]:
        """Lease up to `count` decisions that are to be published.

        Those that are not settled by `until` can be leased again after it.
        """

    async def check_schema(self) -> None:
        """Check the version of the database schema.

        Raises:
            SchemaTooOld: it lacks migrations that this code needs.
        """


class Source(Protocol):
    """Reads inbound records, as a member of the consumer group."""

    async def start(self, member: Member) -> None:
        """Join the group; `member` is told of assignments. May raise Unavailable."""

    async def stop(self) -> None:
        """Leave the group; never raises."""

    async def poll(self, timeout_s: float, count_max: int) -> Sequence[Record]:
        """Up to `count_max` records of assigned partitions, in order within each partition.

        Returns none if no record comes within the time-out.
        """

    async def committed(self, partitions: Iterable[Partition]) -> Mapping[Partition, int | None]:
        """The offsets that the group has committed; None where it has committed none."""

    async def bounds(self, partitions: Iterable[Partition]) -> Mapping[Partition, tuple[int, int]]:
        """The first offset that the broker still has, and the one after its last record."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Continue to read a partition at that offset."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Read nothing from these partitions until they are resumed."""

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Read from these partitions again."""

    async def position(self, partition: Partition) -> int:
        """The offset at which the next poll continues, also past offsets without a record."""

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit the offsets of partitions that are still assigned. May raise Unavailable."""


class Archive(Protocol):
    """Reads what the platform published on its own topics."""

    def since(
        self, partitions: Iterable[Partition], moment: int
    ) -> AsyncIterator[Sequence[Record]]:
        """The records that were written at `moment` or later, in order within each partition.

        It ends where the partitions ended when it began. May raise Unavailable.
        """

    async def last(self, partitions: Iterable[Partition], count: int) -> Sequence[Record]:
        """The last `count` records of each partition. May raise Unavailable."""


class Member(Protocol):
    """Is told of changes of the assignment; the consumer group waits until it returns."""

    async def on_revoked(self, partitions: Iterable[Partition]) -> None:
        """Finish the batches of these partitions, which another member will get."""

    async def on_assigned(self, partitions: Iterable[Partition]) -> None:
        """Set the offset at which each of these partitions is read."""


class Bus(Protocol):
    """Publishes records, in order within each partition."""

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Return when all replicas have acknowledged every record.

        Raises:
            Unavailable: a record may not have been written.
        """


class Clock(Protocol):
    """The clock, so that tests can set the time."""

    def now(self) -> int:
        """Milliseconds since 1970."""

    def monotonic(self) -> float:
        """Seconds since some moment; never decreasing, and running while the process is stopped."""
