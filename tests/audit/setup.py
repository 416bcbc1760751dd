"""Sagas of every kind in a real database, by the shipped decisions and the shipped store.

Only the broker and the companies are missing: what they would say is written down here.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import orjson

from adapters.postgres.store import PostgresStore
from orchestrator.admission.breaker import Breaker, HealthPolicy, WhenUnavailable
from orchestrator.admission.gate import Allowance
from orchestrator.batch.decide import Decider
from orchestrator.batch.decode import decode, routes
from orchestrator.batch.effects import BatchResult
from orchestrator.catalogue.loader import Catalogue, load
from orchestrator.engine.definition import participant
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.operator import Action, OperatorDecision
from orchestrator.engine.policy import DEFAULT, LegPolicy, Policies, Remedy, Rung, Until
from orchestrator.ports import DecisionRow, Record
from orchestrator.sagas import KINDS
from orchestrator.sagas.redemption.programme import Programme
from orchestrator.settings import ROOT
from schemas import events
from schemas.envelope import PLATFORM_SOURCE, Envelope, source_of
from schemas.events import Channel, topic_of
from schemas.ids import SagaId, partition_key, saga_id

ACCOUNT: Final = "member"
"""What the account of every saga begins with; the saga's own name follows."""
NO: Final = {"outcome": "REJECTED", "reason": {"code": "PARTNER_DECLINED"}}
YES: Final = {"outcome": "CONFIRMED", "reference": "R-1"}
NOTHING: Final[Mapping[int, DecisionRow]] = {}
_CHANNELS: Final = {event.name: event.channel for event in events.EVENTS}
_CHANNEL_DEDUCTS: Final = {
    "id": "harbour-coupons",
    "version": 1,
    "title": "Coupons for points that the bank has taken before it asks",
    "origins": ["harbour"],
    "creditor": "alipayhk",
    "deduction": "prededucted",
    "partial": "keep_issued",
    "zone": "Asia/Hong_Kong",
    "unit": "harbour-points",
    "rate": {"points": 3, "worth": 100},
    "limit": {"name": "daily", "per": "account", "period": "day", "worth": 100_000},
    "items": [{"id": "hkd50", "kind": "CASH_COUPON", "worth": 5_000}],
}


def offered() -> Catalogue:
    """What is on offer in `deploy/`, a channel that deducts itself, and ladders that end soon."""
    found = load(ROOT / "deploy")
    channel = Programme.model_validate(_CHANNEL_DEDUCTS, strict=False)
    short = replace(DEFAULT, times=1, cancel=False, tell_after=3_600_000)
    cancels = replace(short, cancel=True, cancel_until=Until(after=3_600_000))
    again = replace(short, rungs=(Rung.RESEND,), every=15_000, times=None)
    charges = replace(cancels, late_no=(Remedy.CHARGE, Remedy.LOSS))
    ladders: dict[tuple[str, str], LegPolicy] = {
        **found.policies.by_leg,
        ("citi", "deduct"): charges,
        ("alipayhk", "credit"): cancels,
        ("alipayhk", "reverse"): short,
        ("harbour", "deduct"): short,
        ("pacificair", "credit"): short,
        ("pacificair", "reverse"): short,
        ("citi", "return"): again,
        ("harbour", "return"): again,
    }
    ours = {**found.programmes["redemption"], channel.id: channel}
    programmes = {**found.programmes, "redemption": ours}
    return replace(found, programmes=programmes, policies=Policies(ladders))


class Platform:
    """A coordinator without a broker: one record is one batch."""

    def __init__(self, store: PostgresStore) -> None:
        self.catalogue = offered()
        self.store = store
        self.now = round(time.time() * 1000)
        self._decider = Decider(self.catalogue, "uprp")
        self._routes = routes(self.catalogue.participants)
        self._offsets: Counter[str] = Counter()
        self.allowances: dict[str, Allowance] = {}

    async def receive(
        self,
        sender: str,
        type_: str,
        key: str,
        data: Mapping[str, Any],
        made: Mapping[int, DecisionRow] = NOTHING,
    ) -> BatchResult:
        """A record, decided and committed; `made` are the decisions that it may name."""
        internal = _CHANNELS[type_] is Channel.INTERNAL
        topic = events.INTERNAL_TOPIC if internal else topic_of(sender, _CHANNELS[type_])
        source = PLATFORM_SOURCE if internal else source_of(sender)
        offset = self._offsets[topic]
        envelope = Envelope(f"{topic}-{offset}", source, type_, "2027-01-15T08:00:00Z")
        headers = tuple(envelope.headers())
        record = Record(topic, 0, offset, key.encode(), orjson.dumps(data), headers)
        (arrival,) = decode(record, self._routes[topic], redelivered=False)
        async with self.store.transaction() as batch:
            needs = self._decider.needs([arrival], self.now)
            loaded = await batch.load(needs.keys, needs.strays)
            used = await batch.limits(needs.limits)
            decision = self._decider.decide(
                [arrival], loaded, used, self.now, made=made, allowances=self.allowances
            )
            decision.changes.settled.clear()  # Their rows are not what is looked at here.
            decision.changes.in_flight.clear()
            decision.changes.positions[topic, 0] = (offset or None, offset + 1)
            await batch.save(decision.changes)
        self._offsets[topic] += 1
        self.now += 1_000
        return decision


