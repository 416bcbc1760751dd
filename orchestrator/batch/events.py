"""Applies the events of a batch to their sagas. Pure.

Each event is accepted, answered as a repeat, ignored as stale, or made a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, cast

from orchestrator.admission.gate import Gate
from orchestrator.batch.decode import InboundEvent
from orchestrator.batch.effects import EffectRecorder, event_id_of, position_of
from orchestrator.batch.kinds import BoundKind, BoundKinds
from orchestrator.batch.requests import RequestHandler
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.kind import AccountEvent, Programmes
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import READINGS, Event, NoChange
from orchestrator.engine.operator import TWO_PERSONS
from orchestrator.engine.operator_errors import why_refused
from orchestrator.ports import DeadLetterReason, DecisionOutcome, DecisionRow, RecordPosition
from schemas.base import Inbound
from schemas.dead_letters import Disposition
from schemas.decisions import OperatorDecided
from schemas.envelope import Unreadable
from schemas.events import Channel
from schemas.frozen import replaced
from schemas.ids import split_leg_id
from schemas.reasons import Code
from schemas.replies import LegAnswered
from schemas.results import TimerFired
from schemas.values import moment_of

CLOCKS_APART_MAX: Final = 60_000
"""How far the clocks of two processes of the platform may differ, in milliseconds."""

Handler = Callable[["BatchProcessor", InboundEvent, Any], bool]
"""Applies an event; True if the event is inconclusive whatever the revision of its saga is."""
_NO_DECISIONS: Final[Mapping[int, DecisionRow]] = MappingProxyType({})
_NO_LETTERS: Final[Mapping[RecordPosition, DeadLetterReason]] = MappingProxyType({})


class BatchProcessor:
    """Applies the events of one batch, in the order in which they are given."""

    def __init__(
        self,
        recorder: EffectRecorder,
        handlers: Mapping[type, Handler],
        programmes: Programmes,
        *,
        made: Mapping[int, DecisionRow] = _NO_DECISIONS,
        gate: Gate | None = None,
        aside: Mapping[RecordPosition, DeadLetterReason] = _NO_LETTERS,
    ) -> None:
        """Begin a batch.

        Args:
            recorder: records the effects.
            handlers: the handler of each type of event (`handlers_of`).
            programmes: the programmes on offer.
            made: the audited rows of the decisions that the batch names, by number.
            gate: decides which new sagas may begin; None: all.
            aside: why redelivered records became dead letters when they first came.
        """
        self.recorder = recorder
        self.requests = RequestHandler(recorder, programmes, gate or Gate({}))
        self._handlers = handlers
        self._made = dict(made)
        self._aside = aside

    def apply(self, arrival: InboundEvent) -> None:
        """Apply one event to its saga."""
        recorder, event = self.recorder, arrival.event
        if not arrival.redelivered:
            recorder.result.new_records += 1
        if arrival.problem is not None:
            recorder.dead_letter(arrival, arrival.problem, Disposition.POISON)
            return
        if event is None or (arrival.redelivered and self._was_set_aside(arrival)):
            return
        if arrival.route.channel is not Channel.INTERNAL and cast("Inbound", event).has_unknown():
            recorder.result.counts["unknown_fields"] += 1
        # By exact type rather than by match: isinstance is slow on pydantic's classes.
        inconclusive = self._handlers[type(event)](self, arrival, event)
        if not inconclusive and arrival.saga is not None:
            recorder.result.revision_sensitive.add(arrival.saga)

    def _was_set_aside(self, arrival: InboundEvent) -> bool:
        """Whether the record became a dead letter when it first came; if so, it is published again.

        A record of timers is not asked about: one of its timers may be a dead letter, while the
        others were applied.
        """
        why = self._aside.get(position_of(arrival))
        if why is None or type(arrival.event) is TimerFired:
            return False
        problem = Unreadable(why.field, why.message, event_id_of(arrival))
        problem.code = Code(why.error_class)
        self.recorder.dead_letter(arrival, problem, Disposition(why.disposition))
        return True

    # -- replies --------------------------------------------------------------------------------

    def answered(self, arrival: InboundEvent, reply: LegAnswered) -> bool:
        """Apply a reply; True if it is inconclusive whatever the revision of its saga is."""
        recorder = self.recorder
        saga = recorder.sagas.get(arrival.saga) if arrival.saga else None
        _, path = split_leg_id(reply.leg_id)
        leg = saga.leg(path) if saga is not None else None
        if saga is None or leg is None:
            self._answer_to_nothing(arrival, saga, path)
            return False
        bound = recorder.kinds.of(saga.terms)
        owner = bound.messages.owner(saga, leg)
        if owner != arrival.route.participant:
            self._refuse(arrival, f"belongs to {owner!r}, not to this topic's owner")
            return False
        if bound.kind.definition.verb(leg.verb).command is None:
            self._refuse(arrival, "is answered by an event of its own, not by a reply")
            return False
        if arrival.redelivered:
            recorder.resend(arrival, saga)
            return False
        return self._apply_reply(bound, arrival, saga, leg, reply)

    def _answer_to_nothing(self, arrival: InboundEvent, saga: Saga | None, path: str) -> None:
        """Handle a reply about a leg that does not exist, or does not exist any more."""
        counts = self.recorder.result.counts
        if arrival.restored:  # The leg will be asked for once more, and then answered once more.
            counts["premature_replies"] += 1
        elif saga is None and self.recorder.kinds.forgets(path):
            counts["stale_replies"] += 1
        else:
            self._refuse(arrival, "is not a leg that was asked for")

    def _apply_reply(
        self, bound: BoundKind, arrival: InboundEvent, saga: Saga, leg: Leg, reply: LegAnswered
    ) -> bool:
        recorder, path = self.recorder, leg.path
        update = bound.kind.wording.read_reply(saga, leg, reply)
        if (
            update.event is Event.CONFIRMED
            and update.amount == leg.asked
            and bound.fast_path is not None
        ):
            now, detail = recorder.now, update.detail
            step = bound.fast_path.confirmed(saga, leg, update.reference, detail, now)
            if step is not None:
                shown = _shown(path, reply, update)
                recorder.enter(arrival, step, "answered", shown, ended=step.saga.told is not None)
                return False
        moved = bound.engine.apply_reply(saga, path, update, recorder.now)
        counts = recorder.result.counts
        if moved is NoChange.PREMATURE and arrival.restored:
            counts["premature_replies"] += 1
        elif moved is NoChange.PREMATURE:
            self._refuse(arrival, "has not been asked for yet")
        elif moved is NoChange.UNFIT:
            self._refuse(arrival, "cannot be used: it was answered")
        elif isinstance(moved, NoChange):
            counts["stale_replies"] += 1
        else:
            counts["unusable_replies"] += update.event is Event.UNUSABLE
            recorder.accept(arrival, saga, moved, "answered", **_shown(path, reply, update))
        return moved is NoChange.STALE and update.event in READINGS

    def _refuse(self, arrival: InboundEvent, why: str, field: str = "leg_id") -> None:
        """Make a record a dead letter that can be read and must not be acted upon."""
        problem = Unreadable(field, why, event_id_of(arrival))
        self.recorder.dead_letter(arrival, problem, Disposition.REFUSED)

    # -- timers ---------------------------------------------------------------------------------

    def timer(self, arrival: InboundEvent, timer: TimerFired) -> bool:
        """Apply a fired timer; never inconclusive, since it depends on the saga's revision."""
        recorder = self.recorder
        saga = recorder.sagas.get(arrival.saga) if arrival.saga else None
        if saga is None and (arrival.restored or timer.ended):
            recorder.result.counts["stale_timers"] += 1
        elif saga is None:
            self._refuse(arrival, "is not a saga", "saga_id")
        elif arrival.redelivered:
            recorder.resend(arrival, saga)
        elif saga.revision != timer.revision:
            recorder.result.counts["stale_timers"] += 1
        else:
            late = saga.wake_at is not None and saga.wake_at <= recorder.now
            self._fired(arrival, saga, recorder.now if late else self._fired_at(arrival, saga))
        return False

    def _fired(self, arrival: InboundEvent, saga: Saga, at: int) -> None:
        """Do what is due for a saga at `at`, in milliseconds."""
        recorder = self.recorder
        if saga.held and saga.held <= at:
            self.requests.look_at_held(arrival, saga)
            return
        bound = recorder.kinds.of(saga.terms)
        if bound.kind.keep_for is not None and saga.ended:
            recorder.forget(saga)
            return
        step = bound.fast_path.waiting(saga, at) if bound.fast_path is not None else None
        if step is not None:
            recorder.enter(arrival, step, "timer", {}, ended=False)
            return
        moved = bound.engine.apply_timer(saga, at)
        if not isinstance(moved, NoChange):
            recorder.accept(arrival, saga, moved, "timer")
        elif (due := bound.engine.due(saga)) != saga.wake_at:
            # The row's timer was left from an earlier leg. Set it anew; nothing else has happened.
            recorder.sagas[saga.terms.saga_id] = replace(
                saga, revision=saga.revision + 1, wake_at=due
            )

    def _fired_at(self, arrival: InboundEvent, saga: Saga) -> int:
        """The time at which a timer fired, if by this process's clock it is not due yet.

        The clock of the process that found it due may be ahead of this one's. Then the time at
        which the saga is due is taken, as the timer would fire for nothing until this clock has
        caught up. That time may not be further ahead than clocks may differ, so no record can make
        a saga act too early.
        """
        assert arrival.envelope is not None
        now = self.recorder.now
        due = self.recorder.kinds.of(saga.terms).engine.due(saga)
        if due is None or due <= now or due > now + CLOCKS_APART_MAX:
            return now
        return due if due <= moment_of(arrival.envelope.time).timestamp() * 1000 else now

    # -- decisions of people ----------------------------------------------------------------------

    def decided(self, arrival: InboundEvent, event: OperatorDecided) -> bool:
        """Apply a decision of a person: only if its audited row says the same, and only once."""
        recorder = self.recorder
        saga = recorder.sagas.get(arrival.saga) if arrival.saga else None
        made = self._made.get(event.decision)
        wrong = _differs(event, made)
        if saga is None or made is None or wrong is not None:
            self._refuse(arrival, wrong or "is about no saga", "decision")
        elif arrival.redelivered:
            recorder.resend(arrival, saga)
        elif made.settled:
            recorder.result.counts["stale_decisions"] += 1
        else:
            self._apply_decision(arrival, saga, made)
            self._made[event.decision] = replaced(made, settled=True)
        return False

    def _apply_decision(self, arrival: InboundEvent, saga: Saga, made: DecisionRow) -> None:
        recorder, decision = self.recorder, made.ruling
        engine = recorder.kinds.of(saga.terms).engine
        key = (saga.terms.key_hash, decision.number)
        moved = engine.apply_decision(saga, made.leg, decision, recorder.now)
        settled = recorder.result.changes.settled
        if isinstance(moved, NoChange):
            why = why_refused(engine, saga, made.leg, decision)
            settled.append(DecisionOutcome(key, recorder.now, why=why))
            recorder.result.counts["decisions_refused"] += 1
            return
        recorder.accept(
            arrival,
            saga,
            moved,
            "decided",
            decision=decision.number,
            leg=made.leg,
            action=decision.action,
            amount=decision.amount,
            reference=decision.reference,
        )
        settled.append(DecisionOutcome(key, recorder.now, revision=moved.revision))
        recorder.result.counts["decisions_applied"] += 1


