"""What the shell needs of the world, and the values that it exchanges with it."""

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
"""A topic and the number of one of its partitions."""
SagaKey = tuple[int, SagaId]
"""A key hash and a saga id: where a saga's rows live."""


@value
class Record:
    """One Kafka record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int = 0  # When it was written, by whose clock the topic says; 0: not known.


@value
class Outgoing:
    """One Kafka record to publish."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


@value
class Change:
    """A saga before (None: new) and after a batch."""

    was: Saga | None
    now: Saga


@value
class TimelineEntry:
    """One accepted event of a saga, for people: `detail` is JSON."""

    key: SagaKey
    revision: int
    at: int
    event: str
    detail: str


@value
class Movement:
    """One transfer and where it belongs."""

    key: SagaKey
    seq: int
    transfer: Transfer


@value
class LimitChange:
    """How a limit's usage moves, and what it was when it was read.

    None: it was not read, nothing was decided upon it, and it moves whatever it is.
    """

    delta: int
    was: int | None


@value
class Case:
    """A saga that waits for a person, or does not any more (`domain.md` I11)."""

    key: SagaKey
    at: int  # When that began, or ended; milliseconds.
    closed: bool
    leg: str
    why: str
    stake: int  # Points in suspense.
    unit: str


DecisionKey = tuple[int, int]
"""A key hash and the number of a decision: where its audited row lives."""


@value
class DecisionRow:
    """A person's decision as it stands in its audited row."""

    saga_id: SagaId
    leg: str
    ruling: OperatorDecision
    approved: bool  # By a second person.
    settled: bool  # Applied, refused or declined: no record of it has any effect any more.


RecordPosition = tuple[str, int, int]
"""A topic, the number of one of its partitions and an offset in it."""


@value
class DeadLetterReason:
    """Why a record was set aside, as its row has it."""

    error_class: str
    field: str
    message: str
    disposition: str


@value
class DecisionOutcome:
    """What became of a decision: applied to the saga at a revision, or refused, and why."""

    key: DecisionKey
    at: int
    revision: int | None = None
    why: str | None = None


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
    forgotten: dict[SagaKey, int] = field(default_factory=dict)  # To be deleted, at which revision.
    positions: dict[Partition, tuple[int | None, int]] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)  # Legs, more or fewer, by participant.


class Transaction(Protocol):
    """One batch's transaction: what it overwrites is what it read, or it is a conflict."""

    async def load(self, keys: Iterable[SagaKey], strays: Iterable[SagaId]) -> dict[SagaId, Saga]:
        """The sagas that exist; strays not found by key are sought in every bucket: slow."""

    async def revisions(self, keys: Iterable[SagaKey]) -> dict[SagaId, int]:
        """At which revision the sagas are that exist."""

    async def limits(self, keys: Iterable[LimitKey]) -> dict[LimitKey, int]:
        """How much of each limit is used; what was never used is missing."""

    async def decisions(self, keys: Iterable[DecisionKey]) -> dict[int, DecisionRow]:
        """The audited rows that exist, by their number."""

    async def set_aside(
        self, places: Iterable[RecordPosition]
    ) -> dict[RecordPosition, DeadLetterReason]:
        """Why the records there were set aside; those that were not are missing."""

    async def save(self, changes: Changes) -> None:
        """Write everything.

        Raises:
            Conflict: a saga, a limit or a decision is not what was read.
            Fenced: a position is not where it was expected.
        """


@dataclass(frozen=True, slots=True)
class PartitionShare:
    """Some of the partitions that every inbound topic has, by their numbers."""

    partitions: int  # How many there are.
    numbers: frozenset[int]

    def holds(self, key_hash: int) -> bool:
        """Whether the records of that bucket are in one of them."""
        return key_hash % self.partitions in self.numbers


@dataclass(frozen=True, slots=True)
class DueDecision:
    """A decision that is to be published: approved where two persons are needed, not settled."""

    saga_id: SagaId
    leg: str
    ruling: OperatorDecision
    origin: str
    account: str


@dataclass(frozen=True, slots=True)
class RecoveryRange:
    """What a restored database lacks of one partition."""

    until: int  # The offset before which a record may have been committed in what was lost.
    since: int  # Nothing was lost that is older, in milliseconds.


class Store(Protocol):
    """The truth. Every method may raise Unavailable."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that commits when the block ends, and rolls back when it raises."""

    async def positions(self) -> Mapping[Partition, int]:
        """The next offset of every partition that was ever read."""

    async def recovery(self) -> Mapping[Partition, RecoveryRange]:
        """What a restored database still lacks, of each partition that was not read again."""

    async def begin_recovery(self, behind: Mapping[Partition, tuple[int, int]]) -> None:
        """Remember the partitions that a restored database is behind in.

        Each with its position and the offset up to which it is to be read again; one that moved
        meanwhile is left alone.
        """

    async def due(
        self, since: int, now: int, share: PartitionShare, but: Collection[SagaId], count: int
    ) -> Sequence[Saga]:
        """Up to `count` sagas of these partitions due after `since` and by `now`, in that order.

        Those named in `but` are left out, and nothing is changed.
        """

    async def lease_decisions(self, now: int, until: int, count: int) -> Sequence[DueDecision]:
        """Take up to `count` decisions that are to be published, and again after `until` (ms)."""

    async def check_schema(self) -> None:
        """Raise SchemaTooOld when the database lacks migrations that this code needs."""


class Source(Protocol):
    """The way in: a member of the consumer group."""

    async def start(self, member: Member) -> None:
        """Join the group. Raises Unavailable while the broker is away."""

    async def stop(self) -> None:
        """Leave the group; never raises."""

    async def poll(self, timeout_s: float, count_max: int) -> Sequence[Record]:
        """Records of assigned partitions, in order per partition; none after the time-out."""

    async def committed(self, partitions: Iterable[Partition]) -> Mapping[Partition, int | None]:
        """The offsets that the group committed."""

    async def bounds(self, partitions: Iterable[Partition]) -> Mapping[Partition, tuple[int, int]]:
        """The first offset that the broker still has, and the next that it will write."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from there."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Poll nothing from these until they are resumed."""

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Poll from these again."""

    async def position(self, partition: Partition) -> int:
        """The offset of what the next poll brings; past what brings no record."""

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets of partitions that are still assigned. Raises Unavailable."""


class Archive(Protocol):
    """What the platform said, on its own topics."""

    def since(
        self, partitions: Iterable[Partition], moment: int
    ) -> AsyncIterator[Sequence[Record]]:
        """What was written at `moment` (ms) or later; in order per partition.

        It ends where the partitions ended when it began. May raise Unavailable.
        """

    async def last(self, partitions: Iterable[Partition], count: int) -> Sequence[Record]:
        """The last so many records of each partition. May raise Unavailable."""


class Member(Protocol):
    """Who is told of assignments; the group waits while it is."""

    async def on_revoked(self, partitions: Iterable[Partition]) -> None:
        """Finish what is in hand: these partitions go to somebody else."""

    async def on_assigned(self, partitions: Iterable[Partition]) -> None:
        """Read on from the right offsets."""


class Bus(Protocol):
    """The way out: records in order per partition, acknowledged by all replicas."""

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Return when every record is acknowledged; raise Unavailable when one may not be."""


class Clock(Protocol):
    """The time, as an argument of everything."""

    def now(self) -> int:
        """Milliseconds since 1970."""

    def monotonic(self) -> float:
        """Seconds that only grow, also while the process is stopped."""
