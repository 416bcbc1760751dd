"""What each event of a batch means for its saga: accepted, repeated, refused or set aside. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol, cast

from orchestrator import speak
from orchestrator.catalogue import Catalogue
from orchestrator.consequences import Consequences, Kits, event_id_of, limit_key_of, place_of
from orchestrator.decode import Arrival
from orchestrator.errors import SaidOtherwise
from orchestrator.ports import (
    Audited,
    LimitKey,
    Place,
    SetAside,
    Settled,
)
from orchestrator.rules import acceptance
from orchestrator.rules.admission import Gate, Objection
from orchestrator.saga.instance import Saga, Terms
from orchestrator.saga.ladder import News
from orchestrator.saga.machine import Event, Still
from orchestrator.saga.objection import objection
from orchestrator.saga.progress import Engine
from orchestrator.saga.recall import Said
from orchestrator.saga.ruling import TWO_PERSONS
from orchestrator.saga.straight import Straight
from orchestrator.sagas.words import read_reply
from schemas.base import Heard
from schemas.catalogue import Channel
from schemas.dead_letters import Disposition
from schemas.decisions import OperatorDecided
from schemas.envelope import Unreadable
from schemas.ids import SagaId, partition_key, result_event_id
from schemas.reasons import Code, reason
from schemas.replies import LegAnswered
from schemas.requests import RedemptionInquired, RedemptionRequested, RedemptionWithdrawn
from schemas.results import PointsTotal, RedemptionResult, ResultStatus, TimerFired
from schemas.value import but
from schemas.values import moment_of

CLOCKS_APART_MAX: Final = 60_000
"""How far the clocks of two of our processes may differ, in milliseconds."""


class Rules(Protocol):
    """The rules, bound to what is on offer."""

    @property
    def catalogue(self) -> Catalogue:
        """What is on offer."""

    @property
    def group(self) -> str:
        """The consumer group, for dead letters."""

    @property
    def kits(self) -> Kits:
        """The engine and the vocabulary of every version of every saga."""

    @property
    def ways(self) -> Mapping[tuple[str, int], Straight]:
        """The straight way of every version."""


class Batch(Consequences):
    """One batch: what each event means."""

    def __init__(
        self,
        rules: Rules,
        sagas: dict[SagaId, Saga],
        used: dict[LimitKey, int],
        now: int,
        said: Mapping[SagaId, Said],
    ) -> None:
        super().__init__(rules.kits, rules.group, sagas, used, now, said=said)
        self.catalogue = rules.catalogue
        self.ways = rules.ways
        self.aside: Mapping[Place, SetAside] = {}
        self.admit({}, Gate({}))

    def admit(self, made: dict[int, Audited], gate: Gate) -> None:
        """What people decided, and what participants may get that is new."""
        self.made = made
        self.gate = gate
        self.decision.taken = gate.taken

    def apply(self, arrival: Arrival) -> None:
        """Take what one record says of a saga."""
        if not arrival.redelivered:
            self.decision.new_records += 1
        if arrival.problem is not None:
            self._set_aside(arrival, arrival.problem, Disposition.POISON)
            return
        event = arrival.event
        if event is None:
            return
        if (
            arrival.redelivered
            and (why := self.aside.get(place_of(arrival))) is not None
            and type(event) is not TimerFired  # Of those, the others were not set aside.
        ):
            problem = Unreadable(why.field, why.message, event_id_of(arrival))
            problem.code = Code(why.error_class)
            self._set_aside(arrival, problem, Disposition(why.disposition))
            return
        if arrival.route.channel is not Channel.INTERNAL and cast("Heard", event).has_unknown():
            self.decision.counts["unknown_fields"] += 1
        # By exact type rather than by match: isinstance is dear on pydantic's metaclass. By name
        # rather than by bound method: those would make every batch a cycle that waits for the
        # garbage collector with all that it holds.
        getattr(self, _HANDLERS[type(event)])(arrival, event)

    def _requested(self, arrival: Arrival, request: RedemptionRequested) -> None:
        saga_id = arrival.saga
        assert saga_id is not None
        known = self.sagas.get(saga_id)
        if known is None:
            self._begin(arrival, request)
        elif _is_other(known, request):
            problem = Unreadable("request_id", "was used before for a different redemption")
            problem.code, problem.event_id = Code.DUPLICATE_MISMATCH, event_id_of(arrival)
            self._set_aside(arrival, problem, Disposition.REFUSED)
        elif arrival.redelivered:
            self._repeat(arrival, known)
        elif not self._gave_back(arrival, known, request):
            self.decision.counts["duplicate_requests"] += 1
            self._tell_again(arrival, known)

    def _gave_back(self, arrival: Arrival, known: Saga, request: RedemptionRequested) -> bool:
        """What an origin took for a request that it had withdrawn before is asked back."""
        deducted = acceptance.deducted(request) if not known.terms.content else None
        if deducted is None:
            return False
        engine, _ = self._tools(known.terms)
        said = self.said.get(known.terms.saga_id)
        # What was asked back before the database was lost was asked back then.
        at = said.began if said is not None and said.legs else self.now
        moved = engine.give_back(known, deducted, request.programme, at)
        if isinstance(moved, Still):
            return False
        if said is not None:
            moved = engine.recall(moved, said, self.now)
        self._accept(arrival, known, moved, "requested", said, points=deducted.points)
        return True

    def _begin(self, arrival: Arrival, request: RedemptionRequested) -> None:
        if self.said and (said := self.said.get(cast("SagaId", arrival.saga))) is not None:
            self._begin_again(arrival, request, said)
            return
        programme = self.catalogue.programmes.get(request.programme)
        assert arrival.envelope is not None
        origin, trace = arrival.route.participant, arrival.envelope.traceparent
        terms = acceptance.draft(request, origin, programme, self.now, trace, key=arrival.key)
        deducted = acceptance.deducted(request)
        refusal = next(acceptance.refusals(request, terms, programme, self.now), None)
        limit = limit_key_of(terms)
        if refusal is None and programme is not None and limit is not None:
            refusal = acceptance.over_limit(terms, programme, self.used.get(limit, 0))
        engine, _ = self._tools(terms)
        # Asked last: what the gate lets through counts at the participants.
        objection = None if refusal else self._objection(engine, terms)
        if objection is not None and not objection.holds(self.now, terms):
            refusal = acceptance.Refusal(Code.PARTNER_UNAVAILABLE)
        if refusal is not None:
            saga = engine.refuse(terms, refusal.code, refusal.field, self.now, deducted)
            self._accept(arrival, None, saga, "refused", code=refusal.code, field=refusal.field)
            return
        if limit is not None:
            self._use(limit, terms.worth, read=True)
        if objection is not None:
            saga = engine.hold(terms, self.now, objection.next_look(self.now, terms), deducted)
            who, why = objection.participant, objection.why
            self._accept(arrival, None, saga, "held", points=terms.points, participant=who, why=why)
            return
        stride = self._way(terms).begun(terms, self.now)
        if stride is not None:
            self._enter(arrival, stride, "requested", {"points": terms.points}, ended=False)
            return
        saga = engine.start(terms, self.now, deducted)
        self._accept(arrival, None, saga, "requested", points=terms.points)

    def _way(self, terms: Terms) -> Straight:
        return self.ways[terms.definition, terms.definition_version]

    def _objection(self, engine: Engine, terms: Terms) -> Objection | None:
        objection = self.gate.admit(terms, engine.definition)
        if objection is not None:
            self.decision.counts[f"unavailable_{objection.why}"] += 1
        return objection

    def _look_at_held(self, arrival: Arrival, saga: Saga) -> None:
        """A held saga begins, waits on, or has waited long enough."""
        engine, _ = self._tools(saga.terms)
        objection = self._objection(engine, saga.terms)
        if objection is None:
            self._accept(arrival, saga, engine.release(saga, self.now), "released")
        elif objection.holds(self.now, saga.terms):
            # Nothing to tell, neither to anybody nor in the timeline: only the next look is later.
            held = engine.hold_on(saga, objection.next_look(self.now, saga.terms))
            self.sagas[saga.terms.saga_id] = replace(held, wake_at=engine.due(held))
        else:
            code = Code.PARTNER_UNAVAILABLE
            refused = engine.refuse_held(saga, code, self.now)
            self._accept(arrival, saga, refused, "refused", code=code)

    def _begin_again(self, arrival: Arrival, request: RedemptionRequested, said: Said) -> None:
        """A saga that was lost with its database: on the terms on which it spoke then."""
        programme = self.catalogue.programmes.get(request.programme)
        assert arrival.envelope is not None
        origin, trace, at = arrival.route.participant, arrival.envelope.traceparent, said.began
        terms = acceptance.draft(request, origin, programme, at, trace)
        if terms.business_date is not None:
            terms = replace(terms, business_date=said.day(terms.business_date))
        deducted = acceptance.deducted(request)
        engine, _ = self._tools(terms)
        if said.refused and said.result is not None:
            why = said.result["reason"]
            saga = engine.refuse(terms, Code(why["code"]), why.get("field"), at, deducted)
        else:
            saga = engine.hold(terms, at, at + 1, deducted)
        if (problem := said.differs(saga)) is not None:
            raise SaidOtherwise(
                f"{problem}: it was decided on other terms than the catalogue has now. Run the"
                " coordinator with the programmes of then (UPRP_DEPLOY) until all is read again"
            )
        saga = engine.recall(saga, said, self.now)
        limit = limit_key_of(terms)
        if limit is not None and not saga.ended:
            self._use(limit, terms.worth, read=True)
        self._accept(arrival, None, saga, "recalled", said, points=terms.points)
        self.decision.recalled.append(terms.saga_id)
        self.decision.counts["recalled_sagas"] += 1

    def recall(self, saga: Saga, said: Said) -> None:
        """Bring a saga that survived up to what was said of it."""
        self._recall(saga, said)

    def _answered(self, arrival: Arrival, reply: LegAnswered) -> None:
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        path = reply.leg_id[37:]
        leg = saga.leg(path) if saga is not None else None
        if saga is None or leg is None:
            if arrival.restored:  # Once it is asked for again, it is answered again.
                self.decision.counts["premature_replies"] += 1
                return
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
        if news.event is Event.CONFIRMED and news.amount == leg.asked:
            way = self._way(saga.terms)
            stride = way.confirmed(saga, leg, news.reference, news.detail, self.now)
            if stride is not None:
                ended = stride.saga.told is not None
                told = _told(path, reply, news)
                self._enter(arrival, stride, "answered", told, ended=ended)
                return
        moved = engine.hear(saga, path, news, self.now)
        if moved is Still.PREMATURE and arrival.restored:
            self.decision.counts["premature_replies"] += 1
        elif moved is Still.PREMATURE:
            self._set_aside(arrival, _problem(arrival, "has not been asked for yet"), _REFUSED)
        elif moved is Still.UNFIT:
            self._set_aside(arrival, _problem(arrival, "cannot be used: it was answered"), _REFUSED)
        elif isinstance(moved, Still):
            self.decision.counts["stale_replies"] += 1
        else:
            if news.event is Event.UNUSABLE:
                self.decision.counts["unusable_replies"] += 1
            self._accept(arrival, saga, moved, "answered", **_told(path, reply, news))

    def _timer(self, arrival: Arrival, timer: TimerFired) -> None:
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        if saga is None and arrival.restored:
            self.decision.counts["stale_timers"] += 1
        elif saga is None:
            self._set_aside(arrival, _problem(arrival, "is not a saga", "saga_id"), _REFUSED)
        elif arrival.redelivered:
            self._repeat(arrival, saga)
        elif saga.revision != timer.revision:
            self.decision.counts["stale_timers"] += 1
        else:
            engine, _ = self._tools(saga.terms)
            late = saga.wake_at is not None and saga.wake_at <= self.now
            at = self.now if late else self._rang_at(arrival, engine.due(saga))
            if saga.held and saga.held <= at:
                self._look_at_held(arrival, saga)
                return
            stride = self._way(saga.terms).later(saga, at)
            if stride is not None:
                self._enter(arrival, stride, "timer", {}, ended=False)
                return
            moved = engine.tick(saga, at)
            if not isinstance(moved, Still):
                self._accept(arrival, saga, moved, "timer")
            elif (due := engine.due(saga)) != saga.wake_at:
                # The row's timer stood for an earlier leg: set it right, there is nothing to tell.
                self.sagas[saga.terms.saga_id] = replace(
                    saga, revision=saga.revision + 1, wake_at=due
                )

    def _rang_at(self, arrival: Arrival, due: int | None) -> int:
        """When a timer rang: by the clock of whoever found it due, where that is ahead of ours.

        Otherwise it would ring in vain until our clock is there too. Never later than what was due,
        and from no further ahead than clocks may differ: a record cannot drive a saga on.
        """
        assert arrival.envelope is not None
        if due is None or due <= self.now or due > self.now + CLOCKS_APART_MAX:
            return self.now
        return due if due <= moment_of(arrival.envelope.time).timestamp() * 1000 else self.now

    def _decided(self, arrival: Arrival, told: OperatorDecided) -> None:
        """What a person decided: only as its audited row has it, and only once."""
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        made = self.made.get(told.decision)
        wrong = _differs(told, made)
        if saga is None or made is None or wrong is not None:
            problem = _problem(arrival, wrong or "is about no saga", "decision")
            self._set_aside(arrival, problem, _REFUSED)
        elif arrival.redelivered:
            self._repeat(arrival, saga)
        elif made.settled:
            self.decision.counts["stale_decisions"] += 1
        else:
            self._rule(arrival, saga, made)
            self.made[told.decision] = but(made, settled=True)

    def _rule(self, arrival: Arrival, saga: Saga, made: Audited) -> None:
        engine, _ = self._tools(saga.terms)
        ruling = made.ruling
        key = (saga.terms.key_hash, ruling.number)
        moved = engine.decided(saga, made.leg, ruling, self.now)
        if isinstance(moved, Still):
            why = objection(engine, saga, made.leg, ruling)
            self.decision.changes.settled.append(Settled(key, self.now, why=why))
            self.decision.counts["decisions_refused"] += 1
            return
        self._accept(
            arrival,
            saga,
            moved,
            "decided",
            decision=ruling.number,
            leg=made.leg,
            action=ruling.action,
            amount=ruling.amount,
            reference=ruling.reference,
        )
        settled = Settled(key, self.now, revision=moved.revision)
        self.decision.changes.settled.append(settled)
        self.decision.counts["decisions_applied"] += 1

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
            arrival.saga, result_event_id(arrival.saga, 0), event_id_of(arrival), self.moment
        )
        origin = arrival.route.participant
        key = partition_key(origin, inquiry.account).encode()
        self.decision.outgoing.append(speak.answer(origin, key, envelope, result))

    def _withdrawn(self, arrival: Arrival, request: RedemptionWithdrawn) -> None:
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        if saga is None:
            said = self.said.get(cast("SagaId", arrival.saga))
            at = self.now if said is None else said.withdrawn_at
            self.decision.recalled += [] if said is None else [cast("SagaId", arrival.saga)]
            stone = acceptance.tombstone(request, arrival.route.participant, at)
            self._accept(arrival, None, stone, "withdrawn", said)
        elif arrival.redelivered:
            self._repeat(arrival, saga)
        else:
            engine, _ = self._tools(saga.terms)
            moved = engine.withdraw(saga, self.now)
            if isinstance(moved, Still):
                self._tell_again(arrival, saga)
                return
            self._accept(arrival, saga, moved, "withdrawn")
            if moved.parked and moved.told is saga.told:  # A person is waited for: for how long?
                self._tell_again(arrival, moved)


_HANDLERS: Final[Mapping[type, str]] = {
    RedemptionRequested: "_requested",
    LegAnswered: "_answered",
    TimerFired: "_timer",
    OperatorDecided: "_decided",
    RedemptionInquired: "_inquired",
    RedemptionWithdrawn: "_withdrawn",
}
_REFUSED = Disposition.REFUSED


def _is_other(known: Saga, request: RedemptionRequested) -> bool:
    """Whether a request asks for something else under an id that was used before (I9).

    Any meets a tombstone, but only one deduction is given back for it.
    """
    if known.terms.content:
        return known.terms.content != acceptance.content_digest(request)
    deducted, taken = acceptance.deducted(request), known.leg("deduct")
    if deducted is None or taken is None:
        return False
    return (deducted.reference, deducted.points) != (taken.reference, taken.moved)


def _differs(told: OperatorDecided, made: Audited | None) -> str | None:
    """How a record says something else than its audited row, or comes before its time."""
    if made is None:
        return "is not a decision that anybody made"
    ruling = made.ruling
    said = (told.saga_id, told.leg, told.action, told.amount, told.reference)
    if said != (made.saga_id, made.leg, ruling.action, ruling.amount, ruling.reference):
        return "differs from its audited row"
    if ruling.action in TWO_PERSONS and not made.approved:
        return "was not approved by a second person"
    return None


def _told(path: str, reply: LegAnswered, news: News) -> dict[str, Any]:
    """What the timeline shows of a reply."""
    return {
        "leg": path,
        "outcome": reply.outcome,
        "code": news.code,
        "amount": news.amount or None,
        "reference": news.reference,
    }


def _problem(arrival: Arrival, why: str, field_name: str = "leg_id") -> Unreadable:
    return Unreadable(field_name, why, event_id_of(arrival))
