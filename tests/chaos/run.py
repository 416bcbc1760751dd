"""One run: servers of its own, two coordinators, hostile companies, and a schedule of blows."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from adapters.cli.sandbox import COMPANIES
from adapters.embedded.environment import Environment
from adapters.embedded.server import EmbeddedServer
from adapters.postgres.store import saga_from
from adapters.sandbox.app import Apps
from adapters.sandbox.companies import load_companies
from orchestrator.saga.instance import Saga
from tests.chaos.deploy import short_ladders
from tests.chaos.ear import Ear
from tests.chaos.flow import Flow
from tests.chaos.schedule import PHASE_KILLS, Blow, Kind, schedule
from tests.chaos.verdict import HARD_CASES, Verdict, audited, journal, judge
from tests.harness import QUICK, Platform
from tests.nodes import Node
from tests.support import wait_until
from tests.wire import ends

NAMES: Final = ("first", "second")
HOSTILE: Final = (
    "silence=0.01,apply_silent=0.01,repeat=0.02,delay=0.03,refuse=0.02,pending=0.01,"
    "pending_refuse=0.01,apply_late=0.01,reply_after_cancel=0.005,done_after_cancel=0.005,"
    "yes_after_no=0.005,no_after_yes=0.005,wrong_amount=0.005,wrong_unit=0.005,wrong_item=0.005,"
    "refuse_undo=0.01"
)
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
EXPECTED_EXITS: Final = frozenset({1, 6})
"""A server was away for too long; nothing moved. A supervisor starts it again."""
SETTINGS: Final = QUICK | {
    "UPRP_COORDINATOR__BATCH_RECORDS_MAX": "200",
    "UPRP_COORDINATOR__SWEEP_PATIENCE_S": "2",
}


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


class Storm(Platform):
    """A platform that is beaten."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        kafka, self.postgres = environment.kafka, environment.postgres
        deploy = short_ladders(folder)
        super().__init__(kafka, self.postgres.dsn, folder, deploy=deploy)
        self.ear = Ear(kafka.bootstrap_servers)
        self.tape = self.ear
        self.coordinators: list[Node | None] = [None] * len(NAMES)
        self.sandbox: Node | None = None
        self.deaths: Counter[str] = Counter()
        self.refused_for_space = 0
        self._spared: set[int] = set()

    # -- who runs -----------------------------------------------------------------------------

    def supervise(self) -> None:
        """Start again whatever has ended."""
        for at, node in enumerate(self.coordinators):
            if node is None or not node.alive:
                if node is not None:
                    self._bury(node)
                self.launch(at)
        if self.sandbox is None or not self.sandbox.alive:
            self.launch_companies()

    def launch(self, at: int, **fault: str) -> Node:
        """Start a coordinator."""
        env = SETTINGS | ({"UPRP_KAFKA__INSTANCE_ID": "static"} if at else {})
        node = self.start_coordinator(NAMES[at], **env, **fault)
        self.nodes = [one for one in self.nodes if one.alive]
        self.coordinators[at] = node
        return node

    def launch_companies(self) -> None:
        """Start the simulated companies; their books are where they were."""
        arguments = ["sandbox", "--data", str(self.books_folder), "--group", f"{self.group}-all"]
        arguments += ["--rates", HOSTILE, "--seed", str(self.seed), "--session-timeout-ms", "2000"]
        log = self.folder / "companies.log"
        self.sandbox = Node("companies", arguments, log=log, environment=self.environment)
        self.nodes.append(self.sandbox)

    seed = 0

    def _bury(self, node: Node) -> None:
        code = node.exit_code
        self.deaths[f"{node.name} ended with {code}"] += 1
        assert code in EXPECTED_EXITS or code == -signal.SIGKILL, (
            f"{node.name} ended with {code}, see {node.log}"
        )

    # -- what is done to them -----------------------------------------------------------------

    def strike(self, blow: Blow) -> bool:
        """Do it; false when there was nobody to do it to."""
        node = self.coordinators[blow.who]
        if blow.kind in (Kind.KILL, *PHASE_KILLS):
            return self._kill(blow)
        match blow.kind:
            case Kind.FREEZE | Kind.BLINK:
                if node is None or not node.alive:
                    return False
                node.send(signal.SIGSTOP)
                self._pass(blow.for_s)
                node.send(signal.SIGCONT)
            case Kind.DATABASE_KILLED:
                self._down(self.postgres, blow.for_s)
            case Kind.DATABASE_RESTARTED:
                self.postgres.restart()
            case Kind.BROKER_KILLED:
                self._down(self.kafka, blow.for_s)
            case Kind.BROKER_STOPPED:
                self.kafka.pause()
                self._pass(blow.for_s)
                self.kafka.resume()
            case Kind.COMPANIES_KILLED:
                assert self.sandbox is not None
                self.sandbox.kill()
            case Kind.DISK_FULL:
                self._fill(blow.for_s)
        return True

    def _kill(self, blow: Blow) -> bool:
        node = self.coordinators[blow.who]
        if node is not None and node.alive:
            node.kill()
            self._bury(node)
        if blow.kind is Kind.KILL:
            self.launch(blow.who)
            return node is not None
        phase = blow.kind.rpartition(" ")[2]
        dying = self.launch(blow.who, UPRP_FAULT__PHASE=phase, UPRP_FAULT__AFTER="3")
        wait_until(lambda: not dying.alive, 60, f"{NAMES[blow.who]} dies {phase}; see {dying.log}")
        return dying.exit_code == -signal.SIGKILL

    def _down(self, server: EmbeddedServer, for_s: float) -> None:
        server.kill()
        self._pass(for_s)
        server.start()

    def _fill(self, for_s: float) -> None:
        """Leave the database no room, then give it back; it may have died of it."""
        filler = self.postgres.data / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:  # Until there is no room; others write at the same time.
                file.write(b"\0" * 1_048_576)
        self._pass(for_s)
        filler.unlink()
        log = self.postgres.log.read_bytes()
        self.refused_for_space = log.count(b"No space left on device")
        if self.postgres.pid is None:
            self.deaths["database ended, its disk was full"] += 1
        self.postgres.start()

    def _pass(self, seconds: float) -> None:
        """Let time pass while the others are looked after."""
        until = time.monotonic() + seconds
        wait_until(lambda: self._looked_after() and time.monotonic() >= until, seconds + 30, "time")

    def _looked_after(self) -> bool:
        self.supervise()
        return True

    # -- when it is over ------------------------------------------------------------------------

    def at_rest(self) -> bool:
        """Whether everything was read and every saga has ended or has an owner."""
        wanted = ends(self.kafka.bootstrap_servers)
        inbound = ("requests", "replies", "internal")
        total = sum(end for (topic, _), end in wanted.items() if topic.endswith(inbound))
        rows = self.fetch(
            "select (select coalesce(sum(next_offset), 0) from position)::bigint as done,"
            " (select count(*) from saga where due_at is not null and status <> 'PARKED') as open"
        )
        return int(rows[0]["done"]) == total and not rows[0]["open"]

    def every_saga(self) -> Iterator[Saga]:
        """Every saga, a thousand at a time."""
        at = (-1, "00000000-0000-0000-0000-000000000000")
        while True:
            rows = self.fetch(
                "select key_hash, saga_id, revision, due_at, origin, account, request_id,"
                " programme, programme_version, accepted_at, terms, state from saga"
                f" where (key_hash, saga_id) > ({at[0]}, '{at[1]}')"
                " order by key_hash, saga_id limit 2000"
            )
            if not rows:
                return
            yield from (saga_from(row) for row in rows)
            at = (rows[-1]["key_hash"], str(rows[-1]["saga_id"]))


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
            asyncio.run(_settle_database(environment.postgres.dsn))
            storm = Storm(environment, folder / "run")
            storm.seed = options.seed
            with storm:
                return _beaten(storm, options, kinds, notes)


