"""Where coordinators tell each other how the participants are doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.admission.breaker import Breaker, Window
from orchestrator.admission.gate import Slot
from schemas.frozen import value


@value
class HealthReport:
    """What one coordinator saw of one participant since its breaker's revision."""

    participant: str
    revision: int
    window: Window


@value
class SharedHealth:
    """What all coordinators know of the participants together."""

    part: Slot  # Which of those that are alive this one is.
    sights: Sequence[HealthReport]
    in_flight: Mapping[str, int]
    breakers: Mapping[str, Breaker]  # Those that ever moved.


class HealthBoard(Protocol):
    """Where coordinators tell each other what they see. Every method may raise Unavailable."""

    async def share(
        self, sights: Sequence[HealthReport], now: int, alive_since: int
    ) -> SharedHealth:
        """Tell what was seen here, and read what all have seen.

        Args:
            now: the time; it also says that this coordinator is alive.
            alive_since: whoever has said nothing since then is gone.
        """

    async def move(self, participant: str, expected: int, to: Breaker) -> bool:
        """Move a breaker from the revision that is expected; False when another was faster."""

    async def tidy(self, before: int) -> None:
        """Forget coordinators that have said nothing since then; what they added up stays."""
