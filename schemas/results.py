"""Results, refusals of requests that cannot be read (`contract.md` 3), and fired timers."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.base import Outbound
from schemas.reasons import Reason
from schemas.replies import GivenCoupon
from schemas.values import (
    Bucket,
    Count,
    GivenLot,
    Id,
    Moment,
    Points,
    PointsOrNone,
    Position,
    Quantity,
    QuantityOrNone,
    SagaRef,
)


class ResultStatus(StrEnum):
    """How a redemption stands or ended."""

    PENDING = "PENDING"
    MANUAL_REVIEW = "MANUAL_REVIEW"
    SUCCESS = "SUCCESS"
    PARTIAL_SUCCESS = "PARTIAL_SUCCESS"
    REJECTED = "REJECTED"
    FAILED_NOTHING_DEDUCTED = "FAILED_NOTHING_DEDUCTED"
    FAILED_POINTS_RETURNED = "FAILED_POINTS_RETURNED"
    CANCELLED = "CANCELLED"
    NOT_RECEIVED = "NOT_RECEIVED"


class PointsTotal(Outbound):
    """What the member's points did."""

    charged: PointsOrNone
    """What the member paid: the price of what was issued; while interim, what is deducted now."""

    returned: PointsOrNone
    """How many of these were given back."""


class LineResult(Outbound):
    """What became of one line."""

    item: Id
    """The programme's name of the item."""

    quantity: Quantity
    """How many pieces were asked for."""

    issued: QuantityOrNone
    """How many pieces the member really has."""

    coupons: tuple[GivenCoupon, ...] = ()
    """The coupons that were issued, when the item is a coupon."""

    coupons_omitted: bool = False
    """True when they did not fit into one record; the creditor has them under its reference."""


class ReturnRequired(Outbound):
    """What a channel that deducted the points itself must give back."""

    reference: Id
    """The channel's own reference of its deduction."""

    points: Points
    """How many points to give back."""

    lots: tuple[GivenLot, ...] | None = None
    """The lots to restore."""


class RedemptionResult(Outbound):
    """`uprp.redemption.result.v1`: the highest revision counts; `final` is true exactly once."""

    saga_id: SagaRef
    """The platform's id of the redemption (`contract.md` 5)."""

    request_id: Id
    """The origin's id of it."""

    account: Id
    """The account that it was requested for."""

    revision: Annotated[int, Field(ge=0, title="1, 2, ...; 0 only with NOT_RECEIVED")]
    """The highest revision counts; a lower one that arrives later is stale."""

    status: ResultStatus
    """How it stands: PENDING and MANUAL_REVIEW are interim, NOT_RECEIVED decides nothing."""

    final: bool
    """Whether it has ended; true exactly once, unless `corrected`."""

    corrected: bool = False
    """Whether this revises a final result."""

    reason: Reason | None = None
    """Why it did not become what was asked for."""

    points: PointsTotal
    """What the member's points did, so far."""

    lines: tuple[LineResult, ...] = ()
    """What became of each line."""

    return_required: ReturnRequired | None = None
    """`prededucted` programmes: what the channel must give back."""

    business_date: date | None = None
    """The day on which this counts, fixed when the request was accepted."""

    at: Moment
    """When the platform decided this."""


class RequestRefused(Outbound):
    """`uprp.request.refused.v1`: the record could not be read as a request; it is a dead letter.

    A refused event does not use up its `request_id`.
    """

    event_id: Id | None = None
    """The `ce_id` of the record, when it has a proper one."""

    request_id: Id | None = None
    """The origin's id of the redemption, when the record has a proper one."""

    topic: Id
    """Where the record stands."""

    partition: Position
    """Where the record stands."""

    offset: Position
    """Where the record stands."""

    reason: Reason
    """What is wrong, and in which header or field."""


class TimerFired(Outbound):
    """One of `uprp.timers.fired.v1`: the saga at this revision has something due."""

    saga_id: SagaRef
    """The saga that is due."""

    bucket: Bucket
    """Where it lives: the record's key is that of the first one only."""

    revision: Count
    """The revision that set the timer; a timer of an earlier revision is stale."""

    ended: bool = False
    """The saga had its final result by then: it may be forgotten, and not be there any more."""


class TimersFired(Outbound):
    """`uprp.timers.fired.v1`, on `uprp.internal`: sagas of this partition have something due."""

    timers: Annotated[tuple[TimerFired, ...], Field(min_length=1)]
    """Each for itself; together because there may be thousands a second."""
