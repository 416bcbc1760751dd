"""What a member may redeem right now: the question, and the answer (`contract.md` 6)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.base import Inbound, Outbound
from schemas.commands import Command
from schemas.reasons import Reason
from schemas.values import Id, Locale, Moment, MomentText, Money, PointsOrNone, SagaRef, Slug


class BalanceInquired(Inbound):
    """`uprp.balance.inquired.v1`: how many points there are, and what can be redeemed of them.

    Answered once. The same `request_id` within a quarter of an hour gets the stored answer again;
    whoever wants to look again uses a new one. Nothing is held.
    """

    saga_kind = "balance"

    request_id: Id
    """The origin's own id of the question."""

    programme: Id
    """Which product on offer."""

    account: Id
    """The member's account at the origin, opaque; its limits are what is shown."""

    debtor_account: Id | None = None
    """The account whose points are asked for, while no link supplies it; opaque."""

    locale: Locale = "en"
    """The language of the sentence in the answer."""

    def content(self) -> tuple[object, ...]:
        """The values that are equal for the same inquiry."""
        return (self.programme, self.debtor_account)


class ReadBalance(Command):
    """`uprp.points.balance.v1`: say how many points the account has; nothing is held or moved."""

    account: Id
    """The member's account at the debtor."""

    expires_at: Moment
    """Past this moment nobody waits for the answer."""


class BalanceStatus(StrEnum):
    """How a question about a balance ended."""

    ANSWERED = "ANSWERED"
    UNAVAILABLE = "UNAVAILABLE"  # The debtor did not answer in time, or refused.
    REJECTED = "REJECTED"  # The inquiry was refused before the debtor was asked.


class BalanceResult(Outbound):
    """`uprp.balance.result.v1`: what was read, or why it could not be."""

    saga_id: SagaRef
    """The platform's id of the question (`contract.md` 5)."""

    request_id: Id
    """The origin's id of it."""

    account: Id
    """The account that it was asked for."""

    programme: Id
    """The product that it was asked for."""

    revision: Annotated[int, Field(ge=1, le=1, title="Always 1: there is one answer")] = 1
    """There is one answer, and no correction of it."""

    status: BalanceStatus
    """ANSWERED with the figures; UNAVAILABLE or REJECTED with a reason."""

    final: bool = True
    """There is no interim answer."""

    corrected: bool = False
    """An answer is not corrected: ask again."""

    reason: Reason | None = None
    """Why there are no figures."""

    available: PointsOrNone | None = None
    """The points that may be redeemed now, as the debtor says."""

    held: PointsOrNone | None = None
    """The points that the debtor holds for what is under way; not in `available`."""

    unit: Slug | None = None
    """Of the points."""

    as_of: MomentText | None = None
    """When that was so, by the debtor's clock."""

    step: PointsOrNone | None = None
    """The points by which two redemptions differ at least."""

    minimum: PointsOrNone | None = None
    """The points of the smallest redemption."""

    maximum: PointsOrNone | None = None
    """The points of the largest redemption, whatever the member has."""

    daily_remaining: Money | None = None
    """What the account's limit leaves for today, as of the question; only where there is one."""

    max_redeemable_now: Money | None = None
    """The most that can be redeemed at once, given points, items and limits; perhaps 0."""

    at: Moment
    """When the platform decided this."""
