"""`make bench-waiting`: what 200,000 sagas that wait cost those that do not.

One pair of coordinators, servers and companies, with as many redemptions under way as keeps them
busy. By turns no timer is due, or so many a second: each is found, published, read, and asks a
company, which answers. Prints the rate of the happy path beside them as a share of the rate just
before and after, in every round and in all of them, and how many timers a second the sweeper kept
up with. In short rounds, and many: a machine may be twice as fast as it was a minute ago, and what
one round says is worth little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil

from adapters.embedded.doctor import built_how
from adapters.embedded.environment import Environment
from adapters.embedded.processes import Child
from adapters.postgres.rows import COLUMNS, new_saga_row
from orchestrator.batch.decide import Decider
from orchestrator.catalogue.loader import load
from orchestrator.engine.instance import Saga
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import Event
from orchestrator.sagas.redemption import acceptance
from orchestrator.sagas.redemption.intake import first_legs
from orchestrator.settings import ROOT
from schemas.frozen import replaced
from schemas.requests import RedemptionRequested
from tests.bench.__main__ import UPRP, Bench, sized
from tests.bench.load import ORIGIN, Load, Stage, say

WARM_S: Final = 60.0
"""Until then a fresh broker compiles itself, with up to a fifth of two cores."""
WINDOW_S: Final = 6.0
SETTLE_S: Final = 2.0  # From the first due timer to the window, until it is as it will be.
REST_S: Final = 3.0  # From the last due timer to the window, until all are through.
RINGING_S: Final = SETTLE_S + WINDOW_S + 1.0
ROUND_S: Final = RINGING_S + REST_S + WINDOW_S + 1.0
LAST_S: Final = 40.0
"""For so long timers are due after the rounds, beside 80 % of what was carried alone."""
TIMERS: Final = "uprp_timers_total"
BATCHES: Final = "uprp_batches_total"
FAR_MS: Final = 86_400_000


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
        (deploy / "participants" / path.name).write_text(f"{text}[legs.return]\n[legs.balance]\n")
    return deploy


def waiting_sagas(deploy: Path, count: int, due: int) -> Iterator[Saga]:
    """So many sagas, half of them unknown, half pending, all due at that moment (ms)."""
    catalogue = load(deploy)
    programme = catalogue.programmes["redemption"]["citi-alipayhk-coupons"]
    kinds = Decider(catalogue, "bench").kinds
    engine = kinds.by_request[RedemptionRequested].engine
    begin = due - 60_000
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
        saga = engine.start(terms, first_legs(engine.definition, terms), begin)
        if number % 2:
            saga = _heard(engine.apply_timer(saga, begin + 5_000))
        else:
            done = LegUpdate(event=Event.CONFIRMED, amount=terms.body.points, reference="R")
            saga = _heard(engine.apply_reply(saga, "deduct", done, begin + 100))
            saga = _heard(
                engine.apply_reply(saga, "credit/1", LegUpdate(event=Event.PENDING), begin + 200)
            )
        saga = _heard(engine.status_requested(saga, begin + 6_000))
        legs = tuple(replaced(leg, due=due if leg.due else None) for leg in saga.legs)
        yield replaced(saga, legs=legs, wake_at=due)


def _heard(moved: Any) -> Saga:
    assert isinstance(moved, Saga), moved
    return moved


def _write(bench: Waiting, count: int) -> None:
    """Put the waiting sagas into the database, all due by their states and by no row."""
    now = round(time.time() * 1000)
    sagas = waiting_sagas(bench.deploy, count, now - 1_000)
    rows = [new_saga_row(replaced(saga, wake_at=now + FAR_MS)) for saga in sagas]

    async def copy(connection: Any) -> None:
        await connection.copy_records_to_table("saga", records=rows, columns=COLUMNS["saga"])
        await connection.execute("vacuum analyze saga")

    bench.ask(copy)


_NUMBER: Final = "split_part(request_id, '-', 2)::integer"
_WAITS: Final = f"account = 'waiting-' || {_NUMBER}"


def _wake(bench: Waiting, numbers: range, each: int, begin: float, per_s: int) -> None:
    """Let those be due, so many in each round, one after the other, the first from `begin` on.

    None may have rung before: by its state it would not be due yet.
    """

    async def wake(connection: Any) -> None:
        number = f"({_NUMBER} - $1::integer)"
        await connection.execute(
            f"update saga set due_at = to_timestamp($5) + make_interval(secs =>"
            f" {number} / $3::integer * $6::float8 + {number} % $3 / $4::float8)"
            f" where {_WAITS} and {_NUMBER} >= $1 and {_NUMBER} < $2::integer",
            numbers.start,
            numbers.stop,
            each,
            per_s,
            begin,
            ROUND_S,
        )
        await connection.execute("vacuum saga")

    bench.ask(wake)


def _sleep_until(at: float) -> None:
    time.sleep(max(0.0, at - time.time()))


_LATE: Final = """
select count(*) as count, coalesce(extract(epoch from now() - min(due_at)), 0) as oldest
from saga where due_at < now() - interval '1 second'
"""


def _spending(bench: Waiting) -> Callable[[], dict[str, Any]]:
    """What is spent from now on, and what is late when it is asked for."""
    before, began, cpu = bench.metrics(), time.monotonic(), bench.cpu(bench.engines)

    def spent() -> dict[str, Any]:
        used = {part: done - cpu[part] for part, done in bench.cpu(bench.engines).items()}
        now, took = bench.metrics(), time.monotonic() - began
        rang, batches = (now[name] - before[name] for name in (TIMERS, BATCHES))
        late = bench.ask(lambda connection: connection.fetchrow(_LATE))
        return {
            "timers": round(rang),
            "timers_per_s": round(rang / took),
            "batches_per_s": round(batches / took, 1),
            "cpu_s": {part: round(seconds, 2) for part, seconds in used.items()},
            "late_timers": late["count"],
            "oldest_late_s": round(float(late["oldest"]), 1),
        }

    return spent


def _window(bench: Waiting, held: Stage, name: str) -> dict[str, Any]:
    """What is carried in a while of the load that is held."""
    spent, began, before = _spending(bench), time.monotonic(), held.done
    time.sleep(WINDOW_S)
    done, took = held.done - before, time.monotonic() - began
    found = {"carried_per_s": round(done / took), "done": done, **spent()}
    say(f"  {name}: {found}")
    held.check()  # Now, and not only when all is over.
    return found


def _stage(bench: Waiting, load: Load, name: str, rate: float, seconds: float) -> dict[str, Any]:
    """Offer a rate; what was carried, and how many timers were read meanwhile."""
    spent = _spending(bench)
    stage = load.run(rate, seconds, patience_s=240)
    found = {
        "offered_per_s": round(rate),
        "carried_per_s": round(stage.completed_per_s),
        "p50_ms": round(stage.percentile(0.50), 1),
        "p99_ms": round(stage.percentile(0.99), 1),
        "done": stage.done,
        **spent(),
    }
    say(f"  {name}: {found}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.waiting", description=__doc__)
    parser.add_argument("--waiting", type=int, default=200_000)
    parser.add_argument("--due", type=int, default=1_000, help="timers a second")
    parser.add_argument("--in-flight", type=int, default=1_500, help="redemptions under way")
    parser.add_argument("--processes", type=int, default=psutil.cpu_count() or 1)
    options = parser.parse_args()
    least = round(options.due * (RINGING_S + LAST_S))
    if options.waiting < least:
        parser.error(f"--waiting must be at least {least}")
    with sized(Environment(progress=say)) as servers:
        folder = servers.folder / "bench"
        folder.mkdir()
        bench = Waiting(servers, folder, 3 * options.waiting // options.due)
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
    each = round(due * RINGING_S)
    rounds = round(count - due * LAST_S) // each
    load = Load(bench.servers, "bench")
    alone: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    try:
        with bench.coordinators("coordinator", options.processes):
            load.run(200, 3)
            say(f"  writing {count:,} sagas that wait")
            _write(bench, count)
            first = time.time() + WARM_S + WINDOW_S + REST_S + 10
            begins = [first + number * ROUND_S for number in range(rounds)]
            _wake(bench, range(rounds * each), each, first, due)
            with load.held(options.in_flight, patience_s=240) as held:
                for begin in begins:
                    _sleep_until(begin - WINDOW_S - 1)
                    alone.append(_window(bench, held, "alone"))
                    _sleep_until(begin + SETTLE_S)
                    beside.append(_window(bench, held, "beside"))
                _sleep_until(begins[-1] + ROUND_S - WINDOW_S - 1)
                alone.append(_window(bench, held, "alone"))
            begin = time.time() + REST_S
            _wake(bench, range(rounds * each, count), count, begin, due)
            _sleep_until(begin)
            rate = statistics.median(one["carried_per_s"] for one in alone) * 0.8
            loaded = _stage(bench, load, "at 80 %", rate, 20)
            quiet = _stage(bench, load, "at 100/s", 100, 10)
    finally:
        load.close()
    carried = [one["carried_per_s"] for one in beside]
    around = [(a["carried_per_s"] + b["carried_per_s"]) / 2 for a, b in pairwise(alone)]
    ratios = [one / other for one, other in zip(carried, around, strict=True)]
    return {
        "python": platform.python_version() + built_how(),
        "processes": options.processes,
        "waiting": count,
        "due_per_s": due,
        "alone": alone,
        "beside": beside,
        "at_80_percent": loaded,
        "at_100": quiet,
        **_costs(alone, beside),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio": round(sum(carried) / sum(around), 3),
        "ratio_error": round(statistics.pstdev(ratios) / len(ratios) ** 0.5, 3),
        "timers_per_s_at_80_percent": loaded["timers_per_s"],
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
