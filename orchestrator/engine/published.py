"""What was published about one saga, as it is read back from the platform's own topics."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from orchestrator.engine.instance import Saga
from orchestrator.engine.outbox import MessageKind, MessageRef
from orchestrator.engine.statuses import Statuses
from schemas.frozen import value


@value
class PublishedLeg:
    """What one participant was told about one leg; the highest number of each kind."""

    path: str
    asked: int = 0  # Points or pieces; 0 while no command was read, only questions about it.
    attempt: int = 0
    inquiries: int = 0
    cancels: int = 0
    sent_at: int = 0
    said_at: int = 0  # The latest inquiry or cancel.
    expires_at: int = 0
    reference: str | None = None  # Of the leg that it undoes.
    withdrawn: bool = False  # It undoes because the origin took its request back.
    detail: Mapping[str, Any] | None = None  # What the command stated that its leg keeps.


@value
class PublishedSaga:
    """Everything that was said about one saga, each leg in the order in which it was asked."""

    legs: tuple[PublishedLeg, ...] = ()
    result: Mapping[str, Any] | None = None  # The latest, word for word.
    result_at: int = 0
    first_at: int = 0  # When its origin was told the first of what is known; 0: of nothing.

    @property
    def began(self) -> int:
        """When the saga first spoke: that is when its request was decided."""
        times = [leg.sent_at for leg in self.legs if leg.attempt]
        return min(times) if times else self.result_at

    @property
    def withdrawn_at(self) -> int:
        """When a request that had not come was withdrawn: its origin was told so at once.

        What was taken for it all the same may have been asked back since, in a later result.
        """
        return self.first_at or self.began

    def day(self, began: date) -> date:
        """The business date, which began at `began` unless the origin was told of another.

        A saga that was held when it was accepted first spoke later, perhaps past midnight.
        """
        told = self.result.get("business_date") if self.result is not None else None
        return date.fromisoformat(told) if told else began

    def refused(self, statuses: Statuses) -> bool:
        """Whether the request was refused by the rules."""
        return self.result is not None and self.result["status"] == statuses.refused

    def contains(self, utterance: MessageRef) -> bool:
        """Whether that was said."""
        if utterance.kind is MessageKind.RESULT:
            return self.result is not None and self.result["revision"] >= utterance.number
        leg = next((leg for leg in self.legs if leg.path == utterance.path), None)
        if leg is None:
            return False
        numbers = {
            MessageKind.DO: leg.attempt,
            MessageKind.INQUIRE: leg.inquiries,
            MessageKind.CANCEL: leg.cancels,
        }
        return numbers[utterance.kind] >= utterance.number

    def differs(self, saga: Saga) -> str | None:
        """How a saga asks for something else than was asked for, in words."""
        for said in self.legs:
            leg = saga.leg(said.path)
            if leg is not None and said.asked not in (0, leg.asked):
                return (
                    f"{saga.terms.saga_id}/{leg.path} asked for {said.asked}, now for {leg.asked}"
                )
        return None
