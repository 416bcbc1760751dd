"""`uprp conform` on Apache Kafka: honest companies pass, liars are caught by the right cells."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.processes import spawn, stop, tail
from tests.cli.test_cli import clean_environment
from tests.foreign.platform import ROOT, UPRP
from tests.support import wait_until
from tests.wire import delete_topics

pytestmark = pytest.mark.servers

COMPANIES: Final = ("citi", "alipayhk", "pacificair", "harbour")
LIARS: Final = (
    (
        "alipayhk",
        "PaysTwice",
        {"credit.repeat", "credit.burst", "credit.late-repeat", "credit.exact", "reverse.repeat"},
    ),
    ("citi", "ForgetsTombstones", {"cancel.tombstone"}),
    ("pacificair", "AnswersAnew", {"inquire.done", "reverse.inquire"}),
    ("harbour", "SaysNoTime", {"balance.done", "balance.repeat", "balance.unmoved"}),
)


class World:
    """Topics of some companies, and processes that end with the test."""

    def __init__(self, kafka: EmbeddedKafka, folder: Path) -> None:
        self.servers = kafka.bootstrap_servers
        self.folder = folder
        self.environment = clean_environment() | {"UPRP_KAFKA__BOOTSTRAP_SERVERS": self.servers}
        delete_topics(self.servers)
        names = [f"uprp.{name}.{end}" for name in COMPANIES for end in ("commands", "replies")]
        admin = AdminClient({"bootstrap.servers": self.servers})
        for made in admin.create_topics([NewTopic(name, 4, 1) for name in names]).values():
            made.result(30)

    @contextmanager
    def playing(self, *program: str) -> Iterator[None]:
        """A sandbox, until the block ends."""
        log = self.folder / "sandbox.log"
        where = ["--data", str(self.folder / "data"), "--group", self.folder.name]
        command = [sys.executable, "-m", *program, "--bootstrap", self.servers, *where]
        child = spawn(command, folder=ROOT, log=log, environment=self.environment)
        try:
            wait_until(
                lambda: child.process() is None or "sandbox ready" in log.read_text(),
                30,
                "the companies play",
            )
            assert child.process() is not None, tail(log)
            yield
        finally:
            stop(child, signal.SIGTERM, deadline_s=20)

    def conform(self, *all_arguments: Sequence[str]) -> list[subprocess.CompletedProcess[str]]:
        """Several runs side by side."""
        runs = [
            subprocess.Popen(
                [*UPRP, "conform", *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for arguments in all_arguments
        ]
        done = []
        for run in runs:
            out, err = run.communicate(timeout=120)
            done.append(subprocess.CompletedProcess(run.args, run.returncode, out, err))
        return done


@pytest.fixture
def world(kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[World]:
    yield World(kafka, tmp_path)  # Topics anew: a liar is not to hear what the honest were told.
    delete_topics(kafka.bootstrap_servers)


def broken(document: dict[str, Any]) -> set[str]:
    results = document["report"]["results"]
    return {result["cell"] for result in results if result["verdict"] == "broken"}


def test_honest_companies_pass_and_say_so_in_words_and_as_json(world: World) -> None:
    with world.playing("adapters.cli.main", "sandbox", "--only", ",".join(COMPANIES)):
        citi, alipayhk, pacificair = world.conform(
            ["--participant", "citi"],
            ["--participant", "alipayhk", "--json"],
            ["--participant", "pacificair", "--json"],
        )
    assert citi.returncode == 0, citi.stdout + citi.stderr
    assert "cancel.tombstone" in citi.stdout
    assert "33 kept." in citi.stdout
    assert "broken" not in citi.stdout
    assert "\x1b" not in citi.stdout
    assert "Examining citi: done in" in citi.stderr
    for done in (alipayhk, pacificair):
        document = json.loads(done.stdout)
        assert (done.returncode, document["exit_code"]) == (0, 0), done.stdout
        assert document["counts"]["broken"] == document["counts"]["undecided"] == 0
        assert document["report"]["left"] == 0


def test_the_liars_are_caught_by_the_right_cells_and_keep_the_others(world: World) -> None:
    liars = ",".join(f"{name}={liar}" for name, liar, _ in LIARS)
    with world.playing("tests.conform.liars", liars):
        runs = world.conform(*(["--participant", name, "--json"] for name, _, _ in LIARS))
    for (_, _, cells), done in zip(LIARS, runs, strict=True):
        assert done.returncode == 1, done.stdout + done.stderr
        document = json.loads(done.stdout)
        assert broken(document) == cells
        assert document["counts"]["undecided"] == 0


def test_who_is_not_there_is_named_with_what_to_start(world: World) -> None:
    nobody, nowhere, badly = world.conform(
        ["--participant", "citi", "--timeout", "0.5", "--cells", "inquire.*,cancel.*"],
        ["--participant", "unionpay"],
        ["--participant", "acme"],
    )
    assert nobody.returncode == 3, nobody.stderr
    assert "citi did not answer at all: does it read uprp.citi.commands?" in nobody.stderr
    assert "nothing came back in time" in nobody.stdout
    assert nowhere.returncode == 1
    assert "there is no topic uprp.unionpay.commands" in nowhere.stderr
    assert "next: uprp topics apply" in nowhere.stderr
    assert badly.returncode == 2
    assert "acme.role: Field required; set it there or by --role" in badly.stderr


def test_beside_a_coordinator_it_must_be_told_to_go_on(world: World) -> None:
    group = {"group.id": "uprp-coordinator", "bootstrap.servers": world.servers}
    consumer = Consumer(group)
    consumer.subscribe(["uprp.citi.replies"])
    try:
        wait_until(lambda: consumer.poll(0.1) or consumer.assignment(), 30, "a member of the group")
        quick = ["--participant", "citi", "--timeout", "0.2", "--cells", "cancel.unknown"]
        refused, told = world.conform(quick, [*quick, "--beside-coordinator"])
    finally:
        consumer.close()
    assert refused.returncode == 2
    assert "1 coordinator(s) of group uprp-coordinator read the same replies" in refused.stderr
    assert "add --beside-coordinator" in refused.stderr
    assert told.returncode == 3
    assert "they become dead letters" in told.stderr
