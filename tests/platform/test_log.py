"""The log line of one event of a saga, and the closed list of all log events."""

from __future__ import annotations

import io
from typing import Any, get_args

import orjson
import pytest

from orchestrator.settings import ROOT
from orchestrator.telemetry import Log, LogEvent, _Lines

TS = "2026-11-24T08:00:00.000Z"


class _Plain:
    """A logger for a terminal, which records what is logged."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.said.append({"event": event, **fields})


@pytest.mark.parametrize(
    "outcome", (None, "CONFIRMED", 'DONE","level":"error', "erledigt \u00fc\n\u2028", "\\")
)
def test_the_line_is_json_whatever_a_partner_says(outcome: str | None) -> None:
    file, plain = io.BytesIO(), _Plain()
    for log in (Log(None, _Lines(file)), Log(plain)):
        for leg in ("credit/1", None):
            log.moved(
                TS,
                saga_id="8851abe8-7819-5810-856f-b019c65f2c53",
                revision=3,
                on="answered",
                leg=leg,
                outcome=outcome,
                status="SUCCESS",
            )
        log.flush()
    lines = [orjson.loads(line) for line in file.getvalue().splitlines()]
    assert len(lines) == len(plain.said) == 2
    for line, said in zip(lines, plain.said, strict=True):
        assert line == {**said, "level": "info", "ts": TS}
        assert line["outcome"] == outcome


def test_every_log_event_is_logged_somewhere() -> None:
    sources = [
        path.read_text("utf-8")
        for package in ("orchestrator", "adapters")
        for path in (ROOT / package).rglob("*.py")
    ]
    for event in get_args(LogEvent):
        # Once in the list of events, and at least once where it is logged.
        assert sum(source.count(f'"{event}"') for source in sources) > 1, event
