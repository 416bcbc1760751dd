"""What each event of a batch means for its saga: accepted, repeated, refused or set aside. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from orchestrator.batch.decode import InboundEvent
from orchestrator.batch.effects import event_id_of, place_of
from orchestrator.batch.requests import Origins
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import READINGS, Event, NoChange
from orchestrator.engine.operator import TWO_PERSONS
from orchestrator.engine.operator_errors import why_refused
from orchestrator.ports import (
    DecisionOutcome,
    DecisionRow,
)
from orchestrator.sagas.redemption.messages import read_reply
from schemas.base import Inbound
from schemas.dead_letters import Disposition
from schemas.decisions import OperatorDecided
from schemas.envelope import Unreadable
from schemas.events import Channel
from schemas.frozen import replaced
from schemas.reasons import Code
from schemas.replies import LegAnswered
from schemas.requests import RedemptionInquired, RedemptionRequested, RedemptionWithdrawn
from schemas.results import TimerFired
from schemas.values import moment_of

CLOCKS_APART_MAX: Final = 60_000
"""How far the clocks of two of our processes may differ, in milliseconds."""


class Batch(Origins):
    """One batch: what each event means."""

    def apply(self, arrival: InboundEvent) -> None:
        """Take what one record says of a saga."""
        if not arrival.redelivered:
            self.decision.new_records += 1
        if arrival.problem is not None:
            self._dead_letter(arrival, arrival.problem, Disposition.POISON)
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
            self._dead_letter(arrival, problem, Disposition(why.disposition))
            return
        if arrival.route.channel is not Channel.INTERNAL and cast("Inbound", event).has_unknown():
            self.decision.counts["unknown_fields"] += 1
        # By exact type rather than by match: isinstance is dear on pydantic's metaclass. By name
        # rather than by bound method: those would make every batch a cycle that waits for the
        # garbage collector with all that it holds.
        mere_reading = getattr(self, _HANDLERS[type(event)])(arrival, event)
        if not mere_reading and arrival.saga is not None:
            self.decision.revision_sensitive.add(arrival.saga)

    def _answered(self, arrival: InboundEvent, reply: LegAnswered) -> bool:
        """Whether it says as little of a saga that somebody else has moved meanwhile."""
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        path = reply.leg_id[37:]
        leg = saga.leg(path) if saga is not None else None
        if saga is None or leg is None:
            if arrival.restored:  # Once it is asked for again, it is answered again.
                self.decision.counts["premature_replies"] += 1
                return False
            self._dead_letter(
                arrival, _problem(arrival, "is not a leg that was asked for"), _REFUSED
            )
            return False
        _, words = self._kind(saga.terms)
        message_owner = words.owner(saga, leg)
        if message_owner != arrival.route.participant:
            why = f"belongs to {message_owner!r}, not to this topic's owner"
            self._dead_letter(arrival, _problem(arrival, why), _REFUSED)
            return False
        if arrival.redelivered:
            self._resend(arrival, saga)
            return False
        update = read_reply(saga, leg, reply)
        moved = self._heard(arrival, saga, leg, reply, update)
        return moved is NoChange.STALE and update.event in READINGS

    def _heard(
        self, arrival: InboundEvent, saga: Saga, leg: Leg, reply: LegAnswered, update: LegUpdate
    ) -> Saga | NoChange:
        engine, _ = self._kind(saga.terms)
        path = leg.path
        if update.event is Event.CONFIRMED and update.amount == leg.asked:
            way = self._way(saga.terms)
            transition = way.confirmed(saga, leg, update.reference, update.detail, self.now)
            if transition is not None:
                ended = transition.saga.told is not None
                told = _told(path, reply, update)
                self._enter(arrival, transition, "answered", told, ended=ended)
                return transition.saga
        moved = engine.apply_reply(saga, path, update, self.now)
        if moved is NoChange.PREMATURE and arrival.restored:
            self.decision.counts["premature_replies"] += 1
        elif moved is NoChange.PREMATURE:
            self._dead_letter(arrival, _problem(arrival, "has not been asked for yet"), _REFUSED)
        elif moved is NoChange.UNFIT:
            self._dead_letter(
                arrival, _problem(arrival, "cannot be used: it was answered"), _REFUSED
            )
        elif isinstance(moved, NoChange):
            self.decision.counts["stale_replies"] += 1
        else:
            if update.event is Event.UNUSABLE:
                self.decision.counts["unusable_replies"] += 1
            self._accept(arrival, saga, moved, "answered", **_told(path, reply, update))
        return moved

    def _timer(self, arrival: InboundEvent, timer: TimerFired) -> None:
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        if saga is None and arrival.restored:
            self.decision.counts["stale_timers"] += 1
        elif saga is None:
            self._dead_letter(arrival, _problem(arrival, "is not a saga", "saga_id"), _REFUSED)
        elif arrival.redelivered:
            self._resend(arrival, saga)
        elif saga.revision != timer.revision:
            self.decision.counts["stale_timers"] += 1
        else:
            late = saga.wake_at is not None and saga.wake_at <= self.now
            self._rang(arrival, saga, self.now if late else self._rang_at(arrival, saga))

    def _rang(self, arrival: InboundEvent, saga: Saga, at: int) -> None:
        if saga.held and saga.held <= at:
            self._look_at_held(arrival, saga)
            return
        transition = self._way(saga.terms).waiting(saga, at)
        if transition is not None:
            self._enter(arrival, transition, "timer", {}, ended=False)
            return
        engine, _ = self._kind(saga.terms)
        moved = engine.apply_timer(saga, at)
        if not isinstance(moved, NoChange):
            self._accept(arrival, saga, moved, "timer")
        elif (due := engine.due(saga)) != saga.wake_at:
            # The row's timer stood for an earlier leg: set it right, there is nothing to tell.
            self.sagas[saga.terms.saga_id] = replace(saga, revision=saga.revision + 1, wake_at=due)

    def _rang_at(self, arrival: InboundEvent, saga: Saga) -> int:
        """When a timer rang: by the clock of whoever found it due, where that is ahead of ours.

        Otherwise it would ring in vain until our clock is there too. Never later than what was due,
        and from no further ahead than clocks may differ: a record cannot drive a saga on.
        """
        assert arrival.envelope is not None
        engine, _ = self._kind(saga.terms)
        due = engine.due(saga)
        if due is None or due <= self.now or due > self.now + CLOCKS_APART_MAX:
            return self.now
        return due if due <= moment_of(arrival.envelope.time).timestamp() * 1000 else self.now

    def _decided(self, arrival: InboundEvent, told: OperatorDecided) -> None:
        """What a person decided: only as its audited row has it, and only once."""
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        made = self.made.get(told.decision)
        wrong = _differs(told, made)
        if saga is None or made is None or wrong is not None:
            problem = _problem(arrival, wrong or "is about no saga", "decision")
            self._dead_letter(arrival, problem, _REFUSED)
        elif arrival.redelivered:
            self._resend(arrival, saga)
        elif made.settled:
            self.decision.counts["stale_decisions"] += 1
        else:
            self._rule(arrival, saga, made)
            self.made[told.decision] = replaced(made, settled=True)

    def _rule(self, arrival: InboundEvent, saga: Saga, made: DecisionRow) -> None:
        engine, _ = self._kind(saga.terms)
        ruling = made.ruling
        key = (saga.terms.key_hash, ruling.number)
        moved = engine.apply_decision(saga, made.leg, ruling, self.now)
        if isinstance(moved, NoChange):
            why = why_refused(engine, saga, made.leg, ruling)
            self.decision.changes.settled.append(DecisionOutcome(key, self.now, why=why))
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
        settled = DecisionOutcome(key, self.now, revision=moved.revision)
        self.decision.changes.settled.append(settled)
        self.decision.counts["decisions_applied"] += 1


_HANDLERS: Final[Mapping[type, str]] = {
    RedemptionRequested: "_requested",
    LegAnswered: "_answered",
    TimerFired: "_timer",
    OperatorDecided: "_decided",
    RedemptionInquired: "_inquired",
    RedemptionWithdrawn: "_withdrawn",
}
_REFUSED = Disposition.REFUSED


def _differs(told: OperatorDecided, made: DecisionRow | None) -> str | None:
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


def _told(path: str, reply: LegAnswered, update: LegUpdate) -> dict[str, Any]:
    """What the timeline shows of a reply."""
    return {
        "leg": path,
        "outcome": reply.outcome,
        "code": update.code,
        "amount": update.amount or None,
        "reference": update.reference,
    }


def _problem(arrival: InboundEvent, why: str, field_name: str = "leg_id") -> Unreadable:
    return Unreadable(field_name, why, event_id_of(arrival))
