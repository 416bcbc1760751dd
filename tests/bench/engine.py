"""What a redemption costs the coordinator's own code, part by part, without any server.

Three records a redemption are decoded, decided and turned into rows and records to publish, in
batches as large as under load; the companies' answers are made up beforehand from the commands.
`python -m tests.bench.engine` prints microseconds of CPU for each part.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson

from adapters.postgres.store import PostgresTransaction
from orchestrator.admission.controller import AdmissionController
from orchestrator.batch.decide import Decider
from orchestrator.batch.decode import InboundEvent, decode, routes
from orchestrator.batch.effects import BatchResult
from orchestrator.catalogue.loader import Catalogue, load
from orchestrator.engine.instance import Saga
from orchestrator.ports import Outgoing, Record
from orchestrator.runtime.cache import SagaCache
from orchestrator.runtime.reporting import BatchReport
from orchestrator.settings import ROOT
from orchestrator.telemetry import Log, Metrics, _Lines
from schemas.ids import SagaId, murmur2

START_MS: Final = 1_800_000_000_000
TIME: Final = "2027-01-15T08:00:00.123+00:00"


class Nowhere:
    """A connection that takes every statement and says that it wrote every row."""

    async def execute(self, _sql: str, *columns: Sequence[Any]) -> str:
        return f"INSERT 0 {len(columns[0])}"

    async def copy_records_to_table(self, _table: str, *, records: Any, columns: Any) -> None:
        """Take every row."""

    async def fetch(self, sql: str, *columns: Sequence[Any]) -> list[dict[str, Any]]:
        if "account_limit" in sql and "insert" in sql:
            keys = ("key_hash", "scope", "business_date", "used")
            return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
        return []


class Void:
    """A file that nobody reads."""

    def write(self, data: bytes) -> int:
        return len(data)

    def flush(self) -> None: ...


def request(number: int) -> Record:
    account = f"bench-w{number}"
    data = {
        "request_id": f"bench-{number}",
        "programme": "citi-alipayhk-coupons",
        "account": account,
        "lines": [{"item": "hkd50", "quantity": 2}],
        "debtor_account": f"load-{number}",
    }
    key = f"alipayhk/{account}".encode()
    head = headers(f"bench-{number}", "alipayhk", "uprp.redemption.requested.v1")
    return record_of("uprp.alipayhk.requests", number, key, orjson.dumps(data), head)


def reply(command: Outgoing, number: int) -> Record:
    """As the simulated companies would answer it."""
    assert command.value is not None
    data = orjson.loads(command.value)
    company = command.topic.split(".")[1]
    facts: dict[str, Any] = {"leg_id": data["leg_id"], "outcome": "CONFIRMED"}
    facts["reference"] = f"{company.upper()}-{number:016X}"
    if "points" in data:
        lot = {"lot": "default", "points": data["points"], "expires_on": "2030-12-31"}
        facts |= {"points": data["points"], "lots": [lot]}
    else:
        money = {"amount": 5_000, "currency": "HKD"}
        spend = {"amount": 5_001, "currency": "HKD"}
        coupons = [
            {
                "coupon_id": f"AHK{number * 2 + at:012d}",
                "code": f"{number * 7919 + at:012d}",
                "usable_from": TIME,
                "expires_at": "2027-04-15T08:00:00.123+00:00",
                "face": money,
                "min_net_spend": spend,
            }
            for at in range(data["quantity"])
        ]
        facts |= {"quantity": data["quantity"], "coupons": coupons}
    cause = dict(command.headers)["ce_id"]
    head = headers(f"{data['leg_id']}!1", company, "uprp.leg.answered.v1")
    head = (*head, ("ce_causationid", cause))
    topic = f"uprp.{company}.replies"
    return record_of(topic, number, command.key, orjson.dumps(facts), head)


def headers(event_id: str, company: str, kind: str) -> tuple[tuple[str, bytes | None], ...]:
    """Those of an event of a company."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", f"/participants/{company}".encode()),
        ("ce_type", kind.encode()),
        ("ce_time", TIME.encode()),
        ("content-type", b"application/json"),
    )


def record_of(topic: str, number: int, key: bytes | None, value: bytes, headers: Any) -> Record:
    """A record as it is read."""
    partition = murmur2(key or b"") % 8
    return Record(topic, partition, number, key, value, headers)


class Line:
    """The coordinator's path of a batch, with a stop watch at each stage."""

    def __init__(self, deploy: Path = ROOT / "deploy", connection: Any = None) -> None:
        self.catalogue: Catalogue = load(deploy)
        self.connection = connection or Nowhere()
        self.decider = Decider(self.catalogue, "bench")
        self.routes = routes(self.catalogue.participants)
        self.recent = SagaCache(10_000)
        self.admission = AdmissionController({})
        self.spent: dict[str, float] = defaultdict(float)
        metrics = Metrics()
        self.report = BatchReport(Log(None, _Lines(Void())), metrics)  # type: ignore[arg-type]
        self.now = START_MS

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.spent[name] += time.process_time() - began

    async def batch(self, records: Sequence[Record]) -> BatchResult:
        self.now += 100
        with self.part("decode"):
            arrivals: list[InboundEvent] = []
            for record in records:
                arrivals += decode(record, self.routes[record.topic], redelivered=False)
        transaction = PostgresTransaction(self.connection, "bench")
        with self.part("load"):
            needs = self.decider.needs(arrivals, self.now)
            loaded: Mapping[SagaId, Saga] = await self.recent.load(transaction, needs)
            used = await transaction.limits(needs.limits)
        with self.part("decide"):
            decision = self.decider.decide(arrivals, loaded, used, self.now)
        with self.part("outcomes"):
            decision.outcomes = self.admission.observe(decision.changes.sagas.values())
        with self.part("check"):
            await self.recent.check(transaction, decision)
        with self.part("rows"):
            await transaction.save(decision.changes)
        with self.part("remember"):
            self.recent.remember(decision)
        with self.part("report"):
            self.report.committed(arrivals, decision, self.now)
        return decision


async def run(count: int, size: int) -> dict[str, float]:
    """Microseconds a redemption, by part."""
    line = Line()
    for start in range(0, count, size):
        records = [request(number) for number in range(start, start + size)]
        for _ in range(3):
            decision = await line.batch(records)
            assert len(decision.outgoing) == size, (len(decision.outgoing), decision.counts)
            if decision.outgoing[0].topic.endswith(".commands"):
                records = [reply(said, start + at) for at, said in enumerate(decision.outgoing)]
        if start == 0:
            line.spent.clear()  # The first batch fills the caches.
    done = count - size
    return {name: spent / done * 1e6 for name, spent in line.spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=1_000)
    options = parser.parse_args()
    gc.disable()
    found = asyncio.run(run(options.count, options.batch))
    text = ", ".join(f"{name} {us:.1f}" for name, us in found.items())
    sys.stdout.write(f"{sum(found.values()):.0f} us a redemption: {text}\n")


if __name__ == "__main__":
    main()
