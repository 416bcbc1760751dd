"""The companies on Apache Kafka: killed at any moment, they answer every leg and do it once."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from adapters.embedded.kafka import EmbeddedKafka
from adapters.sandbox.books import read_books
from tests.sandbox.client import COMPANIES, TYPES, body
from tests.support import wait_until

pytestmark = pytest.mark.servers

PARTITIONS: Final = 3
SAGAS: Final = 400
# The command line as it is, ended by the system when the test run ends.
PROGRAM: Final = """
import ctypes, signal, typer
from adapters.cli.sandbox import sandbox_commands
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
app = typer.Typer()
sandbox_commands(app)
app()
"""


class World:
    """Topics of this test alone, a client that commands, and a client that listens."""

    def __init__(self, kafka: EmbeddedKafka, folder: Path) -> None:
        self.bootstrap = kafka.bootstrap_servers
        self.folder = folder
        self.answers: dict[str, list[bytes]] = {}
        self.keys: dict[str, set[bytes | None]] = {}
        (folder / "companies.toml").write_text(
            COMPANIES.replace("[bank", "[testbank").replace("[[bank", "[[testbank")
        )
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 1})
        self._consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "listener",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )

    def create_topics(self) -> None:
        names = ("uprp.testbank.commands", "uprp.testbank.replies")
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        made = admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
        for future in made.values():
            future.result(10)
        self._consumer.assign([TopicPartition(names[1], one, 0) for one in range(PARTITIONS)])

    def close(self) -> None:
        self._consumer.close()
        self._producer.flush(10)

    def command(self, verb: str, leg_id: str, **fields: Any) -> None:
        value = orjson.dumps(body(verb, leg_id, expires_at="2036-01-01T00:00:00Z", **fields))
        headers = [("ce_id", f"{leg_id}#1"), ("ce_type", TYPES[verb])]
        self.raw(value, headers, key=leg_id)

    def raw(self, value: bytes, headers: list[tuple[str, str]], key: str = "k") -> None:
        self._producer.produce("uprp.testbank.commands", value, key, headers=headers)
        self._producer.poll(0)

    def listen(self) -> int:
        """Take in what has come; how many legs have an answer so far."""
        for message in self._consumer.consume(1_000, 0.05):
            assert message.error() is None, message.error()
            told = orjson.loads(message.value())
            self.answers.setdefault(told["leg_id"], []).append(message.value())
            self.keys.setdefault(told["leg_id"], set()).add(message.key())
        return len(self.answers)

    @contextmanager
    def sandbox(self) -> Iterator[subprocess.Popen[bytes]]:
        arguments = ["sandbox", "--bootstrap", self.bootstrap, "--only", "testbank"]
        arguments += ["--data", str(self.folder / "data")]
        arguments += ["--companies", str(self.folder / "companies.toml")]
        with (
            self.log.open("wb") as log,
            subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=log) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    @property
    def log(self) -> Path:
        return self.folder / "sandbox.log"

    def says(self, line: str) -> None:
        wait_until(lambda: line in self.log.read_text(), 30, f"the sandbox says {line!r}")


@pytest.fixture
def world(kafka: EmbeddedKafka, tmp_path: Path) -> Iterator[World]:
    one = World(kafka, tmp_path)
    yield one
    one.close()


def test_killed_and_started_again_it_answers_every_leg_and_does_it_once(world: World) -> None:
    with world.sandbox() as process:
        world.says("waiting for")
        world.create_topics()
        world.says("sandbox ready: testbank")
        for number in range(SAGAS):
            world.command("deduct", f"s{number}/deduct", account=f"a{number % 20}", points=1)
        world.raw(b"{", [("ce_type", TYPES["deduct"])])
        world.raw(b"{}", [("ce_type", "uprp.something.else.v1")])
        wait_until(world.listen, 30, "the first answers")
        process.kill()
    with world.sandbox() as process:
        world.says("sandbox ready")
        for number in range(SAGAS):
            world.command("inquire", f"s{number}/deduct")
        world.command("inquire", "nobody/deduct")
        wait_until(lambda: world.listen() > SAGAS, 30, "an answer for every leg")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    _compare(world)


def _compare(world: World) -> None:
    books = read_books(world.folder / "data")
    assert not books.problems()
    told = {leg_id: set(answers) for leg_id, answers in world.answers.items()}
    assert told.pop("nobody/deduct") == {b'{"leg_id":"nobody/deduct","outcome":"NOT_RECEIVED"}'}
    assert len(told) == SAGAS
    for leg_id, answers in told.items():
        assert [orjson.loads(one) for one in answers] == [books.legs[leg_id].answer]
        assert books.legs[leg_id].applied == 1
        assert world.keys[leg_id] == {leg_id.encode()}
