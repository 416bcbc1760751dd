"""The record that brings a decision of an operator to its saga (`design.md` 2)."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from schemas.base import Outbound
from schemas.frozen import TextEnum
from schemas.values import INTEGER_MAX, Id, Points, SagaRef


class Action(TextEnum):
    """What a person may decide about a leg; which are allowed now depends on where it stands."""

    CONFIRM = "confirm"  # There is evidence that it was done.
    REJECT = "reject"  # There is evidence that it was not done and will not be.
    RETRY = "retry"  # Ask the participant once more.
    WRITE_OFF = "write-off"  # Give it up and book the loss.


PATH_PATTERN: Final = r"^[a-z0-9]+(/[a-z0-9]+){0,3}$"

DecisionNumber = Annotated[
    int, Field(ge=1, le=INTEGER_MAX, title="The number of a decision; a later one is higher")
]
LegPath = Annotated[
    str,
    Field(max_length=75, pattern=PATH_PATTERN, title="A leg id without its saga: `credit/2`"),
]


class OperatorDecided(Outbound):
    """`uprp.operator.decided.v1`, on `uprp.internal`: what the audited row of that number says.

    Who decided, why and upon which evidence stays in the row.
    """

    decision: DecisionNumber
    """The number of the row; a record that differs from its row has no effect."""

    saga_id: SagaRef
    """The saga that it is about."""

    leg: LegPath
    """The leg that it is about."""

    action: Action
    """What was decided."""

    amount: Points | None = None
    """With `confirm`: points or pieces, where it was not all that was asked."""

    reference: Id | None = None
    """With `confirm`: the participant's own reference, as the evidence shows it."""
