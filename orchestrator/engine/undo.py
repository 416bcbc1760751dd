"""The legs that undo another leg: which they are, how much they undo, what that rules out. Pure."""

from __future__ import annotations

from typing import Final

from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import DECIDED, Status

LOSS: Final = "loss"
"""The verb of a leg that asks nobody: the loss bearer pays for its amount (`domain.md` 4.4)."""


def undo_legs(saga: Saga, leg: Leg) -> list[Leg]:
    """The legs that undo this one, in the order in which they were added."""
    return [other for other in saga.legs if other.undoes == leg.path]


def undo_amount(leg: Leg) -> int:
    """The amount that an undo has undone or may still undo: all of it while it is not decided.

    In a dispute the first verdict counts.
    """
    has_verdict = leg.status in DECIDED or leg.status is Status.DISPUTED
    return leg.moved if has_verdict else leg.asked


def contradicts(saga: Saga, leg: Leg, amount: int) -> bool:
    """Whether a leg cannot have done that amount, given what of it was undone or written off."""
    undone = 0
    for undo in undo_legs(saga, leg):
        if undo.status is Status.WRITTEN_OFF:
            undone += undo.asked
        elif undo.status is not Status.REFUSED:  # Refused: perhaps as there was nothing to undo.
            undone += undo_amount(undo)
    if amount < undone:
        return True
    done = saga.leg(leg.undoes) if leg.undoes is not None else None
    return done is not None and amount > done.moved
