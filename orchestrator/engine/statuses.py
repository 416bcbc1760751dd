"""The result statuses of a kind of saga: how its sagas stand or have ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Statuses:
    """The result statuses of a kind, and which of them the engine itself sets."""

    of: type[StrEnum]  # All of them.
    refused: str  # The request was refused before any participant was asked.
    interim: frozenset[str] = frozenset()  # Those that are not final.
    pending: str | None = None  # An answer takes longer; None: no result says so.
    review: str | None = None  # A person must decide; None: no result says so.
    withdrawn: str | None = None  # The origin withdrew its request; None: it cannot.
    by_text: Mapping[str, StrEnum] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Looked up in a dict, since calling an Enum takes ten times as long.
        object.__setattr__(self, "by_text", {status.value: status for status in self.of})
