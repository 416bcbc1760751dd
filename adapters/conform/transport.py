"""The transport to a participant over Apache Kafka, with the client that partners use."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Self

from confluent_kafka import KafkaException, Message
from confluent_kafka.admin import AdminClient

from adapters.conform.exchange import ReceivedReply, SentCommand, read_reply
from adapters.kafka.partner import (
    PATIENCE_S,
    QUIET,
    Outgoing,
    open_consumer,
    open_producer,
    publish,
    read_from_now,
)
from schemas.events import Channel, topic_of

_BATCH: Final = 500
_FLUSH_MORE_S: Final = 5.0  # By then a record is delivered, or librdkafka has given it up.


class TopicsMissingError(RuntimeError):
    """The participant's topics are not there."""


class KafkaTransport:
    """Publishes on a participant's commands topic; receives from every replies topic there is.

    A context manager: it receives what comes after it was entered.
    """

    def __init__(self, servers: str, participant: str, patience_s: float = PATIENCE_S) -> None:
        self._servers = servers
        self._participant = participant
        self._patience_s = patience_s

    def __enter__(self) -> Self:
        """Receive from now on. Raises KafkaException, TopicsMissingError."""
        self._producer = open_producer(self._servers, self._patience_s, linger_ms=2)
        self._consumer = open_consumer(self._servers, "conform", fetch_wait_max_ms=50)
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
        replies = [
            name
            for name in found
            if name.startswith("uprp.") and name.endswith(f".{Channel.REPLIES}")
        ]
        read_from_now(self._consumer, replies, self._patience_s)

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)

    def seconds(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()

    def send(self, commands: Sequence[SentCommand]) -> None:
        """Publish, and wait until the broker has it. Raises KafkaException."""
        records = [
            Outgoing(one.topic, one.key, one.value, one.envelope.headers()) for one in commands
        ]
        publish(self._producer, records, self._patience_s + _FLUSH_MORE_S)

    def receive(self, wait_s: float) -> list[ReceivedReply]:
        """Replies, as soon as there are any; none after `wait_s` seconds. Raises KafkaException."""
        first = self._consumer.poll(wait_s)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(_BATCH, 0)]
        return [_received(message) for message in messages]


def _received(message: Message) -> ReceivedReply:
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    return read_reply(message.topic(), message.key(), message.value(), message.headers() or ())


def coordinators(servers: str, group: str, patience_s: float = PATIENCE_S) -> int:
    """How many members a coordinators' consumer group has now. Raises KafkaException."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": QUIET})
    asked = admin.describe_consumer_groups([group], request_timeout=patience_s)
    return len(asked[group].result().members)
