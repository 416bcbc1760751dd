"""What origins ask for: redemptions, word of them, and that they be dropped. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol, cast

from orchestrator.admission.gate import Blocked, Gate
from orchestrator.batch import encode
from orchestrator.batch.decode import InboundEvent
from orchestrator.batch.effects import Consequences, Kits, event_id_of, limit_key_of
from orchestrator.catalogue.loader import Catalogue
from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Saga, Terms
from orchestrator.engine.machine import NoChange
from orchestrator.engine.rebuild import PublishedSaga
from orchestrator.errors import PublishedMismatch
from orchestrator.ports import (
    DeadLetterReason,
    DecisionRow,
    LimitKey,
    RecordPosition,
)
from orchestrator.sagas.redemption import acceptance
from orchestrator.sagas.redemption.fast_path import FastPath
from schemas.dead_letters import Disposition
from schemas.envelope import Unreadable
from schemas.ids import SagaId, partition_key, result_event_id
from schemas.reasons import Code, reason
from schemas.requests import RedemptionInquired, RedemptionRequested, RedemptionWithdrawn
from schemas.results import PointsTotal, RedemptionResult, ResultStatus


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
    def ways(self) -> Mapping[tuple[str, int], FastPath]:
        """The straight way of every version."""


class Origins(Consequences):
    """One batch, as far as origins ask."""

    def __init__(
        self,
        rules: Rules,
        sagas: dict[SagaId, Saga],
        used: dict[LimitKey, int],
        now: int,
        said: Mapping[SagaId, PublishedSaga],
    ) -> None:
        super().__init__(rules.kits, rules.group, sagas, used, now, said=said)
        self.catalogue = rules.catalogue
        self.ways = rules.ways
        self.aside: Mapping[RecordPosition, DeadLetterReason] = {}
        self.admit({}, Gate({}))

    def admit(self, made: dict[int, DecisionRow], gate: Gate) -> None:
        """What people decided, and what participants may get that is new."""
        self.made = made
        self.gate = gate
        self.decision.taken = gate.taken

    def _requested(self, arrival: InboundEvent, request: RedemptionRequested) -> None:
        saga_id = arrival.saga
        assert saga_id is not None
        known = self.sagas.get(saga_id)
        if known is None:
            self._begin(arrival, request)
        elif _is_other(known, request):
            problem = Unreadable("request_id", "was used before for a different redemption")
            problem.code, problem.event_id = Code.DUPLICATE_MISMATCH, event_id_of(arrival)
            self._dead_letter(arrival, problem, Disposition.REFUSED)
        elif arrival.redelivered:
            self._resend(arrival, known)
        elif not self._gave_back(arrival, known, request):
            self.decision.counts["duplicate_requests"] += 1
            self._resend_result(arrival, known)

    def _gave_back(self, arrival: InboundEvent, known: Saga, request: RedemptionRequested) -> bool:
        """What an origin took for a request that it had withdrawn before is asked back."""
        deducted = acceptance.deducted(request) if not known.terms.content else None
        if deducted is None:
            return False
        engine, _ = self._kind(known.terms)
        said = self.said.get(known.terms.saga_id)
        # What was asked back before the database was lost was asked back then.
        at = said.began if said is not None and said.legs else self.now
        moved = engine.return_deduction(known, deducted, request.programme, at)
        if isinstance(moved, NoChange):
            return False
        if said is not None:
            moved = engine.recall(moved, said, self.now)
        self._accept(arrival, known, moved, "requested", said, points=deducted.points)
        return True

    def _begin(self, arrival: InboundEvent, request: RedemptionRequested) -> None:
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
        engine, _ = self._kind(terms)
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
        transition = self._way(terms).begun(terms, self.now)
        if transition is not None:
            self._enter(arrival, transition, "requested", {"points": terms.points}, ended=False)
            return
        saga = engine.start(terms, self.now, deducted)
        self._accept(arrival, None, saga, "requested", points=terms.points)

    def _way(self, terms: Terms) -> FastPath:
        return self.ways[terms.definition, terms.definition_version]

    def _objection(self, engine: Engine, terms: Terms) -> Blocked | None:
        objection = self.gate.admit(terms, engine.definition)
        if objection is not None:
            self.decision.counts[f"unavailable_{objection.why}"] += 1
        return objection

    def _look_at_held(self, arrival: InboundEvent, saga: Saga) -> None:
        """A held saga begins, waits on, or has waited long enough."""
        engine, _ = self._kind(saga.terms)
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

    def _begin_again(
        self, arrival: InboundEvent, request: RedemptionRequested, said: PublishedSaga
    ) -> None:
        """A saga that was lost with its database: on the terms on which it spoke then."""
        programme = self.catalogue.programmes.get(request.programme)
        assert arrival.envelope is not None
        origin, trace, at = arrival.route.participant, arrival.envelope.traceparent, said.began
        terms = acceptance.draft(request, origin, programme, at, trace)
        if terms.business_date is not None:
            terms = replace(terms, business_date=said.day(terms.business_date))
        deducted = acceptance.deducted(request)
        engine, _ = self._kind(terms)
        if said.refused and said.result is not None:
            why = said.result["reason"]
            saga = engine.refuse(terms, Code(why["code"]), why.get("field"), at, deducted)
        else:
            saga = engine.hold(terms, at, at + 1, deducted)
        if (problem := said.differs(saga)) is not None:
            raise PublishedMismatch(
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

    def recall(self, saga: Saga, said: PublishedSaga) -> None:
        """Bring a saga that survived up to what was said of it."""
        self._recall(saga, said)

    def _inquired(self, arrival: InboundEvent, inquiry: RedemptionInquired) -> None:
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        # Redelivered and nothing told: when it first came, the request had not.
        if saga is not None and (saga.told is not None or not arrival.redelivered):
            self._resend_result(arrival, saga)
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
        envelope = encode.result_envelope(
            arrival.saga, result_event_id(arrival.saga, 0), event_id_of(arrival), self.moment
        )
        origin = arrival.route.participant
        key = partition_key(origin, inquiry.account).encode()
        self.decision.outgoing.append(encode.answer(origin, key, envelope, result))

    def _withdrawn(self, arrival: InboundEvent, request: RedemptionWithdrawn) -> None:
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        if saga is None:
            said = self.said.get(cast("SagaId", arrival.saga))
            at = self.now if said is None else said.withdrawn_at
            self.decision.recalled += [] if said is None else [cast("SagaId", arrival.saga)]
            stone = acceptance.tombstone(request, arrival.route.participant, at)
            self._accept(arrival, None, stone, "withdrawn", said)
        elif arrival.redelivered:
            self._resend(arrival, saga)
        else:
            engine, _ = self._kind(saga.terms)
            moved = engine.withdraw(saga, self.now)
            if isinstance(moved, NoChange):
                self._resend_result(arrival, saga)
                return
            self._accept(arrival, saga, moved, "withdrawn")
            if moved.parked and moved.told is saga.told:  # A person is waited for: for how long?
                self._resend_result(arrival, moved)


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
