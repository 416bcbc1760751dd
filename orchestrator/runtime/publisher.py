"""Publishes the messages of committed batches, then commits their offsets.

Batches are published in the order of their commits, while the coordinator decides the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from orchestrator.errors import Unavailable
from orchestrator.pacing import retry
from orchestrator.ports import Bus, Outgoing, Partition, Source
from orchestrator.runtime.membership import MembershipGuard
from orchestrator.settings import CoordinatorSettings, Phase
from orchestrator.telemetry import Log, Metrics

Probe = Callable[[Phase], None]
"""Called at each phase of a batch; crash tests use it to send the process a signal."""


def no_probe(_phase: Phase) -> None:
    """The probe of normal operation, which does nothing."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A batch that is committed and not yet published.

    Holds only what publishing needs, so that the rest can be freed.
    """

    outgoing: list[Outgoing]
    offsets: dict[Partition, int]


class Publisher:
    """Holds the queue of committed batches and the offsets up to which it has published."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        guard: MembershipGuard,
        source: Source,
        bus: Bus,
        *,
        log: Log,
        metrics: Metrics,
        probe: Probe,
    ) -> None:
        self._settings = settings
        self._guard = guard
        self._source = source
        self._bus = bus
        self._log = log
        self._metrics = metrics
        self._probe = probe
        self.done_offsets: dict[Partition, int] = {}
        self.begin()

    def begin(self) -> None:
        """Start with an empty queue: unpublished batches are published by their new owner."""
        self.ahead: asyncio.Queue[Committed] = asyncio.Queue(self._settings.publish_ahead or 1)

    async def run(self) -> None:
        """Publish committed batches in order, then commit their offsets."""
        while True:
            batch = await self.ahead.get()
            with self._metrics.stage.labels("publish").time():
                await self._publish(batch)
            self._probe("before_offsets")
            self._guard.check_mine()
            try:
                await self._source.commit(batch.offsets)
            except Unavailable as error:
                # Normal after a rebalance. The records are delivered again, below the stored
                # position, so that they are recognised as redelivered.
                self._log.warning("offsets.not_committed", why=str(error))
            self._probe("after_offsets")
            self.done_offsets.update(batch.offsets)
            self._guard.advanced()
            self.ahead.task_done()
            del batch  # Frees it before the wait for the next one.

    async def _publish(self, batch: Committed) -> None:
        backoff = self._guard.backoff()
        for part in self._parts(batch.outgoing):
            attempt, log_retry = partial(self._attempt, part), partial(self._log_retry, part)
            await retry(attempt, backoff, log_retry)
            self._probe("half_published")
        self._metrics.published.inc(len(batch.outgoing))
        self._guard.set_ready(True)

    async def _attempt(self, part: list[Outgoing]) -> None:
        self._guard.check_mine()
        await self._bus.publish(part)

    def _log_retry(self, part: list[Outgoing], error: Unavailable) -> None:
        self._guard.set_ready(False)
        self._log.warning("publish.retried", why=str(error), records=len(part))

    def _parts(self, outgoing: list[Outgoing]) -> Sequence[list[Outgoing]]:
        """All records at once; in a crash test two halves, so that it can crash between them."""
        if self._probe is no_probe or len(outgoing) < 2:
            return [outgoing] if outgoing else []
        half = len(outgoing) // 2
        return [outgoing[:half], outgoing[half:]]
