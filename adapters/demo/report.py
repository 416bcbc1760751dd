"""`build/demo.json`: what was expected, what was observed, and whether both agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from adapters.audit.report import Audit as Proved
from adapters.demo.audit import Audit
from adapters.demo.run import DemoRun, Observed, Outcome
from adapters.postgres.stories import as_data
from adapters.postgres.views import SagaStory

SCHEMA: Final = "uprp.demo/1"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the demo found out."""

    demo_run: DemoRun
    stories: Sequence[SagaStory]
    audit: Audit
    proved: Proved  # The invariants of our own database.
    seconds: float

    @property
    def balanced(self) -> bool:
        """Whether every book agrees with every other."""
        return not self.audit.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is not as it should be; the demo passes when there is nothing."""
        differences = (
            f"{outcome.scenario.about}: {problem}"
            for outcome in self.demo_run.outcomes
            for problem in outcome.problems
        )
        broken = (
            f"{one.invariant}: {one.broken} of {one.checked} {one.of}: {one.says}"
            for one in self.proved.findings
            if one.broken
        )
        return (*differences, *self.demo_run.surprises(), *self.audit.problems, *broken)

    def document(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "schema": SCHEMA,
            "passed": not self.problems,
            "problems": self.problems,
            "seconds": round(self.seconds, 1),
            "requests": [_request(outcome) for outcome in self.demo_run.outcomes],
            "records": [
                {
                    "at": record.at,
                    "from": record.sender,
                    "to": record.receiver,
                    "channel": record.channel,
                    "type": record.type,
                    "id": record.id,
                    "words": record.in_words(),
                }
                for record in self.demo_run.records
            ],
            "sagas": [as_data(story) for story in self.stories],
            "balances": [asdict(one) | {"ok": one.ok} for one in self.audit.balances],
            "books": {
                "balanced": self.balanced,
                "problems": self.audit.problems,
                "transfers": self.audit.transfers,
                "legs": self.audit.legs,
                "questions": self.audit.questions,
            },
            "invariants": [asdict(one) for one in self.proved.findings],
        }

    def write(self, path: Path) -> None:
        """Write the document as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        path.write_bytes(orjson.dumps(self.document(), default=str, option=options))


_NOTHING: Final[dict[str, Any]] = asdict(Observed()) | {"issued": {}}


def _request(outcome: Outcome) -> dict[str, Any]:
    scenario = outcome.scenario
    expected = scenario.expect.model_dump(mode="json", exclude_defaults=True)
    observed = asdict(outcome.observed) | {"issued": dict(outcome.observed.issued)}
    return {
        "file": scenario.file,
        "about": scenario.about,
        "origin": scenario.line.origin,
        "request_id": scenario.request_id,
        "expected": expected,
        "seen": {name: value for name, value in observed.items() if value != _NOTHING[name]},
        "as_expected": not outcome.problems,
        "problems": outcome.problems,
        "seconds": outcome.seconds,
    }
