"""What a supervisor sees: alive, ready or not and why, measured, and gone when told to go."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from tests.foreign.platform import ROOT
from tests.harness import QUICK, Platform
from tests.nodes import Node
from tests.support import wait_until
from tests.wire import redemptions

pytestmark = pytest.mark.servers

NOT_METRICS = {"uprp_cli"}


class Answer(NamedTuple):
    """What a path answered."""

    status: int
    kind: str
    body: str


def ask(node: Node, path: str) -> Answer | None:
    """Ask a coordinator; None while it does not listen."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{node.port}{path}", timeout=5) as found:
            return Answer(found.status, found.headers["Content-Type"], found.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers["Content-Type"], error.read().decode())
    except (urllib.error.URLError, OSError):
        return None


def ready(node: Node) -> bool:
    found = ask(node, "/readyz")
    return found is not None and found.status == 200


def not_ready(node: Node) -> bool:
    """Whether it says that it is not ready, in the way that RFC 9457 wants."""
    found = ask(node, "/readyz")
    if found is None or found.status != 503:
        return False
    assert found.kind.startswith("application/problem+json")
    problem: dict[str, Any] = json.loads(found.body)
    assert problem["status"] == 503
    assert problem["title"]
    assert problem["detail"]
    return True


def live(node: Node) -> bool:
    found = ask(node, "/livez")
    return found is not None and found.status == 200


def documented() -> set[str]:
    """The metrics that the documents name."""
    text = "\n".join(path.read_text("utf-8") for path in [*(ROOT / "docs").rglob("*.md")])
    return set(re.findall(r"`(uprp_[a-z_]+)`", text)) - NOT_METRICS


def test_health_follows_the_servers_and_sigterm_ends_it(
    kafka: EmbeddedKafka, postgres: EmbeddedPostgres, database: str, tmp_path: Path
) -> None:
    with Platform(kafka, database, tmp_path / "platform") as platform:
        platform.start_sandbox()
        postgres.stop()
        try:
            node = platform.start_coordinator(**QUICK)
            wait_until(lambda: not_ready(node), 30, "it listens and is not ready yet")
            assert live(node)
        finally:
            postgres.start()
        wait_until(lambda: ready(node), 30, "it is ready once it has its assignment")

        first, second = list(redemptions(7, 1))[0::6]
        platform.publish([first])
        platform.finish([first])
        postgres.stop()
        try:
            platform.publish([second])
            wait_until(lambda: not_ready(node), 30, "it is not ready while the database is away")
            assert live(node)
            assert node.alive
        finally:
            postgres.start()
        platform.finish([second])
        wait_until(lambda: ready(node), 30, "it is ready again")

        measured = ask(node, "/metrics")
        assert measured is not None
        assert measured.kind.startswith("text/plain")
        served = set(re.findall(r"^# TYPE (\w+) ", measured.body, re.MULTILINE))
        assert documented()
        assert documented() <= served
        found = node.metrics()
        assert found["uprp_ready"] == 1
        assert found["uprp_sagas_started_total"] == 2
        assert found['uprp_sagas_finished_total{status="SUCCESS"}'] == 2
        assert found['uprp_records_total{channel="requests"}'] == 2
        assert found['uprp_records_total{channel="replies"}'] >= 4
        assert found['uprp_rows_total{table="saga"}'] >= 6
        assert found['uprp_retries_total{cause="unavailable"}'] >= 1
        assert found["uprp_batches_total"] >= 2
        assert found["uprp_statements_total"] > found["uprp_batches_total"]
        assert found["uprp_published_total"] >= 6
        assert found["uprp_last_commit_timestamp_seconds"] > 0
        assert node.stop() == 0
        assert ask(node, "/livez") is None
        assert [row["event"] for row in node.events("coordinator.stopped")]


def test_every_metric_is_in_use() -> None:
    """A metric that nothing moves tells operators that nothing happens."""
    telemetry = (ROOT / "orchestrator" / "telemetry.py").read_text("utf-8")
    names = re.findall(r"self\.(\w+) = (?:Counter|Gauge|Histogram)\(", telemetry)
    assert len(names) > 10
    sources = [*(ROOT / "orchestrator").rglob("*.py"), *(ROOT / "adapters").rglob("*.py")]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    assert [name for name in names if not re.search(rf"metrics\.{name}\b", text)] == []
