"""An open-loop load: requests leave on schedule whatever comes back; latency counts from then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

ORIGIN: Final = "alipayhk"
TICK_S: Final = 0.01
ACCOUNTS: Final = 50_000  # In use at a time.
TIMES: Final = 9
"""How often each is used before others are: an eleventh redemption of a day is past its limit."""


@dataclass(slots=True)
class Stage:
    """One stretch of load: what was offered and what came back."""

    rate: float
    seconds: float
    sent: int = 0
    done: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)
    done_at: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    began: float = 0.0

    def percentile(self, share: float) -> float:
        """A latency percentile in milliseconds, from the intended time of sending."""
        return percentile(self.latencies_ms, share)

    @property
    def completed_per_s(self) -> float:
        """The rate of completions between the first tenth and the last tenth of them."""
        count = len(self.done_at)
        low, high = self.done_at[count // 10], self.done_at[count * 9 // 10]
        return (count * 9 // 10 - count // 10) / max(high - low, 1e-9)

    @property
    def carried_per_s(self) -> float:
        """The rate of a flood, from the first request to the last result.

        All of it counts: whoever takes every request before it heeds an answer gives its results
        at the end, and all at once.
        """
        return self.done / max(self.done_at[-1] - self.began, 1e-9)

    def check(self) -> None:
        """Raise RuntimeError unless all succeeded: what is refused costs next to nothing."""
        if self.statuses.keys() - {"SUCCESS"}:
            raise RuntimeError(f"this measures nothing: {self.statuses}")

    @property
    def tail_s(self) -> float:
        """How long after the last request was due the last result came."""
        return self.done_at[-1] - (self.began + self.seconds)

    @property
    def schedule_lag_p99_ms(self) -> float:
        """How late the generator itself was; a large figure makes the stage invalid."""
        return percentile(self.late_ms, 0.99)


def percentile(values: list[float], share: float) -> float:
    """The value below which the share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class Load:
    """A producer of requests and a reader of results, in one loop."""

    def __init__(self, servers: str, name: str, identify: Callable[[str], str] = str) -> None:
        self._name = name
        self._identify = identify  # What a result is known by, given the request's id.
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "linger.ms": 5,
                "partitioner": "murmur2_random",  # As docs and schemas ask of every partner.
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 2,
            }
        )
        self._consumer = _at_the_end(servers, f"uprp.{ORIGIN}.results", name)
        self._number = 0
        self._due: dict[str, float] = {}

    def close(self) -> None:
        """Let go of both clients."""
        self._producer.flush(10)
        self._consumer.close()

    def run(self, rate: float, seconds: float, *, patience_s: float = 60.0) -> Stage:
        """Offer `rate` requests a second for `seconds`, then wait for every result."""
        stage = Stage(rate, seconds)
        stage.began = began = time.perf_counter()
        total = int(rate * seconds)
        deadline = began + seconds + patience_s
        while stage.done < total:
            now = time.perf_counter()
            if now > deadline:
                raise TimeoutError(f"{total - stage.done} of {total} results did not come")
            while stage.sent < total and began + stage.sent / rate <= now:
                due = began + stage.sent / rate
                stage.late_ms.append((now - due) * 1000)
                self._send(due)
                stage.sent += 1
            self._producer.poll(0)
            self._read(stage)
        stage.check()
        return stage

    @contextmanager
    def held(self, in_flight: int, *, patience_s: float = 60.0) -> Iterator[Stage]:
        """So many under way for the length of a block, as fast as that goes; then none."""
        stage, over = Stage(0.0, 0.0), Event()
        with ThreadPoolExecutor(1) as thread:
            holding = thread.submit(self._hold, in_flight, stage, over, patience_s)
            try:
                yield stage
            finally:
                over.set()
            holding.result()
        stage.check()

    def _hold(self, in_flight: int, stage: Stage, over: Event, patience_s: float) -> None:
        deadline = float("inf")
        while stage.done < stage.sent or not over.is_set():
            now = time.perf_counter()
            if over.is_set():
                deadline = min(deadline, now + patience_s)
            elif stage.sent - stage.done < in_flight:
                self._send(now)
                stage.sent += 1
                continue
            if now > deadline:
                raise TimeoutError(f"{stage.sent - stage.done} of {stage.sent} did not come")
            self._producer.poll(0)
            self._read(stage)

    def _send(self, due: float) -> None:
        self._number += 1
        request_id = f"{self._name}-{self._number}"
        batch, at = divmod(self._number, ACCOUNTS)
        holder = batch // TIMES * ACCOUNTS + at
        account = f"{self._name}-w{holder}"
        self._due[self._identify(request_id)] = due
        value = (
            f'{{"request_id":"{request_id}","programme":"citi-alipayhk-coupons",'
            f'"account":"{account}","lines":[{{"item":"hkd50","quantity":2}}],'
            f'"debtor_account":"load-{holder}"}}'
        )
        self._producer.produce(
            f"uprp.{ORIGIN}.requests",
            value=value,
            key=f"{ORIGIN}/{account}",
            headers=_headers(request_id),
        )

    def _read(self, stage: Stage) -> None:
        messages = self._consumer.consume(1_000, TICK_S)
        now = time.perf_counter()
        for message in messages:
            if message.error() is not None:
                continue
            result = orjson.loads(message.value())
            known_by = result.get("request_id") or result.get("saga_id")
            due = self._due.pop(known_by, None) if result.get("final") else None
            if due is None:
                continue
            stage.done += 1
            status = result["status"]
            stage.statuses[status] = stage.statuses.get(status, 0) + 1
            stage.latencies_ms.append((now - due) * 1000)
            stage.done_at.append(now)


def _headers(event_id: str) -> list[tuple[str, bytes]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", f"/participants/{ORIGIN}".encode()),
        ("ce_type", b"uprp.redemption.requested.v1"),
        ("ce_time", b"2026-01-01T00:00:00Z"),
        ("content-type", b"application/json"),
    ]


def _at_the_end(servers: str, topic: str, name: str) -> Any:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"bench-{name}",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
            "log_level": 2,
        }
    )
    partitions = consumer.list_topics(topic, timeout=15).topics[topic].partitions
    ends = []
    for number in partitions:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=15)
        ends.append(TopicPartition(topic, number, end))
    consumer.assign(ends)
    return consumer


def say(text: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
