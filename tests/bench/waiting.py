"""`make bench-waiting`: what 100,000 sagas that wait cost those that do not.

One pair of coordinators, servers and companies, in turns: now every timer is a day away, now so
many a second are due. Each due timer is found, published, read, and asks a company, which answers.
Prints the rate of the happy path beside them as a share of the rate without, in every round and in
the middle one, and how many timers a second the sweeper kept up with. In rounds, because a machine
may be twice as fast as it was a minute ago.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil

from adapters.embedded.environment import Environment
from adapters.embedded.processes import Child
from adapters.postgres.rows import COLUMNS, begun_row
from orchestrator.catalogue import load
from orchestrator.decide import Decider
from orchestrator.rules import acceptance
from orchestrator.saga.instance import Saga
from orchestrator.saga.ladder import News
from orchestrator.saga.machine import Event
from orchestrator.settings import ROOT
from schemas.requests import RedemptionRequested
from schemas.value import but
from tests.bench.__main__ import UPRP, WARM_S, Bench
from tests.bench.load import ORIGIN, Load, Stage, say
from tests.support import wait_until

ROUNDS: Final = 3
SLICES: Final = ROUNDS + 1
"""Each round wakes others: who has just rung has nothing to do for long."""
FAR_MS: Final = 86_400_000
SOON_S: Final = 1


class Waiting(Bench):
    """A bench whose companies are asked again only after so many seconds."""

    def __init__(self, environment: Environment, folder: Path, waiting: int, every_s: int) -> None:
        super().__init__(environment, folder)
        self.waiting = waiting
        self.deploy = patient(folder, every_s)
        self.engines: list[Child] = []

    @contextmanager
    def coordinators(self, name: str, count: int) -> Iterator[None]:
        """So many of them, whose CPU is counted."""
        engine, ready = [*UPRP, "coordinator"], "coordinator.assigned"
        with self.processes(name, engine, ready, count) as self.engines:
            yield

    def environment(self, port: int) -> dict[str, str]:
        return super().environment(port) | {"UPRP_DEPLOY": str(self.deploy)}

    def ask(self, question: Callable[[Any], Awaitable[Any]]) -> Any:
        """What the database says to a question; it gets a connection."""

        async def ask() -> Any:
            connection = await asyncpg.connect(self.dsn)
            try:
                return await question(connection)
            finally:
                await connection.close()

        return asyncio.run(ask())


def patient(folder: Path, every_s: int) -> Path:
    """The catalogue of `deploy/` with ladders that go on for ever, slowly."""
    deploy = folder / "deploy"
    shutil.copytree(ROOT / "deploy" / "programmes", deploy / "programmes")
    (deploy / "participants").mkdir()
    ladder = f'every = "{every_s}s"\npending_every = "{every_s}s"\ntimes = 100000\n'
    for path in (ROOT / "deploy" / "participants").glob("*.toml"):
        text = f'id = "{path.stem}"\nversion = 1\nname = "{path.stem}"\n'
        text += f"[legs.deduct]\n{ladder}[legs.credit]\n{ladder}[legs.reverse]\n{ladder}"
        (deploy / "participants" / path.name).write_text(f"{text}[legs.return]\n")
    return deploy


def waiting_sagas(deploy: Path, count: int, now: int, spread_ms: int) -> Iterator[Saga]:
    """So many sagas, half of them unknown, half pending, due one after the other."""
    catalogue = load(deploy)
    programme = catalogue.programmes["citi-alipayhk-coupons"]
    engine, _ = Decider(catalogue, "bench").kits[programme.saga, programme.saga_version]
    begin = now - 60_000
    for number in range(count):
        request = RedemptionRequested.model_validate(
            {
                "request_id": f"waiting-{number}",
                "programme": programme.id,
                "account": f"waiting-{number}",
                "debtor_account": f"card-{number}",
                "lines": [{"item": "hkd50", "quantity": 2}],
            },
            strict=False,
        )
        terms = acceptance.draft(request, ORIGIN, programme, begin)
        saga = engine.start(terms, begin)
        if number % 2:
            saga = _heard(engine.tick(saga, begin + 5_000))
        else:
            done = News(event=Event.CONFIRMED, amount=terms.points, reference="R")
            saga = _heard(engine.hear(saga, "deduct", done, begin + 100))
            saga = _heard(engine.hear(saga, "credit/1", News(event=Event.PENDING), begin + 200))
        saga = _heard(engine.asked(saga, begin + 6_000))
        due = now + spread_ms * number // count
        legs = tuple(but(leg, due=due if leg.due else None) for leg in saga.legs)
        yield but(saga, legs=legs, wake_at=due)


def _heard(moved: Any) -> Saga:
    assert isinstance(moved, Saga), moved
    return moved


def _write(bench: Waiting, count: int) -> None:
    """Put the waiting sagas into the database, all due by their states and by no row."""
    now = round(time.time() * 1000)
    sagas = waiting_sagas(bench.deploy, count, now - 1_000, 0)
    rows = [begun_row(but(saga, wake_at=now + FAR_MS)) for saga in sagas]

    async def copy(connection: Any) -> None:
        await connection.copy_records_to_table("saga", records=rows, columns=COLUMNS["saga"])
        await connection.execute("vacuum analyze saga")

    bench.ask(copy)


_NUMBER: Final = "split_part(request_id, '-', 2)::integer"
_WAITS: Final = f"account = 'waiting-' || {_NUMBER}"


def _hush(bench: Waiting) -> None:
    """Let none of them be due for a day."""

    async def hush(connection: Any) -> None:
        await connection.execute(
            f"update saga set due_at = now() + interval '1 day' where {_WAITS}"
            " and due_at < now() + interval '1 hour'"
        )
        await connection.execute("vacuum saga")

    bench.ask(hush)


def _wake(bench: Waiting, first: int, count: int, per_s: int) -> None:
    """Let so many of them, from the `first`, be due from now on, one after the other."""

    async def wake(connection: Any) -> None:
        await connection.execute(
            f"update saga set due_at = now() + make_interval(secs => $4"
            f" + (({_NUMBER} - $1 + $5) % $5) / $3::float8)"
            f" where {_WAITS} and ({_NUMBER} - $1 + $5) % $5 < $2",
            first,
            count,
            per_s,
            SOON_S,
            bench.waiting,
        )
        await connection.execute("vacuum saga")

    before = _timers(bench)
    bench.ask(wake)
    wait_until(lambda: _timers(bench) > before, 60, "the first timers are due")


def _timers(bench: Waiting) -> float:
    return bench.metrics().get("uprp_timers_total", 0.0)


_LATE: Final = """
select count(*) as count, coalesce(extract(epoch from now() - min(due_at)), 0) as oldest
from saga where due_at < now() - interval '1 second'
"""


def _stage(bench: Waiting, load: Load, name: str, rate: float, seconds: float) -> dict[str, Any]:
    """Offer a rate; what was carried, and how many timers were read meanwhile."""
    timers, began, cpu = _timers(bench), time.monotonic(), bench.cpu(bench.engines)
    stage: Stage = load.run(rate, seconds, patience_s=240)
    spent = {part: used - cpu[part] for part, used in bench.cpu(bench.engines).items()}
    rang, took = _timers(bench) - timers, time.monotonic() - began
    late = bench.ask(lambda connection: connection.fetchrow(_LATE))
    found = {
        "offered_per_s": round(rate),
        "carried_per_s": round(stage.completed_per_s),
        "p50_ms": round(stage.percentile(0.50), 1),
        "p99_ms": round(stage.percentile(0.99), 1),
        "done": stage.done,
        "timers": round(rang),
        "timers_per_s": round(rang / took),
        "cpu_s": {part: round(seconds, 2) for part, seconds in spent.items()},
        "late_timers": late["count"],
        "oldest_late_s": round(float(late["oldest"]), 1),
    }
    say(f"  {name}: {found}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.waiting", description=__doc__)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--due", type=int, default=1_000, help="timers a second")
    parser.add_argument("--offered", type=float, default=9_000.0)
    parser.add_argument("--processes", type=int, default=psutil.cpu_count() or 1)
    options = parser.parse_args()
    with Environment(progress=say) as servers:
        folder = servers.folder / "bench"
        folder.mkdir()
        bench = Waiting(servers, folder, options.waiting, options.waiting // options.due)
        bench.prepare()
        companies = [*UPRP, "sandbox", "--data", str(folder / "books")]
        with bench.process("companies", companies, "sandbox ready") as bench.sandbox:
            out = _run(bench, options)
    path = Path("build/bench-waiting.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(out, indent=2) + "\n", "utf-8")
    sys.stdout.write(json.dumps(out, indent=2) + "\n")


def _run(bench: Waiting, options: argparse.Namespace) -> dict[str, Any]:
    count, due = options.waiting, options.due
    load = Load(bench.servers, "bench")
    alone: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    try:
        with bench.coordinators("coordinator", options.processes):
            load.run(200, 3)
            # A fresh broker compiles itself at first.
            warm = load.run(options.offered, WARM_S, patience_s=240)
            offered = min(options.offered, warm.completed_per_s * 1.5)
            say(f"  writing {count:,} sagas that wait")
            _write(bench, count)
            for number in range(ROUNDS):
                alone.append(_stage(bench, load, "alone", offered, 10))
                _wake(bench, number * count // SLICES, count // SLICES, due)
                beside.append(_stage(bench, load, "beside", offered, 10))
                _hush(bench)
            _wake(bench, ROUNDS * count // SLICES, count, due)
            rate = statistics.median(one["carried_per_s"] for one in alone) * 0.8
            share = _stage(bench, load, "at 80 %", rate, 20)
            quiet = _stage(bench, load, "at 100/s", 100, 10)
    finally:
        load.close()
    ratios = [
        round(late["carried_per_s"] / early["carried_per_s"], 3)
        for early, late in zip(alone, beside, strict=True)
    ]
    return {
        "processes": options.processes,
        "waiting": count,
        "due_per_s": due,
        "alone": alone,
        "beside": beside,
        "at_80_percent": share,
        "at_100": quiet,
        **_costs(alone, beside),
        "ratios": ratios,
        "ratio": statistics.median(ratios),
        "timers_per_s_at_80_percent": share["timers_per_s"],
    }


def _costs(alone: list[dict[str, Any]], beside: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Microseconds of CPU by part: for a redemption alone, and for a due saga on top of those."""
    done, more = (sum(one["done"] for one in stages) for stages in (alone, beside))
    timers = sum(one["timers"] for one in beside)
    redemption, saga = {}, {}
    for part in alone[0]["cpu_s"]:
        spent, then = (sum(one["cpu_s"][part] for one in stages) for stages in (alone, beside))
        redemption[part] = round(spent * 1e6 / done)
        saga[part] = round((then - spent * more / done) * 1e6 / timers)
    return {"cpu_us_a_redemption": redemption, "cpu_us_a_due_saga": saga}


if __name__ == "__main__":
    main()
