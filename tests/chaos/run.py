"""One run: servers of its own, two coordinators, hostile companies, people, a schedule of blows."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from adapters.cli.sandbox import COMPANIES
from adapters.embedded.environment import Environment
from adapters.sandbox.app import Apps
from adapters.sandbox.companies import load_companies
from adapters.sandbox.magic_accounts import MAGIC
from tests.chaos.load import Flow
from tests.chaos.people import People
from tests.chaos.schedule import Blow, Kind, schedule
from tests.chaos.storm import Storm
from tests.chaos.verdict import (
    DECIDED_BY_PEOPLE,
    HARD_CASES,
    Verdict,
    audited,
    dead_letters,
    decided,
    journal,
    judge,
)
from tests.support import wait_until

RUNGS: Final = (
    "inquiry",
    "resend",
    "cancel",
    "repeated cancel",
    "told PENDING",
    "told MANUAL_REVIEW",
    "told a correction",
    "said again",
)
NO_ROOM: Final = "the database had no room to write"


def say(text: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class Options:
    """How long, how much, drawn from which seed."""

    seconds: float
    seed: int
    per_s: float
    disk_mb: int = 2_048
    quiet_s: float = 240.0  # How long it may take until everything has ended.


@dataclass
class Outcome:
    """What a run came to."""

    verdict: Verdict
    reached: Counter[str]
    missing: list[str]
    notes: list[str]


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[str | None]:
    """A file system of its own for the database; why not, where this machine does not allow it."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "uprp-chaos", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        yield (done.stderr or "mount failed").strip()
        return
    # What it misses it must be able to say.
    (folder / "log.txt").symlink_to(folder.with_name("postgres.log"))
    try:
        yield None
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


async def _settle_database(dsn: str) -> None:
    """Keep the write-ahead log small: the disk is."""
    connection: Any = await asyncpg.connect(dsn)
    try:
        await connection.execute("alter system set max_wal_size = '256MB'")
        await connection.execute("select pg_reload_conf()")
    finally:
        await connection.close()


def chaos(options: Options, folder: Path) -> Outcome:
    """Run it: the load, the blows, then calm, then the verdict."""
    notes: list[str] = []
    base = folder / "servers"
    base.mkdir(parents=True)
    for path in (folder, base):
        path.chmod(0o711)  # The database's account passes through.
    with small_disk(base / "postgres", options.disk_mb) as why_not:
        kinds = [kind for kind in Kind if why_not is None or kind is not Kind.DISK_FULL]
        if why_not is not None:
            notes.append(f"not covered: {Kind.DISK_FULL} ({why_not})")
        with Environment(base, progress=say) as environment:
            assert environment.postgres.cluster.is_relative_to(base), "its account cannot go there"
            asyncio.run(_settle_database(environment.postgres.dsn))
            storm = Storm(environment, folder / "run", options.seed)
            with storm:
                return _beaten(storm, options, kinds, notes)


def _beaten(storm: Storm, options: Options, kinds: list[Kind], notes: list[str]) -> Outcome:
    plan = schedule(options.seed, options.seconds, kinds)
    say(f"seed {options.seed}, {options.seconds:.0f} s, {len(plan)} blows:")
    for blow in plan:
        say(f"  {blow}")
    apps = Apps(load_companies(COMPANIES), storm.books_folder)
    flow = Flow(storm.kafka.bootstrap_servers, apps, options.seed, options.per_s)
    people = People(storm.dsn, storm.deploy, storm.books_folder, options.seed)
    storm.supervise()
    for node in storm.coordinators:
        assert node is not None
        node.wait_ready()
    wait_until(lambda: storm.sandbox and storm.sandbox.said("sandbox ready"), 60, "companies")
    reached: Counter[str] = Counter()
    began = time.monotonic()
    with ExitStack() as stack:
        for crowd in (flow, people):
            crowd.start()
            stack.callback(crowd.stop)
        _rage(storm, options, plan, kinds, reached)
    seconds = time.monotonic() - began
    say(f"{sum(flow.counts.values()):,} requests in {seconds:.0f} s; healed, draining")
    rest = time.monotonic()
    _come_to_rest(storm, options.quiet_s)
    rested = time.monotonic() - rest
    say(f"at rest after {rested:.0f} s")
    verdict = _judged(storm, flow, people)
    for name in RUNGS:
        reached[name] = storm.ear.counts[name]
    reached.update(verdict.seen)
    wanted = [*map(str, kinds), *RUNGS, *HARD_CASES, *DECIDED_BY_PEOPLE, *MAGIC]
    if Kind.DISK_FULL in kinds:
        wanted.append(NO_ROOM)
        reached[NO_ROOM] = storm.refused_for_space
    missing = [name for name in wanted if not reached[name]]
    notes.append(f"{len(flow.sent):,} sagas asked for, {flow.counts}")
    notes.append(f"people: {_list(people.counts)}")
    notes.append(f"deaths: {dict(storm.deaths)}")
    size = storm.fetch("select pg_database_size(current_database()) as bytes")[0]["bytes"]
    notes.append(f"{seconds:.0f} s of load, {rested:.0f} s to rest; database of {size >> 20:,} MB")
    return Outcome(verdict, reached, missing, notes)


