"""Companies that say everything five times: five times the replies, and not one command more.

Nothing is said again because a new record changed nothing (`design.md` 2).
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from orchestrator.settings import Settings
from tests.consistency import assert_consistent
from tests.harness import QUICK, Platform
from tests.support import wait_until
from tests.wire import redemptions

pytestmark = pytest.mark.servers

TIMES = 5
SAGAS = 200
REFUSED = 40  # The wallet does not know the account: the deduction is returned.
REPEATED = f'[[rule]]\naction = "repeat"\ntimes = {TIMES}\n'


def without_haste(folder: Path) -> Path:
    """The catalogue with time-outs that a slow machine does not meet: they cost commands too."""
    deploy = folder / "deploy"
    for kind in ("programmes", "participants"):
        shutil.copytree(Settings().deploy / kind, deploy / kind)
    for path in (deploy / "participants").glob("*.toml"):
        path.write_text(path.read_text().replace('timeout = "5s"', 'timeout = "60s"'))
    return deploy


def records_said(
    kafka: EmbeddedKafka, postgres: EmbeddedPostgres, folder: Path, script: str
) -> Counter[str]:
    """How many records each channel has after the same redemptions under a script of faults."""
    folder.mkdir()
    faults = folder / "faults.toml"
    faults.write_text(script)
    dsn = postgres.create_database(folder.name)
    try:
        with Platform(kafka, dsn, folder / "run", deploy=without_haste(folder)) as platform:
            platform.start_sandbox(faults=faults)
            node = platform.start_coordinator("only", **QUICK).wait_ready()
            strange = redemptions(REFUSED, seed=6, stem="s")
            requests = platform.publish(redemptions(SAGAS, seed=5))
            requests += platform.publish(
                replace(one, account=f"unknown-{one.account}") for one in strange
            )
            assert_consistent(platform, requests, f"answered {folder.name}")
            wait_until(platform.idle, 30, "every reply was read")
            assert node.stop() == 0
            platform.tape.caught_up()
            return Counter(one.channel for one in platform.tape.of())
    finally:
        postgres.drop_database(folder.name)


def test_everything_answered_five_times_costs_no_command(
    kafka: EmbeddedKafka, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    once = records_said(kafka, postgres, tmp_path / "once", "")
    often = records_said(kafka, postgres, tmp_path / "five_times", REPEATED)
    assert once["replies"] == once["commands"] >= 2 * SAGAS + 3 * REFUSED
    assert often["commands"] == once["commands"]
    assert often["replies"] == TIMES * once["replies"]
    assert often["results"] == once["results"] == SAGAS + REFUSED
    assert often["dead-letters"] == 0
