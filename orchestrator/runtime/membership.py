"""How one coordinator stands: whether it may go on, and whether its last attempt succeeded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from orchestrator.errors import Unavailable
from orchestrator.pacing import Backoff, periodically, retry
from orchestrator.ports import Clock
from orchestrator.settings import CoordinatorSettings
from orchestrator.telemetry import Log, Metrics

T = TypeVar("T")
_HEARTBEAT_S: Final = 0.1


class Rejoin(Exception):
    """This membership is not trustworthy any more: leave the group and join it again."""


class MembershipGuard:
    """Asked before anything that only the owner of the partitions may do."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        frozen_after_s: float,
        clock: Clock,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._frozen_after_s = frozen_after_s
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._pulse = clock.monotonic()
        self.progress_at = clock.monotonic()
        self.ready = False  # Whether an assignment is held and the last attempt succeeded.
        self.lost = False  # Taken away before the batch in hand was finished.

    def begin(self) -> None:
        """A new membership: whatever the last one lost is forgiven."""
        self._pulse = self._clock.monotonic()
        self.lost = False

    def set_ready(self, ready: bool) -> None:
        """Say whether the last attempt succeeded."""
        self.ready = ready
        self._metrics.ready.set(ready)

    def advanced(self) -> None:
        """Something was done just now: no restart is needed."""
        self.progress_at = self._clock.monotonic()

    async def heartbeat(self) -> None:
        """Notice that the process stood still: then others may own its partitions by now."""
        await periodically(self._beat, _HEARTBEAT_S, wait_first=True)

    async def _beat(self) -> None:
        self.check_pulse()
        self._pulse = self._clock.monotonic()

    def check_mine(self) -> None:
        """Whether what is in hand may be finished. Raises Rejoin."""
        self.check_pulse()
        if self.lost:
            raise Rejoin("the partitions were given away while a batch was in hand")

    def check_pulse(self) -> None:
        """Whether the process has not stood still. Raises Rejoin."""
        still = self._clock.monotonic() - self._pulse
        if still > self._frozen_after_s:
            raise Rejoin(f"the process stood still for {still:.1f} s")

    async def until_available(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat what heals by waiting; the watchdog ends it when it does not."""
        return await retry(attempt, self.backoff(), self._log_retry)

    def backoff(self) -> Backoff:
        """A new back-off with the limits of the settings."""
        return Backoff(self._settings.backoff_min_s, self._settings.backoff_max_s)

    def _log_retry(self, error: Unavailable) -> None:
        self.set_ready(False)
        self._log.warning("batch.retried", why=str(error), records=0)
