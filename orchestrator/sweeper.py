"""Due timers become records: leased, published, and leased again if they get lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pydantic import BaseModel

from orchestrator.errors import Unavailable
from orchestrator.ports import Bus, Clock, DueTimer, Outgoing, Store
from orchestrator.sagas.words import moment
from orchestrator.settings import CoordinatorSettings
from orchestrator.telemetry import Log
from schemas.catalogue import INTERNAL_TOPIC, TIMER
from schemas.envelope import PLATFORM_SOURCE, Envelope, rfc3339
from schemas.ids import partition_key
from schemas.results import TimerFired


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
        behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._store = store
        self._bus = bus
        self._clock = clock
        self._log = log
        self._behind = behind
        self._swept_at = clock.monotonic()

    async def run(self) -> None:
        """Sweep for ever; what fails is tried again."""
        while True:
            if self._should_wait():
                await asyncio.sleep(self._settings.sweep_s)
                continue
            try:
                await self.run_once()
            except Unavailable as away:
                self._log.warning("sweep.retried", why=str(away))
            # Also when more are due: what lay for long is not to come all at once, before all else.
            await asyncio.sleep(self._settings.sweep_s)

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
        """Lease what is due now and publish it; how many there were."""
        now = self._clock.now()
        until = now + round(self._settings.sweep_lease_s * 1000)
        due = await self._store.lease_due(now, until, self._settings.sweep_count_max)
        if due:
            await self._bus.publish([_fired(timer, now) for timer in due])
        return len(due)


def _fired(timer: DueTimer, now: int) -> Outgoing:
    envelope = Envelope(
        id=f"{timer.saga_id}#t{timer.revision}",
        source=PLATFORM_SOURCE,
        type=TIMER,
        time=rfc3339(moment(now)),
        subject=timer.saga_id,
    )
    return Outgoing(
        INTERNAL_TOPIC,
        partition_key(timer.origin, timer.account).encode(),
        _json(TimerFired(saga_id=timer.saga_id, revision=timer.revision)),
        envelope.headers(),
    )


def _json(data: BaseModel) -> bytes:
    return data.model_dump_json().encode()
