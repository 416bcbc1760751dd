"""What a reply means for a leg: the table's cell, in the light of the policy and what is known."""

from __future__ import annotations

from typing import Final

from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import DECIDED, TABLE, Cell, Event, NoChange, Status
from orchestrator.engine.policy import LegPolicy, Remedy
from orchestrator.engine.undo import contradicts

_VERDICTS: Final = frozenset({Event.CONFIRMED, Event.REJECTED, Event.CANCELLED})


def cell_of(saga: Saga, leg: Leg, update: LegUpdate, policy: LegPolicy, *, only_late: bool) -> Cell:
    """What becomes of the leg; what may only be late is not declined (`contract.md` 3)."""
    if leg.status in DECIDED and update.event in _VERDICTS:
        return _after_one(saga, leg, update, policy, only_late)
    cell = TABLE[leg.status][update.event]
    if cell is Status.PENDING and leg.cancels:
        return NoChange.STALE  # It may still be settled; after a cancel nothing else is said.
    if leg.status is Status.REFUSED and contradicts(saga, leg, leg.asked):
        # What it would give back was not taken after all: that it was given is another claim.
        return Status.DISPUTED if cell is Status.CONFIRMED else NoChange.STALE
    if only_late and (cell is Status.REJECTED or cell is Status.CANCELLED):
        return Status.REFUSED
    return cell


def inconclusive(leg: Leg, update: LegUpdate) -> bool:
    """Whether it is no verdict and moves nothing, whatever the policy; most late news does."""
    return TABLE[leg.status][update.event] is NoChange.STALE and update.event not in _VERDICTS


def _after_one(saga: Saga, leg: Leg, update: LegUpdate, policy: LegPolicy, only_late: bool) -> Cell:
    """What a verdict does after the first: nothing, if it was said or decided upon before.

    A plain yes after a no, or no after a yes, is believed where the policy has a remedy for it.
    What else contradicts parks beside what stands: an amount that differs, a third verdict, one
    that cannot be true of what was undone.
    """
    status, amount = leg.status, update.amount
    if amount in (leg.moved, leg.first, leg.claim):
        return NoChange.STALE
    two_yes = leg.moved > 0 and amount > 0
    if two_yes or status is Status.OVERTURNED or contradicts(saga, leg, amount):
        return Status.DISPUTED
    if status is Status.WRITTEN_OFF:
        return TABLE[status][update.event]
    if leg.decision:
        return Status.DISPUTED  # No reply overrules people who decided on evidence.
    chain = policy.late_yes if amount > leg.moved else policy.late_no
    if only_late or chain[0] is Remedy.PARK:
        return Status.DISPUTED
    return TABLE[status][update.event]
