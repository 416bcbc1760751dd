"""The port through which coordinators share what they see of the health of participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.admission.breaker import Breaker, Window
from orchestrator.admission.gate import Slot
from schemas.frozen import value


@value
class HealthReport:
    """What one coordinator saw of one participant since its breaker moved last."""

    participant: str
    revision: int  # Of the breaker.
    window: Window


@value
class SharedHealth:
    """What all coordinators together know about the participants."""

    part: Slot  # The place of this coordinator among those that are alive.
    sights: Sequence[HealthReport]  # Of all coordinators.
    in_flight: Mapping[str, int]  # Legs in flight of all coordinators, by participant.
    breakers: Mapping[str, Breaker]  # By participant; one that never moved is missing.


class HealthBoard(Protocol):
    """Where coordinators share what they see. Every method may raise Unavailable."""

    async def share(
        self, sights: Sequence[HealthReport], now: int, alive_since: int
    ) -> SharedHealth:
        """Write what this coordinator saw, and read what all have seen. Times are milliseconds.

        Args:
            sights: what was seen here since it was last shared.
            now: the time, which is also this coordinator's sign of life.
            alive_since: a coordinator whose last sign of life is older is no longer alive.
        """

    async def move(self, participant: str, expected: int, to: Breaker) -> bool:
        """Move a breaker to its next state; False if its revision is not the `expected` one."""

    async def tidy(self, before: int) -> None:
        """Delete coordinators whose last sign of life is older; their legs stay counted."""