class Scenario:
    """One redemption and what is said about it."""

    def __init__(self, platform: Platform, name: str, origin: str = "alipayhk") -> None:
        self.platform = platform
        self.name = name
        self.origin = origin
        self.account = f"{ACCOUNT}-{name}"
        self.key = partition_key(origin, self.account)
        self.ids = {"request_id": f"request-{name}", "account": self.account}
        self.saga_id = saga_id(origin, self.account, self.ids["request_id"])

    async def coupons(self, *quantities: int) -> None:
        """Ask for so many coupons of each kind; Citi deducts, AlipayHK issues."""
        items = zip(("hkd50", "hkd20"), quantities, strict=False)
        lines = [{"item": item, "quantity": quantity} for item, quantity in items]
        data = {"programme": "citi-alipayhk-coupons", "debtor_account": f"card-{self.account}"}
        await self.ask(data | {"lines": lines})

    async def miles(self) -> None:
        """Ask for miles and a pass, all or nothing; Harbour deducts, Pacific Air credits."""
        lines = [{"item": "miles", "quantity": 601}, {"item": "lounge-pass", "quantity": 2}]
        accounts = {"debtor_account": f"card-{self.account}", "creditor_account": self.account}
        await self.ask({"programme": "uprp-harbour-miles", "lines": lines} | accounts)

    async def taken(self, points: int = 300) -> None:
        """Ask for two coupons whose points Harbour took before it asked."""
        deduction = {"reference": "H-1", "points": points}
        lines = [{"item": "hkd50", "quantity": 2}]
        data = {"programme": "harbour-coupons", "lines": lines, "deduction": deduction}
        await self.ask(data | {"creditor_account": self.account})

    async def balance(self, **changed: Any) -> None:
        """Ask for a balance at Citi."""
        self.saga_id = saga_id(self.origin, self.account, self.ids["request_id"], "balance")
        named = {"programme": "citi-alipayhk-coupons", "debtor_account": f"card-{self.account}"}
        data = {**self.ids, **named, **changed}
        await self.platform.receive(self.origin, events.BALANCE_INQUIRED, self.key, data)

    async def ask(self, data: Mapping[str, Any]) -> None:
        """The request itself."""
        await self.platform.receive(self.origin, events.REQUESTED, self.key, {**self.ids, **data})

    async def withdraw(self) -> None:
        """The origin takes it back."""
        await self.platform.receive(self.origin, events.WITHDRAWN, self.key, self.ids)

    async def say(self, path: str, answer: Mapping[str, Any] = YES) -> BatchResult:
        """The participant's answer about a leg."""
        saga = await self.saga()
        definition = KINDS[saga.terms.definition, saga.terms.definition_version].definition
        owner = participant(saga.terms, definition, Leg(path, 0).verb)
        data = {"leg_id": f"{self.saga_id}/{path}", **answer}
        return await self.platform.receive(owner, events.ANSWERED, self.key, data)

    async def rule(self, path: str, action: Action) -> None:
        """Two persons decide about a leg."""
        found = DecisionRow(
            self.saga_id, path, OperatorDecision(1, action), approved=True, settled=False
        )
        said = {"decision": 1, "saga_id": self.saga_id, "leg": path, "action": action}
        decision = await self.platform.receive("", events.DECIDED, self.key, said, {1: found})
        assert decision.changes.sagas, f"{action} was refused"

    @contextmanager
    def closed(self, participant: str) -> Iterator[None]:
        """For the length of the block that participant can take nothing new."""
        policy = HealthPolicy(when_unavailable=WhenUnavailable.HOLD)
        self.platform.allowances = {participant: Allowance(policy, Breaker(), probes=0)}
        try:
            yield
        finally:
            self.platform.allowances = {}

    async def wait(self, times: int = 1) -> None:
        """Let that many timers ring, each when it is due."""
        for _ in range(times):
            saga = await self.saga()
            assert saga.wake_at is not None, f"{self.name} waits for no timer"
            self.platform.now = max(self.platform.now, saga.wake_at)
            bucket = saga.terms.key_hash
            fired = {"saga_id": self.saga_id, "bucket": bucket, "revision": saga.revision}
            await self.platform.receive("", events.TIMERS, self.key, {"timers": [fired]})

    async def until(self, status: str, path: str) -> None:
        """Let timers ring until a leg is in that status."""
        for _ in range(40):
            leg = (await self.saga()).leg(path)
            if leg is not None and leg.status == status:
                return
            await self.wait()
        raise AssertionError(f"{path} of {self.name} does not become {status}")

    async def saga(self) -> Saga:
        """The saga, from the database."""
        wanted: SagaId = self.saga_id
        async with self.platform.store.transaction() as batch:
            found = await batch.load([], [wanted])
        return found[wanted]
