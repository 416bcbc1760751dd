"""Reads the records of all topics, as a partner with the right to read them all would."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

import orjson
from confluent_kafka import Message

from adapters.figures import figures_in_words
from adapters.kafka.partner import PATIENCE_S, open_consumer, read_from_now
from schemas import events
from schemas.events import DEAD_LETTER_TOPIC, Channel
from schemas.ids import split_leg_id

PLATFORM: Final = "uprp"


@dataclass(frozen=True, slots=True)
class ObservedRecord:
    """One record of a topic: who wrote it, for whom, and what it says.

    `data` is empty when the value is no JSON object; `size` is the value's, in bytes.
    """

    at: datetime
    channel: Channel
    sender: str
    receiver: str
    type: str
    headers: Mapping[str, str]
    data: Mapping[str, Any]
    size: int

    @property
    def id(self) -> str:
        """Its `ce_id`; empty when it has none."""
        return self.headers.get("ce_id", "")

    @property
    def leg(self) -> str:
        """The path of the leg that it is about; empty when it names none."""
        return _path(self.data)

    def in_words(self) -> str:
        """What the record says, in words."""
        if self.channel is Channel.DEAD_LETTERS:
            why = self.headers.get("__dlq.errors.message", "")
            return f"set aside ({self.headers.get('x-dlq-disposition')}): {why}"
        speak = _WORDS.get(self.type)
        if not self.data or speak is None:
            return f"{self.size} bytes of {self.type or 'no known type'} that are no JSON object"
        return speak(self.data)


class TopicMonitor:
    """Reads the topics of some participants, and the dead letters, from where they end now.

    A context manager; entering it raises KafkaException while the broker is away.
    """

    def __init__(self, servers: str, participants: Iterable[str]) -> None:
        self._consumer = open_consumer(servers, "demo", fetch_wait_max_ms=50)
        self._topics = {DEAD_LETTER_TOPIC} | {
            events.topic_of(name, channel) for name in participants for channel in _SIDES
        }

    def __enter__(self) -> Self:
        """Note where the topics end."""
        read_from_now(self._consumer, self._topics, PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def poll(self, wait_s: float) -> list[ObservedRecord]:
        """Wait for records, at most `wait_s` seconds; in the order of the broker's clock."""
        messages = self._consumer.consume(500, wait_s)
        good = (m for m in messages if m.error() is None)
        return [_observed(m) for m in sorted(good, key=lambda m: int(m.timestamp()[1]))]


_SIDES: Final = (Channel.REQUESTS, Channel.RESULTS, Channel.COMMANDS, Channel.REPLIES)


def _observed(message: Message) -> ObservedRecord:
    headers = {
        name: (content or b"").decode(errors="replace") for name, content in message.headers() or ()
    }
    value: bytes = message.value() or b""
    try:
        data = orjson.loads(value)
    except orjson.JSONDecodeError:
        data = {}
    _, who, *rest = message.topic().split(".")
    channel = Channel(rest[0] if rest else who)
    inward = channel in (Channel.REQUESTS, Channel.REPLIES)
    if channel is Channel.DEAD_LETTERS:
        who = "operators"
    return ObservedRecord(
        at=datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
        channel=channel,
        sender=who if inward else PLATFORM,
        receiver=PLATFORM if inward else who,
        type=headers.get("ce_type", ""),
        headers=headers,
        data=data if isinstance(data, dict) else {},
        size=len(value),
    )


def _lines(lines: Iterable[Mapping[str, Any]], count: str = "quantity") -> Iterator[str]:
    for line in lines:
        yield f"{_counted(line.get(count))} {line.get('item')}"


def _path(data: Mapping[str, Any]) -> str:
    """The path of the leg that a record is about; empty when it names none."""
    return split_leg_id(str(data.get("leg_id", "")))[1]


def _counted(number: object) -> str:
    return f"{number:,}" if isinstance(number, int) else repr(number)


