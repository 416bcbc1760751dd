"""What undoes a leg: which legs take it back, how much of it, and what that rules out. Pure."""

from __future__ import annotations

from typing import Final

from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import DECIDED, Status

LOSS: Final = "loss"
"""The verb of a leg that asks nobody: what the bearer pays for (`domain.md` 4.4)."""


def undo_legs(saga: Saga, leg: Leg) -> list[Leg]:
    """The legs that take this one back, in the order in which they were asked."""
    return [other for other in saga.legs if other.undoes == leg.path]


def undo_amount(leg: Leg) -> int:
    """What an undoing gives back, or may: all that was asked while it is not decided.

    Of a dispute the first verdict stands.
    """
    stands = leg.status in DECIDED or leg.status is Status.DISPUTED
    return leg.moved if stands else leg.asked


def contradicts(saga: Saga, leg: Leg, amount: int) -> bool:
    """Whether so much cannot be true of a leg, given what was undone, or given up, of it."""
    gone = 0
    for undo in undo_legs(saga, leg):
        if undo.status is Status.WRITTEN_OFF:
            gone += undo.asked
        elif undo.status is not Status.REFUSED:  # Declined: perhaps because there was nothing.
            gone += undo_amount(undo)
    if amount < gone:
        return True
    done = saga.leg(leg.undoes) if leg.undoes is not None else None
    return done is not None and amount > done.moved
