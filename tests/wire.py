"""What tests send and what they overhear: requests in bulk, and every record of every topic."""

from __future__ import annotations

import json
import random
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.ids import partition_key, saga_id
from tests.support import wait_until

QUIET = {"log_level": 0}
COUPON_ORDERS = (
    (("hkd50", 2),),
    (("hkd20", 5),),
    (("hkd50", 1), ("hkd20", 3)),
    (("hkd20", 5), ("hkd50", 1)),
)
"""Lines that the coupon programme accepts: worth HK$100 to 150 (`domain.md` C10)."""
ORDERS_A_DAY = 6
"""Such orders that surely fit the day's HK$1,000 of an account."""


@dataclass(frozen=True, slots=True)
class Redemption:
    """One request of the coupon programme (`contract.md` 3)."""

    request_id: str
    account: str
    card: str
    lines: tuple[tuple[str, int], ...]
    origin: str = "alipayhk"
    programme: str = "citi-alipayhk-coupons"
    creditor: str = ""  # The account at the creditor, where it is another than `account`.
    deduction: Mapping[str, Any] | None = None  # What the origin's own app took.

    @property
    def saga_id(self) -> str:
        """The saga that it becomes."""
        return saga_id(self.origin, self.account, self.request_id)

    @property
    def topic(self) -> str:
        """Where it is sent."""
        return f"uprp.{self.origin}.requests"

    @property
    def key(self) -> bytes:
        """The record's key."""
        return partition_key(self.origin, self.account).encode()

    def body(self) -> bytes:
        """The record's value."""
        return json.dumps(self.data()).encode()

    def data(self) -> dict[str, Any]:
        """What it says."""
        found: dict[str, Any] = {
            "request_id": self.request_id,
            "programme": self.programme,
            "account": self.account,
            "debtor_account": self.card,
            "lines": [{"item": item, "quantity": count} for item, count in self.lines],
        }
        if self.creditor:
            found["creditor_account"] = self.creditor
        if self.deduction is not None:
            found["deduction"] = self.deduction
        return found


def redemptions(count: int, seed: int, stem: str = "r") -> Iterator[Redemption]:
    """Requests that the rules accept, several of each account, the same for the same seed."""
    dice = random.Random(seed)
    for number in range(count):
        member = number // ORDERS_A_DAY
        yield Redemption(
            f"{stem}-{number}",
            f"wallet-{stem}-{member}",
            f"card-{stem}-{member // 2}",
            dice.choice(COUPON_ORDERS),
        )


@dataclass(frozen=True, slots=True)
class Heard:
    """One record of a topic, as it stood there."""

    topic: str
    partition: int
    offset: int
    type: str
    event_id: str
    subject: str
    value: bytes

    @property
    def data(self) -> dict[str, Any]:
        """The value as JSON."""
        found: dict[str, Any] = json.loads(self.value)
        return found

    @property
    def channel(self) -> str:
        """`requests`, `results`, `commands`, `replies`, `internal` or `dead-letters`."""
        return self.topic.rpartition(".")[2]


