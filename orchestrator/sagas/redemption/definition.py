"""The definition of a redemption: deduct a member's points, then credit a partner's value."""

from __future__ import annotations

from typing import Final

from orchestrator.engine.definition import Definition, Verb, compensable, pivot
from orchestrator.sagas.redemption.terms import Role
from schemas import events

DEDUCT: Final = Verb(name="deduct", command=events.DEDUCT)
RETURN: Final = Verb(name="return", command=events.RETURN, for_ever=True)
CHARGE: Final = Verb(name="charge", command=events.DEDUCT, ladder="deduct")
CREDIT: Final = Verb(name="credit", command=events.CREDIT)
REVERSE: Final = Verb(name="reverse", command=events.REVERSE)

DEFINITION: Final = Definition(
    name="redemption",
    version=1,
    roles=Role,
    steps=(
        compensable(DEDUCT, to=Role.DEBTOR, undo=RETURN, redo=CHARGE),
        # The credit is the pivot: coupons can be used at once, and miles cannot be taken back
        # without the airline's consent (`domain.md` 0, fact 5).
        pivot(CREDIT, to=Role.CREDITOR, undo=REVERSE, per_line=True),
    ),
    answer=events.RESULT,
)
