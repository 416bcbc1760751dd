"""The database is lost under load and restored from a backup that was taken under load.

Kafka and the companies know more than the restored database does. Afterwards nothing is lost,
nothing is done twice, and what each origin was told stands or is corrected.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson
import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from orchestrator.settings import Settings
from tests.consistency import assert_consistent
from tests.faults.lanes import SMALL_BATCHES
from tests.harness import QUICK, Platform
from tests.nodes import Node
from tests.support import wait_until
from tests.wire import redemptions

pytestmark = pytest.mark.servers

RATES = "repeat=0.05,delay=0.1,refuse=0.1,apply_silent=0.02,silence=0.02"
ENDLESS = 1_000_000
NIGHTLY = (pytest.mark.nightly, pytest.mark.timeout(3_600))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A database server of the test's own: it will be lost as a whole."""
    server = EmbeddedPostgres(tmp_path / "postgres")
    server.start()
    try:
        yield server
    finally:
        server.remove()


def finals(platform: Platform) -> int:
    return len(platform.tape.finals())


def more(platform: Platform, count: int, what: str) -> None:
    """Wait until so many more redemptions have ended."""
    before = finals(platform)
    wait_until(lambda: finals(platform) >= before + count, 120, what)


def start(platform: Platform, names: tuple[str, ...], number: int) -> list[Node]:
    nodes = [
        platform.start_coordinator(f"{name}-{number}", **QUICK, **SMALL_BATCHES) for name in names
    ]
    for node in nodes:
        node.wait_ready(60)
    return nodes


def told(platform: Platform) -> dict[str, int]:
    """The highest revision that each origin was told of each of its sagas."""
    highest: Counter[str] = Counter()
    for one in platform.tape.results():
        highest[one.subject] = max(highest[one.subject], orjson.loads(one.value)["revision"])
    return dict(highest)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much happens, and what is lost of it."""

    seed: int
    per_s: float
    after: int  # Redemptions that end after each backup, and are lost.
    times: int
    names: tuple[str, ...]  # Of the coordinators.
    brisk: bool = False  # Whether a company's silence is asked about every half second.


def brisk(folder: Path) -> Path:
    """The catalogue with its ladders as long as ever, climbed six times as fast.

    Some companies never answer: by the published times each redemption that meets one ends a minute
    later, in which nothing else happens.
    """
    deploy = folder / "deploy"
    for kind in ("programmes", "participants"):
        shutil.copytree(Settings().deploy / kind, deploy / kind)
    for path in (deploy / "participants").glob("*.toml"):
        text = path.read_text()
        quick = text.replace('every = "3s"', 'every = "500ms"')
        quick = quick.replace('every = "15s"', 'every = "2500ms"')
        assert quick.count('ms"') == text.count("every = ") > 0
        path.write_text(quick)
    return deploy


@pytest.mark.parametrize(
    "plan",
    (
        Plan(31, 60, 150, 1, ("only",), brisk=True),
        pytest.param(Plan(31, 60, 150, 1, ("only",)), marks=NIGHTLY),
        pytest.param(Plan(32, 150, 3_000, 3, ("one", "other")), marks=NIGHTLY),
    ),
)
def test_a_backup_taken_under_load_is_restored(
    kafka: EmbeddedKafka, own: EmbeddedPostgres, tmp_path: Path, plan: Plan
) -> None:
    seed, after = plan.seed, plan.after
    deploy = brisk(tmp_path) if plan.brisk else None
    with Platform(kafka, own.dsn, tmp_path / "run", deploy=deploy) as platform:
        platform.start_sandbox(rates=RATES, seed=seed)
        nodes = start(platform, plan.names, 0)
        lost_sagas = recalled = premature = 0
        flow = redemptions(ENDLESS, seed)
        with platform.flowing(flow, per_s=plan.per_s, repeats=0.05, seed=seed) as requests:
            for number in range(1, plan.times + 1):
                more(platform, after // 3, "it works before the backup")
                backup = own.back_up(str(number))
                more(platform, after, "load goes on after the backup")
                for node in nodes:
                    node.kill()
                platform.tape.caught_up()
                before = told(platform)
                known = len(platform.stories())
                own.restore(backup)
                lost_sagas += known - len(platform.stories())
                nodes = start(platform, plan.names, number)
                for node in nodes:
                    wait_until(partial(node.events, "recovery.done"), 180, f"{node.name} is done")
                    recalled += int(node.metrics().get(RECALLED, 0))
                    premature += int(node.metrics().get(PREMATURE, 0))
                    assert not node.events("recovery.unexplained")
        assert_consistent(platform, requests, "restored from a backup")
        platform.tape.caught_up()
        assert platform.audit().holds, platform.audit().findings
        now = told(platform)
        assert all(now[saga] >= revision for saga, revision in before.items())
        assert not platform.tape.of("dead-letters")
        sys.stderr.write(
            f"\nrestored {plan.times} times: {lost_sagas} sagas were lost and {recalled} recalled,"
            f" {premature} replies came too early; {len(before)} origins' answers stand"
        )
        # What had said nothing yet begins anew instead.
        assert recalled >= lost_sagas * 0.9 > after // 3
        assert not premature
        for node in nodes:
            assert node.stop() == 0


RECALLED = 'uprp_notable_total{kind="recalled_sagas"}'
PREMATURE = 'uprp_notable_total{kind="premature_replies"}'
