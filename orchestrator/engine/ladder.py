"""One leg and its ladder: what an event makes of the leg, and when its timer fires next. Pure.

All times are in milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from orchestrator.engine.instance import Leg
from orchestrator.engine.machine import IN_FLIGHT, Event, Status
from orchestrator.engine.policy import LegPolicy, Rung
from schemas.frozen import keyed, replaced, value
from schemas.reasons import Code


@keyed
class LegUpdate:
    """What a reply, a timer or a person says about one leg."""

    event: Event
    amount: int = 0  # Points or pieces, with CONFIRMED and DONE.
    reference: str | None = None  # The participant's own.
    code: str | None = None  # The reason code.
    detail: Mapping[str, Any] | None = None  # What the kind keeps of the reply.


def sent(leg: Leg, policy: LegPolicy, now: int) -> Leg:
    """The leg with its command sent for the first time."""
    return Leg(
        leg.path,
        leg.asked,
        Status.SENT,
        attempt=1,
        sent_at=now,
        said_at=now,
        due=now + policy.response_timeout,
        expires_at=now + policy.expires_after,
    )


def timeout_event(leg: Leg, policy: LegPolicy, now: int) -> Event:
    """The event that the due timer of a leg in flight means."""
    if leg.status is Status.PENDING:
        overdue = policy.overdue(leg.inquiries - leg.pending_from, leg.since, now)
        return Event.EXHAUSTED if overdue else Event.TIMED_OUT
    may_cancel = policy.cancel and now < policy.cancel_until.moment(leg.sent_at)
    if leg.status is Status.CANCELLING:
        return Event.TIMED_OUT if may_cancel else Event.EXHAUSTED
    if not policy.exhausted(leg.rungs):
        return Event.TIMED_OUT
    return Event.GAVE_UP if may_cancel else Event.EXHAUSTED


@value
class TransitionContext:
    """What a transition of a leg depends on beside the leg: the time, its policy, its saga."""

    now: int
    policy: LegPolicy
    saga_id: str


def transitioned(leg: Leg, to: Status, update: LegUpdate, at: TransitionContext) -> Leg:
    """The leg in status `to`, with the timer that this status needs."""
    if to is Status.CONFIRMED:
        return replaced(
            leg,
            status=to,
            moved=update.amount,
            reference=update.reference,
            detail=update.detail,
            code=None,
            due=None,
            escalated_at=0,
        )
    move = _MOVES.get(to)
    if move is not None:
        return move(leg, update, at)
    code = Code.NO_ANSWER if to is Status.CANCELLED else update.code or leg.code or Code.TIMEOUT
    return replaced(leg, status=to, code=code, due=None, escalated_at=0)


def _rung(leg: Leg, update: LegUpdate, at: TransitionContext) -> Leg:
    """The leg on its next rung: an inquiry, the command once more, or only a longer wait."""
    policy, now = at.policy, at.now
    rungs = 0 if update.event is Event.AGAIN else leg.rungs
    rung = policy.rungs[rungs % len(policy.rungs)] if policy.rungs else None
    return _waiting_on(
        leg,
        Status.UNKNOWN,
        rung,
        now,
        due=now + policy.every,
        code=update.code or leg.code,
        rungs=rungs + 1,
        since=leg.since,
        pending_from=leg.pending_from,
    )


def _pending(leg: Leg, _update: LegUpdate, at: TransitionContext) -> Leg:
    """The leg pending: with the first rung of the pending ladder, or with its next."""
    policy, now = at.policy, at.now
    again = leg.status is Status.PENDING
    rung = None
    if again and policy.rungs:
        rung = Rung.INQUIRE if Rung.INQUIRE in policy.rungs else Rung.RESEND
    since = leg.since if again else now
    due = now + policy.pending_every
    if policy.pending_until is not None and policy.pending_until.moment(since) > now:
        due = min(due, policy.pending_until.moment(since))
    return _waiting_on(
        leg,
        Status.PENDING,
        rung,
        now,
        due=due,
        code=leg.code,
        rungs=leg.rungs,
        since=since,
        pending_from=leg.pending_from if again else leg.inquiries,
    )


def _waiting_on(
    leg: Leg,
    status: Status,
    rung: Rung | None,
    now: int,
    *,
    due: int,
    code: str | None,
    rungs: int,
    since: int,
    pending_from: int,
) -> Leg:
    """The leg in a status that waits, after the rung: inquired about, resent, or neither (None).

    Built field by field, since thousands of waiting legs may pass here in a second.
    """
    inquires = rung is Rung.INQUIRE
    return Leg(
        leg.path,
        leg.asked,
        status,
        leg.attempt + (rung is Rung.RESEND),
        leg.inquiries + inquires,
        leg.sent_at,
        now if inquires else leg.said_at,
        due,
        leg.moved,
        leg.reference,
        code,
        leg.detail,
        leg.expires_at,
        rungs,
        since,
        pending_from,
        leg.cancels,
        leg.escalated_at,
        leg.first,
        leg.claim,
        leg.decision,
    )


def _cancelling(leg: Leg, _update: LegUpdate, at: TransitionContext) -> Leg:
    """The leg with its next cancel sent."""
    policy, now = at.policy, at.now
    cancels = leg.cancels + 1
    pause = policy.cancel_pause(f"{at.saga_id}/{leg.path}", cancels)
    end = policy.cancel_until.moment(leg.sent_at)
    return replaced(
        leg,
        status=Status.CANCELLING,
        cancels=cancels,
        since=leg.since if leg.cancels else now,
        said_at=now,
        due=min(now + pause, end) if end > now else now + pause,
        code=leg.code or Code.TIMEOUT,
    )


def _disputed(leg: Leg, update: LegUpdate, _at: TransitionContext) -> Leg:
    """The leg in dispute: its first verdict counts, the one that contradicts it is its claim."""
    return replaced(
        leg,
        status=Status.DISPUTED,
        claim=update.amount,
        reference=leg.reference or update.reference,
        detail=leg.detail or update.detail,
        code=Code.REPLY_DISPUTED,
        due=None,
    )


def _overturned(leg: Leg, update: LegUpdate, _at: TransitionContext) -> Leg:
    """The leg by a later verdict or a person's decision; the first verdict's amount is kept."""
    first = leg.moved if leg.first is None else leg.first
    if update.amount == leg.moved:  # A person found that the verdict which counts is right.
        settled = Status.CONFIRMED if leg.moved else Status.REJECTED
        return replaced(leg, status=settled if leg.first is None else Status.OVERTURNED, due=None)
    return replaced(
        leg,
        status=Status.OVERTURNED,
        first=first,
        moved=update.amount,
        reference=update.reference or leg.reference,
        detail=update.detail or leg.detail,
        code=update.code or leg.code or Code.REPLY_DISPUTED,
        due=None,
    )


_MOVES: Final[Mapping[Status, Callable[[Leg, LegUpdate, TransitionContext], Leg]]] = {
    Status.UNKNOWN: _rung,
    Status.PENDING: _pending,
    Status.CANCELLING: _cancelling,
    Status.DISPUTED: _disputed,
    Status.OVERTURNED: _overturned,
}


def next_look(leg: Leg, policy: LegPolicy, *, told: bool) -> int | None:
    """When the leg needs attention next; None: it has no timer.

    That is when its next rung is due, or earlier: when the origin must be told of the delay
    (unless it was `told` already), or when a person must be called.
    """
    earliest = leg.due
    if earliest is None or leg.status is Status.SENT or leg.status not in IN_FLIGHT:
        return earliest
    if not told:
        earliest = min(earliest, leg.sent_at + policy.tell_after)
    if not leg.escalated_at and policy.call_after is not None:
        earliest = min(earliest, policy.call_after.moment(leg.sent_at))
    return earliest


def escalates(leg: Leg, policy: LegPolicy, now: int) -> bool:
    """Whether it is time to call a person; the ladder goes on meanwhile."""
    return (
        leg.status in IN_FLIGHT
        and leg.status is not Status.SENT
        and not leg.escalated_at
        and policy.call_after is not None
        and now >= policy.call_after.moment(leg.sent_at)
    )


def reports_delay(leg: Leg, policy: LegPolicy, now: int) -> bool:
    """Whether it is time to tell the origin that its request takes longer."""
    answer_is_late = leg.status in IN_FLIGHT and leg.status is not Status.SENT
    return answer_is_late and now >= leg.sent_at + policy.tell_after
