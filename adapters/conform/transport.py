"""The line to a participant over Apache Kafka, with the client that partners use."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Self
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from adapters.conform.exchange import Came, Sent, read_reply
from schemas.events import Channel, topic_of

_PATIENCE_S: Final = 15.0
_BATCH: Final = 500
_QUIET: Final = 2  # librdkafka's level: what goes wrong is raised, not logged over our words.


class TopicsMissingError(RuntimeError):
    """The participant's topics are not there."""


class KafkaLine:
    """Publishes on a participant's commands topic; hears every replies topic that there is."""

    def __init__(self, servers: str, participant: str, patience_s: float = _PATIENCE_S) -> None:
        self._servers = servers
        self._participant = participant
        self._patience_s = patience_s
        self._failures: list[Any] = []

    def __enter__(self) -> Self:
        """Listen from now on. Raises KafkaException, TopicsMissingError."""
        common = {"bootstrap.servers": self._servers, "log_level": _QUIET}
        self._producer = Producer(
            {
                **common,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 2,
                "partitioner": "murmur2_random",
                "message.timeout.ms": round(self._patience_s * 1_000),
            }
        )
        group = {"group.id": f"uprp-conform-{uuid4()}", "enable.auto.commit": False}
        self._consumer = Consumer({**common, **group, "fetch.wait.max.ms": 50})
        try:
            self._listen()
        except BaseException:
            self._consumer.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def _listen(self) -> None:
        found = self._consumer.list_topics(timeout=self._patience_s).topics
        for channel in (Channel.COMMANDS, Channel.REPLIES):
            topic = topic_of(self._participant, channel)
            if topic not in found:
                raise TopicsMissingError(f"there is no topic {topic}")
        wanted = []
        for name, topic in found.items():
            if name.startswith("uprp.") and name.endswith(f".{Channel.REPLIES}"):
                for number in topic.partitions:
                    _, end = self._consumer.get_watermark_offsets(
                        TopicPartition(name, number), timeout=self._patience_s
                    )
                    wanted.append(TopicPartition(name, number, end))
        self._consumer.assign(wanted)

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)

    def seconds(self) -> float:
        """A clock that only goes forward."""
        return time.monotonic()

    def say(self, commands: Sequence[Sent]) -> None:
        """Publish, and wait until the broker has it. Raises KafkaException."""
        for one in commands:
            self._producer.produce(
                one.topic,
                key=one.key,
                value=one.value,
                headers=one.envelope.headers(),
                on_delivery=self._delivered,
            )
        self._producer.flush(self._patience_s)
        if self._failures:
            raise KafkaException(self._failures[0])

    def hear(self, wait_s: float) -> list[Came]:
        """What came, as soon as there is anything. Raises KafkaException."""
        first = self._consumer.poll(wait_s)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(_BATCH, 0)]
        return [_came(message) for message in messages]

    def _delivered(self, error: Any, _message: Message) -> None:
        if error is not None:
            self._failures.append(error)


def _came(message: Message) -> Came:
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    return read_reply(message.topic(), message.key(), message.value(), message.headers() or ())


def coordinators(servers: str, group: str, patience_s: float = _PATIENCE_S) -> int:
    """How many coordinators read the replies now. Raises KafkaException."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": _QUIET})
    asked = admin.describe_consumer_groups([group], request_timeout=patience_s)
    return len(asked[group].result().members)
