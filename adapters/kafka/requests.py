"""Requests as an origin publishes them from a file of lines, and the results that come back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import orjson
from confluent_kafka import Consumer, Producer

from adapters.kafka import partner
from adapters.kafka.partner import Outgoing
from schemas import events
from schemas.envelope import Envelope, rfc3339, source_of
from schemas.events import Channel, topic_of
from schemas.ids import partition_key

_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One line of a request file: who asks, and the data or the raw value to publish."""

    origin: str
    value: bytes
    key: bytes | None
    type: str = events.REQUESTED
    event_id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def topic(self) -> str:
        """The requests topic of the origin."""
        return topic_of(self.origin, Channel.REQUESTS)

    def headers(self, now: str) -> list[tuple[str, bytes]]:
        """The record's headers: CloudEvents, binary mode. `now` is RFC 3339."""
        return Envelope(self.event_id, source_of(self.origin), self.type, now).headers()


class LineError(ValueError):
    """A line of a request file that cannot be published; the message says which one, and why."""


def read_objects(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a request file, each with the number of its line.

    Empty lines and those that begin with `#` are left out.

    Raises:
        LineError: a line is no JSON object that names its origin.
    """
    for number, content in enumerate(text.splitlines(), 1):
        if not content.strip() or content.lstrip().startswith("#"):
            continue
        try:
            found = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise LineError(f"line {number}: is not JSON: {error}") from None
        if not isinstance(found, dict) or not isinstance(found.get("origin"), str):
            raise LineError(f"line {number}: origin: is missing; write who asks")
        yield number, found


def read_lines(text: str) -> Iterator[RequestLine]:
    """The lines of a request file: `{"origin": "alipayhk", "data": {"request_id": ...}}`.

    `type` and `id` may be given; without a type it is a redemption. A question about a balance has
    the type `uprp.balance.inquired.v1`. `raw` in place of `data` publishes a value as it stands, to
    see what the platform does with it.

    Raises:
        LineError: with the number of the line.
    """
    for number, found in read_objects(text):
        yield line_of(number, found)


def line_of(number: int, found: Mapping[str, Any]) -> RequestLine:
    """The request line that an object of a request file stands for.

    Raises:
        LineError: with the number of the line.
    """
    data, raw = found.get("data"), found.get("raw")
    if not isinstance(data, dict) and not isinstance(raw, str):
        raise LineError(f"line {number}: data: is missing or not an object")
    origin = found["origin"]
    known = {name: found[alias] for alias, name in _OPTIONAL if alias in found}
    for alias, name in _OPTIONAL:
        if not isinstance(known.get(name, ""), str):
            raise LineError(f"line {number}: {alias}: is not a string")
    if not isinstance(data, dict):
        return RequestLine(origin, str(raw).encode(), None, **known)
    key = partition_key(origin, str(data.get("account", ""))).encode()
    return RequestLine(origin, orjson.dumps(data), key, **known)


_OPTIONAL: Final = (("type", "type"), ("id", "event_id"))


@dataclass(slots=True)
class Answers:
    """Results by origin and request id, and refusals by the id of the event that was refused."""

    final: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, dict[str, Any]] = field(default_factory=dict)

    def has(self, line: RequestLine) -> bool:
        """Whether a line got its final answer."""
        if line.event_id in self.refused:
            return True
        data = _object(line.value)
        return (line.origin, str(data.get("request_id"))) in self.final


def publish(producer: Producer, lines: Iterable[RequestLine]) -> None:
    """Publish every line and wait until the broker has it.

    Raises:
        KafkaException: when it could not be delivered.
    """
    partner.publish(
        producer,
        (
            Outgoing(line.topic, line.key, line.value, line.headers(rfc3339(datetime.now(UTC))))
            for line in lines
        ),
    )


def listen(servers: str, origins: Iterable[str], patience_s: float) -> Consumer:
    """A consumer at the end of the origins' results topics. Raises KafkaException."""
    consumer = partner.open_consumer(servers, "cli")
    topics = [topic_of(origin, Channel.RESULTS) for origin in origins]
    partner.read_from_now(consumer, topics, patience_s)
    return consumer


def hear(consumer: Consumer, answers: Answers) -> list[dict[str, Any]]:
    """The results of one poll, which are also added to `answers`; other records are skipped."""
    update = []
    for message in consumer.consume(500, _POLL_S):
        if message.error() is not None or message.value() is None:
            continue
        headers = dict(message.headers() or ())
        data = _object(message.value())
        data["_type"] = (headers.get("ce_type") or b"").decode()
        update.append(data)
        if data["_type"] == events.REFUSED:
            answers.refused[str(data.get("event_id"))] = data
        elif data.get("final") or data.get("status") == "NOT_RECEIVED":
            origin = message.topic().split(".")[1]
            answers.final[origin, str(data.get("request_id"))] = data
    return update


def _object(value: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
