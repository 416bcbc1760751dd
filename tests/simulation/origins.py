"""Origins: they ask, repeat, inquire and withdraw, and believe the results that they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from orchestrator.ports import Record
from schemas import events
from schemas.events import Channel, topic_of
from schemas.ids import partition_key, saga_id
from schemas.times import text_of
from tests.simulation.broker import Broker
from tests.simulation.companies import Company, Fact, Reach
from tests.simulation.loop import VirtualLoop
from tests.simulation.offers import PREDEDUCTED, price
from tests.simulation.plan import Ask, Plan, Wish
from tests.simulation.questions import Balances

TYPES = {"inquire": events.INQUIRED, "withdraw": events.WITHDRAWN}
_RETRY_MS = 500


@dataclass(frozen=True, slots=True)
class Sent:
    """One record that an origin published, and how many results it had about it by then."""

    ask: Ask
    saga_id: str
    record: Record
    heard_before: int


@dataclass
class Origins:
    """All origins of a run."""

    plan: Plan
    loop: VirtualLoop
    broker: Broker
    companies: Mapping[str, Company]
    reach: Reach
    balances: Balances
    sent: list[Sent] = field(default_factory=list)
    results: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # By saga, as they came.
    words: dict[str, bytes] = field(default_factory=dict)  # By event id.
    problems: list[str] = field(default_factory=list)
    refused: int = 0

    def begin(self) -> None:
        """Put everything that they will send on the calendar."""
        origins = {ask.origin for ask in self.plan.asks}
        for origin in origins | {question.origin for question in self.plan.questions}:
            self.broker.readers[topic_of(origin, Channel.RESULTS)] = self._hear
        for ask in self.plan.asks:
            self.loop.at(self.loop.wall() + ask.at, self._send, ask)

    def _send(self, ask: Ask) -> None:
        if self.broker.away:
            self.loop.at(self.loop.wall() + _RETRY_MS, self._send, ask)
            return
        wish = self.plan.wishes[ask.number]
        request_id = f"r-{ask.number}"
        data: dict[str, Any] = {"request_id": request_id, "account": wish.account}
        if ask.kind not in TYPES:
            data |= _request(ask, wish)
            if wish.programme == PREDEDUCTED:
                data["deduction"] = self._deduct(ask, wish)
            if ask.kind == "stale":
                data["expires_at"] = text_of(self.loop.wall() - 1_000)
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", f"{ask.origin}?{len(self.sent)}".encode()),
            ("ce_source", f"/participants/{ask.origin}".encode()),
            ("ce_type", TYPES.get(ask.kind, events.REQUESTED).encode()),
            ("ce_time", text_of(self.loop.wall()).encode()),
            ("content-type", b"application/json"),
        ]
        key = partition_key(ask.origin, wish.account).encode()
        saga = saga_id(ask.origin, wish.account, request_id)
        heard = len(self.results.get(saga, ()))
        topic = topic_of(ask.origin, Channel.REQUESTS)
        record = self.broker.append(topic, key, orjson.dumps(data), headers)
        self.sent.append(Sent(ask, saga, record, heard))
        self.reach(f"origin {ask.kind}")

    def _deduct(self, ask: Ask, wish: Wish) -> dict[str, Any]:
        """Take the points before asking, once."""
        leg_id = f"{saga_id(ask.origin, wish.account, f'r-{ask.number}')}/deduct"
        points = price(wish.programme, wish.lines)
        own = f"own-{ask.number}"
        taken: dict[str, Any] = {"reference": own, "points": points}
        fact = Fact("deduct", taken, "CONFIRMED", moved=points, reference=own)
        if ask.kind != "malformed":  # What is refused as unreadable, it gives back by itself.
            self.companies[ask.origin].facts.setdefault(leg_id, fact)
        return taken

    def _hear(self, record: Record) -> None:
        headers = dict(record.headers)
        if headers["ce_type"] == events.REFUSED.encode():
            self.refused += 1
            return
        data = orjson.loads(record.value or b"")
        event_id = (headers["ce_id"] or b"").decode()
        if headers["ce_type"] == events.BALANCE.encode():
            self.balances.hear(data)
        else:
            self.results.setdefault(data["saga_id"], []).append(data)
        if data["revision"]:  # A reading of what nobody knows is made anew each time.
            said = self.words.setdefault(event_id, record.value or b"")
            if said != record.value:
                self.problems.append(f"{event_id} was said in two ways: {said!r} {record.value!r}")
        self.reach(f"result {data['status']}" + (" corrected" if data["corrected"] else ""))

    def latest(self, saga: str) -> dict[str, Any] | None:
        """The result with the highest revision."""
        return max(self.results.get(saga, ()), key=lambda one: int(one["revision"]), default=None)


def _request(ask: Ask, wish: Wish) -> dict[str, Any]:
    lines = [{"item": item, "quantity": quantity} for item, quantity in wish.lines]
    if ask.kind == "mismatch":
        lines[0] = lines[0] | {"quantity": wish.lines[0][1] + 1}
    if ask.kind == "malformed":
        lines = []
    return {
        "programme": wish.programme,
        "debtor_account": f"card-{wish.account}",
        "creditor_account": wish.account,
        "lines": lines,
    }
