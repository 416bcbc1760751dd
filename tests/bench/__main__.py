"""`make bench`: the bare loop and the real coordinator, same servers, same companies, one run."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil

from adapters.embedded.environment import Environment
from adapters.embedded.processes import Child, free_port, spawn, stop, tail
from adapters.kafka.topics import TopicAdmin, wanted
from adapters.postgres.migrate import migrate
from orchestrator.catalogue.loader import load
from orchestrator.settings import ROOT, KafkaSettings
from tests.bench.bare import saga_of
from tests.bench.load import Load, Stage, say
from tests.support import wait_until

UPRP: Final = [sys.executable, "-m", "adapters.cli.main"]
READY_S: Final = 60.0
WARM_S: Final = 10.0
"""How long the full load runs before anything is measured: until then, half of what a fresh broker
does is compiling itself, and whoever is measured second would have the better one."""
REST_S: Final = 5.0
CPU_OF: Final = ("kafka", "postgres", "companies", "engine", "load")


def sized(servers: Environment) -> Environment:
    """The servers, not started yet, with a database for a load: a quarter of the memory is its
    buffers, as its manual has it, and 2 GB of that is enough here."""
    total = psutil.virtual_memory().total // 1_000_000
    servers.postgres.buffers_mb = min(max(total // 4, servers.postgres.buffers_mb), 2_000)
    return servers


class Bench:
    """The servers and companies of one run, and the processes of one engine at a time."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        self.kafka = environment.kafka
        self.postgres = environment.postgres
        self.folder = folder
        self.servers = environment.kafka.bootstrap_servers
        self.dsn = environment.postgres.dsn
        self.ports: list[int] = []
        self.sandbox: Child | None = None

    def environment(self, port: int) -> dict[str, str]:
        """What a process of the run is told; if it is a coordinator, it is asked on that port."""
        return os.environ | {
            "UPRP_KAFKA__BOOTSTRAP_SERVERS": self.servers,
            "UPRP_POSTGRES__DSN": self.dsn,
            "UPRP_HTTP__PORT": str(port),
        }

    def prepare(self) -> None:
        """Topics and tables."""
        settings = KafkaSettings(bootstrap_servers=self.servers)

        async def act() -> None:
            admin = TopicAdmin(settings)
            topics = wanted(load(ROOT / "deploy"), settings.partitions)
            await admin.apply(await admin.plan(topics))
            await migrate(self.dsn)

        asyncio.run(act())

    @contextmanager
    def process(
        self, name: str, command: list[str], ready: str, tree: Path = ROOT
    ) -> Iterator[Child]:
        """A process for the length of a block, ready when its log says so; `tree` is its code."""
        with self.processes(name, command, ready, 1, tree) as (child,):
            yield child

    @contextmanager
    def processes(
        self, name: str, command: list[str], ready: str, count: int, tree: Path = ROOT
    ) -> Iterator[list[Child]]:
        """So many processes of the same command, which share the work as they can."""
        self.ports = [free_port() for _ in range(count)]
        children: list[Child] = []
        try:
            for at, port in enumerate(self.ports, 1):
                log = self.folder / f"{name}-{at}.log"
                environment = self.environment(port)
                child = spawn(command, folder=tree, log=log, environment=environment)
                children.append(child)
                what = f"{name} {at} to be ready: {log}"
                wait_until(partial(_says, child, log, ready), READY_S, what)
            yield children
        finally:
            for child in children:
                stop(child, signal.SIGTERM, deadline_s=20)

    def cpu(self, engines: Iterable[Child]) -> dict[str, float]:
        """Seconds of CPU that each part has used."""
        pids = {"kafka": self.kafka.pid, "postgres": self.postgres.pid}
        pids |= {"companies": self.sandbox.pid if self.sandbox else None, "load": os.getpid()}
        found = {name: _cpu(pid, tree=name == "postgres") for name, pid in pids.items()}
        return found | {"engine": sum(_cpu(engine.pid, tree=False) for engine in engines)}

    def metrics(self) -> dict[str, float]:
        """The coordinators' counters, added up."""
        found: dict[str, float] = defaultdict(float)
        for port in self.ports:
            url = f"http://127.0.0.1:{port}/metrics"
            with urllib.request.urlopen(url, timeout=10) as answer:
                text = answer.read().decode()
            for line in text.splitlines():
                if not line.startswith("#"):
                    name, _, value = line.rpartition(" ")
                    found[name] += float(value)
        return found


def _says(child: Child, log: Path, text: str) -> bool:
    assert child.process() is not None, f"it ended\n{tail(log)}"
    return text in log.read_text("utf-8", "replace")


def _cpu(pid: int | None, *, tree: bool) -> float:
    if pid is None:
        return 0.0
    process = psutil.Process(pid)
    times = process.cpu_times()
    total = times.user + times.system
    if tree:  # Backends that ended count in their parent.
        total += times.children_user + times.children_system
        total += sum(sum(child.cpu_times()[:2]) for child in process.children())
    return total


