"""Every event of the contract: its type, its data and its channel; parsing what is inbound."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast

from pydantic import BaseModel, ValidationError

from schemas import balance, commands, decisions, replies, requests, results
from schemas.base import Inbound, Outbound
from schemas.envelope import Unreadable, json_object, proper_id
from schemas.frozen import TextEnum


class Channel(TextEnum):
    """The kinds of topic; each participant has a topic of each of the first four."""

    REQUESTS = "requests"
    RESULTS = "results"
    COMMANDS = "commands"
    REPLIES = "replies"
    INTERNAL = "internal"
    DEAD_LETTERS = "dead-letters"


INTERNAL_TOPIC: Final = "uprp.internal"
DEAD_LETTER_TOPIC: Final = "uprp.dead-letters"


def topic_of(participant: str, channel: Channel) -> str:
    """The topic of a participant's channel, `uprp.<p>.<channel>` (`contract.md` 2)."""
    return f"uprp.{participant}.{channel}"


@dataclass(frozen=True, slots=True)
class EventType:
    """One type of event."""

    name: str  # Its `ce_type`.
    data: type[BaseModel]  # The model of its data.
    channel: Channel


REQUESTED: Final = "uprp.redemption.requested.v1"
INQUIRED: Final = "uprp.redemption.inquired.v1"
WITHDRAWN: Final = "uprp.redemption.withdrawn.v1"
ANSWERED: Final = "uprp.leg.answered.v1"
DEDUCT: Final = "uprp.points.deduct.v1"
RETURN: Final = "uprp.points.return.v1"
CREDIT: Final = "uprp.value.credit.v1"
REVERSE: Final = "uprp.value.reverse.v1"
INQUIRE: Final = "uprp.leg.inquire.v1"
CANCEL: Final = "uprp.leg.cancel.v1"
RESULT: Final = "uprp.redemption.result.v1"
REFUSED: Final = "uprp.request.refused.v1"
TIMERS: Final = "uprp.timers.fired.v1"
DECIDED: Final = "uprp.operator.decided.v1"
BALANCE_INQUIRED: Final = "uprp.balance.inquired.v1"
READ_BALANCE: Final = "uprp.points.balance.v1"
BALANCE: Final = "uprp.balance.result.v1"

EVENTS: Final = (
    EventType(REQUESTED, requests.RedemptionRequested, Channel.REQUESTS),
    EventType(INQUIRED, requests.RedemptionInquired, Channel.REQUESTS),
    EventType(WITHDRAWN, requests.RedemptionWithdrawn, Channel.REQUESTS),
    EventType(BALANCE_INQUIRED, balance.BalanceInquired, Channel.REQUESTS),
    EventType(DEDUCT, commands.DeductPoints, Channel.COMMANDS),
    EventType(RETURN, commands.ReturnPoints, Channel.COMMANDS),
    EventType(CREDIT, commands.CreditValue, Channel.COMMANDS),
    EventType(REVERSE, commands.ReverseValue, Channel.COMMANDS),
    EventType(READ_BALANCE, balance.ReadBalance, Channel.COMMANDS),
    EventType(INQUIRE, commands.InquireLeg, Channel.COMMANDS),
    EventType(CANCEL, commands.CancelLeg, Channel.COMMANDS),
    EventType(ANSWERED, replies.LegAnswered, Channel.REPLIES),
    EventType(RESULT, results.RedemptionResult, Channel.RESULTS),
    EventType(BALANCE, balance.BalanceResult, Channel.RESULTS),
    EventType(REFUSED, results.RequestRefused, Channel.RESULTS),
    EventType(TIMERS, results.TimersFired, Channel.INTERNAL),
    EventType(DECIDED, decisions.OperatorDecided, Channel.INTERNAL),
)

Event = (
    requests.RedemptionRequested
    | requests.RedemptionInquired
    | requests.RedemptionWithdrawn
    | balance.BalanceInquired
    | replies.LegAnswered
    | results.TimersFired
    | decisions.OperatorDecided
)
"""The events that the platform reads, each of which may change a saga."""

Models = dict[tuple[Channel, str], type[Inbound] | type[Outbound]]
"""The models of the data of events, by channel and type."""


def inbound(events: Iterable[EventType]) -> Models:
    """The models of those of the events that the platform reads."""
    return {
        (event.channel, event.name): cast("type[Inbound] | type[Outbound]", event.data)
        for event in events
        if event.channel in (Channel.REQUESTS, Channel.REPLIES, Channel.INTERNAL)
    }


INBOUND: Final[Models] = inbound(EVENTS)
"""The models of the contract's events that the platform reads."""


def parse(channel: Channel, event_type: str, data: bytes, models: Models = INBOUND) -> Event:
    """The event that the data of a record holds, on the channel it came on.

    Raises:
        Unreadable: the type is not one of this channel, or the data does not keep the contract;
            the error names the field.
    """
    model = models.get((channel, event_type))
    if model is None:
        raise Unreadable("ce_type", f"{event_type!r} is not an event of a {channel} topic")
    if b"NaN" in data or b"Infinity" in data:
        json_object(data, "value")  # JSON has no such numbers, but pydantic would read them.
    try:
        # Nearly all data has no unknown field. If it is parsed so, none must be searched for later.
        validator = model.__pydantic_validator__
        return validator.validate_json(data, extra="forbid")  # type: ignore[no-any-return]
    except ValidationError:
        pass
    try:
        return model.model_validate_json(data)  # type: ignore[return-value]  # One of Event.
    except ValidationError as error:
        content = json_object(data, "value")  # Raises a clearer error if it is not JSON.
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "value"
        request_id = proper_id(content.get("request_id"))
        raise Unreadable(where, first["msg"], request_id=request_id) from None
