"""A platform that is beaten: two coordinators and hostile companies that are looked after."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from adapters.embedded.environment import Environment
from adapters.embedded.server import EmbeddedServer
from adapters.postgres.rows import saga_from
from orchestrator.engine.instance import Saga
from tests.chaos.deploy import short_ladders
from tests.chaos.load import MUTE
from tests.chaos.quiescence import owed, unread
from tests.chaos.recorder import Ear
from tests.chaos.schedule import PHASE_KILLS, Blow, Kind
from tests.harness import QUICK, Platform
from tests.nodes import Node
from tests.support import wait_until
from tests.wire import ends

NAMES: Final = ("first", "second")
HOSTILE: Final = (
    "silence=0.01,apply_silent=0.01,repeat=0.02,delay=0.03,refuse=0.02,pending=0.01,"
    "pending_refuse=0.01,apply_late=0.01,reply_after_cancel=0.005,done_after_cancel=0.005,"
    "yes_after_no=0.005,no_after_yes=0.005,wrong_amount=0.005,wrong_unit=0.005,wrong_item=0.005,"
    "refuse_undo=0.01,down=0.0002,down_after=0.0002"
)
SCRIPT: Final = f"""
[[rule]]
match = {{ account = "{MUTE}-*" }}
action = "silence"
"""
EXPECTED_EXITS: Final = frozenset({1, 6})
"""A server was away for too long; nothing moved. A supervisor starts it again."""
SETTINGS: Final = QUICK | {
    "UPRP_COORDINATOR__BATCH_RECORDS_MAX": "200",
    "UPRP_COORDINATOR__SWEEP_PATIENCE_S": "2",
}
MISSED_WITHIN_S: Final = 20.0
INBOUND: Final = (".requests", ".replies", ".internal")


def fill(filler: Path) -> None:
    """Make a file that leaves its disk no room, though others write at the same time."""
    with filler.open("wb", buffering=0) as file:
        end = 0
        for portion in (67_108_864, 1_048_576, 4_096):
            with suppress(OSError):  # A portion for which there is no room is not taken at all.
                while True:
                    os.posix_fallocate(file.fileno(), end, portion)
                    end += portion


class Storm(Platform):
    """A platform that is beaten."""

    def __init__(self, environment: Environment, folder: Path, seed: int) -> None:
        kafka, self.postgres = environment.kafka, environment.postgres
        self.deploy = short_ladders(folder)
        super().__init__(kafka, self.postgres.dsn, folder, deploy=self.deploy)
        self.seed = seed
        self.ear = Ear(kafka.bootstrap_servers)
        self.tape = self.ear
        self.coordinators: list[Node | None] = [None] * len(NAMES)
        self.sandbox: Node | None = None
        self.companies_group = f"{self.group}-all"
        self.deaths: Counter[str] = Counter()
        self.refused_for_space = 0

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
        arguments = ["sandbox", "--data", str(self.books_folder), "--group", self.companies_group]
        arguments += ["--rates", HOSTILE, "--seed", str(self.seed), "--session-timeout-ms", "2000"]
        script = self.folder / "faults.toml"
        script.write_text(SCRIPT, "utf-8")
        arguments += ["--faults", str(script)]
        log = self.folder / "companies.log"
        self.sandbox = Node("companies", arguments, log=log, environment=self.environment)
        self.nodes.append(self.sandbox)

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
                self._stop(node, blow.for_s)
            case Kind.DATABASE_KILLED:
                self._down(self.postgres, blow.for_s)
            case Kind.DATABASE_RESTARTED:
                self.postgres.restart()
            case Kind.BROKER_KILLED:
                self._down(self.kafka, blow.for_s)
            case Kind.BROKER_STOPPED:
                self.kafka.pause()
                self.spend(blow.for_s)
                self.kafka.resume()
            case Kind.COMPANIES_KILLED:
                assert self.sandbox is not None
                self.sandbox.kill()
            case Kind.COMPANIES_STOPPED:
                assert self.sandbox is not None
                self._stop(self.sandbox, blow.for_s)
            case Kind.DISK_FULL:
                self._fill(blow.for_s)
        return True

    def _stop(self, node: Node, for_s: float) -> None:
        node.send(signal.SIGSTOP)
        self.spend(for_s)
        node.send(signal.SIGCONT)

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
        self.spend(for_s)
        server.start()

    def _fill(self, for_s: float) -> None:
        """Leave the database no room until it has missed it, then give it back.

        It may have died of it.
        """
        before = self._complaints()
        filler = self.postgres.data / "filler"
        fill(filler)
        self.spend(for_s)
        until = time.monotonic() + MISSED_WITHIN_S  # It may have room in files that it has.
        while self._complaints() <= before and time.monotonic() < until:
            self.spend(0.2)
        filler.unlink()
        self.refused_for_space += self._complaints() - before
        if self.postgres.pid is None:
            self.deaths["database ended, its disk was full"] += 1
        self.postgres.start()

    def _complaints(self) -> int:
        return self.postgres.log.read_bytes().count(b"No space left on device")

    def spend(self, seconds: float) -> None:
        """Let time pass while the others are looked after."""
        until = time.monotonic() + seconds
        wait_until(lambda: self._looked_after() and time.monotonic() >= until, seconds + 30, "time")

    def _looked_after(self) -> bool:
        self.supervise()
        return True

    # -- when it is over ------------------------------------------------------------------------

    def at_rest(self) -> bool:
        """Whether all was read and said, and every saga has ended or has an owner.

        Asked in this order: what the companies owed before is a record by now.
        """
        if self._under_way() or owed(self.books_folder):
            return False
        servers, wanted = self.kafka.bootstrap_servers, ends(self.kafka.bootstrap_servers)
        inbound = {place: end for place, end in wanted.items() if place[0].endswith(INBOUND)}
        commands = {place: end for place, end in wanted.items() if place[0].endswith(".commands")}
        done = self.fetch("select coalesce(sum(next_offset), 0)::bigint as count from position")
        return (
            int(done[0]["count"]) == sum(inbound.values())
            and not self._under_way()
            and not unread(servers, self.companies_group, commands)
            and not unread(servers, self.group, inbound)  # Moved when all was said.
        )

    def _under_way(self) -> bool:
        rows = self.fetch(
            "select exists (select 1 from saga where due_at is not null and status <> 'PARKED')"
            " or exists (select 1 from decision where due_at is not null) as found"
        )
        return bool(rows[0]["found"])

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