def _rage(
    storm: Storm, options: Options, plan: list[Blow], kinds: list[Kind], reached: Counter[str]
) -> None:
    """Every blow at its time, or as soon as the one before is over."""
    began = time.monotonic()
    for blow in plan:
        storm.spend(max(0.0, began + blow.at - time.monotonic()))
        now = time.monotonic() - began
        if now > options.seconds and all(reached[str(kind)] for kind in kinds):
            break  # Each took longer than planned; every kind had its turn.
        say(f"{now:7.1f} s  {blow.kind}  (planned {now - blow.at:.1f} s ago)")
        reached[str(blow.kind)] += storm.strike(blow)
    storm.spend(max(0.0, began + options.seconds - time.monotonic()))


def _come_to_rest(storm: Storm, within_s: float) -> None:
    """Everybody is up; wait until nothing is left to do, twice in a row."""

    def still() -> bool:
        storm.spend(0.3)  # To ask costs those who are to come to rest their time.
        return storm.at_rest()

    try:
        wait_until(lambda: still() and _again(still), within_s, "everything has ended")
    except AssertionError as error:
        raise AssertionError(f"{error}; {storm.counts()}") from error


def _again(condition: Any) -> bool:
    """Whether it still holds a moment later."""
    until = time.monotonic() + 1.0
    wait_until(lambda: time.monotonic() >= until, 10, "a moment passes")
    return bool(condition())


def _judged(storm: Storm, flow: Flow, people: People) -> Verdict:
    storm.ear.caught_up()
    verdict = judge(storm.every_saga(), storm.books(), flow.sent, storm.ear)
    rows = storm.fetch(
        "select unit, coalesce(sum(stake), 0)::bigint as stake from parked_case"
        " where closed_at is null group by unit"
    )
    stakes = {row["unit"]: row["stake"] for row in rows}
    journal(verdict, [(b.account, b.unit, b.balance) for b in storm.balances()], stakes)
    audited(verdict, storm.audit())
    told = storm.fetch("select detail from timeline where event = 'decided'")
    decided(
        verdict,
        storm.fetch("select id, action, outcome, due_at from decision"),
        [json.loads(row["detail"])["decision"] for row in told],
        people.written,
    )
    letters = storm.fetch(
        "select topic like '%.replies' as replied, disposition, field, message, count(*) as count"
        " from dead_letter group by 1, 2, 3, 4 order by 5 desc"
    )
    dead_letters(verdict, letters, flow.counts["poison"])
    return verdict


def report(outcome: Outcome) -> None:
    """Print what was looked at, what was reached, what was wrong."""
    verdict = outcome.verdict
    out = sys.stdout
    out.write("looked at: " + _list(verdict.looked_at) + "\n")
    out.write("reached: " + _list(outcome.reached) + "\n")
    for note in outcome.notes:
        out.write(f"{note}\n")
    for text in verdict.shown:
        out.write(f"  {text}\n")
    if outcome.missing:
        out.write(f"never reached: {', '.join(outcome.missing)}\n")
    out.write(f"{verdict.figures}\n")


def _list(found: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in found.items() if count)
