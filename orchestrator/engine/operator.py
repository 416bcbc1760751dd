"""What a person may decide about a parked leg, and what that says to the engine."""

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
"""What a second person must approve: forced outcomes and losses; asking again needs none."""


@value
class OperatorDecision:
    """One decision: its number grows, so that an older record of one is recognised."""

    number: int
    action: Action
    amount: int | None = None  # Points or pieces, with CONFIRM; None: all that was asked.
    reference: str | None = None  # The participant's own, as the evidence shows it.


_EVENTS: Final = {
    Action.CONFIRM: Event.DONE,
    Action.REJECT: Event.NOT_DONE,
    Action.RETRY: Event.AGAIN,
    Action.WRITE_OFF: Event.WRITE_OFF,
}


def event_of(action: Action) -> Event:
    """The column of the table that the action is."""
    return _EVENTS[action]


def update_of(leg: Leg, ruling: OperatorDecision) -> LegUpdate:
    """What the ruling says about the leg."""
    event = _EVENTS[ruling.action]
    if event is Event.DONE:
        disputed = max(leg.moved, leg.claim or 0) if leg.status is Status.DISPUTED else 0
        amount = ruling.amount if ruling.amount is not None else disputed or leg.asked
        reference = ruling.reference or leg.reference or f"decision-{ruling.number}"
        return LegUpdate(event=event, amount=amount, reference=reference, detail=leg.detail)
    if event is Event.NOT_DONE:  # What the origin is told in the end, so no word of a review.
        disputed = leg.status is Status.DISPUTED
        return LegUpdate(event=event, code=Code.PARTNER_DECLINED if disputed else Code.NO_ANSWER)
    return LegUpdate(event=event)
