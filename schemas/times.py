"""Times as the platform keeps them, in milliseconds since 1970, and as the wire has them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from schemas.envelope import rfc3339


def moment(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


@lru_cache(maxsize=4_096)
def text_of(milliseconds: int) -> str:
    """Milliseconds since 1970 as RFC 3339; a batch says the same moments over and over."""
    return rfc3339(moment(milliseconds))
