"""Ends the process when records wait and none is committed, so that it is restarted.

It checks progress and not liveness: consumers that are alive but stuck are the most frequent
complaint about every Kafka client in Python (`field-notes.md` 1, finding 8).
"""

from __future__ import annotations

import asyncio

from orchestrator.errors import NoProgress, Unavailable
from orchestrator.pacing import periodically
from orchestrator.ports import Clock, Source
from orchestrator.runtime.coordinator import Coordinator
from orchestrator.telemetry import Metrics


class Watchdog:
    """Compares the offsets of the broker with those that were processed."""

    def __init__(
        self,
        *,
        coordinator: Coordinator,
        source: Source,
        clock: Clock,
        metrics: Metrics,
        progress_s: float,
    ) -> None:
        self._coordinator = coordinator
        self._source = source
        self._clock = clock
        self._metrics = metrics
        self._progress_s = progress_s

    async def run(self) -> None:
        """Check again and again, until cancelled.

        Raises:
            NoProgress: records wait, or the broker is away, and nothing was processed for too long.
        """
        await periodically(self.run_once, min(self._progress_s / 10, 5.0), wait_first=True)

    async def run_once(self) -> None:
        """Check once."""
        lag = await self.lag()
        if lag is not None:
            self._metrics.lag.set(lag)
        if lag == 0:
            self._coordinator.progress_at = self._clock.monotonic()
            return
        idle_s = self._clock.monotonic() - self._coordinator.progress_at
        if idle_s > self._progress_s:
            cause = "the broker does not answer" if lag is None else f"{lag} records wait"
            raise NoProgress(f"{cause} and nothing was done for {idle_s:.0f} s; exiting to restart")

    async def lag(self) -> int | None:
        """How many records wait in the partitions held; None without assignment or answer."""
        if not self._coordinator.assigned:
            return None
        done = dict(self._coordinator.done_offsets)
        try:
            async with asyncio.timeout(self._progress_s / 4):
                bounds = await self._source.bounds(done)
        except (Unavailable, TimeoutError):
            return None
        return sum(max(0, bounds[partition][1] - at) for partition, at in done.items())
