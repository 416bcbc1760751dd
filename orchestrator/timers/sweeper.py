"""Publishes due timers as records; each coordinator those of the partitions that it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from orchestrator.batch import encode
from orchestrator.engine.instance import Saga
from orchestrator.pacing import periodically
from orchestrator.ports import Bus, Clock, Outgoing, PartitionShare, Store
from orchestrator.settings import CoordinatorSettings
from orchestrator.telemetry import Log
from orchestrator.timers.fired import FiredTimers
from schemas.envelope import rfc3339
from schemas.times import moment

LOOK_BACK_MS: Final = 2_000
"""Interval of the full rescan for timers that were missed.

A timer is missed when it could not be published, or when its saga was committed after its due time
had been swept.
"""
TIMERS_A_RECORD: Final = 10
"""How many timers share a record.

Few enough that a batch, whose size is limited in records, still fits into one transaction; and ten
already save nine tenths of the cost per record.
"""


class Sweeper:
    """Periodically finds sagas whose timer is due and publishes the timers on `uprp.internal`."""

    def __init__(
        self,
        *,
        settings: CoordinatorSettings,
        store: Store,
        bus: Bus,
        clock: Clock,
        log: Log,
        offer: Callable[[Sequence[Saga]], None],
        fired: FiredTimers,
        share: Callable[[], PartitionShare],
        behind: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._store = store
        self._bus = bus
        self._clock = clock
        self._log = log
        self._offer = offer
        self._fired = fired
        self._share = share
        self._behind = behind
        self._swept_at = clock.monotonic()
        self._swept_share: PartitionShare | None = None
        self._swept_until = 0  # Due time up to which the share was swept, in milliseconds.
        self._rescanned_at = 0

    async def run(self) -> None:
        """Sweep periodically, until cancelled; while a server is away, try again."""
        # The interval passes also when more timers are due than one sweep takes: a backlog of
        # timers must not come all at once and hold up everything else.
        await periodically(
            self._run_unless_behind,
            self._settings.sweep_s,
            on_unavailable=lambda error: self._log.warning("sweep.retried", why=str(error)),
        )

    async def _run_unless_behind(self) -> None:
        if not self._should_wait():
            await self.run_once()

    def _should_wait(self) -> bool:
        """Whether to skip this sweep, because replies may be waiting to be read.

        Then the time-outs are our own fault, and inquiries would only add load. A coordinator that
        stays behind still sweeps once in `sweep_patience_s`.
        """
        now = self._clock.monotonic()
        if self._behind() and now - self._swept_at < self._settings.sweep_patience_s:
            return True
        self._swept_at = now
        return False

    async def run_once(self) -> int:
        """Publish the timers that are due in the partitions read here, and return their number."""
        now, share = self._clock.now(), self._share()
        if not share.numbers:
            return 0
        fired, count_max = self._fired.current(now), self._settings.sweep_count_max
        since = self._since(share, now)
        due = await self._store.due(since, now, share, fired, count_max)
        self._swept_until = now if len(due) < count_max else (due[-1].wake_at or 0) - 1
        if not due or share != self._share():  # A rebalance has changed the partitions meanwhile.
            return 0
        self._offer(due)
        until = now + round(self._settings.sweep_lease_s * 1000)
        self._fired.published([saga.terms.saga_id for saga in due], until)
        await self._bus.publish(timer_records(due, now, share.partitions))
        return len(due)

    def _since(self, share: PartitionShare, now: int) -> int:
        """The due time to sweep from: where the last sweep ended, or 0 for a full rescan.

        Starting where the last sweep ended skips the index entries of timers that have fired, which
        are dead but not vacuumed yet and make a full rescan slow.
        """
        rescanned_at = self._rescanned_at
        if share == self._swept_share and rescanned_at <= now < rescanned_at + LOOK_BACK_MS:
            return min(self._swept_until, now)
        self._swept_share, self._rescanned_at = share, now
        return 0


def timer_records(due: Sequence[Saga], now: int, partitions: int) -> list[Outgoing]:
    """The records for due timers, several timers in each; `now` in milliseconds."""
    by_partition: dict[int, list[Saga]] = {}
    for saga in due:
        by_partition.setdefault(saga.terms.key_hash % partitions, []).append(saga)
    at = rfc3339(moment(now))
    return [
        encode.timers_record(group[start : start + TIMERS_A_RECORD], at)
        for group in by_partition.values()
        for start in range(0, len(group), TIMERS_A_RECORD)
    ]
