"""One batch decided: arrivals and loaded rows in, changes and records to publish out. Pure.

Arrivals of one account in one batch see each other, in offset order (`design.md` 2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson

from orchestrator import speak
from orchestrator.catalogue import Catalogue
from orchestrator.decode import Arrival
from orchestrator.ports import (
    Change,
    Changes,
    LimitChange,
    LimitKey,
    Movement,
    Outgoing,
    SagaKey,
    TimelineEntry,
)
from orchestrator.rules import acceptance
from orchestrator.saga.instance import Saga, Terms
from orchestrator.saga.journal import transfers
from orchestrator.saga.machine import Still
from orchestrator.saga.progress import Engine, kept, phase
from orchestrator.saga.utterance import Utterance, implied, newly
from orchestrator.sagas import SAGAS
from orchestrator.sagas.words import Words, moment, read_reply
from schemas.catalogue import Channel
from schemas.dead_letters import Disposition
from schemas.envelope import Unreadable, rfc3339
from schemas.ids import partition_key, result_event_id
from schemas.reasons import Code, reason
from schemas.replies import LegAnswered
from schemas.requests import RedemptionInquired, RedemptionRequested, RedemptionWithdrawn
from schemas.results import PointsTotal, RedemptionResult, ResultStatus, TimerFired
from schemas.value import value


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be read before a batch can be decided."""

    keys: frozenset[SagaKey]
    strays: frozenset[UUID]
    limits: frozenset[LimitKey]


@value
class Moved:
    """One accepted event, for the canonical log line and the counters."""

    event: str
    saga: Saga
    phase: str
    leg: str | None
    outcome: str | None
    ended: bool  # With this event.
    parked: bool  # With this event.


@dataclass(slots=True)
class Decision:
    """What a batch changes and says."""

    changes: Changes = field(default_factory=Changes)
    outgoing: list[Outgoing] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    new_records: int = 0
    poison: int = 0


@dataclass(frozen=True, slots=True)
class Decider:
    """The rules, bound to what is on offer."""

    catalogue: Catalogue
    group: str  # The consumer group, for dead letters.
    kits: Mapping[tuple[str, int], tuple[Engine, Words]] = field(init=False)

    def __post_init__(self) -> None:
        """Build the engine and the vocabulary of every version once; they hold no state."""
        kits = {
            version: (Engine(saga, self.catalogue.policies), Words(saga, self.catalogue.policies))
            for version, saga in SAGAS.items()
        }
        object.__setattr__(self, "kits", kits)

    def needs(self, arrivals: Sequence[Arrival], now: int) -> Needs:
        """Which sagas and limits the batch touches."""
        keys: set[SagaKey] = set()
        strays: set[UUID] = set()
        limits: set[LimitKey] = set()
        for arrival in arrivals:
            if arrival.key is not None:
                keys.add(arrival.key)
            if arrival.saga is not None and isinstance(arrival.event, LegAnswered | TimerFired):
                strays.add(arrival.saga)  # Must exist: sought elsewhere if not where its key says.
            if isinstance(arrival.event, RedemptionRequested) and not arrival.redelivered:
                programme = self.catalogue.programmes.get(arrival.event.programme)
                if programme is not None and programme.limit is not None:
                    origin, account = arrival.route.participant, arrival.event.account
                    scope = acceptance.limit_scope(programme, origin, account)
                    day = acceptance.business_date(now, programme.zone)
                    limits.add((acceptance.bucket(origin, account), scope, day))
        return Needs(frozenset(keys), frozenset(strays), frozenset(limits))

    def decide(
        self,
        arrivals: Sequence[Arrival],
        loaded: Mapping[UUID, Saga],
        used: Mapping[LimitKey, int],
        now: int,
    ) -> Decision:
        """Apply the arrivals in order."""
        batch = _Batch(self, dict(loaded), dict(used), now)
        for arrival in arrivals:
            batch.apply(arrival)
        return batch.finish(loaded)


