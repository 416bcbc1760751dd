"""What an origin sends: a redemption, a question about one, a withdrawal (`contract.md` 3)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.base import Inbound, refuse
from schemas.values import Id, Locale, Lot, Moment, Notes, Points, Quantity


class Line(Inbound):
    """One item of the programme and how many of it."""

    item: Annotated[Id, Field(max_length=64)]
    """The programme's name of the item."""

    quantity: Quantity
    """How many pieces the member wants."""


class Deduction(Inbound):
    """The deduction that the channel made itself, where programmes say so: evidence, not trust."""

    reference: Id
    """The channel's own reference of the deduction."""

    points: Points
    """How many points it took."""

    lots: tuple[Lot, ...] | None = None
    """Which lots it took them from, so that a return can restore them."""

    def content(self) -> tuple[object, ...]:
        """The values that are equal for the same deduction; the order of its lots is irrelevant."""
        lots = sorted((lot.lot, lot.points, lot.expires_on or "") for lot in self.lots or ())
        return (self.reference, self.points, lots)


class RedemptionRequested(Inbound):
    """`uprp.redemption.requested.v1`: redeem points for the lines.

    An item stands in `lines` at most once. The same `request_id` with the same content is the same
    redemption; with other content it is refused as `DUPLICATE_MISMATCH`.
    """

    request_id: Id
    """The origin's own id, unique for ever within `account`."""

    programme: Id
    """Which product on offer."""

    account: Id
    """The member's account at the origin, opaque; account limits count on it."""

    lines: Annotated[tuple[Line, ...], Field(min_length=1, max_length=20)]
    """What the member wants: 1 to 20 lines, an item at most once."""

    debtor_account: Id | None = None
    """The account to deduct from, when no link supplies it; opaque."""

    creditor_account: Id | None = None
    """The account to credit, when no binding supplies it; opaque."""

    points: Points | None = None
    """What the origin told the member; when it differs from the price: `RATE_CHANGED`."""

    deduction: Deduction | None = None
    """Required in `prededucted` programmes: the deduction that the channel made."""

    quote_id: Id | None = None
    """The quote whose price the member accepted."""

    locale: Locale = "en"
    """The language of the sentences in the result."""

    expires_at: Moment | None = None
    """Past this moment the request is not begun: `STALE_REQUEST`."""

    context: Notes | None = None
    """The origin's own notes."""

    @model_validator(mode="after")
    def _an_item_at_most_once(self) -> Self:
        items = [line.item for line in self.lines]
        if len(items) > 1 and len(set(items)) != len(items):
            refuse("lines", "item_twice", "An item may stand at most once")
        return self

    def content(self) -> tuple[object, ...]:
        """The values that are equal for the same redemption: what is redeemed, from and to where.

        `locale`, `expires_at` and `context` may differ when a request is sent again.
        """
        return (
            self.programme,
            sorted([(line.item, line.quantity) for line in self.lines]),
            self.debtor_account,
            self.creditor_account,
            self.points,
            self.deduction and self.deduction.content(),
            self.quote_id,
        )


class RedemptionInquired(Inbound):
    """`uprp.redemption.inquired.v1`: send the current result again.

    An unknown id is answered `NOT_RECEIVED`, which decides nothing.
    """

    request_id: Id
    """The id of the redemption that is asked about."""

    account: Id
    """The account that the redemption was requested for."""


class RedemptionWithdrawn(Inbound):
    """`uprp.redemption.withdrawn.v1`: turn the redemption round, if no credit was asked for yet.

    An unknown id leaves a tombstone: a request that arrives later is refused.
    """

    request_id: Id
    """The id of the redemption to withdraw."""

    account: Id
    """The account that the redemption was requested for."""
