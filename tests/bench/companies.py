"""What a redemption costs the simulated companies, part by part, without any server.

Two commands a redemption, as the coordinator writes them, are decoded, carried out in the books on
disk and answered, in batches as large as under load. `python -m tests.bench.companies` prints
microseconds of CPU for each part; `--kafka` starts Apache Kafka and prints what the whole process
costs, its Kafka clients' threads with it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import orjson
import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from adapters.cli.sandbox import COMPANIES
from adapters.embedded.environment import Environment, ServerKey
from adapters.embedded.processes import spawn, stop, tail
from adapters.sandbox.businesses import business_of
from adapters.sandbox.commands import Command, read_command
from adapters.sandbox.companies import load_companies
from adapters.sandbox.company import Company
from adapters.sandbox.faults import Faults
from adapters.sandbox.ledger import Ledger, UnitOfWork
from adapters.sandbox.magic_accounts import MAGIC
from orchestrator.ports import Outgoing, Record
from orchestrator.settings import ROOT
from tests.bench.engine import Line, reply, request
from tests.support import wait_until

PLAYED: Final = ("citi", "alipayhk")
PARTITIONS: Final = 8
STRETCH_S: Final = 5.0  # How long each rate is offered.
WANTED: Final[tuple[ServerKey, ...]] = ("kafka",)


class Said(NamedTuple):
    """A command as it lies on a topic."""

    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


def commands(count: int, accounts: int) -> dict[str, list[Said]]:
    """The commands of `count` redemptions, by company, for so many accounts."""
    return asyncio.run(_commands(count, accounts))


async def _commands(count: int, accounts: int) -> dict[str, list[Said]]:
    line = Line()
    said: dict[str, list[Said]] = {name: [] for name in PLAYED}
    for start in range(0, count, 1_000):
        numbers = range(start, min(start + 1_000, count))
        records = [_request(number, accounts) for number in numbers]
        for _ in PLAYED:
            outgoing = (await line.batch(records)).outgoing
            for one in outgoing:
                said[one.topic.split(".")[1]].append(_lasting(one))
            records = [reply(one, start + at) for at, one in enumerate(outgoing)]
    return said


def _request(number: int, accounts: int) -> Record:
    """The benchmark's request, its accounts taken in turn."""
    record = request(number)
    data = orjson.loads(record.value or b"")
    account = f"bench-w{number % accounts}"
    data |= {"account": account, "debtor_account": f"load-{number % accounts}"}
    key, value = f"alipayhk/{account}".encode(), orjson.dumps(data)
    return Record(record.topic, 0, number, key, value, record.headers)


def _lasting(one: Outgoing) -> Said:
    data = orjson.loads(one.value or b"")
    data["expires_at"] = "2099-01-01T00:00:00.000Z"
    headers = [(name, value or b"") for name, value in one.headers]
    return Said(one.key, orjson.dumps(data), headers)


