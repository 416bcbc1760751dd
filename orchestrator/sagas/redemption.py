"""Exchange a member's points for a partner's value."""

from __future__ import annotations

from typing import Final

from orchestrator.saga.definition import Definition, Role, Verb, compensable, pivot
from schemas import catalogue

DEDUCT: Final = Verb(name="deduct", command=catalogue.DEDUCT)
RETURN: Final = Verb(name="return", command=catalogue.RETURN)
CHARGE: Final = Verb(name="charge", command=catalogue.DEDUCT)
CREDIT: Final = Verb(name="credit", command=catalogue.CREDIT)
REVERSE: Final = Verb(name="reverse", command=catalogue.REVERSE)

REDEMPTION: Final = Definition(
    name="redemption",
    version=1,
    steps=(
        compensable(DEDUCT, to=Role.DEBTOR, undo=RETURN, redo=CHARGE),
        # The partner's credit is the pivot: coupons are usable at once, miles cannot be taken back
        # without the airline's consent (`domain.md` 0, fact 5).
        pivot(CREDIT, to=Role.CREDITOR, undo=REVERSE, per_line=True),
    ),
    answer=catalogue.RESULT,
)