# -- the handler of each type of event ------------------------------------------------------------


def handlers_of(kinds: BoundKinds) -> Mapping[type, Handler]:
    """The handler of each type of event: those that all kinds share, and those of each kind."""
    handlers: dict[type, Handler] = {
        LegAnswered: BatchProcessor.answered,
        TimerFired: BatchProcessor.timer,
        OperatorDecided: BatchProcessor.decided,
    }
    for bound in kinds.by_request.values():  # An older version's event types are the same.
        intake = bound.kind.intake
        handlers[intake.requested] = _of_origin(RequestHandler.requested, bound)
        if intake.inquired is not None:
            handlers[intake.inquired] = _of_origin(RequestHandler.inquired, bound)
        if intake.withdrawn is not None:
            handlers[intake.withdrawn] = _of_origin(RequestHandler.withdrawn, bound)
        for event in intake.answers:
            handlers[event] = _of_origin(RequestHandler.answered, bound)
    return handlers


def _of_origin(
    apply: Callable[[RequestHandler, BoundKind, InboundEvent, Any], None], bound: BoundKind
) -> Handler:
    """The handler of an event of an origin, which is about a saga of that kind."""

    def handle(batch: BatchProcessor, arrival: InboundEvent, event: AccountEvent) -> bool:
        apply(batch.requests, bound, arrival, event)
        return False

    return handle


def _differs(event: OperatorDecided, made: DecisionRow | None) -> str | None:
    """Why a record of a decision must not be acted upon; None: its audited row says the same."""
    if made is None:
        return "is not a decision that anybody made"
    decision = made.ruling
    stated = (event.saga_id, event.leg, event.action, event.amount, event.reference)
    if stated != (made.saga_id, made.leg, decision.action, decision.amount, decision.reference):
        return "differs from its audited row"
    if decision.action in TWO_PERSONS and not made.approved:
        return "was not approved by a second person"
    return None


def _shown(path: str, reply: LegAnswered, update: LegUpdate) -> dict[str, Any]:
    """What the timeline shows about a reply."""
    return {
        "leg": path,
        "outcome": reply.outcome,
        "code": update.code,
        "amount": update.amount or None,
        "reference": update.reference,
    }
