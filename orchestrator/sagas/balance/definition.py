"""The definition of a balance inquiry: one query, at the debtor."""

from __future__ import annotations

from typing import Final

from orchestrator.engine import definition
from orchestrator.engine.definition import Definition, Verb, query
from schemas import events


class Role(definition.Role):
    """The roles of the participants in a balance inquiry."""

    ORIGIN = 0  # Asks for the balance, and gets the one answer.
    DEBTOR = 1  # Holds the member's points.


DEFINITION: Final = Definition(
    name="balance",
    version=1,
    roles=Role,
    steps=(query(Verb(name="balance", command=events.READ_BALANCE), to=Role.DEBTOR),),
    answer=events.BALANCE,
)
