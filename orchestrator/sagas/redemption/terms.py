"""The terms of a redemption: the roles, the priced lines, the account limit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Any, Final

from orchestrator.engine import definition
from orchestrator.engine.instance import Terms
from schemas.frozen import keyed, value


class Role(definition.Role):
    """The roles of the participants in a redemption."""

    ORIGIN = 0  # Makes the request, and gets the one final result.
    DEBTOR = 1  # Holds the member's points.
    CREDITOR = 2  # Gives the value.


DEBTOR: Final = Role.DEBTOR
CREDITOR: Final = Role.CREDITOR


class Partial(StrEnum):
    """What to do when some lines of a redemption are refused (`domain.md` 4.4)."""

    KEEP_ISSUED = "keep_issued"  # Keep what was issued, and return the points of the rest.
    ALL_OR_NOTHING = "all_or_nothing"  # Reverse what was issued, and return all points.


@value
class PricedLine:
    """One line of a request with its price and its worth."""

    item: str  # The id of the item.
    kind: str  # The item's kind of value.
    quantity: int  # Pieces asked for.
    points: int  # The price of all of them.
    worth: int  # The worth of all of them, in minor units.
    face: int | None  # The value shown on one coupon, in minor units of the programme's currency.

    def points_for(self, issued: int) -> int:
        """The price of `issued` of the pieces, rounded up: what is returned is never too much."""
        return -(-self.points * issued // self.quantity)

    def worth_of(self, issued: int) -> int:
        """The worth of `issued` of the pieces, in minor units, rounded down."""
        return self.worth * issued // self.quantity


@value
class Deducted:
    """What an origin deducted before it made the request; the price must equal it."""

    reference: str  # The origin's own reference of its deduction.
    points: int
    lots: tuple[Mapping[str, Any], ...] = ()  # The lots that the points were taken from.


@keyed
class RedemptionTerms:
    """What only redemptions have in their terms; it never changes after acceptance."""

    debtor_account: str = ""
    creditor_account: str = ""
    unit: str = ""  # Of the points.
    currency: str = ""
    partial: Partial = Partial.KEEP_ISSUED
    lines: tuple[PricedLine, ...] = ()
    limit: str = ""  # The name of the account limit that counts it; empty: there is none.
    business_date: date | None = None  # The day on which it counts, in the programme's zone.
    prededucted: bool = False  # The origin deducted the points before it made the request.
    loss_bearer: str = "platform"  # Pays for value that can be neither reversed nor charged.

    @property
    def points(self) -> int:
        """The price of all lines, in points."""
        return sum([line.points for line in self.lines])

    @property
    def worth(self) -> int:
        """The worth of all lines, in minor units, as account limits count it."""
        return sum([line.worth for line in self.lines])


# Looked up in a dict, since calling an Enum takes ten times as long.
_PARTIALS: Final = {partial.value: partial for partial in Partial}
# The values of the fields that were added later, for rows of the first version.
_ADDED: Final = (False, "platform", None)


class _Codec:
    """The kind's part of the terms as a row stores them."""

    def encode(self, terms: Terms) -> list[Any]:
        """The terms beyond those that every kind stores, in an order that never changes."""
        body: RedemptionTerms = terms.body
        _, debtor, creditor = terms.participants
        return [
            debtor,
            creditor,
            body.debtor_account,
            body.creditor_account,
            body.unit,
            body.currency,
            body.partial,
            [
                [line.item, line.kind, line.quantity, line.points, line.worth, line.face]
                for line in body.lines
            ],
            body.limit,
            body.business_date.isoformat() if body.business_date else None,
            terms.traceparent,
            body.prededucted,
            body.loss_bearer,
            terms.fresh_until,
        ]

    def decode(self, found: list[Any], **header: Any) -> Terms:
        """The terms, from what any version of `encode` wrote, and the fields every kind stores."""
        prededucted, loss_bearer, fresh_until = found[11:] or _ADDED
        return Terms(
            **header,
            participants=(header["origin"], found[0], found[1]),
            traceparent=found[10],
            fresh_until=fresh_until,
            body=RedemptionTerms(
                debtor_account=found[2],
                creditor_account=found[3],
                unit=found[4],
                currency=found[5],
                partial=_PARTIALS[found[6]],
                lines=tuple([PricedLine(*line) for line in found[7]]),
                limit=found[8],
                business_date=date.fromisoformat(found[9]) if found[9] else None,
                prededucted=prededucted,
                loss_bearer=loss_bearer,
            ),
        )


CODEC: Final = _Codec()
