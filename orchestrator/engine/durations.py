"""Durations, windows and time zones as the TOML files of programmes and participants have them."""

from __future__ import annotations

import re
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field

from orchestrator.engine.policy import Until

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def _milliseconds(found: Any) -> Any:
    """The milliseconds of a duration such as `"5s"`."""
    if isinstance(found, str) and (match := re.fullmatch(r"(\d+)(ms|s|m|h|d)", found)):
        return int(match[1]) * _UNITS[match[2]]
    raise ValueError(f"{found!r} is not a duration such as 500ms, 5s, 3m, 1h, 2d")


def _until(found: Any) -> Until:
    """The window of `"24h"`, or of `"T+1 00:15"`: a time of day so many days later.

    The time of day is in the participant's zone.
    """
    if isinstance(found, Until):
        return found
    match = re.fullmatch(r"T\+(\d{1,2}) ([01]\d|2[0-3]):([0-5]\d)", str(found))
    if match:
        return Until(days=int(match[1]), minute=int(match[2]) * 60 + int(match[3]))
    try:
        return Until(after=_milliseconds(found))
    except ValueError:
        raise ValueError(f"{found!r} is neither a duration such as 24h nor T+1 00:15") from None


Duration = Annotated[
    int, BeforeValidator(_milliseconds), Field(ge=10, le=30 * 86_400_000, description="ms")
]
"""A number of milliseconds, written as `"500ms"`, `"5s"`, `"3m"`, `"1h"` or `"2d"`."""
Window = Annotated[Until, BeforeValidator(_until)]
"""The end of a window, written as a duration or as `"T+1 00:15"`."""


def known_zone(zone: str) -> str:
    """The name of a time zone, unchanged.

    Raises:
        ValueError: there is no IANA time zone of that name.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{zone!r} is not an IANA time zone") from None
    return zone
