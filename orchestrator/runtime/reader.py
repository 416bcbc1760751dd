"""The way in: the next batch, polled and decoded, often while the one before is being saved."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from orchestrator.admission.controller import AdmissionController
from orchestrator.batch.decode import InboundEvent, decode
from orchestrator.ports import Partition, Record
from orchestrator.recovery.recovery import RecoveryContext
from orchestrator.runtime.membership import MembershipGuard
from orchestrator.runtime.restoration import RestoreMonitor
from orchestrator.settings import CoordinatorSettings
from schemas.events import Channel
from schemas.frozen import replaced

_WAITED_MS: Final = 1_000
_SAMPLE: Final = 32
"""How many records of a poll are looked at for their age."""
_DECODED_AT_ONCE: Final = 16
"""Records that are decoded before others have their turn in this process."""


class Reader:
    """Holds at most one batch that was read and not begun."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        membership: MembershipGuard,
        context: RecoveryContext,
        restore: RestoreMonitor,
        admission: AdmissionController,
        *,
        expected: Mapping[Partition, int | None],
    ) -> None:
        self._settings = settings
        self._guard = membership
        self._source = context.source
        self._clock = context.clock
        self._routes = context.routes
        self._restore = restore
        self._admission = admission
        self._expected = expected  # The coordinator's own: where each partition stands.
        self.arrivals: list[InboundEvent] = []
        self.behind = False  # Whether answers wait to be read, and have for some time.

    def forget(self) -> None:
        """Drop what was read and not begun."""
        self.arrivals.clear()

    def take(self) -> list[InboundEvent]:
        """The batch that was read, out of the hands of whoever reads the next one."""
        arrivals, self.arrivals = self.arrivals, []
        return arrivals

    async def read_on(self, wait_s: float) -> None:
        """Poll and decode the next batch; within a turn, so no rebalance comes in between."""
        count_max = self._settings.batch_records_max
        records = await self._source.poll(wait_s, count_max)
        self._guard.check_pulse()
        now = self._clock.now()
        self._admission.heard(records, now)
        self.behind = len(records) * 2 >= count_max and self._waited(records, now)
        arrivals: list[InboundEvent] = []
        for at, record in enumerate(records, 1):
            arrivals += self._decode(record)
            if at % _DECODED_AT_ONCE == 0:
                await asyncio.sleep(0)  # What others wait for is handed on meanwhile.
        self.arrivals = arrivals

    def _waited(self, records: Sequence[Record], now: int) -> bool:
        """Whether answers or timers lay unread for long; requests are read after them anyway."""
        return any(
            now - record.timestamp > _WAITED_MS
            for record in records[:: 1 + len(records) // _SAMPLE]
            if self._routes[record.topic].channel is not Channel.REQUESTS
        )

    def _decode(self, record: Record) -> list[InboundEvent]:
        position = self._expected.get((record.topic, record.partition))
        redelivered = position is not None and record.offset < position
        arrivals = decode(record, self._routes[record.topic], redelivered=redelivered)
        recovery = self._restore.recovery
        if recovery is None:
            return arrivals
        until = recovery.until.get((record.topic, record.partition), 0)
        return [replaced(arrival, restored=record.offset < until) for arrival in arrivals]
