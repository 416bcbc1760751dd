"""The entries of the journal, which are only ever added."""

from __future__ import annotations

from schemas.frozen import value


@value
class Transfer:
    """One movement: `amount` of `unit` out of the account `debit` and into the account `credit`.

    Movements are never updated or deleted.
    """

    debit: str
    credit: str
    unit: str  # Of points, or `<creditor>:<item>` for pieces.
    amount: int  # Positive.
