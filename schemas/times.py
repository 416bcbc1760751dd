"""Conversions of times: the platform keeps milliseconds since 1970, the wire has RFC 3339."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from schemas.envelope import rfc3339


def moment(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


@lru_cache(maxsize=4_096)
def text_of(milliseconds: int) -> str:
    """Milliseconds since 1970 as RFC 3339; cached, since many messages of a batch have the same."""
    return rfc3339(moment(milliseconds))
