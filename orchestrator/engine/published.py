"""What was published about one saga, as it is read back from the platform's own topics.

It serves to rebuild sagas after a database was restored from a backup (`rebuild.py`). Times are in
milliseconds since 1970; 0 where there is none.
"""

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
    """What was published about one leg: the highest number of each kind of message."""

    path: str
    asked: int = 0  # Points or pieces; 0 if only inquiries or cancels were found, no command.
    attempt: int = 0
    inquiries: int = 0
    cancels: int = 0
    sent_at: int = 0  # When the command was first sent.
    said_at: int = 0  # When the latest inquiry or cancel was sent.
    expires_at: int = 0  # When the command expires.
    reference: str | None = None  # The participant's reference of the leg that this one undoes.
    withdrawn: bool = False  # It is an undo because the origin withdrew its request.
    detail: Mapping[str, Any] | None = None  # What the leg keeps of the content of its command.


@value
class PublishedSaga:
    """What was published about one saga, its legs in the order in which they were first sent."""

    legs: tuple[PublishedLeg, ...] = ()
    result: Mapping[str, Any] | None = None  # The data of the latest result, unchanged.
    result_at: int = 0  # When that result was decided.
    first_at: int = 0  # When the first result that was found was decided.

    @property
    def began(self) -> int:
        """When the first message was published, which is when the request was decided."""
        times = [leg.sent_at for leg in self.legs if leg.attempt]
        return min(times) if times else self.result_at

    @property
    def withdrawn_at(self) -> int:
        """When a request was withdrawn before it arrived: the result said so at once.

        A later result may ask back what the origin had deducted for that request all the same.
        """
        return self.first_at or self.began

    def day(self, began: date) -> date:
        """The business date: that of the published result, otherwise `began`, the day it began.

        They may differ: a saga that was held at first published nothing until later, perhaps after
        midnight.
        """
        stated = self.result.get("business_date") if self.result is not None else None
        return date.fromisoformat(stated) if stated else began

    def refused(self, statuses: Statuses) -> bool:
        """Whether the request was refused by the rules."""
        return self.result is not None and self.result["status"] == statuses.refused

    def contains(self, ref: MessageRef) -> bool:
        """Whether that message, or a later one of its kind and leg, was published."""
        if ref.kind is MessageKind.RESULT:
            return self.result is not None and self.result["revision"] >= ref.number
        leg = next((leg for leg in self.legs if leg.path == ref.path), None)
        if leg is None:
            return False
        numbers = {
            MessageKind.DO: leg.attempt,
            MessageKind.INQUIRE: leg.inquiries,
            MessageKind.CANCEL: leg.cancels,
        }
        return numbers[ref.kind] >= ref.number

    def differs(self, saga: Saga) -> str | None:
        """A sentence about the first leg of the saga that asks for another amount; None: none."""
        for known in self.legs:
            leg = saga.leg(known.path)
            if leg is not None and known.asked not in (0, leg.asked):
                return (
                    f"{saga.terms.saga_id}/{leg.path} asked for {known.asked}, now for {leg.asked}"
                )
        return None
