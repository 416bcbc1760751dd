"""Due timers become records: whoever reads a partition publishes its timers, and again if lost."""

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
"""How often is looked for what became due later than it says: what could not be published, or was
committed late."""


TIMERS_A_RECORD: Final = 10
"""How many are said by one record. Few enough that a batch, which is bounded by its records, stays
one that a transaction can hold; of what a record costs, ten save nine tenths."""


class Sweeper:
    """One loop: find sagas whose timer is due and say so on `uprp.internal`."""

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
        self._seen: PartitionShare | None = None
        self._seen_to = 0
        self._looked_back = 0

    async def run(self) -> None:
        """Sweep for ever; what fails is tried again."""
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
        """Whether answers may lie unread: then a time-out is news about us, and asking adds load.

        A process that is behind for long sweeps all the same, now and then.
        """
        now = self._clock.monotonic()
        if self._behind() and now - self._swept_at < self._settings.sweep_patience_s:
            return True
        self._swept_at = now
        return False

    async def run_once(self) -> int:
        """Publish what is due now in the partitions that are read here; how many there were."""
        now, share = self._clock.now(), self._share()
        if not share.numbers:
            return 0
        fired, count_max = self._fired.current(now), self._settings.sweep_count_max
        since = self._since(share, now)
        due = await self._store.due(since, now, share, fired, count_max)
        self._seen_to = now if len(due) < count_max else (due[-1].wake_at or 0) - 1
        if not due or share != self._share():  # They are somebody else's by now.
            return 0
        self._offer(due)
        until = now + round(self._settings.sweep_lease_s * 1000)
        self._fired.published([saga.terms.saga_id for saga in due], until)
        await self._bus.publish(timer_records(due, now, share.partitions))
        return len(due)

    def _since(self, share: PartitionShare, now: int) -> int:
        """Up to when everything that was due is published, as far as is known.

        Behind it lies what has rung, row after dead row; now and then something that came late.
        """
        if share == self._seen and self._looked_back <= now < self._looked_back + LOOK_BACK_MS:
            return min(self._seen_to, now)
        self._seen, self._looked_back = share, now
        return 0


def timer_records(due: Sequence[Saga], now: int, partitions: int) -> list[Outgoing]:
    """The records that say whose timers are due, some in each; `now` in milliseconds."""
    by_partition: dict[int, list[Saga]] = {}
    for saga in due:
        by_partition.setdefault(saga.terms.key_hash % partitions, []).append(saga)
    at = rfc3339(moment(now))
    return [
        encode.timers_record(group[start : start + TIMERS_A_RECORD], at)
        for group in by_partition.values()
        for start in range(0, len(group), TIMERS_A_RECORD)
    ]
