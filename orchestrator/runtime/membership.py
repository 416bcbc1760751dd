"""Guards ownership of partitions; tracks readiness."""

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
    """This membership cannot be trusted any more: leave the group and join it again."""


class MembershipGuard:
    """Checked before every action that only the owner of the partitions may take."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        pause_max_s: float,
        clock: Clock,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._pause_max_s = pause_max_s
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._heartbeat_at = clock.monotonic()
        self.progress_at = clock.monotonic()
        self.ready = False  # Whether an assignment is held and the last attempt succeeded.
        self.lost = False  # Whether the partitions were revoked during an unfinished batch.

    def begin(self) -> None:
        """Start a new membership: failures of the previous one no longer count."""
        self._heartbeat_at = self._clock.monotonic()
        self.lost = False

    def set_ready(self, ready: bool) -> None:
        """Record whether the last attempt succeeded."""
        self.ready = ready
        self._metrics.ready.set(ready)

    def advanced(self) -> None:
        """Record progress, which the watchdog checks."""
        self.progress_at = self._clock.monotonic()

    async def heartbeat(self) -> None:
        """Detect that the process was paused: another coordinator may own its partitions now.

        Raises:
            Rejoin: the pause was so long that the group may have given the partitions away.
        """
        await periodically(self._beat, _HEARTBEAT_S, wait_first=True)

    async def _beat(self) -> None:
        self.check_heartbeat()
        self._heartbeat_at = self._clock.monotonic()

    def check_mine(self) -> None:
        """Check that the current batch may be finished.

        Raises:
            Rejoin: the partitions belong to another coordinator, or may do so.
        """
        self.check_heartbeat()
        if self.lost:
            raise Rejoin("the partitions were revoked before the batch was finished")

    def check_heartbeat(self) -> None:
        """Check that the process was not paused for too long since the last heartbeat.

        Raises:
            Rejoin: it was.
        """
        paused_s = self._clock.monotonic() - self._heartbeat_at
        if paused_s > self._pause_max_s:
            raise Rejoin(f"the process was paused for {paused_s:.1f} s")

    async def until_available(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat an attempt while it raises Unavailable; only the watchdog limits how long."""
        return await retry(attempt, self.backoff(), self._log_retry)

    def backoff(self) -> Backoff:
        """A new back-off with the limits of the settings."""
        return Backoff(self._settings.backoff_min_s, self._settings.backoff_max_s)

    def _log_retry(self, error: Unavailable) -> None:
        self.set_ready(False)
        self._log.warning("batch.retried", why=str(error), records=0)
