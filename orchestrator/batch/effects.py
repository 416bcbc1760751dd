"""What an accepted event leaves behind: its row, its movements, its limit, its words. Pure."""

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
from orchestrator.engine.balance import in_suspense, issued, worth
from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Saga, Terms, next_wake
from orchestrator.engine.machine import NoChange
from orchestrator.engine.outbox import MessageRef, new_messages, outstanding
from orchestrator.engine.rebuild import PublishedSaga
from orchestrator.engine.results import phase
from orchestrator.ports import (
    Case,
    Change,
    Changes,
    LimitChange,
    LimitKey,
    Movement,
    Outgoing,
    RecordPosition,
    TimelineEntry,
)
from orchestrator.sagas.redemption.fast_path import Transition
from orchestrator.sagas.redemption.journal import transfers
from orchestrator.sagas.redemption.messages import Messages
from schemas.dead_letters import Disposition
from schemas.envelope import Unreadable, rfc3339
from schemas.events import Channel
from schemas.frozen import replaced, value
from schemas.ids import SagaId
from schemas.results import ResultStatus
from schemas.times import moment

_NOTHING: Final[Mapping[SagaId, PublishedSaga]] = {}
Kits = Mapping[tuple[str, int], tuple[Engine, Messages]]
"""The engine and the vocabulary of every version of every saga."""


@value
class AcceptedEvent:
    """One accepted event, for the canonical log line and the counters."""

    event: str
    saga: Saga
    phase: str
    leg: str | None
    outcome: str | None
    ended: bool  # With this event.
    parked: bool  # With this event.


@dataclass(slots=True)
class BatchResult:
    """What a batch changes and says."""

    changes: Changes = field(default_factory=Changes)
    outgoing: list[Outgoing] = field(default_factory=list)
    accepted: list[AcceptedEvent] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    taken: Mapping[str, Admitted] = field(
        default_factory=dict
    )  # What participants got that is new.
    outcomes: ParticipantOutcomes = field(
        default_factory=ParticipantOutcomes
    )  # What was seen of them.
    recalled: list[SagaId] = field(default_factory=list)  # Lost with a database, and here again.
    revision_sensitive: set[SagaId] = field(
        default_factory=set
    )  # What was concluded depends on where they are.
    new_records: int = 0
    poison: int = 0


