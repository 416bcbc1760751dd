"""Requests as a partner publishes them: lines of a file, a producer, and the results that come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import orjson
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from schemas import events
from schemas.envelope import Envelope, rfc3339, source_of
from schemas.events import Channel, topic_of
from schemas.ids import partition_key

QUIET: Final = 2
"""librdkafka's level: what goes wrong is raised or told in our words, not logged over them."""

_POLL_S: Final = 0.2
_PATIENCE_S: Final = 15.0


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
        """The origin's own topic."""
        return topic_of(self.origin, Channel.REQUESTS)

    def headers(self, now: str) -> list[tuple[str, bytes]]:
        """CloudEvents, binary mode."""
        return Envelope(self.event_id, source_of(self.origin), self.type, now).headers()


class LineError(ValueError):
    """A line of a request file that cannot be published: which one, and why."""


def read_lines(text: str) -> Iterator[RequestLine]:
    """The lines of a request file: `{"origin": "alipayhk", "data": {"request_id": ...}}`.

    `type` and `id` may be given. `raw` in place of `data` publishes a value as it stands, to see
    what the platform does with it.

    Raises:
        LineError: with the number of the line.
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
        data, raw = found.get("data"), found.get("raw")
        if not isinstance(data, dict) and not isinstance(raw, str):
            raise LineError(f"line {number}: data: is missing or not an object")
        origin = found["origin"]
        known = {name: found[alias] for alias, name in _OPTIONAL if alias in found}
        for alias, name in _OPTIONAL:
            if not isinstance(known.get(name, ""), str):
                raise LineError(f"line {number}: {alias}: is not a string")
        if not isinstance(data, dict):
            yield RequestLine(origin, str(raw).encode(), None, **known)
        else:
            key = partition_key(origin, str(data.get("account", ""))).encode()
            yield RequestLine(origin, orjson.dumps(data), key, **known)


_OPTIONAL: Final = (("type", "type"), ("id", "event_id"))


@dataclass(slots=True)
class Answers:
    """What came back, by the event that caused it and by request id."""

    final: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, dict[str, Any]] = field(default_factory=dict)

    def has(self, line: RequestLine) -> bool:
        """Whether a line got its final answer."""
        if line.event_id in self.refused:
            return True
        data = _object(line.value)
        return (line.origin, str(data.get("request_id"))) in self.final


def open_producer(servers: str, patience_s: float = _PATIENCE_S) -> Producer:
    """A producer that any partner could have; it connects when it has something to publish."""
    return Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",  # Java's: all of an account on one partition.
            "message.timeout.ms": round(patience_s * 1000),
            "log_level": QUIET,
        }
    )


def publish(producer: Producer, lines: list[RequestLine]) -> None:
    """Publish every line and wait until the broker has it.

    Raises:
        KafkaException: when it could not be delivered.
    """
    failures: list[Any] = []

    def delivered(error: Any, _message: Any) -> None:
        if error is not None:
            failures.append(error)

    for line in lines:
        now = rfc3339(datetime.now(UTC))
        producer.produce(
            line.topic,
            key=line.key,
            value=line.value,
            headers=line.headers(now),
            on_delivery=delivered,
        )
    producer.flush(20)
    if failures:
        raise KafkaException(failures[0])


def listen(servers: str, origins: set[str], patience_s: float = _PATIENCE_S) -> Consumer:
    """A consumer at the end of the origins' results topics."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"uprp-cli-{uuid4()}",
            "enable.auto.commit": False,
            "log_level": QUIET,
        }
    )
    topics = consumer.list_topics(timeout=patience_s).topics
    wanted = []
    for origin in sorted(origins):
        topic = topic_of(origin, Channel.RESULTS)
        for number in topics[topic].partitions if topic in topics else ():
            _, end = consumer.get_watermark_offsets(
                TopicPartition(topic, number), timeout=patience_s
            )
            wanted.append(TopicPartition(topic, number, end))
    consumer.assign(wanted)
    return consumer


def hear(consumer: Consumer, answers: Answers) -> list[dict[str, Any]]:
    """What arrived within one poll, taken into the answers."""
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