def _beaten(storm: Storm, options: Options, kinds: list[Kind], notes: list[str]) -> Outcome:
    plan = schedule(options.seed, options.seconds, kinds)
    say(f"seed {options.seed}, {options.seconds:.0f} s, {len(plan)} blows:")
    for blow in plan:
        say(f"  {blow}")
    apps = Apps(load_companies(COMPANIES), storm.books_folder)
    flow = Flow(storm.kafka.bootstrap_servers, apps, options.seed, options.per_s)
    storm.supervise()
    for node in storm.coordinators:
        assert node is not None
        node.wait_ready()
    wait_until(lambda: storm.sandbox and storm.sandbox.said("sandbox ready"), 60, "companies")
    reached: Counter[str] = Counter()
    flow.start()
    began = time.monotonic()
    try:
        for blow in plan:
            storm._pass(max(0.0, began + blow.at - time.monotonic()))
            late = time.monotonic() - began - blow.at
            say(f"{time.monotonic() - began:7.1f} s  {blow.kind}  (planned {late:.1f} s ago)")
            reached[str(blow.kind)] += storm.strike(blow)
            if late > options.seconds:
                break
        storm._pass(max(0.0, began + options.seconds - time.monotonic()))
    finally:
        flow.stop()
    seconds = time.monotonic() - began
    say(f"{sum(flow.counts.values()):,} requests in {seconds:.0f} s; healed, draining")
    rest = time.monotonic()
    _come_to_rest(storm, options.quiet_s)
    say(f"at rest after {time.monotonic() - rest:.0f} s")
    verdict = _judged(storm, flow)
    for name in RUNGS:
        reached[name] = storm.ear.counts[name]
    reached.update(verdict.seen)
    wanted = [*map(str, kinds), *RUNGS, *HARD_CASES]
    if Kind.DISK_FULL in kinds:
        wanted.append(NO_ROOM)
        reached[NO_ROOM] = storm.refused_for_space
    missing = [name for name in wanted if not reached[name]]
    notes.append(f"{len(flow.sent):,} sagas asked for, {flow.counts}")
    notes.append(f"deaths: {dict(storm.deaths)}")
    return Outcome(verdict, reached, missing, notes)