def measure(
    bench: Bench, engines: list[Child], name: str, rates: tuple[float, ...]
) -> dict[str, Any]:
    """Warm up, find the most that is sustained, then the latencies at fixed rates."""
    load = Load(bench.servers, name, saga_of if name == "bare" else str)
    try:
        load.run(200, 3)
        load.run(rates[-1], WARM_S, patience_s=240)
        before = bench.cpu(engines)
        burst = load.run(rates[-1], 10, patience_s=240)
        after = bench.cpu(engines)
        knee = burst.carried_per_s
        say(f"  {name}: offered {rates[-1]:,.0f}/s, carried {knee:,.0f}/s")
        cpu = {part: (after[part] - before[part]) / burst.done * 1e6 for part in after}
        say("  cpu per redemption: " + ", ".join(f"{p} {v:.0f} us" for p, v in cpu.items()))
        found: dict[str, Any] = {
            "per_s": round(knee),
            "cpu_us": {p: round(v) for p, v in cpu.items()},
        }
        for rate in (*rates[:-1], round(knee * 0.85)):
            stage = load.run(rate, 10 if rate < 1_000 else 8)
            _show(name, stage)
            label = "knee" if rate not in rates else f"{rate:.0f}"
            found[label] = _figures(stage)
        found["at_rest_ms_per_s"] = rest = at_rest(bench, engines)
        say(f"  {name}: at rest " + ", ".join(f"{p} {v} ms/s" for p, v in rest.items()))
        return found
    finally:
        load.close()


def _figures(stage: Stage) -> dict[str, Any]:
    return {
        "rate": round(stage.rate),
        "done": stage.done,
        "p50_ms": round(stage.percentile(0.50), 1),
        "p99_ms": round(stage.percentile(0.99), 1),
        "tail_s": round(stage.tail_s, 2),
        "schedule_lag_p99_ms": round(stage.schedule_lag_p99_ms, 1),
        "statuses": stage.statuses,
    }


def _show(name: str, stage: Stage) -> None:
    figures = _figures(stage)
    say(
        f"  {name}: {figures['rate']:,}/s  p50 {figures['p50_ms']} ms  p99 {figures['p99_ms']} ms"
        f"  schedule lag p99 {figures['schedule_lag_p99_ms']} ms  tail {figures['tail_s']} s"
    )


def at_rest(bench: Bench, engines: list[Child]) -> dict[str, int]:
    """Milliseconds of CPU a second that each part uses while there is nothing to do."""
    time.sleep(2)
    before, began = bench.cpu(engines), time.monotonic()
    time.sleep(REST_S)
    after, took = bench.cpu(engines), time.monotonic() - began
    return {part: round((after[part] - before[part]) / took * 1_000) for part in after}


def frugality(before: dict[str, float], after: dict[str, float], done: int) -> dict[str, Any]:
    """Statements per batch and rows per saga, from the coordinator's own counters."""
    delta = {name: after[name] - before.get(name, 0.0) for name in after}
    batches = delta["uprp_batches_total"]
    rows = {
        name.partition('"')[2].rstrip('"}'): round(count / done, 2)
        for name, count in delta.items()
        if name.startswith("uprp_rows_total{")
    }
    return {
        "statements_per_batch": round(delta["uprp_statements_total"] / batches, 1),
        "batches": round(batches),
        "rows_per_saga": rows,
        "rows_per_saga_total": round(sum(rows.values()), 2),
    }


def main() -> None:
    """Run, print, write `build/bench.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--offered", type=float, default=9_000, help="more than can be carried")
    cores = psutil.cpu_count() or 1
    what = "coordinators, and bare loops: one a core, as one would run them"
    parser.add_argument("--processes", type=int, default=cores, help=what)
    parser.add_argument("--only", choices=("bare", "saga"), help="one side alone, for profiling")
    options = parser.parse_args()
    rates = (100.0, 1_000.0, options.offered)
    count = options.processes
    out: dict[str, Any] = {"schema": 1, "cores": cores, "processes": count}
    with sized(Environment(progress=say)) as servers:
        folder = servers.folder / "bench"
        folder.mkdir()
        bench = Bench(servers, folder)
        bench.prepare()
        companies = [*UPRP, "sandbox", "--data", str(folder / "books")]
        with bench.process("companies", companies, "sandbox ready") as sandbox:
            bench.sandbox = sandbox
            if options.only != "bare":
                command, ready = [*UPRP, "coordinator"], "coordinator.assigned"
                with bench.processes("coordinator", command, ready, count) as engines:
                    out["saga"] = _saga(bench, engines, rates)
            # Second, on a broker that has run for longer: if the order favours anybody, not us.
            if options.only != "saga":
                bare = [sys.executable, "-m", "tests.bench.bare"]
                with bench.processes("bare", bare, "ready", count) as engines:
                    out["bare"] = measure(bench, engines, "bare", rates)
    _report(out)


def _saga(bench: Bench, engines: list[Child], rates: tuple[float, ...]) -> dict[str, Any]:
    before = bench.metrics()
    found = measure(bench, engines, "saga", rates)
    after = bench.metrics()
    found |= frugality(before, after, int(after["uprp_sagas_started_total"]))
    sizes = [psutil.Process(engine.pid).memory_info().rss for engine in engines]
    found["rss_mb"] = round(max(sizes) / 1e6)
    return found


def _report(out: dict[str, Any]) -> None:
    if "bare" in out and "saga" in out:
        saga, bare = out["saga"], out["bare"]
        out |= {
            "bare_per_s": bare["per_s"],
            "saga_per_s": saga["per_s"],
            "ratio": round(saga["per_s"] / bare["per_s"], 3),
            "rss_mb": saga["rss_mb"],
        }
        for rate in ("100", "1000", "knee"):
            for figure in ("p50_ms", "p99_ms"):
                out[f"{figure}_at_{rate}"] = saga[rate][figure]
    path = Path("build/bench.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(out, indent=2) + "\n", "utf-8")
    sys.stdout.write(json.dumps(out, indent=2) + "\n")
    say(f"written to {path}")


if __name__ == "__main__":
    main()
