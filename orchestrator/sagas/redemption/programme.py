"""Redemption programmes: products, as versioned data (`design.md` 1, `domain.md` 1.1, 2.5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.engine import programme
from orchestrator.engine.durations import Duration, known_zone
from orchestrator.engine.programme import Data, Needed
from orchestrator.sagas.redemption.terms import Partial
from schemas.base import refuse
from schemas.reasons import Code
from schemas.values import INTEGER_MAX, Currency, Slug

Worth = Annotated[int, Field(ge=1, le=10**12)]
"""The worth of pieces: in minor units of money, or in miles."""


class DeductionMode(StrEnum):
    """Who has the points deducted (`domain.md` 0, fact 1)."""

    SEQUENCED = "sequenced"  # The platform commands the deduction.
    PREDEDUCTED = "prededucted"  # The origin deducts before it makes the request.


class Rate(Data):
    """The price of worth: `points` buy `worth`, a ratio of integers (`domain.md` 2.5)."""

    points: Annotated[int, Field(ge=1, le=10**9)]
    worth: Worth
    step: Annotated[int, Field(ge=1, le=10**9)] = 1  # Prices are multiples of it, rounded up.

    def points_for(self, worth: int) -> int:
        """The price of a worth in points, rounded up to a multiple of the step."""
        return -(-worth * self.points // (self.worth * self.step)) * self.step


class Item(Data):
    """One thing that can be redeemed."""

    id: Annotated[Slug, Field(max_length=64)]
    kind: Annotated[str, Field(pattern=r"^[A-Z][A-Z_]*$")]  # Of an open list (`domain.md` U4).
    worth: Worth  # Of one piece.
    face: Annotated[int, Field(ge=1)] | None = None  # Value shown on the coupon, in minor units.
    quantity_max: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1_000  # Pieces per request.


class Redemption(Data):
    """The inclusive bounds of the worth of one redemption."""

    minimum: Worth = 1
    maximum: Worth = 10**12


class Limit(Data):
    """The most worth that one account may redeem in a period, inclusive (`domain.md` C11)."""

    name: Slug
    per: Literal["account"]
    period: Literal["day"]
    worth: Worth


class Programme(programme.Programme):
    """A product: its origins, debtor and creditor, its items, rate and limits."""

    title: Annotated[str, Field(min_length=1, max_length=200)]
    saga: Literal["redemption"] = "redemption"
    debtor: Slug | None = None  # None in prededucted programmes: it is the origin.
    creditor: Slug
    deduction: DeductionMode
    partial: Partial
    zone: str  # An IANA time zone; the business date, and so the day of a limit, is a day there.
    unit: Slug  # Of the points.
    currency: Currency | None = None  # Of the items' faces; needed where an item has one.
    unknown_item: Code = Code.UNKNOWN_PRODUCT  # Why a request with an unknown item is refused.
    loss_bearer: Slug = "platform"  # Pays for value that can be neither reversed nor charged.
    fresh_for: Duration | None = None  # A deduction confirmed later than that is returned.
    rate: Rate
    redemption: Redemption = Redemption()
    limit: Limit | None = None
    items: Annotated[tuple[Item, ...], Field(min_length=1)]

    @field_validator("zone")
    @classmethod
    def _a_known_zone(cls, zone: str) -> str:
        return known_zone(zone)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ids = [item.id for item in self.items]
        if len(set(ids)) != len(ids):
            refuse("items", "item_twice", "an id stands twice")
        if (self.debtor is None) != (self.deduction is DeductionMode.PREDEDUCTED):
            refuse("debtor", "debtor_or_not", "is needed in sequenced programmes, and only there")
        if self.currency is None and any(item.face is not None for item in self.items):
            refuse("currency", "currency_missing", "is needed where an item has a face")
        if self.redemption.minimum > self.redemption.maximum:
            refuse("redemption.minimum", "minimum_above", "is above redemption.maximum")
        # Refused requests are stored with their prices too, so any single line must be countable;
        # accepted ones are summed over their lines, so the largest redemption must be as well.
        for item in self.items:
            worth = item.worth * item.quantity_max
            if max(worth, self.rate.points_for(worth)) > INTEGER_MAX:
                what = f"so many {item.id} are worth or cost more than can be counted"
                refuse("items.quantity_max", "uncountable", what)
        worth = sum(item.worth * item.quantity_max for item in self.items)
        dearest = self.rate.points_for(min(worth, self.redemption.maximum))
        if dearest + len(self.items) * self.rate.step > INTEGER_MAX:
            refuse("redemption.maximum", "uncountable", "costs more points than can be counted")
        if self.limit is not None and self.limit.worth < self.redemption.minimum:
            what = "is below redemption.minimum, so nothing could be asked"
            refuse("limit.worth", "limit_below", what)
        return self

    def item(self, item_id: str) -> Item | None:
        """The item of that id; None: the programme does not offer it."""
        for item in self.items:
            if item.id == item_id:
                return item
        return None

    def needs(self) -> Iterator[Needed]:
        """The debtor must serve deduct and return, the creditor credit and reverse."""
        if self.debtor is not None:
            yield Needed("debtor", self.debtor, ("deduct", "return"))
        yield Needed("creditor", self.creditor, ("credit", "reverse"))
        if self.debtor is None:  # Each origin deducts itself, and may have to return.
            for origin in self.origins:
                yield Needed("origins", origin, ("return",))

    def problems(
        self,
        others: Mapping[str, Mapping[str, programme.Programme]],  # noqa: ARG002
        participants: frozenset[str],
    ) -> Iterator[tuple[str, str]]:
        """What is wrong: the loss bearer must be a participant or the platform."""
        if self.loss_bearer not in participants | {"platform"}:
            yield "loss_bearer", f"there is no participant {self.loss_bearer!r}"
