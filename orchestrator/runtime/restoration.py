"""After a restored backup: how a membership notices, and what it does before it reads on.

The way through what was lost is `orchestrator/recovery/recovery.py`; here it meets the
rebalances, which may end it at any time (`docs/decisions/0017`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from orchestrator.admission.controller import AdmissionController
from orchestrator.batch.decide import NOTHING
from orchestrator.batch.effects import BatchResult
from orchestrator.engine.published import PublishedSaga
from orchestrator.ports import Partition, RecoveryRange
from orchestrator.recovery.recovery import Recovery, RecoveryContext, behind, looks_restored
from orchestrator.runtime.membership import MembershipGuard, Rejoin
from orchestrator.runtime.publisher import Committed, Publisher
from orchestrator.telemetry import Log
from schemas.ids import SagaId


class RestoreMonitor:
    """What one coordinator knows of a restored database; most often that there is none."""

    def __init__(
        self,
        context: RecoveryContext,
        membership: MembershipGuard,
        publisher: Publisher,
        admission: AdmissionController,
        *,
        turn: asyncio.Lock,
        expected: Mapping[Partition, int | None],
        log: Log,
    ) -> None:
        self._context = context
        self._store = context.store
        self._source = context.source
        self._guard = membership
        self._publisher = publisher
        self._admission = admission
        self._turn = turn
        self._expected = expected  # The coordinator's own: it moves while this looks at it.
        self._log = log
        self._unseen: set[int] = set()  # Partitions of which it was not asked what was said last.
        self._seen: set[int] = set()
        self.recovery: Recovery | None = None  # While what was lost is read again.

    def begin(self) -> None:
        """A new membership: nothing is known of any partition."""
        self.recovery = None
        self._seen.clear()
        self._unseen.clear()

    def revoked(self) -> None:
        """Whoever gets the partitions recovers them."""
        self.recovery = None

    @property
    def said(self) -> Mapping[SagaId, PublishedSaga]:
        """What was said since the backup, as far as it is known."""
        return self.recovery.said if self.recovery is not None else NOTHING

    @property
    def comes_first(self) -> bool:
        """Whether something must be settled before a record is read."""
        return bool(self._unseen) or (self.recovery is not None and not self.recovery.recalled)

    # -- on assignment ----------------------------------------------------------------------------

    async def compare(
        self,
        stored: Mapping[Partition, int],
        committed: Mapping[Partition, int | None],
        bounds: Mapping[Partition, tuple[int, int]],
    ) -> tuple[Mapping[Partition, int], Mapping[Partition, RecoveryRange]]:
        """Mark as lost what lies behind Kafka's offsets; the positions then, and all that is."""
        if found := behind(stored, committed, bounds):
            await self._guard.until_available(lambda: self._store.begin_recovery(found))
            stored = await self._guard.until_available(self._store.positions)
        return stored, await self._guard.until_available(self._store.recovery)

    def assigned(
        self,
        mine: Sequence[Partition],
        stored: Mapping[Partition, int],
        lost: Mapping[Partition, RecoveryRange],
    ) -> bool:
        """These partitions are held now; whether something of them was lost."""
        self._unseen = {number for _, number in mine} - self._seen
        ours = {partition: lost[partition] for partition in mine if partition in lost}
        if ours:
            self.recovery = Recovery(self._context, ours, mine)
            self._unseen -= {number for _, number in ours}  # Known already to be restored.
            records = sum(one.until - (stored.get(at) or 0) for at, one in ours.items())
            self._log.warning("recovery.begun", partitions=len(ours), records=records)
        return bool(ours)

    # -- before the first record, then along with them --------------------------------------------

    async def settle(self) -> None:
        """What comes first."""
        if self._unseen:
            await self._look_back(frozenset(self._unseen))
        elif self.recovery is not None:
            await self._recall(self.recovery)

    async def _look_back(self, numbers: frozenset[int]) -> None:
        """Before the first record of these partitions: is the database as new as what was said?"""
        patiently = self._guard.until_available
        restored = await patiently(lambda: looks_restored(self._context, numbers))
        async with self._turn:
            if not numbers <= self._unseen:
                return
            self._seen |= numbers
            self._unseen -= numbers
            if restored:
                mine = [at for at in self._expected if at[1] in numbers]
                bounds = await patiently(lambda: self._source.bounds(mine))
                found = {
                    at: (first if (position := self._expected[at]) is None else position, end)
                    for at, (first, end) in bounds.items()
                }
                await patiently(lambda: self._store.begin_recovery(found))
                raise Rejoin("what was said is newer than the database: it was restored")

    async def _recall(self, recovery: Recovery) -> None:
        """Read back what was said since the backup; bring the sagas that survived up to it."""
        patiently = self._guard.until_available

        async def still() -> bool:
            async with self._turn:
                if self.recovery is recovery:
                    await self._source.poll(0, 1)  # All is paused: to be seen alive by the group.
                self._guard.advanced()
                return self.recovery is recovery

        # From here on what is between Kafka's offsets and ours is what it always is.
        ours = {at: self._expected[at] or 0 for at in recovery.until}
        await patiently(lambda: self._source.commit(ours))
        if not await patiently(lambda: recovery.remember(still)):
            return  # Whoever holds the partitions now begins anew.
        for keys in recovery.portions():
            async with self._turn:
                if self.recovery is not recovery:
                    return
                up = partial(recovery.bring_up, keys, self._check_recalled)
                decision = await patiently(up)
                now = self._context.clock.now()
                self._admission.committed(decision.outcomes, decision.taken, now)
                await self._publisher.ahead.put(Committed(decision.outgoing, {}))
        recovery.recalled = True
        self._guard.set_ready(True)
        found = {"records": recovery.records, "sagas": len(recovery.said)}
        self._log.info("recovery.recalled", **found, survived=recovery.survived)

    def _check_recalled(self, decision: BatchResult) -> None:
        self._guard.check_mine()
        decision.outcomes = self._admission.observe(decision.changes.sagas.values())
        decision.changes.in_flight = decision.outcomes.in_flight

    async def follow(self, recovery: Recovery) -> None:
        """Read requests first, then replies, then timers; then all is as it always is."""
        if (channel := await recovery.advance(self._expected)) is not None:
            self._log.info("recovery.stage", channel=channel)
        if await recovery.finished(self._expected):
            if lost := recovery.unexplained():
                self._log.error("recovery.unexplained", sagas=len(lost), first=str(lost[0]))
            self._log.info("recovery.done")
            self.recovery = None
