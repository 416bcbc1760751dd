"""The companies on Kafka: poll, carry out, commit to disk, answer, and only then commit offsets.

After a crash commands come again, and a command that comes again is answered as the first time. A
reply that is owed is on disk as well, until the broker has acknowledged it.
"""

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self, TypeAlias

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from adapters.sandbox.commands import Command, UnreadableError, read_command
from adapters.sandbox.company import Company
from adapters.sandbox.handler import Reply

GROUP: Final = "uprp-sandbox"
BATCH_MAX: Final = 500  # What a batch of 1,000 makes is larger than a core's cache: a fifth slower.
IDLE_POLL_S: Final = 0.1
OFFSETS_EVERY_S: Final = 0.1
GATHER_S: Final = ((100, 0.01), (8, 0.005), (0, 0.0))
"""For how long a batch is gathered, by how many records the one before it had at least."""
# Bad records are logged one by one until there are so many that the log would be the bottleneck.
LOGGED_ONE_BY_ONE: Final = 20
LOGGED_EACH: Final = 1_000

Announce: TypeAlias = Callable[[str], None]
LogEvent: TypeAlias = Literal["sandbox.unreadable", "sandbox.unknown_type"]


class SandboxError(RuntimeError):
    """The sandbox cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """How the process connects to Kafka."""

    bootstrap: str
    group: str = GROUP
    session_timeout_ms: int = 6_000

    def client(self) -> dict[str, str | int | bool]:
        """librdkafka's settings for all clients; its own log is off, since errors are raised."""
        return {"bootstrap.servers": self.bootstrap, "log_level": 2}

    def consumer(self) -> dict[str, str | int | bool]:
        """librdkafka's settings for reading commands."""
        return {
            **self.client(),
            "group.id": self.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": self.session_timeout_ms,
            "heartbeat.interval.ms": max(self.session_timeout_ms // 3, 1),
            "partition.assignment.strategy": "range",
            "fetch.wait.max.ms": 100,
        }

    def producer(self) -> dict[str, str | int | bool]:
        """librdkafka's settings for writing replies."""
        return {
            **self.client(),
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 2,
            # Java's: a reply meets its saga on the partition of the command's key.
            "partitioner": "murmur2_random",
            "delivery.report.only.error": True,
        }


class Sandbox:
    """Several companies behind one consumer and one producer."""

    def __init__(
        self, companies: Iterable[Company], connection: KafkaConnection, announce: Announce
    ) -> None:
        self.unreadable = 0
        self.unknown_types = 0
        self._companies: Mapping[str, Company] = {
            f"uprp.{one.participant}.commands": one for one in companies
        }
        self._connection = connection
        self._announce = announce
        self._log = structlog.get_logger("sandbox")
        self._stopping = False
        self._failure: str | None = None
        self._ready = False
        self._last_batch = 0
        self._read_upto: dict[tuple[str, int], int] = {}  # By the batch at hand.
        self._offsets: dict[tuple[str, int], int] = {}  # Answered, and to be committed.
        self._offsets_at = 0.0

    def __enter__(self) -> Self:
        self._producer = Producer({**self._connection.producer(), "on_delivery": self._undelivered})
        self._consumer = Consumer(self._connection.consumer())
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()
        self._producer.flush(5.0)

    def stop(self) -> None:
        """Ask the loop to end after the batch at hand. Safe in a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Run the companies until told to stop. Raises SandboxError, sqlite3.Error."""
        self._await_topics()
        # A batch's objects die with the batch: looking for cycles among them costs a quarter.
        gc.set_threshold(200_000, 10, 10)
        self._consumer.subscribe(list(self._companies), on_assign=self._assigned)
        while not self._stopping:
            self._step()
        self._commit_offsets(wait=True)

    def _step(self) -> None:
        messages = self._poll()
        now = datetime.now(UTC)
        for topic, commands in self._read(messages).items():
            self._send(topic, self._companies[topic].handle(commands, now))
        for topic, company in self._companies.items():
            self._send(topic, company.settle(now))
        if not self._flush():
            return
        self._offsets |= self._read_upto
        self._commit_offsets(wait=False)

    def _poll(self) -> list[Message]:
        """What is there now and, when there is much to do, what comes a moment later.

        A batch costs a transaction for each company and a request for each partition that is
        written to, so larger batches are cheaper.
        """
        wait_s = IDLE_POLL_S
        due = [one.due for one in self._companies.values() if one.due is not None]
        if due:
            wait_s = min(wait_s, max(min(due) - time.time(), 0.0))
        first = self._consumer.poll(wait_s)
        if first is None:
            self._last_batch = 0
            return []
        gather_s = next(wait_s for least, wait_s in GATHER_S if self._last_batch >= least)
        messages = [first, *self._consumer.consume(BATCH_MAX - 1, gather_s)]
        self._last_batch = len(messages)
        return messages

    def _read(self, messages: Sequence[Message]) -> dict[str, list[Command]]:
        commands: dict[str, list[Command]] = defaultdict(list)
        self._read_upto = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_error(error)
                continue
            topic = message.topic()
            self._read_upto[topic, message.partition()] = message.offset() + 1
            try:
                command = read_command(message.key(), message.value(), message.headers())
            except UnreadableError as reason:
                self.unreadable += 1
                self._note("sandbox.unreadable", self.unreadable, message, reason=str(reason))
                continue
            if command is None:
                self.unknown_types += 1
                self._note("sandbox.unknown_type", self.unknown_types, message)
                continue
            commands[topic].append(command)
        return commands

    def _note(self, event: LogEvent, number: int, message: Message, **more: str) -> None:
        if number <= LOGGED_ONE_BY_ONE or number % LOGGED_EACH == 0:
            where = f"{message.topic()}/{message.partition()}@{message.offset()}"
            self._log.warning(event, record=where, so_far=number, **more)

    def _send(self, commands_topic: str, replies: Iterable[Reply]) -> None:
        topic = commands_topic.removesuffix("commands") + "replies"
        for reply in replies:
            self._produce(topic, reply)

    def _produce(self, topic: str, reply: Reply) -> None:
        while True:
            try:
                self._producer.produce(topic, reply.value, reply.key, headers=reply.headers)
            except BufferError:  # The queue is full: let librdkafka empty it.
                self._producer.poll(0.1)
            else:
                return

    def _flush(self) -> bool:
        """Wait until every answer is acknowledged, however long the broker is away.

        False when told to stop meanwhile: the commands will come again.
        """
        while self._producer.flush(1.0):
            self._raise_failure()
            if self._stopping:
                return False
        self._raise_failure()
        return True

    def _commit_offsets(self, *, wait: bool) -> None:
        """Move the group's offsets, not more often than is worth a request to the broker."""
        now = time.monotonic()
        if not self._offsets or (not wait and now - self._offsets_at < OFFSETS_EVERY_S):
            return
        positions = [
            TopicPartition(topic, partition, offset)
            for (topic, partition), offset in self._offsets.items()
        ]
        try:
            self._consumer.commit(offsets=positions, asynchronous=not wait)
        except KafkaException as error:  # After a rebalance others may own them: they come again.
            self._log.warning("sandbox.offsets_not_committed", reason=str(error))
        self._offsets.clear()
        self._offsets_at = now

    def _await_topics(self) -> None:
        wanted = {*self._companies}
        wanted |= {topic.removesuffix("commands") + "replies" for topic in self._companies}
        admin = AdminClient(self._connection.client())
        said: set[str] | None = None
        while not self._stopping:
            missing = wanted - _topics(admin)
            if not missing:
                return
            if missing != said:
                names = ", ".join(sorted(missing))
                self._announce(
                    f"sandbox: waiting for {self._connection.bootstrap} to have {names}"
                    " (uprp topics apply)"
                )
                said = missing
            time.sleep(0.2)

    def _assigned(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        if partitions and not self._ready:
            self._ready = True
            names = ", ".join(one.participant for one in self._companies.values())
            self._announce(f"sandbox ready: {names}")

    def _undelivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = f"a reply was not delivered: {error.str()}"

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._failure = f"the consumer cannot go on: {error.str()}"
            self._raise_failure()
        self._log.warning("sandbox.kafka", reason=error.str())

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise SandboxError(f"{self._failure}; commands since the last offsets come again")


def _topics(admin: Any) -> set[str]:
    try:
        return set(admin.list_topics(timeout=2.0).topics)
    except KafkaException:
        return set()
