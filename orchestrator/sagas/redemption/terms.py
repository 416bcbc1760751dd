"""What was agreed for a redemption: who plays which role, the priced lines, the account limit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Any, Final

from orchestrator.engine import definition
from orchestrator.engine.instance import Terms
from schemas.frozen import keyed, value


class Role(definition.Role):
    """Who is who in a redemption."""

    ORIGIN = 0  # Asks, and gets the one final answer.
    DEBTOR = 1  # Holds the member's points.
    CREDITOR = 2  # Gives the value.


DEBTOR: Final = Role.DEBTOR
CREDITOR: Final = Role.CREDITOR


class Partial(StrEnum):
    """What to do when some lines of a redemption are refused (`domain.md` 4.4)."""

    KEEP_ISSUED = "keep_issued"  # Keep what was issued, return the points of the rest.
    ALL_OR_NOTHING = "all_or_nothing"  # Take back what was issued, return all points.


@value
class PricedLine:
    """One line, priced: `points` for `quantity` pieces that are worth `worth` minor units."""

    item: str
    kind: str
    quantity: int
    points: int
    worth: int
    face: int | None  # Minor units of the programme's currency.

    def points_for(self, issued: int) -> int:
        """What `issued` of the pieces cost, rounded up: a return never exceeds the unissued."""
        return -(-self.points * issued // self.quantity)

    def worth_of(self, issued: int) -> int:
        """What `issued` of the pieces are worth, in minor units."""
        return self.worth * issued // self.quantity


@value
class Deducted:
    """What an origin took before it asked: evidence, which the price must equal."""

    reference: str
    points: int
    lots: tuple[Mapping[str, Any], ...] = ()


@keyed
class RedemptionTerms:
    """What a redemption has of its own in its terms; never changed after acceptance."""

    debtor_account: str = ""
    creditor_account: str = ""
    unit: str = ""  # Of the points.
    currency: str = ""
    partial: Partial = Partial.KEEP_ISSUED
    lines: tuple[PricedLine, ...] = ()
    limit: str = ""  # The account limit on which `worth` was reserved.
    business_date: date | None = None
    prededucted: bool = False  # The origin took the points before it asked.
    loss_bearer: str = "platform"  # Who bears what can neither be undone nor charged.

    @property
    def points(self) -> int:
        """The price of all lines."""
        return sum([line.points for line in self.lines])

    @property
    def worth(self) -> int:
        """What all lines are worth, in minor units; what the account limits count."""
        return sum([line.worth for line in self.lines])


# By a dict: an Enum is called, which is ten times as dear.
_PARTIALS: Final = {partial.value: partial for partial in Partial}
_ADDED: Final = (False, "platform", None)


class _Codec:
    """A redemption's part of what a row stores of the terms."""

    def encode(self, terms: Terms) -> list[Any]:
        """The terms beyond those of every kind, in a fixed order: rows keep it for ever."""
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
        """The terms, from what `encode` wrote and what every kind has; a row may be of any age."""
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