@dataclass
class Tape:
    """Every record of every `uprp.` topic since its beginning, read by a thread."""

    servers: str
    _heard: list[Heard] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _wrong: BaseException | None = None

    def start(self) -> None:
        """Begin to listen; the topics must exist."""
        partitions = [
            TopicPartition(topic.topic, number, OFFSET_BEGINNING)
            for topic in topics_of(self.servers).values()
            for number in topic.partitions
        ]
        self._thread = threading.Thread(target=self._run, args=(partitions,), name="tape")
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(30)
        assert self._wrong is None, self._wrong

    def of(self, *channels: str) -> list[Heard]:
        """What was heard so far, each partition in order; all channels when none is named."""
        heard = self._heard[:]
        return [one for one in heard if not channels or one.channel in channels]

    def results(self) -> list[Heard]:
        """The results, without word of refused records."""
        return [one for one in self.of("results") if one.type == "uprp.redemption.result.v1"]

    def finals(self) -> set[str]:
        """The sagas of which a final result was heard."""
        return {one.subject for one in self.results() if b'"final":true' in one.value}

    def caught_up(self, within_s: float = 20.0) -> None:
        """Wait until everything was heard that is on the topics now."""
        wanted = ends(self.servers)

        def heard_all() -> bool:
            seen: dict[tuple[str, int], int] = {}
            for one in self._heard[:]:
                seen[one.topic, one.partition] = one.offset + 1
            return all(seen.get(place, 0) >= end for place, end in wanted.items())

        wait_until(heard_all, within_s, "the tape has every record")

    def _take(self, heard: list[Heard]) -> None:
        self._heard.extend(heard)

    def _run(self, partitions: Sequence[TopicPartition]) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": f"tape-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "reconnect.backoff.max.ms": 500,
                # Topics are made anew before each test: what is known of the old ones is let go.
                "topic.metadata.refresh.interval.ms": 5_000,
                **QUIET,
            }
        )
        try:
            consumer.assign(list(partitions))
            while not self._ended.is_set():
                found = consumer.consume(2_000, 0.1)
                self._take([_heard(message) for message in found if message.error() is None])
        except Exception as error:  # noqa: BLE001 - raised by `stop`, in the test's own thread.
            self._wrong = error
        finally:
            consumer.close()


def _heard(message: Any) -> Heard:
    headers = {name: content or b"" for name, content in message.headers() or []}
    type_, event_id, subject = (
        headers.get(name, b"").decode("utf-8", "replace")
        for name in ("ce_type", "ce_id", "ce_subject")
    )
    return Heard(
        message.topic(),
        message.partition(),
        message.offset(),
        type_,
        event_id,
        subject,
        message.value() or b"",
    )


def topics_of(servers: str) -> dict[str, Any]:
    """Metadata of the platform's topics by name."""
    found = AdminClient({"bootstrap.servers": servers, **QUIET}).list_topics(timeout=10).topics
    return {name: topic for name, topic in found.items() if name.startswith("uprp.")}


def delete_topics(servers: str) -> None:
    """Take the platform's topics away: what an earlier test left there is not ours."""
    names = list(topics_of(servers))
    if names:
        admin = AdminClient({"bootstrap.servers": servers, **QUIET})
        for deleted in admin.delete_topics(names, operation_timeout=30).values():
            deleted.result()
        wait_until(lambda: not topics_of(servers), 30, "topics are gone")


def ends(servers: str) -> dict[tuple[str, int], int]:
    """Where every partition of the platform's topics ends."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "ends", **QUIET})
    try:
        return {
            (name, number): _end(consumer, name, number)
            for name, topic in topics_of(servers).items()
            for number in topic.partitions
        }
    finally:
        consumer.close()


def _end(consumer: Any, topic: str, partition: int) -> int:
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
    return int(end)


class Origin:
    """Publishes requests as a channel does: fast, and none is lost while the broker is away."""

    def __init__(self, servers: str) -> None:
        self._errors: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 2,
                "partitioner": "murmur2_random",
                "reconnect.backoff.max.ms": 500,
                **QUIET,
            }
        )

    def send(self, requests: Sequence[Redemption]) -> None:
        """Hand requests to the client library; each sending is a new event."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        for request in requests:
            headers = [
                ("ce_specversion", "1.0"),
                ("ce_id", str(uuid.uuid4())),
                ("ce_source", f"/participants/{request.origin}"),
                ("ce_type", "uprp.redemption.requested.v1"),
                ("ce_time", time),
                ("content-type", "application/json"),
            ]
            self._producer.produce(
                request.topic,
                request.body(),
                request.key,
                headers=headers,
                on_delivery=self._delivered,
            )
        self._producer.poll(0)

    def flush(self, within_s: float = 60.0) -> None:
        """Wait until the broker has them all."""
        left = self._producer.flush(within_s)
        assert left == 0, f"{left} requests are not on the broker"
        assert not self._errors, self._errors[:3]

    def _delivered(self, error: Any, _message: object) -> None:
        if error is not None:
            self._errors.append(str(error))
