"""Polls and decodes the next batch, often while the previous one is being saved."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from orchestrator.admission.controller import AdmissionController
from orchestrator.batch.decode import InboundEvent, decode
from orchestrator.ports import Record
from orchestrator.recovery.recovery import RecoveryContext
from orchestrator.runtime.membership import MembershipGuard
from orchestrator.runtime.positions import Positions
from orchestrator.runtime.restoration import RestoreMonitor
from orchestrator.settings import CoordinatorSettings
from schemas.events import Channel
from schemas.frozen import replaced

_BEHIND_MS: Final = 1_000
"""The age from which an unread record means that this coordinator is behind."""
_SAMPLE_SIZE: Final = 32
"""How many records of a poll are checked for their age."""
_RECORDS_PER_SLICE: Final = 16
"""Records to decode before other tasks of this process may run."""


class Reader:
    """Holds at most one batch that was read and is not processed yet."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        guard: MembershipGuard,
        context: RecoveryContext,
        restore: RestoreMonitor,
        admission: AdmissionController,
        *,
        positions: Positions,
    ) -> None:
        self._settings = settings
        self._guard = guard
        self._source = context.source
        self._clock = context.clock
        self._routes = context.routes
        self._inbound = context.decider.inbound
        self._restore = restore
        self._admission = admission
        self._positions = positions
        self.arrivals: list[InboundEvent] = []
        self.behind = False  # Whether replies have been waiting to be read for some time.

    def forget(self) -> None:
        """Drop the batch that was read and is not processed yet."""
        self.arrivals.clear()

    def take(self) -> list[InboundEvent]:
        """Remove and return the batch that was read."""
        arrivals, self.arrivals = self.arrivals, []
        return arrivals

    async def read_on(self, wait_s: float) -> None:
        """Poll and decode the next batch; the caller holds the lock of the positions."""
        count_max = self._settings.batch_records_max
        records = await self._source.poll(wait_s, count_max)
        self._guard.check_heartbeat()
        now = self._clock.now()
        self._admission.heard(records, now)
        self.behind = len(records) * 2 >= count_max and self._are_old(records, now)
        arrivals: list[InboundEvent] = []
        for at, record in enumerate(records, 1):
            arrivals += self._decode(record)
            if at % _RECORDS_PER_SLICE == 0:
                await asyncio.sleep(0)  # Lets tasks that got their answers meanwhile go on.
        self.arrivals = arrivals

    def _are_old(self, records: Sequence[Record], now: int) -> bool:
        """Whether replies or timers were unread for long; requests, polled last, do not count."""
        return any(
            now - record.timestamp > _BEHIND_MS
            for record in records[:: 1 + len(records) // _SAMPLE_SIZE]
            if self._routes[record.topic].channel is not Channel.REQUESTS
        )

    def _decode(self, record: Record) -> list[InboundEvent]:
        redelivered = self._positions.is_redelivered(record)
        route = self._routes[record.topic]
        arrivals = decode(record, route, redelivered=redelivered, inbound=self._inbound)
        recovery = self._restore.recovery
        if recovery is None:
            return arrivals
        until = recovery.until.get((record.topic, record.partition), 0)
        return [replaced(arrival, restored=record.offset < until) for arrival in arrivals]
