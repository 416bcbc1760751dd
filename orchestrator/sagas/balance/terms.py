"""The terms of a balance inquiry: the rules and the limit from which its answer is made."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.engine.instance import Terms
from schemas.frozen import keyed


@keyed
class BalanceTerms:
    """What only a balance inquiry has in its terms.

    Worth is in minor units of the currency, or in what the programme gives where it has none.
    """

    debtor_account: str = ""
    unit: str = ""  # Of the points.
    currency: str = ""  # Empty: the programme has none.
    rate: tuple[int, int, int] = (1, 1, 1)  # (points, the worth they buy, the step of prices).
    items: tuple[tuple[int, int], ...] = ()  # (worth of a piece, most pieces of it) for each item.
    minimum: int = 0  # Of one redemption, in worth.
    maximum: int = 0  # Of one redemption, in worth.
    remaining: int | None = None  # Worth left of the account's limit at the time; None: no limit.


class _Codec:
    """The kind's part of the terms as a row stores them."""

    def encode(self, terms: Terms) -> list[Any]:
        """The terms beyond those that every kind stores, in an order that never changes."""
        body: BalanceTerms = terms.body
        return [
            terms.participants,
            terms.traceparent,
            body.debtor_account,
            body.unit,
            body.currency,
            body.rate,
            body.items,
            body.minimum,
            body.maximum,
            body.remaining,
        ]

    def decode(self, found: list[Any], **header: Any) -> Terms:
        """The terms, from what `encode` wrote and the fields that every kind stores."""
        participants, traceparent, account, unit, currency, rate, items, *bounds = found
        points, worth, step = rate
        minimum, maximum, remaining = bounds
        return Terms(
            **header,
            participants=tuple(participants),
            traceparent=traceparent,
            body=BalanceTerms(
                debtor_account=account,
                unit=unit,
                currency=currency,
                rate=(points, worth, step),
                items=tuple([(piece, most) for piece, most in items]),
                minimum=minimum,
                maximum=maximum,
                remaining=remaining,
            ),
        )


CODEC: Final = _Codec()
