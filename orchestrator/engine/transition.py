"""What a reply makes of a leg: the table's cell, adjusted by the policy and by what is known.

Pure.
"""

from __future__ import annotations

from typing import Final

from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import DECIDED, TABLE, Cell, Event, NoChange, Status
from orchestrator.engine.policy import LegPolicy, Remedy
from orchestrator.engine.undo import contradicts

_VERDICTS: Final = frozenset({Event.CONFIRMED, Event.REJECTED, Event.CANCELLED})


def cell_of(saga: Saga, leg: Leg, update: LegUpdate, policy: LegPolicy, *, only_late: bool) -> Cell:
    """The next status of the leg, or the reason why nothing changes.

    Args:
        saga: the saga as it is.
        leg: one of its legs, which was sent or waits.
        update: what the reply says.
        policy: the policy of the leg.
        only_late: the leg may be late and not declined (`contract.md` 3), so that a rejection
            parks it.
    """
    if leg.status in DECIDED and update.event in _VERDICTS:
        return _after_one(saga, leg, update, policy, only_late)
    cell = TABLE[leg.status][update.event]
    if cell is Status.PENDING and leg.cancels:
        return NoChange.STALE  # PENDING would send inquiries; after a cancel nothing else is sent.
    if leg.status is Status.REFUSED and contradicts(saga, leg, leg.asked):
        # The leg that it undoes was not done after all, so a confirmation contradicts that.
        return Status.DISPUTED if cell is Status.CONFIRMED else NoChange.STALE
    if only_late and (cell is Status.REJECTED or cell is Status.CANCELLED):
        return Status.REFUSED
    return cell


def inconclusive(leg: Leg, update: LegUpdate) -> bool:
    """Whether the update is no verdict and changes nothing under any policy.

    It is asked first, since most late replies are of that sort.
    """
    return TABLE[leg.status][update.event] is NoChange.STALE and update.event not in _VERDICTS


def _after_one(saga: Saga, leg: Leg, update: LegUpdate, policy: LegPolicy, only_late: bool) -> Cell:
    """The effect of a further verdict; none if its amount was stated or decided upon before.

    A confirmation after a rejection, or the reverse, overturns the first verdict where the policy
    has a remedy for that. Any other contradiction is a dispute: two different amounts, a third
    verdict, or one that cannot be true given what was undone.
    """
    status, amount = leg.status, update.amount
    if amount in (leg.moved, leg.first, leg.claim):
        return NoChange.STALE
    both_confirm = leg.moved > 0 and amount > 0
    if both_confirm or status is Status.OVERTURNED or contradicts(saga, leg, amount):
        return Status.DISPUTED
    if status is Status.WRITTEN_OFF:
        return TABLE[status][update.event]
    if leg.decision:
        return Status.DISPUTED  # No reply overrules a person who decided on evidence.
    chain = policy.late_yes if amount > leg.moved else policy.late_no
    if only_late or chain[0] is Remedy.PARK:
        return Status.DISPUTED
    return TABLE[status][update.event]