class Clock:
    """Seconds of CPU of this process, by part."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.spent[name] += time.process_time() - began


class Watched(Ledger):
    """A ledger that has the time of its readings and its commits taken."""

    clock: Clock

    def begin(self, *wanted: Any) -> UnitOfWork:
        with self.clock.part("read"):
            return super().begin(*wanted)

    def commit(self, work: UnitOfWork) -> None:
        with self.clock.part("commit"):
            super().commit(work)


def by_part(count: int, size: int, accounts: int) -> dict[str, float]:
    """Microseconds a redemption: decode, read (the sheet), turn, commit."""
    said = commands(count, accounts)
    clock = Clock()
    gc.disable()
    with TemporaryDirectory() as folder:
        for name, profile in load_companies(COMPANIES, PLAYED).items():
            ledger = Watched(Path(folder) / f"{name}.sqlite3")
            ledger.clock = Clock()
            with closing(
                Company(name, business_of(name, profile), ledger, Faults(magic=MAGIC))
            ) as one:
                ledger.clock = clock
                for start in range(0, count, size):
                    _batch(one, said[name][start : start + size], clock)
    clock.spent["turn"] -= clock.spent["read"] + clock.spent["commit"]
    return {name: spent / count * 1e6 for name, spent in clock.spent.items()}


def _batch(company: Company, said: Sequence[Said], clock: Clock) -> None:
    with clock.part("decode"):
        read: list[Command] = []
        for one in said:
            command = read_command(one.key, one.value, one.headers)
            assert command is not None
            read.append(command)
    with clock.part("turn"):
        replies = company.handle(read, datetime.now(UTC))
        company.settle(datetime.now(UTC))
    assert len(replies) == len(said)


def on_kafka(tree: Path, said: dict[str, list[Said]], rates: Sequence[float]) -> Iterator[str]:
    """Plays the companies of a tree as a process, offers them redemptions, says what they cost."""
    with Environment(wanted=WANTED) as servers:
        bootstrap = servers.kafka.bootstrap_servers
        _make_topics(bootstrap)
        log = servers.folder / "companies.log"
        arguments = ["sandbox", "--bootstrap", bootstrap, "--only", ",".join(PLAYED)]
        arguments += ["--data", str(servers.folder / "books")]
        program = [sys.executable, "-m", "adapters.cli.main", *arguments]
        child = spawn(program, folder=tree, log=log, environment=os.environ)
        try:
            wait_until(lambda: "sandbox ready" in log.read_text(), 60, f"ready: {tail(log)}")
            pids = {"companies": child.pid, "kafka": servers.kafka.pid}
            at = 0
            for rate in (rates[0], *rates):  # The first time warms up.
                before = {name: _cpu(pid) for name, pid in pids.items()}
                end = at + min(round(rate * STRETCH_S), len(said[PLAYED[0]]) - at)
                waits = _offer(bootstrap, said, at, end, rate)
                spent = {n: (_cpu(pid) - before[n]) / (end - at) * 1e6 for n, pid in pids.items()}
                yield _figures(rate, spent, waits)
                at = end
        finally:
            stop(child, signal.SIGTERM, deadline_s=20)


def _make_topics(bootstrap: str) -> None:
    names = [f"uprp.{name}.{way}" for name in PLAYED for way in ("commands", "replies")]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    for future in made.values():
        future.result(30)


def _cpu(pid: int | None) -> float:
    return float(sum(psutil.Process(pid).cpu_times()[:2]))


def _figures(rate: float, spent: Mapping[str, float], waits: Sequence[float]) -> str:
    cost = ", ".join(f"{name} {us:.0f} us" for name, us in spent.items())
    middle, late = (waits[len(waits) * share // 100] * 1e3 for share in (50, 99))
    return f"{rate:,.0f}/s: {cost} a redemption; answers p50 {middle:.1f} ms, p99 {late:.1f} ms"


def _offer(
    bootstrap: str, said: Mapping[str, Sequence[Said]], start: int, end: int, per_s: float
) -> list[float]:
    """Commands on schedule; how long each answer took in seconds, in order of size."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})
    ear = Consumer({"bootstrap.servers": bootstrap, "group.id": "ear", "fetch.wait.max.ms": 20})
    topics = [f"uprp.{name}.replies" for name in PLAYED]
    places = [TopicPartition(topic, n) for topic in topics for n in range(PARTITIONS)]
    for place in places:
        _, place.offset = ear.get_watermark_offsets(place, timeout=15)
    ear.assign(places)
    due: dict[bytes, float] = {}
    waits: list[float] = []
    began, sent = time.perf_counter(), start
    while len(waits) < 2 * (end - start):
        assert time.perf_counter() < began + 120, f"{len(waits)} answers"
        while sent < end and began + (sent - start) / per_s <= time.perf_counter():
            for name in PLAYED:
                key, value, headers = said[name][sent]
                due[dict(headers)["ce_id"]] = began + (sent - start) / per_s
                producer.produce(f"uprp.{name}.commands", value, key, headers=headers)
            sent += 1
        producer.poll(0)
        for message in ear.consume(1_000, 0.004):
            cause = dict(message.headers() or ()).get("ce_causationid")
            assert isinstance(cause, bytes)
            waits.append(time.perf_counter() - due.pop(cause))
    ear.close()
    return sorted(waits)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--accounts", type=int, default=5_000)
    parser.add_argument("--kafka", action="store_true", help="the whole process, on Apache Kafka")
    parser.add_argument("--rates", default="1500,100,1500,2500", help="with --kafka")
    parser.add_argument("--against", type=Path, help="with --kafka: another tree, measured first")
    options = parser.parse_args()
    if options.kafka:
        rates = [float(rate) for rate in options.rates.split(",")]
        said = commands(round(STRETCH_S * (rates[0] + sum(rates))), options.accounts)
        for tree in filter(None, (options.against, ROOT)):
            for line in on_kafka(tree, said, rates):
                sys.stdout.write(f"{tree.name}, {line}\n")
                sys.stdout.flush()
        return
    found = by_part(options.count, options.batch, options.accounts)
    text = ", ".join(f"{name} {us:.1f}" for name, us in found.items())
    sys.stdout.write(f"{sum(found.values()):.0f} us a redemption: {text}\n")


if __name__ == "__main__":
    main()
