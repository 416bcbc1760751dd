"""What the demo asks for and what should come of it: request files that carry expectations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.kafka.requests import LineError, RequestLine, line_of, read_objects
from schemas.dead_letters import Disposition
from schemas.reasons import Code
from schemas.results import ResultStatus

ROOT: Final = Path(__file__).resolve().parents[2]
REQUESTS: Final = ROOT / "deploy" / "demo"
FAULTS: Final = ROOT / "deploy" / "sandbox" / "demo-faults.toml"

Amount = Annotated[int, Field(ge=0)]


class ScriptError(ValueError):
    """A request file that the demo cannot play: which one, which line, and why."""


class Expectation(BaseModel):
    """How a request should end: with a final result, or refused and set aside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: ResultStatus | None = None
    code: Code | None = None
    charged: Amount = 0
    returned: Amount = 0
    return_required: Amount = 0  # Of what the channel took itself; acknowledged, too.
    issued: dict[str, Annotated[int, Field(ge=1)]] = {}
    again: bool = False  # The stored answer, without another word to any participant.
    refused: Code | None = None
    dead_letter: Disposition | None = None


@dataclass(frozen=True, slots=True)
class Scene:
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


def read_scenes(folder: Path = REQUESTS) -> tuple[Scene, ...]:
    """The scenes of every request file in a folder, file by file in the order of their names.

    Raises:
        ScriptError: a file cannot be read, or a line has no expectation that makes sense.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise ScriptError(f"{folder}: holds no *.jsonl file")
    return tuple(scene for path in files for scene in _scenes(path))


def _scenes(path: Path) -> Iterable[Scene]:
    try:
        text = path.read_text("utf-8")
        lines = [(line_of(at, found), found) for at, found in read_objects(text)]
    except (OSError, UnicodeDecodeError, LineError) as error:
        raise ScriptError(f"{path}: {error}") from error
    for number, (line, found) in enumerate(lines, 1):
        try:
            expect = Expectation.model_validate(found.get("expect"))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(["expect", *(str(part) for part in first["loc"])])
            raise ScriptError(f"{path}: record {number}: {where}: {first['msg']}") from error
        if (expect.status is None) == (expect.refused is None):
            raise ScriptError(f"{path}: record {number}: expect: give status or refused")
        yield Scene(path.name, str(found.get("about", f"record {number}")), line, expect)
