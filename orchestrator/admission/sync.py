"""Shares what each coordinator observes of the participants' health, through the database.

No record waits for it: the health last read is used until there is a newer one. While the database
is away nothing is committed anyway.
"""

from __future__ import annotations

from typing import Final

from orchestrator.admission.board import HealthBoard
from orchestrator.admission.breaker import Breaker, Counts, State
from orchestrator.admission.controller import AdmissionController
from orchestrator.errors import Unavailable
from orchestrator.pacing import periodically
from orchestrator.ports import Clock
from orchestrator.telemetry import Log, LogEvent, Metrics

_ALIVE_ROUNDS: Final = 6
"""How many rounds a coordinator may miss before the others count it as gone."""
_ALIVE_MS_MIN: Final = 3_000
_TIDY_MS: Final = 600_000
"""Interval of removing the rows of coordinators that are gone."""
_FORGET_MS: Final = 3_600_000
"""How long a coordinator must be silent before its row is removed."""
_GAUGE: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
_EVENTS: Final[dict[State, LogEvent]] = {
    State.CLOSED: "breaker.closed",
    State.HALF_OPEN: "breaker.probing",
    State.OPEN: "breaker.opened",
}


class HealthSync:
    """Periodically shares observations, reads those of others and moves breakers that must move."""

    def __init__(
        self,
        *,
        admission: AdmissionController,
        board: HealthBoard,
        clock: Clock,
        log: Log,
        metrics: Metrics,
        every_s: float,
    ) -> None:
        self._admission = admission
        self._board = board
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._every_s = every_s
        self._alive_ms = max(_ALIVE_MS_MIN, round(every_s * 1000) * _ALIVE_ROUNDS)
        self._tidied_at: int | None = None

    async def begin(self) -> None:
        """Read the shared health before anything is decided; if the database is away, go on."""
        try:
            await self.run_once()
        except Unavailable as error:
            self._log_retry(error)

    async def run(self) -> None:
        """Share periodically, until cancelled; while the database is away, try again."""
        await periodically(self.run_once, self._every_s, on_unavailable=self._log_retry)

    def _log_retry(self, error: Unavailable) -> None:
        self._log.warning("health.retried", why=str(error))

    async def run_once(self) -> None:
        """Share and read once, then move the breakers that must move."""
        admission, now = self._admission, self._clock.now()
        reports, mark = admission.unshared(), admission.snapshot()
        shared = await self._board.share(reports, now, now - self._alive_ms)
        admission.mark_shared(reports)
        admission.merge(shared, mark, now)
        for name, to, seen in list(admission.due_transitions(now)):
            if await self._board.move(name, to.revision - 1, to):
                admission.adopt(name, to)
                self._log_move(name, to, seen)
        self._measure(now)
        if self._tidied_at is None or now - self._tidied_at > _TIDY_MS:
            await self._board.tidy(now - _FORGET_MS)
            self._tidied_at = now

    def _log_move(self, name: str, to: Breaker, seen: Counts) -> None:
        """Log a breaker's move. Only the coordinator that moved it does, so it is logged once."""
        log = self._log.warning if to.state is State.OPEN else self._log.info
        log(
            _EVENTS[to.state],
            participant=name,
            answered=seen.answered,
            missed=seen.missed,
            until=to.until,
        )

    def _measure(self, now: int) -> None:
        self._metrics.health_learned.set(now / 1000)
        for name, breaker, in_flight in self._admission.standings():
            self._metrics.participant_state.labels(name).set(_GAUGE[breaker.state])
            self._metrics.participant_in_flight.labels(name).set(in_flight)
