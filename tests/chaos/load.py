"""The load: requests of two programmes, duplicates, inquiries and withdrawals, open-loop."""

from __future__ import annotations

import itertools
import json
import queue
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import Producer

from adapters.sandbox.app import Apps
from adapters.sandbox.magic_accounts import MAGIC
from schemas import events
from schemas.ids import partition_key, saga_id
from tests.wire import QUIET, Redemption, redemptions

ENDLESS: Final = 10_000_000
MUTE: Final = "mute"
"""Begins the accounts about which nobody ever answers: `run.py` writes the script."""
TOLD_SHARE: Final = 0.04
TICK_S: Final = 0.02
MILES_SHARE: Final = 0.2
TAKEN_SHARE: Final = 0.1
DUPLICATES: Final = 0.03
WITHDRAWN: Final = 0.02
INQUIRED: Final = 0.02
POISON: Final = 0.001
"""The share of requests after which comes a record that nobody can read."""


def mixed(seed: int) -> Iterator[Redemption]:
    """Requests of three programmes that the rules accept; some of which a story is known."""
    dice = random.Random(seed)
    coupons, numbers = redemptions(ENDLESS, seed, stem=f"c{seed}"), itertools.count()
    told = stories(seed)
    while True:
        drawn = dice.random()
        if drawn > 1 - TOLD_SHARE:
            yield next(told)
        elif drawn < MILES_SHARE:
            yield _miles(seed, next(numbers), dice)
        elif drawn < MILES_SHARE + TAKEN_SHARE:
            yield _taken(seed, next(numbers), dice)
        else:
            yield next(coupons)


