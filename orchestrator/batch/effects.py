"""The effects of accepted events: rows, movements, limits, cases and messages. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from orchestrator.admission.gate import Admitted
from orchestrator.admission.outcomes import ParticipantOutcomes
from orchestrator.batch import encode
from orchestrator.batch.decode import InboundEvent
from orchestrator.batch.kinds import BoundKind, BoundKinds
from orchestrator.engine.instance import Saga, next_wake
from orchestrator.engine.kind import LimitKey, Transition
from orchestrator.engine.machine import NoChange
from orchestrator.engine.outbox import MessageRef, new_messages, outstanding
from orchestrator.engine.postings import Transfer
from orchestrator.engine.published import PublishedSaga
from orchestrator.engine.results import phase
from orchestrator.ports import (
    Case,
    Change,
    Changes,
    LimitChange,
    Movement,
    Outgoing,
    RecordPosition,
    TimelineEntry,
)
from schemas.dead_letters import Disposition
from schemas.envelope import Unreadable, rfc3339
from schemas.events import Channel
from schemas.frozen import replaced, value
from schemas.ids import SagaId
from schemas.times import moment

_NOTHING: Final[Mapping[SagaId, PublishedSaga]] = {}


@value
class AcceptedEvent:
    """One accepted event, for its log line and the counters."""

    event: str  # Its name in the timeline.
    saga: Saga  # At the revision that the event led to.
    phase: str
    leg: str | None  # The path of the leg that it is about.
    outcome: str | None  # The outcome that it states for the leg.
    ended: bool  # Whether the saga ended with this event.
    parked: bool  # Whether the saga became parked with this event.


@dataclass(slots=True)
class BatchResult:
    """What a batch writes and publishes, and what there is to log and count about it."""

    changes: Changes = field(default_factory=Changes)
    outgoing: list[Outgoing] = field(default_factory=list)
    accepted: list[AcceptedEvent] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    # What the gate let through, by participant.
    taken: Mapping[str, Admitted] = field(default_factory=dict)
    # What the batch shows of the health of participants.
    outcomes: ParticipantOutcomes = field(default_factory=ParticipantOutcomes)
    recalled: list[SagaId] = field(default_factory=list)  # Rebuilt; they were lost with a database.
    # Sagas about which something was decided that is only right at the revision they have here.
    revision_sensitive: set[SagaId] = field(default_factory=set)
    new_records: int = 0  # Events that are not redelivered.
    poison: int = 0  # New records that cannot be read.


class EffectRecorder:
    """The working state of one batch: its sagas so far, and what it will write and publish."""

    def __init__(
        self,
        kinds: BoundKinds,
        group: str,
        sagas: dict[SagaId, Saga],
        used: dict[LimitKey, int],
        now: int,
        *,
        published: Mapping[SagaId, PublishedSaga] = _NOTHING,
    ) -> None:
        """Begin with the sagas and limits that were loaded.

        Args:
            kinds: the kinds of saga.
            group: the consumer group, for dead letters.
            sagas: those that exist, by id; changed while the batch is decided.
            used: how much of each limit is used; changed while the batch is decided.
            now: milliseconds since 1970.
            published: what was published before a database was lost, about sagas that may have to
                be rebuilt.
        """
        self.published = published
        self.kinds = kinds
        self.group = group
        self.sagas = sagas
        self.used = used
        self.read_used = dict(used)
        self.now = now
        self.moment = moment(now)
        self.at = rfc3339(self.moment)
        self.result = BatchResult()
        self._resent: set[tuple[SagaId, MessageRef]] = set()
        self._letters: set[RecordPosition] = set()
        self._forgotten: dict[SagaId, Saga] = {}

    def finish(self, loaded: Mapping[SagaId, Saga]) -> BatchResult:
        """The result of the batch, with every saga that changed since it was `loaded`."""
        changes = self.result.changes
        for saga_id, saga in self.sagas.items():
            was = loaded.get(saga_id)
            if saga is not was:
                changes.sagas[saga_id] = Change(was, saga)
        for saga_id, saga in self._forgotten.items():
            if saga_id not in changes.sagas:
                changes.forgotten[saga.terms.key_hash, saga_id] = saga.revision
        return self.result

    def accept(
        self,
        arrival: InboundEvent | None,
        was: Saga | None,
        now: Saga,
        event: str,
        published: PublishedSaga | None = None,
        **detail: Any,
    ) -> None:
        """Record a new revision of a saga and everything that follows from it.

        Args:
            arrival: the event that led to it; None when a saga is brought up to what was published.
            was: the saga before; None when it is new.
            now: the saga at its next revision.
            event: the name of the event, for the timeline.
            published: what was published about the saga before its database was lost; those
                messages are not published again.
            detail: what else the timeline shows about the event.
        """
        bound = self.kinds.of(now.terms)
        due = bound.engine.due(now)
        if bound.kind.keep_for is not None and now.ended:
            # Then its row is deleted, and no sooner: an earlier timer would be taken for this one.
            wake_at: int | None = self.now + bound.kind.keep_for
        else:
            # A fired timer is always replaced: if it stayed, it would fire again for nothing.
            wake_at = due if event == "timer" else next_wake(was, due, self.now)
        saga = now if now.wake_at == wake_at else replaced(now, wake_at=wake_at)
        moved: tuple[Transfer, ...] = ()
        if (books := bound.kind.books) is not None:
            moved = tuple(books.transfers(was, saga))
            if was is not None and saga.ended:
                self._count(bound, was, saga)
        parked = saga.parked
        was_parked = was is not None and was.parked
        if parked or was_parked:
            self.result.changes.cases[saga.terms.saga_id] = self._case(bound, was, saga)
        if published is None:
            refs = new_messages(was, saga)
        else:
            refs = tuple([ref for ref in outstanding(saga) if not published.contains(ref)])
        ended = saga.ended and not (was is not None and was.ended)
        step = Transition(saga, refs, moved, phase(saga))
        self.enter(arrival, step, event, detail, ended=ended, parked=parked and not was_parked)

    def enter(
        self,
        arrival: InboundEvent | None,
        step: Transition,
        event: str,
        detail: Mapping[str, Any],
        *,
        ended: bool,
        parked: bool = False,
    ) -> None:
        """Record a transition: its row, its messages, its movements and its timeline entry.

        Args:
            arrival: the event that led to it; None when a saga is brought up to what was published.
            step: the transition.
            event: the name of the event, for the timeline.
            detail: what else the timeline shows about the event; values that are None are left out.
            ended: whether the saga ended with it.
            parked: whether the saga became parked with it.
        """
        saga, revision = step.saga, step.saga.revision
        terms, result = saga.terms, self.result
        changes, saga_id = result.changes, terms.saga_id
        bound = self.kinds.of(terms)
        self.sagas[saga_id] = saga
        event_id = event_id_of(arrival) if arrival is not None else None
        for ref in step.messages:
            message = bound.messages.message(saga, ref)
            result.outgoing.append(encode.record_of(saga, message, event_id, self.at))
        key = (terms.key_hash, saga_id)
        for seq, transfer in enumerate(step.transfers, revision * 8):
            changes.movements.append(Movement(key, seq, transfer))
        if bound.kind.keep_for is None:
            shown = {name: known for name, known in detail.items() if known is not None}
            if arrival is not None:
                record = arrival.record
                shown["event_id"] = event_id
                shown["record"] = f"{record.topic}/{record.partition}/{record.offset}"
            shown["said"] = [f"{ref.kind} {ref.path}#{ref.number}" for ref in step.messages]
            text = orjson.dumps(shown).decode()
            changes.timeline.append(TimelineEntry(key, revision, self.now, event, text))
        leg, outcome = detail.get("leg"), detail.get("outcome")
        result.accepted.append(AcceptedEvent(event, saga, step.phase, leg, outcome, ended, parked))

    def _case(self, bound: BoundKind, was: Saga | None, saga: Saga) -> Case:
        """The case of a saga for operators: opened, changed, or closed if it is parked no more."""
        terms = saga.terms
        closed = not saga.parked
        parked = was if closed and was is not None else saga
        leg = next(leg for leg in parked.legs if leg.parked)
        why = leg.code or leg.status
        books = bound.kind.books
        stake, unit = books.stake(saga) if books is not None else (0, "")
        return Case((terms.key_hash, terms.saga_id), self.now, closed, leg.path, why, stake, unit)

    def _count(self, bound: BoundKind, was: Saga, saga: Saga) -> None:
        """Make the account limit count what was issued, also after a correction (I5)."""
        books = bound.kind.books
        assert books is not None, bound.kind.name
        limit = books.limit(saga.terms)
        if limit is not None and (more := books.counted(saga) - books.counted(was)):
            self.use(limit, more)

    def recall(self, saga: Saga, published: PublishedSaga) -> None:
        """Bring a saga up to what was published about it, and publish what was not yet."""
        bound = self.kinds.of(saga.terms)
        recalled = bound.engine.recall(saga, published, self.now)
        books = bound.kind.books
        limit = books.limit(saga.terms) if books is not None else None
        if limit is not None and books is not None and saga.ended and not recalled.ended:
            self.use(limit, books.counted(recalled) - books.counted(saga), read=True)
        if recalled is not saga:
            self.accept(None, saga, recalled, "recalled", published)
            self.result.counts["recalled_sagas"] += 1
            return
        for ref in outstanding(saga):
            if not published.contains(ref):
                self.say(None, saga, ref)

    def forget(self, saga: Saga) -> None:
        """Delete the row of a saga after the batch, unless the batch changes the saga again."""
        self._forgotten[saga.terms.saga_id] = saga

    def use(self, limit: LimitKey, delta: int, *, read: bool = False) -> None:
        """Change the usage of a limit by `delta`.

        `read` says that the usage was read for this batch: then a limit without a row has a usage
        of 0. A usage that was not read is changed whatever it is.
        """
        known = self.read_used.get(limit, 0 if read else None)
        before = self.result.changes.limits.get(limit, LimitChange(0, known))
        was = known if before.was is None else before.was
        self.result.changes.limits[limit] = LimitChange(before.delta + delta, was)
        self.used[limit] = self.used.get(limit, 0) + delta

    def resend_result(self, arrival: InboundEvent, saga: Saga) -> None:
        """Publish the latest result again; while there is none, PENDING becomes the first."""
        pending = self.kinds.of(saga.terms).engine.status_requested(saga, self.now)
        if not isinstance(pending, NoChange):
            self.accept(arrival, saga, pending, "asked")
        for ref in outstanding(saga):
            if not ref.path:
                self.say(arrival, saga, ref)

    def resend(self, arrival: InboundEvent, saga: Saga) -> None:
        """Publish again what may have stayed unpublished when this record was committed."""
        for ref in outstanding(saga):
            if (saga.terms.saga_id, ref) not in self._resent:
                self._resent.add((saga.terms.saga_id, ref))
                self.say(arrival, saga, ref)
                self.result.counts["said_again"] += 1

    def say(self, arrival: InboundEvent | None, saga: Saga, ref: MessageRef) -> None:
        """Publish a message of a saga."""
        message = self.kinds.of(saga.terms).messages.message(saga, ref)
        cause = event_id_of(arrival) if arrival is not None else None
        self.result.outgoing.append(encode.record_of(saga, message, cause, self.at))

    def dead_letter(
        self, arrival: InboundEvent, problem: Unreadable, disposition: Disposition
    ) -> None:
        """Make the record a dead letter, once per batch; for a request, its origin is told so."""
        position = position_of(arrival)
        if position in self._letters:
            return
        self._letters.add(position)
        letter = encode.dead_letter(arrival, problem, disposition, self.group, self.moment)
        if not arrival.redelivered:
            self.result.changes.dead_letters.append(letter)
            self.result.poison += disposition is Disposition.POISON
            self.result.counts[f"dead_letters_{disposition}"] += 1
        self.result.outgoing.append(encode.dead_letter_record(letter))
        if arrival.route.channel is Channel.REQUESTS:
            self.result.outgoing.append(encode.refused(arrival, problem, self.moment))


def event_id_of(arrival: InboundEvent) -> str | None:
    """The `ce_id` of the record; None if its envelope could not be read."""
    return arrival.envelope.id if arrival.envelope is not None else None


def position_of(arrival: InboundEvent) -> RecordPosition:
    """The position of a record: topic, partition, offset."""
    record = arrival.record
    return record.topic, record.partition, record.offset
