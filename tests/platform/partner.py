"""A partner with a will of its own: any bytes on any topic, and every record read back as it is."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from tests.wire import QUIET, topics_of

REQUESTED = "uprp.redemption.requested.v1"
ANSWERED = "uprp.leg.answered.v1"
REFUSED = "uprp.request.refused.v1"
Headers = tuple[tuple[str, bytes], ...]
Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""


@dataclass(frozen=True)
class Raw:
    """One record, byte for byte."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def place(self) -> Place:
        """Where it stands."""
        return (self.topic, self.partition, self.offset)

    @property
    def said(self) -> Mapping[str, str]:
        """Its headers as text."""
        found = ((name, content) for name, content in self.headers if content)
        return {name: content.decode("utf-8", "replace") for name, content in found}

    @property
    def data(self) -> dict[str, Any]:
        """Its value as JSON."""
        found: dict[str, Any] = json.loads(self.value or b"")
        return found


def envelope(who: str, kind: str, event_id: str) -> Headers:
    """The headers of a proper event; `who` is a participant, or "" for the platform itself."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", f"/participants/{who}".encode() if who else b"/uprp"),
        ("ce_type", kind.encode()),
        ("ce_time", datetime.now(UTC).isoformat(timespec="milliseconds").encode()),
        ("content-type", b"application/json"),
    )


class Sender:
    """Publishes any record and tells where it came to stand."""

    def __init__(self, servers: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                **QUIET,
            }
        )

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> list[Place]:
        """Hand over a record; the list has its place once `flush` returned."""
        place: list[Place] = []

        def delivered(error: Any, message: Any) -> None:
            assert error is None, error
            place.append((message.topic(), message.partition(), message.offset()))

        self._producer.produce(topic, value, key, headers=list(headers), on_delivery=delivered)
        return place

    def reply(self, who: str, key: bytes, data: Mapping[str, Any]) -> None:
        """Answer about a leg as a company would, and wait until the broker has it."""
        headers = envelope(who, ANSWERED, str(uuid.uuid4()))
        self.send(f"uprp.{who}.replies", key, json.dumps(data).encode(), headers)
        self.flush()

    def flush(self) -> None:
        """Wait until the broker has everything."""
        assert self._producer.flush(20) == 0


def read_all(servers: str, topics: Sequence[str]) -> list[Raw]:
    """Every record that stands on the topics now, each partition in order."""
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "reader", "enable.auto.commit": False, **QUIET}
    )
    try:
        found = topics_of(servers)
        left: dict[tuple[str, int], int] = {}
        for topic in topics:
            for number in found[topic].partitions:
                _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
                if end:
                    left[topic, number] = end
        consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in left])
        records: list[Raw] = []
        while left:
            for message in consumer.consume(1_000, 0.5):
                assert message.error() is None, message.error()
                records.append(_raw(message))
                place = (message.topic(), message.partition())
                if message.offset() + 1 >= left.get(place, 0):
                    left.pop(place, None)
        return records
    finally:
        consumer.close()


def _raw(message: Any) -> Raw:
    return Raw(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        tuple(message.headers() or ()),
    )