class Consequences:
    """The working state of one batch, and everything that an event may do to it."""

    def __init__(
        self,
        kits: Kits,
        group: str,
        sagas: dict[SagaId, Saga],
        used: dict[LimitKey, int],
        now: int,
        *,
        said: Mapping[SagaId, PublishedSaga] = _NOTHING,
    ) -> None:
        self.said = said  # Before the database was lost, about sagas that may have to begin again.
        self.kits = kits
        self.group = group
        self.sagas = sagas
        self.used = used
        self.read_used = dict(used)
        self.now = now
        self.moment = moment(now)
        self.at = rfc3339(self.moment)
        self.decision = BatchResult()
        self.repeated: set[tuple[SagaId, MessageRef]] = set()
        self.letters: set[RecordPosition] = set()

    def finish(self, loaded: Mapping[SagaId, Saga]) -> BatchResult:
        """The decision, with every saga that is not what was loaded."""
        changes = self.decision.changes
        for saga_id, saga in self.sagas.items():
            was = loaded.get(saga_id)
            if saga is not was:
                changes.sagas[saga_id] = Change(was, saga)
        return self.decision

    def _accept(
        self,
        arrival: InboundEvent | None,
        was: Saga | None,
        now: Saga,
        event: str,
        said: PublishedSaga | None = None,
        **detail: Any,
    ) -> None:
        """The new revision, its timeline row, its movements, its words but those `said` before."""
        engine, _ = self._kind(now.terms)
        due = engine.due(now)
        # A timer that has fired has come: left there, it would fire again for nothing.
        wake_at = due if event == "timer" else next_wake(was, due, self.now)
        saga = now if now.wake_at == wake_at else replaced(now, wake_at=wake_at)
        if saga.ended and was is not None:  # What is refused at once holds nothing.
            self._release(engine, was, saga)
        parked = saga.parked
        was_parked = was is not None and was.parked
        if parked or was_parked:
            self.decision.changes.cases[saga.terms.saga_id] = self._case(engine, was, saga)
        if said is None:
            words = new_messages(was, saga)
        else:
            words = tuple([one for one in outstanding(saga) if not said.contains(one)])
        moved = tuple(transfers(engine.definition, was, saga))
        ended = saga.ended and not (was is not None and was.ended)
        transition = Transition(saga, words, moved, phase(saga))
        self._enter(
            arrival, transition, event, detail, ended=ended, parked=parked and not was_parked
        )

    def _enter(
        self,
        arrival: InboundEvent | None,
        transition: Transition,
        event: str,
        detail: dict[str, Any],
        *,
        ended: bool,
        parked: bool = False,
    ) -> None:
        """Write a step down: what was decided is final here."""
        saga, revision = transition.saga, transition.saga.revision
        terms, decision = saga.terms, self.decision
        changes, saga_id = decision.changes, terms.saga_id
        self.sagas[saga_id] = saga
        event_id = event_id_of(arrival) if arrival is not None else None
        if transition.messages:
            _, words = self._kind(terms)
            for one in transition.messages:
                message = words.message(saga, one)
                decision.outgoing.append(encode.record_of(saga, message, event_id, self.at))
        key = (terms.key_hash, saga_id)
        for seq, transfer in enumerate(transition.transfers, revision * 8):
            changes.movements.append(Movement(key, seq, transfer))
        found = {name: known for name, known in detail.items() if known is not None}
        if arrival is not None:
            record = arrival.record
            found["event_id"] = event_id
            found["record"] = f"{record.topic}/{record.partition}/{record.offset}"
        found["said"] = [f"{one.kind} {one.path}#{one.number}" for one in transition.messages]
        text = orjson.dumps(found).decode()
        changes.timeline.append(TimelineEntry(key, revision, self.now, event, text))
        leg, outcome = detail.get("leg"), detail.get("outcome")
        decision.accepted.append(
            AcceptedEvent(event, saga, transition.phase, leg, outcome, ended, parked)
        )

    def _case(self, engine: Engine, was: Saga | None, saga: Saga) -> Case:
        """The saga's case for a person: opened, changed or closed."""
        terms = saga.terms
        closed = not saga.parked
        told = was if closed and was is not None else saga
        leg = next(leg for leg in told.legs if leg.parked)
        stake = in_suspense(saga, engine.definition)
        why = leg.code or leg.status
        return Case(
            (terms.key_hash, terms.saga_id), self.now, closed, leg.path, why, stake, terms.unit
        )

    def _release(self, engine: Engine, was: Saga, saga: Saga) -> None:
        """Have the account limit hold what was issued, and no more (I5), also when corrected."""
        limit = limit_key_of(saga.terms)
        if limit is None:
            return
        if not was.ended and saga.told is not None and saga.told.status is ResultStatus.SUCCESS:
            return  # All of it was issued, and counts.
        pivot = engine.definition.pivot
        held = worth(saga.terms, issued(was, pivot)) if was.ended else saga.terms.worth
        has = worth(saga.terms, issued(saga, pivot))
        if has != held:
            self._use(limit, has - held)

    def _recall(self, saga: Saga, said: PublishedSaga) -> None:
        """Bring a saga that survived up to what was said of it, and say what was cut off."""
        engine, _ = self._kind(saga.terms)
        recalled = engine.recall(saga, said, self.now)
        limit = limit_key_of(saga.terms)
        if saga.ended and not recalled.ended and limit is not None:  # An open one holds it all.
            held = worth(saga.terms, issued(saga, engine.definition.pivot))
            self._use(limit, saga.terms.worth - held, read=True)
        if recalled is not saga:
            self._accept(None, saga, recalled, "recalled", said)
            self.decision.counts["recalled_sagas"] += 1
            return
        for utterance in outstanding(saga):
            if not said.contains(utterance):
                self._say(None, saga, utterance)

    def _use(self, limit: LimitKey, delta: int, *, read: bool = False) -> None:
        known = self.read_used.get(limit, 0 if read else None)
        before = self.decision.changes.limits.get(limit, LimitChange(0, known))
        was = known if before.was is None else before.was
        self.decision.changes.limits[limit] = LimitChange(before.delta + delta, was)
        self.used[limit] = self.used.get(limit, 0) + delta

    def _resend_result(self, arrival: InboundEvent, saga: Saga) -> None:
        """The origin asked: the stored answer, or PENDING once while there is none."""
        engine, _ = self._kind(saga.terms)
        told = engine.status_requested(saga, self.now)
        if not isinstance(told, NoChange):
            self._accept(arrival, saga, told, "asked")
        for utterance in outstanding(saga):
            if not utterance.path:
                self._say(arrival, saga, utterance)

    def _resend(self, arrival: InboundEvent, saga: Saga) -> None:
        """Say again what this record may have left unsaid when it was committed."""
        for utterance in outstanding(saga):
            if (saga.terms.saga_id, utterance) not in self.repeated:
                self.repeated.add((saga.terms.saga_id, utterance))
                self._say(arrival, saga, utterance)
                self.decision.counts["said_again"] += 1

    def _say(self, arrival: InboundEvent | None, saga: Saga, utterance: MessageRef) -> None:
        _, words = self._kind(saga.terms)
        message = words.message(saga, utterance)
        cause = event_id_of(arrival) if arrival is not None else None
        self.decision.outgoing.append(encode.record_of(saga, message, cause, self.at))

    def _dead_letter(
        self, arrival: InboundEvent, problem: Unreadable, disposition: Disposition
    ) -> None:
        """The record as a dead letter, once; the origin hears that it was refused."""
        place = place_of(arrival)
        if place in self.letters:
            return
        self.letters.add(place)
        letter = encode.dead_letter(arrival, problem, disposition, self.group, self.moment)
        if not arrival.redelivered:
            self.decision.changes.dead_letters.append(letter)
            self.decision.poison += disposition is Disposition.POISON
            self.decision.counts[f"dead_letters_{disposition}"] += 1
        self.decision.outgoing.append(encode.dead_letter_record(letter))
        if arrival.route.channel is Channel.REQUESTS:
            self.decision.outgoing.append(encode.refused(arrival, problem, self.moment))

    def _kind(self, terms: Terms) -> tuple[Engine, Messages]:
        """The engine and the vocabulary for the version that the saga was accepted under."""
        return self.kits[terms.definition, terms.definition_version]


def event_id_of(arrival: InboundEvent) -> str | None:
    """The `ce_id` of the record, when it could be read."""
    return arrival.envelope.id if arrival.envelope is not None else None


def place_of(arrival: InboundEvent) -> RecordPosition:
    """Where a record stands: topic, partition, offset."""
    record = arrival.record
    return record.topic, record.partition, record.offset


def limit_key_of(terms: Terms) -> LimitKey | None:
    """The account limit that the saga counts on, if its programme has one."""
    if not terms.limit or terms.business_date is None:
        return None
    return (terms.key_hash, terms.limit, terms.business_date)
