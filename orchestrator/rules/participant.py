"""A participant: a company on the platform and the ladders it is owed (`domain.md` 4.3, 4.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from orchestrator.saga.policy import LegPolicy, Rung
from schemas.values import Slug

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def _milliseconds(found: Any) -> Any:
    """`"5s"` as milliseconds."""
    if isinstance(found, str) and (match := re.fullmatch(r"(\d+)(ms|s|m|h|d)", found)):
        return int(match[1]) * _UNITS[match[2]]
    raise ValueError(f"{found!r} is not a duration such as 500ms, 5s, 3m, 1h, 2d")


Duration = Annotated[
    int, BeforeValidator(_milliseconds), Field(ge=10, le=30 * 86_400_000, description="ms")
]
Times = Annotated[int, Field(ge=1, le=100_000)]


class Ladder(BaseModel):
    """What is done for one verb while its answer does not come."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    response_timeout: Duration = 5_000
    expires_after: Duration = 60_000
    rung: Rung = Rung.INQUIRE
    every: Duration = 3_000
    times: Times | None = 20
    pending_every: Duration = 3_600_000
    pending_times: Times | None = None

    def policy(self) -> LegPolicy:
        """The same, as the engine wants it."""
        return LegPolicy(**self.model_dump())


class ReturnLadder(Ladder):
    """A return may be delayed, not declined: it is said again for ever (`contract.md` 3)."""

    rung: Rung = Rung.RESEND
    every: Duration = 15_000
    times: None = None


class Legs(BaseModel):
    """The ladder of each verb that the participant serves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deduct: Ladder | None = None
    return_: Annotated[ReturnLadder | None, Field(alias="return")] = None
    credit: Ladder | None = None
    reverse: Ladder | None = None

    def policies(self) -> Mapping[str, LegPolicy]:
        """The policies by verb."""
        ladders = {
            "deduct": self.deduct,
            "return": self.return_,
            "credit": self.credit,
            "reverse": self.reverse,
        }
        return {verb: ladder.policy() for verb, ladder in ladders.items() if ladder is not None}


class Participant(BaseModel):
    """One company: its id is part of its topics' names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Slug
    version: Annotated[int, Field(ge=1)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    legs: Legs = Legs()
