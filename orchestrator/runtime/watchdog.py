"""Progress, not liveness: records wait and nothing commits means that a restart is the cure.

Consumers that are stuck but alive are the most frequent complaint about every Kafka client in
Python (`field-notes.md` 1, finding 8).
"""

from __future__ import annotations

import asyncio

from orchestrator.errors import NoProgress, Unavailable
from orchestrator.pacing import periodically
from orchestrator.ports import Clock, Source
from orchestrator.runtime.coordinator import Coordinator
from orchestrator.telemetry import Metrics


class Watchdog:
    """Compares what the broker has with what was done."""

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
        self._done: dict[tuple[str, int], int] = {}

    async def run(self) -> None:
        """Look for ever.

        Raises:
            NoProgress: records wait, or the broker is away, and nothing was done for too long.
        """
        await periodically(self.run_once, min(self._progress_s / 10, 5.0), wait_first=True)

    async def run_once(self) -> None:
        """Look once."""
        lag = await self.lag()
        if lag is not None:
            self._metrics.lag.set(lag)
        if lag == 0:
            self._coordinator.progress_at = self._clock.monotonic()
            return
        still = self._clock.monotonic() - self._coordinator.progress_at
        if still > self._progress_s:
            waits = "the broker does not answer" if lag is None else f"{lag} records wait"
            raise NoProgress(f"{waits} and nothing was done for {still:.0f} s; exiting to restart")

    async def lag(self) -> int | None:
        """How many records wait in the partitions held; None: no assignment, or no answer."""
        if not self._coordinator.assigned:
            return None
        done = dict(self._coordinator.done_offsets)
        try:
            async with asyncio.timeout(self._progress_s / 4):
                bounds = await self._source.bounds(done)
        except (Unavailable, TimeoutError):
            return None
        return sum(max(0, bounds[partition][1] - at) for partition, at in done.items())