class _Batch:
    """The working state of one batch."""

    def __init__(
        self,
        decider: Decider,
        sagas: dict[UUID, Saga],
        used: dict[LimitKey, int],
        now: int,
    ) -> None:
        self.catalogue = decider.catalogue
        self.group = decider.group
        self.kits = decider.kits
        self.sagas = sagas
        self.used = used
        self.read_used = dict(used)
        self.now = now
        self.moment = moment(now)
        self.at = rfc3339(self.moment)
        self.decision = Decision()
        self.repeated: set[tuple[UUID, Utterance]] = set()
        self._handlers: Mapping[type, Callable[[Arrival, Any], None]] = {
            RedemptionRequested: self._requested,
            LegAnswered: self._answered,
            TimerFired: self._timer,
            RedemptionInquired: self._inquired,
            RedemptionWithdrawn: self._withdrawn,
        }

    def apply(self, arrival: Arrival) -> None:
        if not arrival.redelivered:
            self.decision.new_records += 1
        if arrival.problem is not None:
            self._set_aside(arrival, arrival.problem, Disposition.POISON)
            return
        event = arrival.event
        if event is None:
            return
        if not isinstance(event, TimerFired) and event.has_unknown():
            self.decision.counts["unknown_fields"] += 1
        # By exact type rather than by match: isinstance is dear on pydantic's metaclass.
        self._handlers[type(event)](arrival, event)

    def finish(self, loaded: Mapping[UUID, Saga]) -> Decision:
        changes = self.decision.changes
        for saga_id, saga in self.sagas.items():
            was = loaded.get(saga_id)
            if saga is not was:
                changes.sagas[saga_id] = Change(was, saga)
        return self.decision

    # -- events -----------------------------------------------------------------------------

    def _requested(self, arrival: Arrival, request: RedemptionRequested) -> None:
        saga_id = arrival.saga
        assert saga_id is not None
        known = self.sagas.get(saga_id)
        if known is None:
            self._begin(arrival, request)
        elif known.terms.content and known.terms.content != acceptance.content_digest(request):
            problem = Unreadable("request_id", "was used before for a different redemption")
            problem.code, problem.event_id = Code.DUPLICATE_MISMATCH, _event_id(arrival)
            self._set_aside(arrival, problem, Disposition.REFUSED)
        elif arrival.redelivered:
            self._repeat(arrival, known)
        else:
            self.decision.counts["duplicate_requests"] += 1
            self._tell_again(arrival, known)

    def _begin(self, arrival: Arrival, request: RedemptionRequested) -> None:
        programme = self.catalogue.programmes.get(request.programme)
        assert arrival.envelope is not None
        terms = acceptance.draft(request, arrival.route.participant, programme, self.now)
        if arrival.envelope.traceparent is not None:
            terms = replace(terms, traceparent=arrival.envelope.traceparent)
        refusal = next(acceptance.refusals(request, terms, programme, self.now), None)
        limit = _limit_key(terms)
        if refusal is None and programme is not None and limit is not None:
            refusal = acceptance.over_limit(terms, programme, self.used.get(limit, 0))
        if refusal is not None:
            saga = acceptance.refused(terms, refusal, self.now)
            self._accept(arrival, None, saga, "refused", code=refusal.code, field=refusal.field)
            return
        if limit is not None:
            self._use(limit, terms.worth)
        engine, _ = self._tools(terms)
        saga = engine.start(terms, self.now)
        self._accept(arrival, None, saga, "requested", points=terms.points)

    def _answered(self, arrival: Arrival, reply: LegAnswered) -> None:
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        path = reply.leg_id[37:]
        leg = saga.leg(path) if saga is not None else None
        if saga is None or leg is None:
            self._set_aside(arrival, _problem(arrival, "is not a leg that was asked for"), _REFUSED)
            return
        engine, words = self._tools(saga.terms)
        message_owner = words.owner(saga, leg)
        if message_owner != arrival.route.participant:
            why = f"belongs to {message_owner!r}, not to this topic's owner"
            self._set_aside(arrival, _problem(arrival, why), _REFUSED)
            return
        if arrival.redelivered:
            self._repeat(arrival, saga)
            return
        news = read_reply(saga, leg, reply)
        moved = engine.hear(saga, path, news, self.now)
        if moved is Still.PREMATURE:
            self._set_aside(arrival, _problem(arrival, "has not been asked for yet"), _REFUSED)
        elif isinstance(moved, Still):
            self.decision.counts["stale_replies"] += 1
        else:
            self._accept(
                arrival,
                saga,
                moved,
                "answered",
                leg=path,
                outcome=reply.outcome,
                code=news.code,
                amount=news.amount or None,
                reference=news.reference,
            )

    def _timer(self, arrival: Arrival, timer: TimerFired) -> None:
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        if saga is None:
            self._set_aside(arrival, _problem(arrival, "is not a saga", "saga_id"), _REFUSED)
        elif arrival.redelivered:
            self._repeat(arrival, saga)
        elif saga.revision != timer.revision:
            self.decision.counts["stale_timers"] += 1
        else:
            engine, _ = self._tools(saga.terms)
            moved = engine.tick(saga, self.now)
            if not isinstance(moved, Still):
                self._accept(arrival, saga, moved, "timer")
            elif saga.due != saga.wake_at:
                # The row's timer stood for an earlier leg: set it right, there is nothing to tell.
                self.sagas[saga.terms.saga_id] = replace(
                    saga, revision=saga.revision + 1, wake_at=saga.due
                )

    def _inquired(self, arrival: Arrival, inquiry: RedemptionInquired) -> None:
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        # Redelivered and nothing told: when it first came, the request had not.
        if saga is not None and (saga.told is not None or not arrival.redelivered):
            self._tell_again(arrival, saga)
            return
        assert arrival.saga is not None
        result = RedemptionResult(
            saga_id=str(arrival.saga),
            request_id=inquiry.request_id,
            account=inquiry.account,
            revision=0,
            status=ResultStatus.NOT_RECEIVED,
            final=False,
            reason=reason(Code.NOT_RECEIVED),
            points=PointsTotal(charged=0, returned=0),
            at=self.moment,
        )
        envelope = speak.result_envelope(
            arrival.saga, result_event_id(arrival.saga, 0), _event_id(arrival), self.moment
        )
        origin = arrival.route.participant
        key = partition_key(origin, inquiry.account).encode()
        self.decision.outgoing.append(speak.answer(origin, key, envelope, result))

    def _withdrawn(self, arrival: Arrival, request: RedemptionWithdrawn) -> None:
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        if saga is None:
            stone = acceptance.tombstone(request, arrival.route.participant, self.now)
            self._accept(arrival, None, stone, "withdrawn")
        elif arrival.redelivered:
            self._repeat(arrival, saga)
        else:
            engine, _ = self._tools(saga.terms)
            moved = engine.withdraw(saga, self.now)
            if isinstance(moved, Still):
                self._tell_again(arrival, saga)
            else:
                self._accept(arrival, saga, moved, "withdrawn")

    # -- what an accepted event leaves behind --------------------------------------------------

    def _accept(
        self, arrival: Arrival, was: Saga | None, now: Saga, event: str, **detail: Any
    ) -> None:
        """The new revision, its timeline row, its movements, its words."""
        wake_at = _wake_at(was, now)
        saga = now if now.wake_at == wake_at else replace(now, wake_at=wake_at)
        terms = saga.terms
        self.sagas[terms.saga_id] = saga
        words = newly(was, saga)
        for utterance in words:
            self._say(arrival, saga, utterance)
        key = (terms.key_hash, terms.saga_id)
        engine, _ = self._tools(terms)
        changes = self.decision.changes
        for at, transfer in enumerate(transfers(engine.definition, was, saga)):
            changes.movements.append(Movement(key, saga.revision * 8 + at, transfer))
        if saga.ended and not (was is not None and was.ended):
            self._release(engine, saga)
        found = {name: value for name, value in detail.items() if value is not None}
        record = arrival.record
        found["event_id"] = _event_id(arrival)
        found["record"] = f"{record.topic}/{record.partition}/{record.offset}"
        found["said"] = [f"{u.kind} {u.path}#{u.number}" for u in words]
        changes.timeline.append(
            TimelineEntry(key, saga.revision, self.now, event, orjson.dumps(found).decode())
        )
        self.decision.moved.append(
            Moved(
                event,
                saga,
                phase(saga),
                found.get("leg"),
                found.get("outcome"),
                ended=saga.ended and not (was is not None and was.ended),
                parked=saga.parked and not (was is not None and was.parked),
            )
        )

    def _release(self, engine: Engine, saga: Saga) -> None:
        """Give back what the account limit held for pieces that were not issued (I5)."""
        limit = _limit_key(saga.terms)
        if limit is None or not saga.legs:  # Refused at once: nothing was ever held.
            return
        pieces = kept(saga, engine.definition.pivot)
        issued = sum(line.worth_of(n) for line, n in zip(saga.terms.lines, pieces, strict=True))
        if issued < saga.terms.worth:
            self._use(limit, issued - saga.terms.worth)

    def _use(self, limit: LimitKey, delta: int) -> None:
        known = self.read_used.get(limit)
        before = self.decision.changes.limits.get(limit, LimitChange(0, known))
        self.decision.changes.limits[limit] = LimitChange(before.delta + delta, known)
        self.used[limit] = self.used.get(limit, 0) + delta

    def _tell_again(self, arrival: Arrival, saga: Saga) -> None:
        """The origin asked: the stored answer, or PENDING once while there is none."""
        engine, _ = self._tools(saga.terms)
        told = engine.asked(saga, self.now)
        if not isinstance(told, Still):
            self._accept(arrival, saga, told, "asked")
        for utterance in implied(saga):
            if not utterance.path:
                self._say(arrival, saga, utterance)

    def _repeat(self, arrival: Arrival, saga: Saga) -> None:
        """Say again what this record may have left unsaid when it was committed."""
        for utterance in implied(saga):
            if (saga.terms.saga_id, utterance) not in self.repeated:
                self.repeated.add((saga.terms.saga_id, utterance))
                self._say(arrival, saga, utterance)
                self.decision.counts["said_again"] += 1

    def _say(self, arrival: Arrival, saga: Saga, utterance: Utterance) -> None:
        _, words = self._tools(saga.terms)
        message = words.message(saga, utterance)
        self.decision.outgoing.append(speak.said(saga, message, _event_id(arrival), self.at))

    def _set_aside(self, arrival: Arrival, problem: Unreadable, disposition: Disposition) -> None:
        """The record as a dead letter; the origin hears that it was refused."""
        letter = speak.dead_letter(arrival, problem, disposition, self.group, self.moment)
        if not arrival.redelivered:
            self.decision.changes.dead_letters.append(letter)
            self.decision.poison += disposition is Disposition.POISON
            self.decision.counts[f"dead_letters_{disposition}"] += 1
        self.decision.outgoing.append(speak.set_aside(letter))
        if arrival.route.channel is Channel.REQUESTS:
            self.decision.outgoing.append(speak.refused(arrival, problem, self.moment))

    def _tools(self, terms: Terms) -> tuple[Engine, Words]:
        """The engine and the vocabulary for the version that the saga was accepted under."""
        return self.kits[terms.definition, terms.definition_version]


_REFUSED = Disposition.REFUSED


def _problem(arrival: Arrival, why: str, field_name: str = "leg_id") -> Unreadable:
    return Unreadable(field_name, why, _event_id(arrival))


def _event_id(arrival: Arrival) -> str | None:
    return arrival.envelope.id if arrival.envelope is not None else None


def _limit_key(terms: Terms) -> LimitKey | None:
    if not terms.limit or terms.business_date is None:
        return None
    return (terms.key_hash, terms.limit, terms.business_date)


def _wake_at(was: Saga | None, now: Saga) -> int | None:
    """The row's timer: kept while it is early enough, which leaves its index alone."""
    due = now.due
    if due is None or now.ended:
        return None
    if was is not None and was.wake_at is not None and was.wake_at <= due:
        return was.wake_at
    return due
