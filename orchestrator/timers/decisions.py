"""Publishes operators' decisions as records; one that gets lost is leased and published again."""

from __future__ import annotations

from orchestrator.pacing import periodically
from orchestrator.ports import Bus, Clock, DueDecision, Outgoing, Store
from orchestrator.settings import CoordinatorSettings
from orchestrator.telemetry import Log
from schemas.decisions import OperatorDecided
from schemas.envelope import PLATFORM_SOURCE, Envelope, rfc3339
from schemas.events import DECIDED, INTERNAL_TOPIC
from schemas.ids import partition_key
from schemas.times import moment

_COUNT_MAX = 100


class DecisionPublisher:
    """Periodically finds decisions to be applied and publishes them on `uprp.internal`."""

    def __init__(
        self, *, settings: CoordinatorSettings, store: Store, bus: Bus, clock: Clock, log: Log
    ) -> None:
        self._settings = settings
        self._store = store
        self._bus = bus
        self._clock = clock
        self._log = log

    async def run(self) -> None:
        """Publish periodically, until cancelled; while a server is away, try again."""
        await periodically(
            self.run_once,
            self._settings.decisions_s,
            on_unavailable=lambda error: self._log.warning("decisions.retried", why=str(error)),
            wait_first=True,
        )

    async def run_once(self) -> int:
        """Lease the decisions that are to be published, publish them, and return their number."""
        now = self._clock.now()
        until = now + round(self._settings.sweep_lease_s * 1000)
        due = await self._store.lease_decisions(now, until, _COUNT_MAX)
        if due:
            await self._bus.publish([record_of(decision, now) for decision in due])
        return len(due)


def record_of(decision: DueDecision, now: int) -> Outgoing:
    """The record that carries a decision to its saga; `now` in milliseconds."""
    ruling, saga = decision.ruling, decision.saga_id
    envelope = Envelope(
        id=f"{saga}#d{ruling.number}",
        source=PLATFORM_SOURCE,
        type=DECIDED,
        time=rfc3339(moment(now)),
        subject=saga,
    )
    data = OperatorDecided(
        decision=ruling.number,
        saga_id=saga,
        leg=decision.leg,
        action=ruling.action,
        amount=ruling.amount,
        reference=ruling.reference,
    )
    return Outgoing(
        INTERNAL_TOPIC,
        partition_key(decision.origin, decision.account).encode(),
        data.model_dump_json(exclude_none=True).encode(),
        envelope.headers(),
    )
