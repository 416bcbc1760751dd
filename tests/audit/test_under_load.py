"""While requests come in and companies misbehave, every audit is clean: it sees one moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.audit.database import Options, audit
from adapters.audit.report import Audit
from adapters.embedded.kafka import EmbeddedKafka
from orchestrator.catalogue.loader import load
from orchestrator.settings import Settings
from tests.cli.test_cli import process
from tests.harness import QUICK, Platform
from tests.support import wait_until
from tests.wire import redemptions

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

RATES = "refuse=0.1,apply_silent=0.02,repeat=0.1"
AUDITS = 12


@pytest.fixture
def platform(kafka: EmbeddedKafka, database: str, tmp_path: Path) -> Iterator[Platform]:
    with Platform(kafka, database, tmp_path) as one:
        one.start_sandbox(rates=RATES)
        one.start_coordinator(**QUICK).wait_ready()
        yield one


def test_it_is_clean_at_every_moment_of_a_load(platform: Platform) -> None:
    found: list[Audit] = []
    catalogue = load(Settings().deploy)
    with platform.flowing(redemptions(100_000, seed=9), per_s=150, repeats=0.1, seed=9) as sent:
        wait_until(lambda: sum(platform.counts().values()) > 50, 60, "sagas begin")
        for _ in range(AUDITS):
            found.append(asyncio.run(audit(platform.dsn, catalogue, Options())))
            more = found[-1].sagas + 20
            wait_until(lambda: sum(platform.counts().values()) > more, 60, "the load goes on")  # noqa: B023
    for one in found:
        assert one.holds, [finding for finding in one.findings if finding.broken]
    assert sum(one.waiting for one in found) > 0, "nothing was in flight at any moment"
    platform.finish(sent)
    done = process("audit", "--json", environment=platform.environment)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout)
    assert last["sagas"] == len({one.saga_id for one in sent})
    print([one.sagas for one in found], [one.waiting for one in found], last["sagas"])
