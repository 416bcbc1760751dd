"""Handles the events of origins: requests, inquiries, withdrawals, and answers to legs. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from orchestrator.admission.gate import Blocked, Gate, legs_needed
from orchestrator.batch import encode
from orchestrator.batch.decode import InboundEvent
from orchestrator.batch.effects import EffectRecorder, event_id_of
from orchestrator.batch.kinds import BoundKind
from orchestrator.engine.instance import Leg, Saga, Terms
from orchestrator.engine.kind import (
    AccountEvent,
    Programmes,
    Refusal,
    SagaRequested,
    content_digest,
)
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import NoChange
from orchestrator.engine.published import PublishedSaga
from orchestrator.errors import PublishedMismatch
from schemas.dead_letters import Disposition
from schemas.envelope import Unreadable
from schemas.ids import SagaId, partition_key, result_event_id
from schemas.reasons import Code


class RequestHandler:
    """Handles the events of origins for all kinds of saga; the rules are in the kind's intake."""

    def __init__(self, recorder: EffectRecorder, programmes: Programmes, gate: Gate) -> None:
        self._recorder = recorder
        self._programmes = programmes
        self._gate = gate
        recorder.result.taken = gate.taken

    def requested(self, bound: BoundKind, arrival: InboundEvent, request: SagaRequested) -> None:
        """Handle a request: begin, hold or refuse a saga, or answer a repeat with its result."""
        recorder = self._recorder
        known = recorder.sagas.get(cast("SagaId", arrival.saga))
        if known is not None:
            self._asked_again(recorder.kinds.of(known.terms), arrival, request, known)
        elif arrival.redelivered and bound.kind.keep_for is not None:
            # It was answered when it first came, and its saga was deleted since.
            recorder.result.counts["stale_requests"] += 1
        else:
            self._begin(bound, arrival, request)

    def _asked_again(
        self, bound: BoundKind, arrival: InboundEvent, request: SagaRequested, known: Saga
    ) -> None:
        """Handle a request whose saga exists: a repeat, or another request under the same id."""
        recorder = self._recorder
        if _is_other(bound, known, request):
            problem = Unreadable(
                "request_id", "was used before for another request", event_id_of(arrival)
            )
            problem.code = Code.DUPLICATE_MISMATCH
            recorder.dead_letter(arrival, problem, Disposition.REFUSED)
        elif arrival.redelivered:
            recorder.resend(arrival, known)
        elif not self._revived(bound, arrival, known, request):
            recorder.result.counts["duplicate_requests"] += 1
            recorder.resend_result(arrival, known)

    def inquired(self, bound: BoundKind, arrival: InboundEvent, inquiry: AccountEvent) -> None:
        """Handle an inquiry: publish the current result again, or that the request is unknown."""
        recorder, saga_id = self._recorder, cast("SagaId", arrival.saga)
        saga = recorder.sagas.get(saga_id)
        # If it is redelivered and there is no result, the request had not arrived the first time.
        if saga is not None and (saga.told is not None or not arrival.redelivered):
            recorder.resend_result(arrival, saga)
            return
        result = bound.kind.intake.not_received(inquiry, saga_id, recorder.moment)
        event_id, answer = result_event_id(saga_id, 0), bound.kind.definition.answer
        envelope = encode.result_envelope(
            answer, saga_id, event_id, event_id_of(arrival), recorder.moment
        )
        origin = arrival.route.participant
        key = partition_key(origin, inquiry.account).encode()
        recorder.result.outgoing.append(encode.answer(origin, key, envelope, result))

    def withdrawn(self, bound: BoundKind, arrival: InboundEvent, request: AccountEvent) -> None:
        """Handle a withdrawal: compensate the saga, or leave a tombstone for a later request."""
        recorder, saga_id = self._recorder, cast("SagaId", arrival.saga)
        saga = recorder.sagas.get(saga_id)
        if saga is None:
            published = recorder.published.get(saga_id)
            at = recorder.now if published is None else published.withdrawn_at
            recorder.result.recalled += [] if published is None else [saga_id]
            tombstone = bound.kind.intake.tombstone(request, arrival.route.participant, at)
            recorder.accept(arrival, None, tombstone, "withdrawn", published)
        elif arrival.redelivered:
            recorder.resend(arrival, saga)
        else:
            moved = recorder.kinds.of(saga.terms).engine.withdraw(saga, recorder.now)
            if isinstance(moved, NoChange):
                recorder.resend_result(arrival, saga)
                return
            recorder.accept(arrival, saga, moved, "withdrawn")
            # A parked saga waits for a person, so the compensation may bring no result for long.
            if moved.parked and moved.told is saga.told:
                recorder.resend_result(arrival, moved)

    def answered(self, bound: BoundKind, arrival: InboundEvent, event: AccountEvent) -> None:
        """Handle the answer of an origin to a leg that a result asked of it."""
        recorder = self._recorder
        saga = recorder.sagas.get(cast("SagaId", arrival.saga))
        answer = bound.kind.intake.answers[type(event)](saga, event) if saga is not None else None
        if saga is None or answer is None:
            if arrival.restored:
                recorder.result.counts["premature_replies"] += 1
                return
            problem = Unreadable("request_id", "waits for no such answer", event_id_of(arrival))
            recorder.dead_letter(arrival, problem, Disposition.REFUSED)
        elif arrival.redelivered:
            recorder.resend(arrival, saga)
        else:
            self._apply_answer(arrival, saga, *answer)

    def _apply_answer(
        self, arrival: InboundEvent, saga: Saga, path: str, update: LegUpdate
    ) -> None:
        recorder = self._recorder
        engine = recorder.kinds.of(saga.terms).engine
        moved = engine.apply_reply(saga, path, update, recorder.now)
        if moved is NoChange.PREMATURE and arrival.restored:
            recorder.result.counts["premature_replies"] += 1
        elif moved is NoChange.PREMATURE:
            problem = Unreadable("request_id", "was not asked yet", event_id_of(arrival))
            recorder.dead_letter(arrival, problem, Disposition.REFUSED)
        elif isinstance(moved, NoChange):
            recorder.result.counts["stale_replies"] += 1
        else:
            recorder.accept(
                arrival, saga, moved, "answered", leg=path, outcome=update.event.upper()
            )

    def look_at_held(self, arrival: InboundEvent, saga: Saga) -> None:
        """Handle the timer of a held saga: start it, hold it longer, or refuse it."""
        recorder = self._recorder
        bound = recorder.kinds.of(saga.terms)
        blocked = self._admit(bound, saga.terms, saga.legs)
        if blocked is None:
            released = bound.engine.release(saga, recorder.now)
            recorder.accept(arrival, saga, released, "released")
        elif blocked.holds(recorder.now, saga.terms):
            # Only the time of the next look changes: no message, and no entry in the timeline.
            held = bound.engine.hold_on(saga, blocked.next_look(recorder.now, saga.terms))
            recorder.sagas[saga.terms.saga_id] = replace(held, wake_at=bound.engine.due(held))
        else:
            code = Code.PARTNER_UNAVAILABLE
            refused = bound.engine.refuse_held(saga, code, recorder.now)
            recorder.accept(arrival, saga, refused, "refused", code=code)

    def _revived(
        self, bound: BoundKind, arrival: InboundEvent, known: Saga, request: SagaRequested
    ) -> bool:
        """Whether a late request met its tombstone and states something that must be undone."""
        if known.terms.content:
            return False
        recorder = self._recorder
        revived = bound.kind.intake.revive(known, request)
        if isinstance(revived, NoChange):
            return False
        published = recorder.published.get(known.terms.saga_id)
        # If the undo was published before the database was lost, it was asked for at that time.
        at = published.began if published is not None and published.legs else recorder.now
        moved = bound.engine.revive(known, revived, at)
        if published is not None:
            moved = bound.engine.recall(moved, published, recorder.now)
        taken = revived.legs[0].moved
        recorder.accept(arrival, known, moved, "requested", published, points=taken)
        return True

    def _begin(self, bound: BoundKind, arrival: InboundEvent, request: SagaRequested) -> None:
        """Begin, hold or refuse the saga of a request that is not known yet."""
        recorder, intake = self._recorder, bound.kind.intake
        if recorder.published:
            published = recorder.published.get(cast("SagaId", arrival.saga))
            if published is not None:
                self._begin_again(bound, arrival, request, published)
                return
        assert arrival.envelope is not None
        now, origin, programmes = recorder.now, arrival.route.participant, self._programmes
        trace = arrival.envelope.traceparent
        limit = intake.limit(request, origin, programmes, now, None)
        used = recorder.used.get(limit, 0) if limit is not None else 0
        terms = intake.draft(request, origin, programmes, now, trace, key=arrival.key, used=used)
        bound = recorder.kinds.of(terms)  # The programme says by which version it is accepted.
        intake = bound.kind.intake
        refusal = intake.refusal(request, terms, programmes, now, used)
        if refusal is not None:
            self._refuse(bound, arrival, request, terms, refusal)
            return
        # The gate comes last: what it lets through counts against the allowances.
        blocked = self._admit(bound, terms, None, request)
        if blocked is not None and not (bound.kind.waits and blocked.holds(now, terms)):
            self._refuse(bound, arrival, request, terms, Refusal(Code.PARTNER_UNAVAILABLE))
            return
        self._reserve(bound, terms)
        if blocked is not None:
            self._hold(bound, arrival, request, terms, blocked)
            return
        step = bound.fast_path.begun(terms, now) if bound.fast_path is not None else None
        detail = intake.detail(terms)
        if step is not None:
            recorder.enter(arrival, step, "requested", detail, ended=False)
            return
        saga = bound.engine.start(terms, intake.legs(terms, request), now)
        recorder.accept(arrival, None, saga, "requested", **detail)

    def _reserve(self, bound: BoundKind, terms: Terms) -> None:
        """Make the account limit count what was accepted (I5)."""
        books = bound.kind.books
        limit = books.limit(terms) if books is not None else None
        if books is not None and limit is not None:
            self._recorder.use(limit, books.reserved(terms), read=True)

    def _refuse(
        self,
        bound: BoundKind,
        arrival: InboundEvent,
        request: SagaRequested,
        terms: Terms,
        refusal: Refusal,
    ) -> None:
        code, field, now = refusal.code, refusal.field, self._recorder.now
        legs = bound.kind.intake.refused_legs(terms, request)
        saga = bound.engine.refuse(terms, legs, code, field, now)
        self._recorder.accept(arrival, None, saga, "refused", code=code, field=field)

    def _hold(
        self,
        bound: BoundKind,
        arrival: InboundEvent,
        request: SagaRequested,
        terms: Terms,
        blocked: Blocked,
    ) -> None:
        intake, now = bound.kind.intake, self._recorder.now
        until = blocked.next_look(now, terms)
        saga = bound.engine.hold(terms, intake.legs(terms, request), now, until)
        detail = {**intake.detail(terms), "participant": blocked.participant, "why": blocked.why}
        self._recorder.accept(arrival, None, saga, "held", **detail)

    def _admit(
        self,
        bound: BoundKind,
        terms: Terms,
        legs: tuple[Leg, ...] | None,
        request: Any = None,
    ) -> Blocked | None:
        """Let the saga through the gate (None), or say which participant cannot take it.

        `legs` are those of a held saga; None: they are made from the request, if they are needed.
        """
        if not self._gate.bounded:
            return None
        if legs is None:
            legs = bound.kind.intake.legs(terms, request)
        definition = bound.kind.definition
        # Readings are no samples of a participant's health, so they are no probes of it either.
        probes = int(any(not definition.changes_nothing(leg.verb) for leg in legs))
        blocked = self._gate.admit(legs_needed(legs, terms, definition), probes)
        if blocked is not None:
            self._recorder.result.counts[f"unavailable_{blocked.why}"] += 1
        return blocked

    def _begin_again(
        self,
        bound: BoundKind,
        arrival: InboundEvent,
        request: SagaRequested,
        published: PublishedSaga,
    ) -> None:
        """Rebuild a saga that was lost with its database, on the terms that it was published with.

        Raises:
            PublishedMismatch: the catalogue of today would make another saga of the request.
        """
        assert arrival.envelope is not None
        recorder, intake = self._recorder, bound.kind.intake
        origin, trace, at = arrival.route.participant, arrival.envelope.traceparent, published.began
        limit = intake.limit(request, origin, self._programmes, recorder.now, published)
        used = recorder.used.get(limit, 0) if limit is not None else 0
        terms = intake.draft(
            request, origin, self._programmes, at, trace, key=arrival.key, used=used
        )
        bound = recorder.kinds.of(terms)
        intake, engine = bound.kind.intake, bound.engine
        terms = intake.restored(terms, published)
        if published.refused(bound.kind.statuses) and published.result is not None:
            why = published.result["reason"]
            legs = intake.refused_legs(terms, request)
            saga = engine.refuse(terms, legs, Code(why["code"]), why.get("field"), at)
        else:
            saga = engine.hold(terms, intake.legs(terms, request), at, at + 1)
        if (problem := published.differs(saga)) is not None:
            raise PublishedMismatch(
                f"{problem}: it was decided on other terms than the catalogue has now. Run the"
                " coordinator with the programmes of then (UPRP_DEPLOY) until all is read again"
            )
        saga = engine.recall(saga, published, recorder.now)
        if not saga.ended:
            self._reserve(bound, terms)
        recorder.accept(arrival, None, saga, "recalled", published, **intake.detail(terms))
        recorder.result.recalled.append(terms.saga_id)
        recorder.result.counts["recalled_sagas"] += 1


def _is_other(bound: BoundKind, known: Saga, request: SagaRequested) -> bool:
    """Whether a request asks for something else than the saga that has its id (I9)."""
    if known.terms.content:
        return known.terms.content != content_digest(request)
    return bound.kind.intake.is_other(known, request)
