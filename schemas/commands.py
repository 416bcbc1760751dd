"""The commands: what the platform asks of a debtor or a creditor (`contract.md` 3).

The leg id is the idempotency key: a repeat has the same leg id and the same content. A command that
arrives for the first time after its `expires_at` must be rejected with `EXPIRED`, not executed.
"""

from __future__ import annotations

from schemas.base import Outbound
from schemas.reasons import Code
from schemas.values import (
    Count,
    GivenLot,
    Id,
    LegRef,
    Moment,
    Money,
    Points,
    Quantity,
    SagaRef,
    Slug,
)


class Command(Outbound):
    """What every command carries."""

    leg_id: LegRef
    """The idempotency key: under one leg id the effect happens at most once."""

    saga_id: SagaRef
    """The redemption that this is part of."""

    programme: Slug
    """Which product on offer."""

    attempt: Count
    """1 for the first time this is said."""

    issued_at: Moment
    """When the platform asked."""


class DeductPoints(Command):
    """`uprp.points.deduct.v1`: take points from the member's account at the debtor."""

    account: Id
    """The member's account at the debtor."""

    points: Points
    """How many points to take."""

    expires_at: Moment
    """Past this moment, a leg that was never seen before is rejected with `EXPIRED`."""


class ReturnPoints(Command):
    """`uprp.points.return.v1`: give deducted points back into the lots they came from.

    A return may be delayed, not declined.
    """

    account: Id
    """The member's account at the debtor."""

    points: Points
    """How many points to give back; never more in total than were deducted."""

    deduction_leg_id: LegRef
    """The leg that deducted them."""

    reference: Id
    """The debtor's reference of the deduction."""

    lots: tuple[GivenLot, ...] | None = None
    """The lots to restore, as the debtor named them."""

    reason: Code
    """Why the points come back."""


class CreditValue(Command):
    """`uprp.value.credit.v1`: issue `quantity` pieces of an item to the account at the creditor."""

    account: Id
    """The member's account at the creditor."""

    item: Id
    """The programme's name of the item."""

    kind: Id
    """What kind of value the item is, as the programme says."""

    quantity: Quantity
    """How many pieces to issue."""

    face: Money | None = None
    """The face value of one piece."""

    expires_at: Moment
    """Past this moment, a leg that was never seen before is rejected with `EXPIRED`."""


class ReverseValue(Command):
    """`uprp.value.reverse.v1`: take issued pieces back."""

    account: Id
    """The member's account at the creditor."""

    credit_leg_id: LegRef
    """The leg that issued them."""

    reference: Id
    """The creditor's reference of the credit."""

    quantity: Quantity
    """How many pieces to take back."""

    reason: Code
    """Why they are taken back."""


class InquireLeg(Command):
    """`uprp.leg.inquire.v1`: repeat what you know about the leg."""


class CancelLeg(Command):
    """`uprp.leg.cancel.v1`: do not execute the leg, now or ever; if it is done, say so."""

    reason: Code
    """Why the leg is cancelled."""
