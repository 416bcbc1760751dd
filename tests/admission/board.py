"""The board of a test: what coordinators tell each other, in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.admission.board import HealthReport, SharedHealth
from orchestrator.admission.breaker import Breaker
from orchestrator.admission.gate import Slot
from orchestrator.errors import Unavailable


@dataclass
class Board:
    """The tables that all coordinators share."""

    sights: dict[tuple[str, str], HealthReport] = field(default_factory=dict)
    heard: dict[str, int] = field(default_factory=dict)
    in_flight: Counter[str] = field(default_factory=Counter)
    breakers: dict[str, Breaker] = field(default_factory=dict)
    away: bool = False

    def of(self, instance: str) -> Desk:
        """One coordinator's access to it."""
        return Desk(self, instance)


@dataclass
class Desk:
    """The board, as one coordinator reaches it."""

    board: Board
    instance: str

    async def share(
        self, sights: Sequence[HealthReport], now: int, alive_since: int
    ) -> SharedHealth:
        self._reach()
        board = self.board
        board.heard[self.instance] = now
        for sight in sights:
            board.sights[sight.participant, self.instance] = sight
        alive = sorted(name for name, at in board.heard.items() if at >= alive_since)
        part = Slot(alive.index(self.instance), len(alive))
        everything = list(board.sights.values())
        return SharedHealth(part, everything, dict(board.in_flight), dict(board.breakers))

    async def move(self, participant: str, expected: int, to: Breaker) -> bool:
        self._reach()
        if self.board.breakers.get(participant, Breaker()).revision != expected:
            return False
        self.board.breakers[participant] = to
        return True

    async def tidy(self, before: int) -> None:
        self._reach()

    def _reach(self) -> None:
        if self.board.away:
            raise Unavailable("PostgreSQL: away")