def stories(seed: int) -> Iterator[Redemption]:
    """Each thing that a company can do to a leg, at a debtor and at a creditor, over and over.

    What is drawn may not happen within minutes; what is told here does.
    """
    names = (MUTE, *MAGIC)
    pairs = [("magic-undo-refused", "magic-refused"), ("magic-undo-pending", "magic-refused")]
    pairs += [("magic-undo-lost", "magic-refused"), ("magic-undo-reply-lost", "magic-refused")]
    pairs += [(name, "") for name in names] + [("", name) for name in names]
    for number, (debtor, creditor) in enumerate(itertools.cycle(pairs)):
        # The next time round in the other programme: there are as many pairs as that takes.
        miles = (number + number // len(pairs)) % 2
        stem = f"{seed}-{number}"
        yield Redemption(
            f"t{stem}",
            f"told-{stem}",
            f"{debtor or 'card'}-{stem}",
            (("miles", 700), ("lounge-pass", 1)) if miles else (("hkd50", 1), ("hkd20", 3)),
            "harbour" if miles else "alipayhk",
            "uprp-harbour-miles" if miles else "citi-alipayhk-coupons",
            f"{creditor or 'told'}-{stem}",
        )


def _miles(seed: int, number: int, dice: random.Random) -> Redemption:
    """Harbour's points for miles and a lounge pass: whole, or not at all."""
    lines: tuple[tuple[str, int], ...] = (("miles", dice.randrange(500, 900)),)
    lines += (("lounge-pass", 1),) if dice.random() < 0.5 else ()
    card = f"saver-{seed}-{number // 8}"
    return Redemption(
        f"m{seed}-{number}",
        f"saver-{seed}-{number // 4}",
        card,
        lines,
        "harbour",
        "uprp-harbour-miles",
        f"flyer-{card}",
    )


def _taken(seed: int, number: int, dice: random.Random) -> Redemption:
    """UnionPay's coupons for points that Harbour's own app took before it asked."""
    whole, part = dice.randrange(1, 4), dice.randrange(1, 6)
    name = f"p{seed}-{number}"
    return Redemption(
        name,
        f"user-{seed}-{number // 4}",
        f"user-{seed}-{number // 4}",
        (("uplan-hkd50", whole), ("instant-hkd10", part)),
        "harbour",
        "uprp-harbour-coupons",
        f"upi-{seed}-{number // 4}",
        {"reference": f"HB-{name}", "points": whole * 10_000 + part * 2_000},
    )


class Flow:
    """Publishes from a thread of its own until it is told to stop; nothing that it sent is lost."""

    def __init__(self, servers: str, apps: Apps, seed: int, per_s: float) -> None:
        self.sent: set[str] = set()  # Every saga that was asked for.
        self.counts: Counter[str] = Counter()
        self._apps = apps  # Of the channels that deduct themselves.
        self._per_s = per_s
        self._requests = mixed(seed)
        self._dice = random.Random(seed + 1)
        self._later: list[tuple[float, str, Redemption]] = []
        self._ended = threading.Event()
        self._wrong: list[str] = []
        self._producer: Any = Producer(
            {
                "bootstrap.servers": servers,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 5,
                "partitioner": "murmur2_random",
                "reconnect.backoff.max.ms": 500,
                "message.timeout.ms": 300_000,
                "queue.buffering.max.messages": 1_000_000,
                **QUIET,
            }
        )
        # The apps write to books on disk: whoever asks for nothing of the kind need not wait.
        self._to_take: queue.SimpleQueue[Redemption | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="flow")
        self._apps_thread = threading.Thread(target=self._take, name="apps")

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._apps_thread.start()

    def stop(self) -> None:
        """End; returns when the broker has everything."""
        self._ended.set()
        self._thread.join(60)
        for _, type_, request in self._later:
            self._publish(type_, request)
        self._to_take.put(None)
        self._apps_thread.join(120)
        alive = [one for one in (self._thread, self._apps_thread) if one.is_alive()]
        assert not alive, f"requests are left: {alive}"
        left = self._producer.flush(120)
        assert not left, f"{left} requests are not on the broker"
        assert not self._wrong, self._wrong[:3]

    def _run(self) -> None:
        try:
            began, count = time.monotonic(), 0
            while not self._ended.wait(TICK_S):
                due = int((time.monotonic() - began) * self._per_s)
                for request in itertools.islice(self._requests, max(0, due - count)):
                    self._send(request)
                    count += 1
                now = time.monotonic()
                ready = [one for one in self._later if one[0] <= now]
                self._later = [one for one in self._later if one[0] > now]
                for _, type_, request in ready:
                    self._publish(type_, request)
                self._producer.poll(0)
        except Exception as error:  # noqa: BLE001 - raised by `stop`, in the caller's own thread.
            self._wrong.append(repr(error))

    def _send(self, request: Redemption) -> None:
        """A request, and sometimes more about it: before it, with it, or seconds later."""
        dice, now = self._dice, time.monotonic()
        fate = dice.random()
        if fate < WITHDRAWN / 4:  # The withdrawal overtakes its request.
            self._publish(events.WITHDRAWN, request)
        elif fate < WITHDRAWN:
            wait = dice.choice((0.0, 0.05, 0.3, 2.0))
            self._later.append((now + wait, events.WITHDRAWN, request))
        elif fate < WITHDRAWN + INQUIRED:
            self._later.append((now + dice.uniform(0, 5), events.INQUIRED, request))
        elif fate < WITHDRAWN + INQUIRED + DUPLICATES:
            self._later.append((now + dice.uniform(0, 5), events.REQUESTED, request))
        elif fate < WITHDRAWN + INQUIRED + DUPLICATES + POISON:
            self.counts["poison"] += 1
            self._produce(request, events.REQUESTED, b'{"request_id":')
        self._publish(events.REQUESTED, request)

    def _publish(self, type_: str, request: Redemption) -> None:
        self.counts[type_] += 1
        if type_ != events.INQUIRED:
            self.sent.add(saga_id(request.origin, request.account, request.request_id))
        data: dict[str, Any] = {"request_id": request.request_id, "account": request.account}
        if type_ == events.REQUESTED:
            if request.deduction is not None:
                self._to_take.put(request)
                return
            data = request.data()
        self._produce(request, type_, json.dumps(data).encode())

    def _take(self) -> None:
        """Have the channels' apps take the points before they ask."""
        try:
            while (request := self._to_take.get()) is not None:
                data = self._apps.deducted(request.origin, request.data(), datetime.now(UTC))
                self._produce(request, events.REQUESTED, json.dumps(data).encode())
        except Exception as error:  # noqa: BLE001 - raised by `stop`, in the caller's own thread.
            self._wrong.append(repr(error))

    def _produce(self, request: Redemption, type_: str, value: bytes) -> None:
        self._producer.produce(
            request.topic,
            value,
            partition_key(request.origin, request.account).encode(),
            headers=[
                ("ce_specversion", "1.0"),
                ("ce_id", str(uuid.uuid4())),
                ("ce_source", f"/participants/{request.origin}"),
                ("ce_type", type_),
                ("ce_time", datetime.now(UTC).isoformat(timespec="milliseconds")),
                ("content-type", "application/json"),
            ],
            on_delivery=self._delivered,
        )

    def _delivered(self, error: Any, _message: object) -> None:
        if error is not None:
            self._wrong.append(str(error))
