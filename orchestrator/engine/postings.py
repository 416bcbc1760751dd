"""What a journal holds: movements that are only ever added."""

from __future__ import annotations

from schemas.frozen import value


@value
class Transfer:
    """One movement: `amount` of `unit` out of `debit`, into `credit`. Never updated or deleted."""

    debit: str
    credit: str
    unit: str
    amount: int
