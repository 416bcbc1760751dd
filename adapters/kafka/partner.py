"""Kafka clients as any partner may have them: a producer, and a consumer that begins at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

QUIET: Final = 2
"""librdkafka's log level: what goes wrong is raised or told in our words, not logged over them."""

PATIENCE_S: Final = 15.0
FLUSH_S: Final = 20.0


class Outgoing(NamedTuple):
    """One record to publish."""

    topic: str
    key: bytes | str | None
    value: bytes
    headers: list[tuple[str, bytes]]


def open_producer(servers: str, patience_s: float = PATIENCE_S, **options: Any) -> Producer:
    """A producer that any partner could have; it connects when it has something to publish.

    It gives a record up after `patience_s`. `options` are further settings of librdkafka, with `_`
    in place of the dots of their names.
    """
    return Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",  # Java's: all of an account on one partition.
            "message.timeout.ms": round(patience_s * 1000),
            "log_level": QUIET,
            **{name.replace("_", "."): option for name, option in options.items()},
        }
    )


def publish(producer: Producer, records: Iterable[Outgoing], wait_s: float = FLUSH_S) -> None:
    """Publish records and wait until the broker has them.

    Raises:
        KafkaException: when one could not be delivered.
    """
    failures: list[Any] = []

    def delivered(error: Any, _message: Any) -> None:
        if error is not None:
            failures.append(error)

    for topic, key, value, headers in records:
        producer.produce(topic, key=key, value=value, headers=headers, on_delivery=delivered)
    producer.flush(wait_s)
    if failures:
        raise KafkaException(failures[0])


def open_consumer(servers: str, purpose: str, **options: Any) -> Consumer:
    """A consumer in a group of its own, `uprp-<purpose>-<uuid>`, that commits no offsets."""
    return Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"uprp-{purpose}-{uuid4()}",
            "enable.auto.commit": False,
            "log_level": QUIET,
            **{name.replace("_", "."): option for name, option in options.items()},
        }
    )


def read_from_now(consumer: Consumer, topics: Iterable[str], patience_s: float) -> None:
    """Have a consumer read every partition of these topics from where it ends now.

    Topics that the broker does not have are left out.

    Raises:
        KafkaException: the broker did not answer within `patience_s`.
    """
    known = consumer.list_topics(timeout=patience_s).topics
    ends = []
    for topic in sorted(topics):
        for number in known[topic].partitions if topic in known else ():
            _, end = consumer.get_watermark_offsets(
                TopicPartition(topic, number), timeout=patience_s
            )
            ends.append(TopicPartition(topic, number, end))
    consumer.assign(ends)
