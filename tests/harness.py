"""The whole platform for one test: servers given, everything else its own.

Topic names are fixed by the contract, so a Platform deletes every `uprp.` topic and makes them anew
(about a second; a broker of its own would cost three to six), and takes a consumer group of its own
for the coordinators and another for the companies. Use one Platform at a time on a broker.

    with Platform(kafka, database, tmp_path) as platform:
        platform.start_sandbox()
        platform.start_coordinator("a").wait_ready()
        requests = platform.publish(redemptions(100, seed=1))
        platform.finish(requests)
        assert_consistent(platform, requests)
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import asyncpg

from adapters.audit.database import Options, audit
from adapters.audit.report import Audit
from adapters.cli.sandbox import COMPANIES
from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.processes import tail
from adapters.kafka.topics import TopicAdmin, wanted
from adapters.postgres.migrate import migrate
from adapters.postgres.rows import saga_from
from adapters.postgres.views import AccountBalance, open_views
from adapters.sandbox.app import Apps
from adapters.sandbox.books import Books, read_books
from adapters.sandbox.companies import load_companies
from orchestrator.catalogue.loader import load
from orchestrator.engine.instance import Saga
from orchestrator.settings import KafkaSettings, Settings
from tests import nodes
from tests.nodes import Node
from tests.support import wait_until
from tests.wire import Origin, Redemption, Tape, delete_topics

PARTITIONS = 4
QUICK = {
    "UPRP_KAFKA__SESSION_TIMEOUT_S": "2",
    "UPRP_KAFKA__HEARTBEAT_S": "0.3",
    "UPRP_KAFKA__REBALANCE_TIMEOUT_S": "6",
    "UPRP_KAFKA__REQUEST_TIMEOUT_S": "5",
    "UPRP_COORDINATOR__POLL_S": "0.05",
    "UPRP_COORDINATOR__BACKOFF_MAX_S": "0.5",
}
"""Patience for tests: a death is noticed after two seconds. For `start_coordinator(**env)`."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class LimitRow:
    """How much of an account's limit is used on one day."""

    scope: str
    business_date: Any
    used: int