def _requested(data: Mapping[str, Any]) -> str:
    what = ", ".join(_lines(data.get("lines", ())))
    asks = f"asks for {what} for {data.get('account')} (request {data.get('request_id')})"
    taken = data.get("deduction")
    if not isinstance(taken, dict):
        return asks
    return f"{asks}, has deducted {_counted(taken.get('points'))} ({taken.get('reference')})"


def _inquired(data: Mapping[str, Any]) -> str:
    return f"asks how request {data.get('request_id')} stands"


def _balance_inquired(data: Mapping[str, Any]) -> str:
    return (
        f"asks for the balance of {data.get('debtor_account')} (request {data.get('request_id')})"
    )


def _read_balance(data: Mapping[str, Any]) -> str:
    return f"how many points has {data['account']}?"


def _balance(data: Mapping[str, Any]) -> str:
    parts = [str(data.get("status"))]
    if data.get("reason"):
        parts.append(str(data["reason"]["code"]))
    if figures := figures_in_words(data):
        parts.append(figures)
    return " ".join(parts)


def _withdrawn(data: Mapping[str, Any]) -> str:
    return f"withdraws request {data.get('request_id')}"


def _deduct(data: Mapping[str, Any]) -> str:
    return f"deduct {data['points']:,} points from {data['account']}"


def _return(data: Mapping[str, Any]) -> str:
    return f"return {data['points']:,} points to {data['account']} ({data['reason']})"


def _credit(data: Mapping[str, Any]) -> str:
    return f"credit {data['quantity']:,} {data['item']} to {data['account']}"


def _reverse(data: Mapping[str, Any]) -> str:
    return f"take back {data['quantity']:,} from {data['account']} ({data['reason']})"


def _inquire(data: Mapping[str, Any]) -> str:
    return f"what became of {_path(data)}?"


def _answered(data: Mapping[str, Any]) -> str:
    parts = [f"{_path(data)}: {data.get('outcome')}"]
    if isinstance(data.get("reason"), dict):
        parts.append(str(data["reason"].get("code")))
    lots = [f"{lot['points']:,} of lot {lot['lot']}" for lot in data.get("lots") or ()]
    coupons = [str(one["coupon_id"]) for one in data.get("coupons") or ()]
    if data.get("available") is not None:
        parts.append(f"{_counted(data['available'])} available, {_counted(data.get('held'))} held")
    moved = data.get("points") or data.get("quantity")
    if moved and not (lots or coupons):
        parts.append(f"{moved:,}")
    return " ".join([*parts, ", ".join(lots + coupons)]).rstrip()


def _result(data: Mapping[str, Any]) -> str:
    points = data.get("points") or {}
    parts = [str(data.get("status")), "(final)" if data.get("final") else "(interim)"]
    if data.get("reason"):
        parts.append(str(data["reason"]["code"]))
    parts.append(f"charged {points.get('charged', 0):,}, returned {points.get('returned', 0):,}")
    if back := data.get("return_required"):
        parts.append(f"to give back: {back['points']:,} of {back['reference']}")
    issued = ", ".join(line for line in _lines(data.get("lines", ()), "issued"))
    return " ".join(parts) + (f", issued {issued}" if issued else "")


def _refused(data: Mapping[str, Any]) -> str:
    return f"refused: {data['reason']['code']}: {data['reason']['message']}"


_WORDS: Final = {
    events.REQUESTED: _requested,
    events.INQUIRED: _inquired,
    events.WITHDRAWN: _withdrawn,
    events.DEDUCT: _deduct,
    events.RETURN: _return,
    events.CREDIT: _credit,
    events.REVERSE: _reverse,
    events.INQUIRE: _inquire,
    events.ANSWERED: _answered,
    events.RESULT: _result,
    events.BALANCE_INQUIRED: _balance_inquired,
    events.READ_BALANCE: _read_balance,
    events.BALANCE: _balance,
    events.REFUSED: _refused,
}