def _come_to_rest(storm: Storm, within_s: float) -> None:
    """Everybody is up; wait until nothing is left to do, twice in a row."""

    def still() -> bool:
        storm.supervise()
        return storm.at_rest()

    try:
        wait_until(lambda: still() and _again(still), within_s, "everything has ended")
    except AssertionError as error:
        raise AssertionError(f"{error}; {storm.counts()}") from error


def _again(condition: Any) -> bool:
    """Whether it still holds after the companies' longest delay."""
    until = time.monotonic() + 3.0
    wait_until(lambda: time.monotonic() >= until, 10, "a moment passes")
    return bool(condition())


def _judged(storm: Storm, flow: Flow) -> Verdict:
    storm.ear.caught_up()
    verdict = judge(storm.every_saga(), storm.books(), flow.sent, storm.ear)
    rows = storm.fetch(
        "select unit, coalesce(sum(stake), 0)::bigint as stake from parked_case"
        " where closed_at is null group by unit"
    )
    stakes = {row["unit"]: row["stake"] for row in rows}
    journal(verdict, [(b.account, b.unit, b.balance) for b in storm.balances()], stakes)
    audited(verdict, storm.audit())
    letters = storm.fetch(
        "select error_class, field, message, count(*) as count from dead_letter"
        " group by 1, 2, 3 order by 4 desc"
    )
    for row in letters:
        verdict.looked_at[f"dead letters: {row['field']} {row['message']}"] = row["count"]
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
