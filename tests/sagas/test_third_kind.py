"""A kind that stands in `tests/sagas/passcode.py` alone, through the shipped loop, to its ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson
import pytest

from orchestrator.batch.decide import Decider
from orchestrator.catalogue.loader import Catalogue, load
from orchestrator.ports import Record
from orchestrator.sagas import KINDS, registered
from orchestrator.settings import CoordinatorSettings
from schemas import events
from schemas.events import Channel, topic_of
from schemas.ids import saga_id
from tests.sagas import passcode
from tests.sagas.passcode import PASSCODE
from tests.simulation.broker import Broker
from tests.simulation.database import Database
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import Process, ProcessClock, Surroundings

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
START: Final = 1_800_000_000_000
SAGA: Final = saga_id("wallet", "w-1", "p-1", "passcode")
KEY: Final = b"wallet/w-1"
WALLET: Final = """
id = "wallet"
version = 1
name = "A wallet"
[legs.enter]
response_timeout = "60s"
"""
HOST: Final = """
id = "host"
version = 1
name = "A host"
[legs.send]
[legs.void]
[legs.check]
"""
PROGRAMME: Final = """
id = "proof"
version = 1
saga = "passcode"
origins = ["wallet"]
host = "host"
"""


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """What ships, and beside it a programme of a kind that does not."""
    shutil.copytree(DEPLOY / "programmes", tmp_path / "programmes")
    shutil.copytree(DEPLOY / "participants", tmp_path / "participants")
    (tmp_path / "participants/wallet.toml").write_text(WALLET)
    (tmp_path / "participants/host.toml").write_text(HOST)
    (tmp_path / "programmes/proof.toml").write_text(PROGRAMME)
    return load(tmp_path, registered(*KINDS.values(), PASSCODE))


class World:
    """One coordinator over memory, a wallet that types codes, a host that knows the right one."""

    def __init__(self, catalogue: Catalogue, typed: Iterable[str]) -> None:
        self.loop = VirtualLoop(START)  # type: ignore[abstract]  # What nobody calls.
        topics = catalogue.inbound_topics()
        self.broker = Broker(self.loop, topics, 1, Random(1))
        self.database = Database(catalogue.kinds)
        self.told: list[dict[str, Any]] = []
        self.commands: list[str] = []
        self._typed = iter(typed)
        self._done = self.loop.create_future()
        self._sent = 0
        self.broker.readers[topic_of("wallet", Channel.RESULTS)] = self._hear
        self.broker.readers[topic_of("host", Channel.COMMANDS)] = self._obey
        around = Surroundings(
            loop=self.loop,
            broker=self.broker,
            database=self.database,
            decider=Decider(catalogue, "uprp"),
            health=catalogue.health,
            settings=CoordinatorSettings(poll_s=1.0),
            reach=lambda _: None,
            write=lambda _: None,
            trouble=lambda *_: None,
            passing=lambda *_: None,
        )
        self.process = Process("c0", around, ProcessClock(self.loop), "seed")

    def send(self, type_: str, **fields: Any) -> None:
        """The wallet publishes an event."""
        data = {"request_id": "p-1", "account": "w-1"} | fields
        self._publish("wallet", Channel.REQUESTS, type_, data)

    def run(self) -> None:
        """Live until the host has heard all, and the origin its final result."""
        try:
            self.loop.run_until_complete(self._done)
        finally:
            self.loop.bury([self.process.life])

    def _hear(self, record: Record) -> None:
        data = orjson.loads(record.value or b"")
        self.told.append(data)
        if data["status"] == "CODE_REQUIRED" and (code := next(self._typed, None)) is not None:
            later = self.loop.wall() + 2_000
            self.loop.at(later, lambda: self.send(passcode.ENTERED, sealed=code))
        if data["final"]:
            self.loop.at(self.loop.wall() + 500, self._end)

    def _end(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _obey(self, record: Record) -> None:
        data = orjson.loads(record.value or b"")
        path = data["leg_id"].removeprefix(f"{SAGA}/")
        self.commands.append(path)
        good = not path.startswith("check") or data["sealed"] == "right"
        answer: dict[str, Any] = {"leg_id": data["leg_id"], "outcome": "CONFIRMED"}
        if good:
            answer |= {"reference": f"H-{path}"}
        else:
            answer |= {"outcome": "REJECTED", "reason": {"code": "PARTNER_DECLINED"}}
        wait = self.loop.wall() + 50
        self.loop.at(wait, lambda: self._publish("host", Channel.REPLIES, events.ANSWERED, answer))

    def _publish(self, who: str, channel: Channel, type_: str, data: dict[str, Any]) -> None:
        self._sent += 1
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", f"{who}-{self._sent}".encode()),
            ("ce_source", f"/participants/{who}".encode()),
            ("ce_type", type_.encode()),
            ("ce_time", b"2027-01-15T08:00:00Z"),
        ]
        self.broker.append(topic_of(who, channel), KEY, orjson.dumps(data), headers)

    def words(self) -> list[tuple[int, str]]:
        """What the origin was told: revision and status."""
        return [(one["revision"], one["status"]) for one in self.told]


def lived(catalogue: Catalogue, *typed: str, then: Callable[[World], None] | None = None) -> World:
    world = World(catalogue, typed)
    world.send(passcode.REQUESTED, programme="proof")
    if then is not None:
        then(world)
    world.run()
    assert not world.database.letters
    assert not world.database.cases
    return world


def test_the_right_code_proves_it(catalogue: Catalogue) -> None:
    world = lived(catalogue, "right")
    assert world.words() == [(1, "CODE_REQUIRED"), (2, "PROVEN")]
    assert world.commands == ["send", "check"]
    entry = [row.event for (_, _), row in sorted(world.database.timeline.items())]
    assert entry == ["requested", "answered", "answered", "answered"]
    assert not world.database.movements


def test_a_wrong_code_is_asked_for_again_until_the_tries_are_used_up(
    catalogue: Catalogue,
) -> None:
    """Each try is a leg of its own, and the origin is told each time that it is its turn."""
    world = lived(catalogue, "wrong", "wrong", "wrong")
    left = [(one["status"], one["tries_left"]) for one in world.told]
    assert left == [
        ("CODE_REQUIRED", 3),
        ("CODE_REQUIRED", 2),
        ("CODE_REQUIRED", 1),
        ("FAILED", 0),
    ]
    assert world.commands == ["send", "check", "check/2", "check/3", "send/void"]


def test_an_origin_that_says_nothing_is_waited_for_and_its_late_word_changes_nothing(
    catalogue: Catalogue,
) -> None:
    world = lived(catalogue)
    assert world.words() == [(1, "CODE_REQUIRED"), (2, "FAILED")]
    assert world.commands == ["send", "send/void"]


def test_it_can_be_withdrawn_while_the_origin_is_waited_for(catalogue: Catalogue) -> None:
    def withdraw(world: World) -> None:
        world.loop.at(START + 20_000, lambda: world.send(passcode.WITHDRAWN))

    world = lived(catalogue, then=withdraw)
    assert world.words()[-1][1] == "DROPPED"
    assert world.commands == ["send", "send/void"]


def test_a_reply_says_nothing_about_what_the_origin_answers_by_its_own_event(
    catalogue: Catalogue,
) -> None:
    """The kind reads the member's code from that event; a bare yes has none."""
    world = World(catalogue, ["right"])
    world.send(passcode.REQUESTED, programme="proof")
    yes = {"leg_id": f"{SAGA}/enter", "outcome": "CONFIRMED", "reference": "W-1"}
    early = START + 1_000
    world.loop.at(early, lambda: world._publish("wallet", Channel.REPLIES, events.ANSWERED, yes))
    world.run()
    (letter,) = world.database.letters.values()
    assert (letter.field, letter.disposition) == ("leg_id", "refused")
    assert world.words() == [(1, "CODE_REQUIRED"), (2, "PROVEN")]


def test_what_ships_still_runs_beside_it(catalogue: Catalogue) -> None:
    assert {"redemption", "balance", "passcode"} == set(catalogue.programmes)
    assert {"send", "void", "check", "deduct"} <= {verb for _, verb in catalogue.policies.by_leg}
