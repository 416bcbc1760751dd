"""`make bench-waiting`: what 100,000 sagas that wait cost those that do not.

The same coordinator, servers and companies, first alone, then with so many sagas in unknown or
pending whose timers are due evenly, so many a second. Each due timer is found, published, read,
and asks a company, which answers. Prints the rate of the happy path with them as a share of the
rate without, and how many timers a second the sweeper kept up with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import Iterator
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

BEGIN_S: Final = 60.0
"""Until the first of them is due: long enough to write them, and to start a coordinator."""


class Waiting(Bench):
    """A bench whose companies are asked again only after so many seconds."""

    def __init__(self, environment: Environment, folder: Path, every_s: int) -> None:
        super().__init__(environment, folder)
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

    def fetch(self, query: str) -> Any:
        """One row of the database."""

        async def ask() -> Any:
            connection = await asyncpg.connect(self.dsn)
            try:
                return await connection.fetchrow(query)
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


def _write(bench: Waiting, count: int, per_s: int) -> None:
    """Put the waiting sagas into the database."""
    first = round((time.time() + BEGIN_S) * 1000)
    sagas = waiting_sagas(bench.deploy, count, first, count * 1_000 // per_s)
    rows = [begun_row(saga) for saga in sagas]

    async def copy() -> None:
        connection = await asyncpg.connect(bench.dsn)
        try:
            await connection.copy_records_to_table("saga", records=rows, columns=COLUMNS["saga"])
            await connection.execute("analyze saga")
        finally:
            await connection.close()

    asyncio.run(copy())


def _timers(bench: Waiting) -> float:
    return bench.metrics().get('uprp_records_total{channel="internal"}', 0.0)


def _stage(bench: Waiting, load: Load, name: str, rate: float, seconds: float) -> dict[str, Any]:
    """Offer a rate; what was carried, and how many timers were read meanwhile."""
    timers, began, cpu = _timers(bench), time.monotonic(), bench.cpu(bench.engines)
    stage: Stage = load.run(rate, seconds, patience_s=240)
    spent = {part: used - cpu[part] for part, used in bench.cpu(bench.engines).items()}
    rang, took = _timers(bench) - timers, time.monotonic() - began
    late = bench.fetch(
        "select count(*) as count, coalesce(extract(epoch from now() - min(due_at)), 0) as oldest"
        " from saga where due_at < now() - interval '1 second'"
    )
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


def _carried(bench: Waiting, load: Load, offered: float, name: str) -> dict[str, Any]:
    load.run(200, 3)
    # A fresh broker compiles itself at first: whoever is measured second would have the better one.
    warm = load.run(offered, WARM_S, patience_s=240)
    return _stage(bench, load, name, min(offered, warm.completed_per_s * 1.5), 10)


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
        bench = Waiting(servers, folder, options.waiting // options.due)
        bench.prepare()
        companies = [*UPRP, "sandbox", "--data", str(folder / "books")]
        with bench.process("companies", companies, "sandbox ready") as bench.sandbox:
            out = _run(bench, options)
    path = Path("build/bench-waiting.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(out, indent=2) + "\n", "utf-8")
    sys.stdout.write(json.dumps(out, indent=2) + "\n")


def _run(bench: Waiting, options: argparse.Namespace) -> dict[str, Any]:
    count, due, offered = options.waiting, options.due, options.offered
    load = Load(bench.servers, "waiting")
    try:
        with bench.coordinators("alone", options.processes):
            alone = _carried(bench, load, offered, "alone")
        say(f"  writing {count:,} sagas that wait")
        _write(bench, count, due)
        with bench.coordinators("beside", options.processes):
            _until_due(bench)
            beside = _carried(bench, load, offered, "beside")
            share = _stage(bench, load, "at 80 %", alone["carried_per_s"] * 0.8, 20)
            quiet = _stage(bench, load, "at 100/s", 100, 10)
    finally:
        load.close()
    return {
        "processes": options.processes,
        "waiting": count,
        "due_per_s": due,
        "alone": alone,
        "beside": beside,
        "at_80_percent": share,
        "at_100": quiet,
        "cpu_us_a_redemption": {
            part: round(spent * 1e6 / alone["done"]) for part, spent in alone["cpu_s"].items()
        },
        "cpu_us_a_due_saga": _due_cost(alone, beside),
        "ratio": round(beside["carried_per_s"] / alone["carried_per_s"], 3),
        "timers_per_s_at_80_percent": share["timers_per_s"],
    }


def _due_cost(alone: dict[str, Any], beside: dict[str, Any]) -> dict[str, int]:
    """What a due saga cost of CPU, if a redemption cost as much as alone."""
    share = beside["done"] / alone["done"]
    return {
        part: round((beside["cpu_s"][part] - spent * share) / beside["timers"] * 1e6)
        for part, spent in alone["cpu_s"].items()
    }


def _until_due(bench: Waiting) -> None:
    wait_until(lambda: _timers(bench) > 0, 60, "the first timers are due")


if __name__ == "__main__":
    main()
