"""The decisions of people about parked legs, and the events that they are for the engine."""

from __future__ import annotations

from typing import Final

from orchestrator.engine.instance import Leg
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import Event, Status
from schemas.decisions import Action
from schemas.frozen import value
from schemas.reasons import Code

__all__ = ["TWO_PERSONS", "Action", "OperatorDecision", "event_of", "update_of"]

TWO_PERSONS: Final = frozenset({Action.CONFIRM, Action.REJECT, Action.WRITE_OFF})
"""The actions that a second person must approve: forced outcomes and losses, but not a retry."""


@value
class OperatorDecision:
    """One decision of a person about a leg."""

    number: int  # A later decision has a higher one, so that outdated records are recognised.
    action: Action
    amount: int | None = None  # Points or pieces, with CONFIRM; None: all that was asked for.
    reference: str | None = None  # The participant's own reference, as the evidence shows it.


_EVENTS: Final = {
    Action.CONFIRM: Event.DONE,
    Action.REJECT: Event.NOT_DONE,
    Action.RETRY: Event.AGAIN,
    Action.WRITE_OFF: Event.WRITE_OFF,
}


def event_of(action: Action) -> Event:
    """The event of the transition table that an action causes."""
    return _EVENTS[action]


def update_of(leg: Leg, decision: OperatorDecision) -> LegUpdate:
    """What the decision says about the leg: the event and, with CONFIRM, the amount."""
    event = _EVENTS[decision.action]
    if event is Event.DONE:
        disputed = max(leg.moved, leg.claim or 0) if leg.status is Status.DISPUTED else 0
        amount = decision.amount if decision.amount is not None else disputed or leg.asked
        reference = decision.reference or leg.reference or f"decision-{decision.number}"
        return LegUpdate(event=event, amount=amount, reference=reference, detail=leg.detail)
    if event is Event.NOT_DONE:  # The code is in the final result: it does not mention a review.
        disputed = leg.status is Status.DISPUTED
        return LegUpdate(event=event, code=Code.PARTNER_DECLINED if disputed else Code.NO_ANSWER)
    return LegUpdate(event=event)
