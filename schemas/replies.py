"""What a participant answers about a leg: `uprp.leg.answered.v1` (`contract.md` 3)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from schemas.base import Inbound, refuse
from schemas.frozen import TextEnum
from schemas.reasons import ReasonHeard
from schemas.values import (
    INTEGER_MAX,
    Id,
    LegRef,
    Lot,
    MomentText,
    MoneyHeard,
    Points,
    Quantity,
    Word,
)


class Outcome(TextEnum):
    """What a participant may say about a leg. Anything else reads as unknown."""

    CONFIRMED = "CONFIRMED"  # Done, once.
    REJECTED = "REJECTED"  # Not done, and never will be under this leg id.
    PENDING = "PENDING"  # Accepted, settled later.
    NOT_RECEIVED = "NOT_RECEIVED"  # The participant does not know it: no verdict.
    CANCELLED = "CANCELLED"  # Not done, and a tombstone stops it for ever.


_OUTCOMES: Final = {outcome.value: outcome for outcome in Outcome}


class Coupon(Inbound):
    """One coupon that was issued."""

    coupon_id: Id
    """The creditor's id of the coupon."""

    code: Id | None = None
    """What the member shows to use it."""

    face: MoneyHeard | None = None
    """What it is worth."""

    usable_from: MomentText
    """From when it can be used."""

    expires_at: MomentText | None = None
    """Until when it can be used."""

    min_net_spend: MoneyHeard | None = None
    """The smallest purchase that it can be used for."""


GivenCoupon = Annotated[Coupon, AfterValidator(Coupon.known)]
"""A coupon that the platform passes on, without what the partner added to it."""


def _needs(outcome: Outcome, field: str, kind: str) -> dict[str, Any]:
    """The JSON Schema that requires a field, which is not null, with that outcome."""
    return {
        "if": {"properties": {"outcome": {"const": outcome.value}}, "required": ["outcome"]},
        "then": {"properties": {field: {"type": kind}}, "required": [field]},
    }


class LegAnswered(Inbound):
    """What the participant knows about a leg, whichever command it answers."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                _needs(Outcome.CONFIRMED, "reference", "string"),
                _needs(Outcome.REJECTED, "reason", "object"),
            ]
        }
    )

    leg_id: LegRef
    """The leg that this is about."""

    outcome: Word
    """CONFIRMED, REJECTED, PENDING, NOT_RECEIVED or CANCELLED; all else reads as unknown."""

    reference: Id | None = None
    """The participant's own reference; required with CONFIRMED."""

    reason: ReasonHeard | None = None
    """Why not; required with REJECTED."""

    points: Points | None = None
    """Deduct and return: how many points were really moved."""

    lots: tuple[Lot, ...] | None = None
    """Deduct and return: the lots that were really touched."""

    quantity: Quantity | None = None
    """Credit and reverse: how many pieces, 0 < n <= asked; less is a definite no for the rest."""

    coupons: Annotated[tuple[Coupon, ...], Field(max_length=1_000)] | None = None
    """Credit: the coupons that were issued."""

    available: Annotated[int, Field(ge=0, le=INTEGER_MAX, title="Points, 0 or more")] | None = None
    """Balance: the points that may be redeemed now."""

    held: Annotated[int, Field(ge=0, le=INTEGER_MAX, title="Points, 0 or more")] | None = None
    """Balance: the points held for what is under way; not in `available`."""

    as_of: MomentText | None = None
    """Balance: when that was so."""

    @property
    def stated(self) -> Outcome | None:
        """The outcome; None if it is not one of the contract."""
        return _OUTCOMES.get(self.outcome)

    @model_validator(mode="after")
    def _what_an_outcome_needs(self) -> Self:
        if self.outcome == Outcome.CONFIRMED and self.reference is None:
            refuse("reference", "reference_missing", "Field required with CONFIRMED")
        if self.outcome == Outcome.REJECTED and self.reason is None:
            refuse("reason", "reason_missing", "Field required with REJECTED")
        return self