class Platform:
    """Topics, tables, processes and a tape of all records; nothing is left when the block ends."""

    def __init__(
        self,
        kafka: EmbeddedKafka,
        dsn: str,
        folder: Path,
        *,
        partitions: int = PARTITIONS,
        deploy: Path | None = None,
    ) -> None:
        number = next(_numbers)
        self.kafka = kafka
        self.dsn = dsn
        self.folder = folder
        self.books_folder = folder / "books"
        self.group = f"test-{os.getpid()}-{number}"
        self.nodes: list[Node] = []
        self.tape = Tape(kafka.bootstrap_servers)
        self.origin = Origin(kafka.bootstrap_servers)
        self._partitions = partitions
        self._deploy = deploy or Settings().deploy

    def __enter__(self) -> Self:
        self.prepare()
        self.tape.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for node in self.nodes:
            node.kill()
        self.tape.stop()
        if kind is None:
            delete_topics(self.kafka.bootstrap_servers)

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the platform is told."""
        kept = {key: text for key, text in os.environ.items() if not key.startswith("UPRP_")}
        if kept.pop("PYTHONDONTWRITEBYTECODE", None):
            # Else every process compiles every module anew: two seconds instead of one.
            kept["PYTHONPYCACHEPREFIX"] = str(self.folder.parent / "bytecode")
        return {
            **kept,
            "UPRP_KAFKA__BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "UPRP_KAFKA__GROUP": self.group,
            "UPRP_KAFKA__PARTITIONS": str(self._partitions),
            "UPRP_POSTGRES__DSN": self.dsn,
            "UPRP_DEPLOY": str(self._deploy),
        }

    def prepare(self) -> None:
        """Empty topics and an empty schema, by the functions that the CLI calls."""
        self.folder.mkdir(parents=True, exist_ok=True)
        delete_topics(self.kafka.bootstrap_servers)
        asyncio.run(self._prepare())

    async def _prepare(self) -> None:
        admin = TopicAdmin(KafkaSettings(bootstrap_servers=self.kafka.bootstrap_servers))
        await admin.apply(await admin.plan(wanted(load(self._deploy), self._partitions)))
        await migrate(self.dsn)

    # -- processes ----------------------------------------------------------------------------

    def start_coordinator(self, name: str = "coordinator", **env: str) -> Node:
        """Start a coordinator with more settings; does not wait for it."""
        return self._keep(nodes.coordinator(name, self.folder, self.environment | env))

    def start_sandbox(
        self,
        name: str = "sandbox",
        *,
        rates: str = "",
        seed: int = 0,
        faults: Path | None = None,
        only: str = "",
    ) -> Node:
        """Start the simulated companies and wait until they listen."""
        arguments = ["sandbox", "--data", str(self.books_folder), "--group", f"{self.group}-{name}"]
        arguments += ["--rates", rates, "--seed", str(seed), "--only", only]
        arguments += ["--faults", str(faults)] if faults is not None else []
        log = self.folder / f"{name}.log"
        node = self._keep(Node(name, arguments, log=log, environment=self.environment))
        wait_until(
            lambda: node.said("sandbox ready") or not node.alive, 30, f"{name} listens, see {log}"
        )
        assert node.alive, tail(log)
        return node

    def _keep(self, node: Node) -> Node:
        self.nodes.append(node)
        return node

    # -- load ---------------------------------------------------------------------------------

    def publish(self, requests: Iterable[Redemption]) -> list[Redemption]:
        """Publish requests as fast as the broker takes them; returns when it has them all."""
        sent = list(requests)
        self.origin.send(sent)
        self.origin.flush()
        return sent

    def shop(self, requests: Sequence[Redemption]) -> list[Redemption]:
        """Have the origins' own apps deduct what the requests say, then publish them."""
        apps = Apps(load_companies(COMPANIES), self.books_folder)
        now = datetime.now(UTC)
        taken = (apps.deducted(one.origin, one.data(), now)["deduction"] for one in requests)
        return self.publish(
            replace(one, deduction=found) for one, found in zip(requests, taken, strict=True)
        )

    @contextmanager
    def flowing(
        self, requests: Iterator[Redemption], *, per_s: float, repeats: float = 0.0, seed: int = 0
    ) -> Iterator[list[Redemption]]:
        """Publish at a rate for the length of the block; the list grows with what was sent.

        `repeats` is the share of requests that the origin sends a second time.
        """
        sent: list[Redemption] = []
        ended = threading.Event()
        wrong: list[BaseException] = []
        dice = random.Random(seed)

        def run() -> None:
            try:
                while not ended.wait(0.02):
                    portion = list(itertools.islice(requests, max(1, round(per_s * 0.02))))
                    again = [one for one in portion if dice.random() < repeats]
                    self.origin.send([*portion, *again])
                    sent.extend(portion)
            except Exception as error:  # noqa: BLE001 - raised below, in the test's own thread.
                wrong.append(error)

        thread = threading.Thread(target=run, name="flow")
        thread.start()
        try:
            yield sent
        finally:
            ended.set()
            thread.join(30)
            assert not wrong, wrong  # Also when the block failed: for want of requests, perhaps.
        self.origin.flush()

    def finish(self, requests: Sequence[Redemption], within_s: float = 90.0) -> None:
        """Wait until every request has its final result on the topic and in the database."""
        asked = {request.saga_id for request in requests}

        def missing() -> int:
            return len(asked - self.tape.finals())

        with self.explaining(lambda: f"{missing()} of {len(asked)} requests have no final result"):
            wait_until(lambda: not missing(), within_s, "every request has a final result")

    def more_end(self, more: int, what: str, within_s: float = 60.0) -> None:
        """Wait until that many more redemptions have ended."""
        before = len(self.tape.finals())

        def ended() -> int:
            return len(self.tape.finals()) - before

        with self.explaining(lambda: f"{ended()} of {more} more have ended"):
            wait_until(lambda: ended() >= more, within_s, what)

    @contextmanager
    def explaining(self, what: Callable[[], str]) -> Iterator[None]:
        """Add to a failure what is known: `what`, exit codes, counts, the ends of two logs."""
        try:
            yield
        except AssertionError as error:
            ends = {node.name: node.exit_code for node in self.nodes}
            logs = "\n".join(tail(node.log) for node in self.nodes[-2:])
            text = f"{error}: {what()}; exit codes {ends}\n{logs}"
            with suppress(OSError, asyncpg.PostgresError):
                text += f"\n{self.counts()}"
            raise AssertionError(text) from error

    def idle(self) -> bool:
        """Whether every record that came in was committed; waits for the tape."""
        self.tape.caught_up()
        done = self.fetch("select coalesce(sum(next_offset), 0) as count from position")
        return int(done[0]["count"]) == len(self.tape.of("requests", "replies", "internal"))

    # -- what they believe, and what the companies know -------------------------------------------

    def stories(self) -> dict[str, Saga]:
        """Every saga in the database by its id."""
        rows = self.fetch(
            "select key_hash, saga_id, revision, due_at, origin, account, request_id, programme,"
            " programme_version, accepted_at, terms::text as terms, state::text as state from saga"
        )
        return {str(row["saga_id"]): saga_from(row) for row in rows}

    def counts(self) -> dict[str, int]:
        """How many sagas stand where."""

        async def ask() -> dict[str, int]:
            async with open_views(self.dsn) as views:
                return await views.counts()

        return asyncio.run(ask())

    def balances(self) -> list[AccountBalance]:
        """The balance of every account of the journal."""

        async def ask() -> list[AccountBalance]:
            async with open_views(self.dsn) as views:
                return await views.balances()

        return asyncio.run(ask())

    def audit(self) -> Audit:
        """`uprp audit` over the database as it is now; timers may be a minute late."""
        options = Options(names=3, overdue_s=60)
        return asyncio.run(audit(self.dsn, load(self._deploy), options))

    def limits(self) -> list[LimitRow]:
        """Every account limit."""
        rows = self.fetch("select scope, business_date, used from account_limit")
        return [LimitRow(row["scope"], row["business_date"], row["used"]) for row in rows]

    def books(self) -> Books:
        """What the companies know."""
        return read_books(self.books_folder)

    def fetch(self, query: str) -> list[Any]:
        """Any rows of the platform's database."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.dsn, timeout=10)
            try:
                rows: list[Any] = await connection.fetch(query)
                return rows
            finally:
                await connection.close()

        return asyncio.run(ask())
