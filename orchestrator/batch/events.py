"""What each event of a batch means for its saga: accepted, repeated, refused or set aside. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from orchestrator.batch.decode import Arrival
from orchestrator.batch.effects import event_id_of, place_of
from orchestrator.batch.requests import Origins
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.ladder import News
from orchestrator.engine.machine import READINGS, Event, Still
from orchestrator.engine.operator import TWO_PERSONS
from orchestrator.engine.operator_errors import objection
from orchestrator.ports import (
    Audited,
    Settled,
)
from orchestrator.sagas.messages import read_reply
from schemas.base import Heard
from schemas.dead_letters import Disposition
from schemas.decisions import OperatorDecided
from schemas.envelope import Unreadable
from schemas.events import Channel
from schemas.frozen import but
from schemas.reasons import Code
from schemas.replies import LegAnswered
from schemas.requests import RedemptionInquired, RedemptionRequested, RedemptionWithdrawn
from schemas.results import TimerFired
from schemas.values import moment_of

CLOCKS_APART_MAX: Final = 60_000
"""How far the clocks of two of our processes may differ, in milliseconds."""


class Batch(Origins):
    """One batch: what each event means."""

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
        mere_reading = getattr(self, _HANDLERS[type(event)])(arrival, event)
        if not mere_reading and arrival.saga is not None:
            self.decision.leant.add(arrival.saga)

    def _answered(self, arrival: Arrival, reply: LegAnswered) -> bool:
        """Whether it says as little of a saga that somebody else has moved meanwhile."""
        saga = self.sagas.get(arrival.saga) if arrival.saga else None
        path = reply.leg_id[37:]
        leg = saga.leg(path) if saga is not None else None
        if saga is None or leg is None:
            if arrival.restored:  # Once it is asked for again, it is answered again.
                self.decision.counts["premature_replies"] += 1
                return False
            self._set_aside(arrival, _problem(arrival, "is not a leg that was asked for"), _REFUSED)
            return False
        _, words = self._tools(saga.terms)
        message_owner = words.owner(saga, leg)
        if message_owner != arrival.route.participant:
            why = f"belongs to {message_owner!r}, not to this topic's owner"
            self._set_aside(arrival, _problem(arrival, why), _REFUSED)
            return False
        if arrival.redelivered:
            self._repeat(arrival, saga)
            return False
        news = read_reply(saga, leg, reply)
        moved = self._heard(arrival, saga, leg, reply, news)
        return moved is Still.STALE and news.event in READINGS

    def _heard(
        self, arrival: Arrival, saga: Saga, leg: Leg, reply: LegAnswered, news: News
    ) -> Saga | Still:
        engine, _ = self._tools(saga.terms)
        path = leg.path
        if news.event is Event.CONFIRMED and news.amount == leg.asked:
            way = self._way(saga.terms)
            stride = way.confirmed(saga, leg, news.reference, news.detail, self.now)
            if stride is not None:
                ended = stride.saga.told is not None
                told = _told(path, reply, news)
                self._enter(arrival, stride, "answered", told, ended=ended)
                return stride.saga
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
        return moved

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
            late = saga.wake_at is not None and saga.wake_at <= self.now
            self._rang(arrival, saga, self.now if late else self._rang_at(arrival, saga))

    def _rang(self, arrival: Arrival, saga: Saga, at: int) -> None:
        if saga.held and saga.held <= at:
            self._look_at_held(arrival, saga)
            return
        stride = self._way(saga.terms).later(saga, at)
        if stride is not None:
            self._enter(arrival, stride, "timer", {}, ended=False)
            return
        engine, _ = self._tools(saga.terms)
        moved = engine.tick(saga, at)
        if not isinstance(moved, Still):
            self._accept(arrival, saga, moved, "timer")
        elif (due := engine.due(saga)) != saga.wake_at:
            # The row's timer stood for an earlier leg: set it right, there is nothing to tell.
            self.sagas[saga.terms.saga_id] = replace(saga, revision=saga.revision + 1, wake_at=due)

    def _rang_at(self, arrival: Arrival, saga: Saga) -> int:
        """When a timer rang: by the clock of whoever found it due, where that is ahead of ours.

        Otherwise it would ring in vain until our clock is there too. Never later than what was due,
        and from no further ahead than clocks may differ: a record cannot drive a saga on.
        """
        assert arrival.envelope is not None
        engine, _ = self._tools(saga.terms)
        due = engine.due(saga)
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


_HANDLERS: Final[Mapping[type, str]] = {
    RedemptionRequested: "_requested",
    LegAnswered: "_answered",
    TimerFired: "_timer",
    OperatorDecided: "_decided",
    RedemptionInquired: "_inquired",
    RedemptionWithdrawn: "_withdrawn",
}
_REFUSED = Disposition.REFUSED


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
