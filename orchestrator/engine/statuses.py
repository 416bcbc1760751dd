"""The statuses of a kind's results: its own words for how a saga stands or ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Statuses:
    """The statuses that a kind's results have, and those that the engine itself gives."""

    of: type[StrEnum]
    refused: str  # The request was refused before anybody was asked.
    interim: frozenset[str] = frozenset()  # Those that are not final.
    pending: str | None = None  # An answer takes longer; None: the origin is not told.
    review: str | None = None  # A person must look; None: the origin is not told.
    withdrawn: str | None = None  # The origin took its request back.
    by_text: Mapping[str, StrEnum] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # A dict, since an Enum is called at ten times the price.
        object.__setattr__(self, "by_text", {status.value: status for status in self.of})
