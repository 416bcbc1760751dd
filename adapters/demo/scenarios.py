"""The scenarios of the demo: request files in which each request says how it should end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.kafka.requests import LineError, RequestLine, line_of, read_objects
from schemas.balance import BalanceStatus
from schemas.dead_letters import Disposition
from schemas.reasons import Code
from schemas.results import ResultStatus

ROOT: Final = Path(__file__).resolve().parents[2]
REQUESTS: Final = ROOT / "deploy" / "demo"
FAULTS: Final = ROOT / "deploy" / "sandbox" / "demo-faults.toml"

Amount = Annotated[int, Field(ge=0)]


class ScenarioError(ValueError):
    """A request file that the demo cannot run; the message names file, record and reason."""


class Expectation(BaseModel):
    """How a request should end: with a final result, or refused and as a dead letter.

    Amounts are points; `issued` is pieces by item. Of the answer to a question about a balance,
    `available` is in points, what is left and redeemable in minor units of money.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: ResultStatus | BalanceStatus | None = None
    code: Code | None = None
    charged: Amount = 0
    returned: Amount = 0
    return_required: Amount = 0  # Of what the channel deducted itself; it must acknowledge it.
    issued: dict[str, Annotated[int, Field(ge=1)]] = {}
    available: Amount | None = None
    daily_remaining: Amount | None = None
    max_redeemable_now: Amount | None = None
    again: bool = False  # The stored result again, without a new command to any participant.
    refused: Code | None = None
    dead_letter: Disposition | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One record of a request file, and how it should end."""

    file: str
    about: str
    line: RequestLine
    expect: Expectation

    @property
    def request_id(self) -> str | None:
        """The origin's own id; None when the record cannot be read."""
        try:
            found = orjson.loads(self.line.value)
        except orjson.JSONDecodeError:
            return None
        return str(found["request_id"]) if "request_id" in found else None


def read_scenarios(folder: Path = REQUESTS) -> tuple[Scenario, ...]:
    """The scenarios of every request file in a folder, file by file in the order of their names.

    Raises:
        ScriptError: a file cannot be read, or a line has no expectation that makes sense.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise ScenarioError(f"{folder}: holds no *.jsonl file")
    return tuple(scenario for path in files for scenario in _scenarios(path))


def _scenarios(path: Path) -> Iterable[Scenario]:
    try:
        text = path.read_text("utf-8")
        lines = [(line_of(at, found), found) for at, found in read_objects(text)]
    except (OSError, UnicodeDecodeError, LineError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    for number, (line, found) in enumerate(lines, 1):
        try:
            expect = Expectation.model_validate(found.get("expect"))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(["expect", *(str(part) for part in first["loc"])])
            raise ScenarioError(f"{path}: record {number}: {where}: {first['msg']}") from error
        if (expect.status is None) == (expect.refused is None):
            raise ScenarioError(f"{path}: record {number}: expect: give status or refused")
        yield Scenario(path.name, str(found.get("about", f"record {number}")), line, expect)
