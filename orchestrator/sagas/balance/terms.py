"""What is known of a balance when it is asked for: the rules by which it is shown."""

from __future__ import annotations

from typing import Any, Final

from orchestrator.engine.instance import Terms
from schemas.frozen import keyed


@keyed
class BalanceTerms:
    """What a question about a balance has of its own in its terms.

    Worth is in minor units of the currency, or in what the programme gives where it has none.
    """

    debtor_account: str = ""
    unit: str = ""  # Of the points.
    currency: str = ""
    rate: tuple[int, int, int] = (1, 1, 1)  # So many points buy so much worth, in steps of points.
    items: tuple[tuple[int, int], ...] = ()  # Of each: the worth of a piece, how many at most.
    minimum: int = 0  # Worth of one redemption.
    maximum: int = 0
    remaining: int | None = None  # Of the account's limit, when it was asked; None: no limit.


class _Codec:
    """The kind's part of what a row stores of the terms."""

    def encode(self, terms: Terms) -> list[Any]:
        """The terms beyond those of every kind, in a fixed order."""
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
        """The terms, from what `encode` wrote and what every kind has."""
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
