"""Ask a debtor for a member's balance."""

from __future__ import annotations

from typing import Final

from orchestrator.engine import definition
from orchestrator.engine.definition import Definition, Verb, reading
from schemas import events


class Role(definition.Role):
    """Who is who when a balance is asked for."""

    ORIGIN = 0  # Asks, and gets the one answer.
    DEBTOR = 1  # Holds the member's points.


DEFINITION: Final = Definition(
    name="balance",
    version=1,
    roles=Role,
    steps=(reading(Verb(name="balance", command=events.READ_BALANCE), to=Role.DEBTOR),),
    answer=events.BALANCE,
)
