"""Detects that the database was restored from a backup, and runs the recovery before reading on.

The recovery itself is `orchestrator/recovery/recovery.py`. This module fits it into the life of a
membership, whose rebalances may end it at any time (`docs/decisions/0017`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from orchestrator.admission.controller import AdmissionController
from orchestrator.batch.decide import NOTHING
from orchestrator.batch.effects import BatchResult
from orchestrator.engine.published import PublishedSaga
from orchestrator.ports import Partition, RecoveryRange
from orchestrator.recovery.recovery import Recovery, RecoveryContext, behind, looks_restored
from orchestrator.runtime.membership import MembershipGuard, Rejoin
from orchestrator.runtime.positions import Positions
from orchestrator.runtime.publisher import Committed, Publisher
from orchestrator.telemetry import Log
from schemas.ids import SagaId


class RestoreMonitor:
    """What one coordinator knows about a restored database; usually that there is none."""

    def __init__(
        self,
        context: RecoveryContext,
        guard: MembershipGuard,
        publisher: Publisher,
        admission: AdmissionController,
        *,
        positions: Positions,
        log: Log,
    ) -> None:
        self._context = context
        self._store = context.store
        self._source = context.source
        self._guard = guard
        self._publisher = publisher
        self._admission = admission
        self._positions = positions
        self._log = log
        # Partition numbers whose last published records are still to be compared with the database.
        self._unchecked: set[int] = set()
        self._checked: set[int] = set()
        self.recovery: Recovery | None = None  # While lost records are being read again.

    def begin(self) -> None:
        """Start a new membership: no partition is checked yet."""
        self.recovery = None
        self._checked.clear()
        self._unchecked.clear()

    def revoked(self) -> None:
        """End the recovery: the next owner of the partitions starts it again."""
        self.recovery = None

    @property
    def published(self) -> Mapping[SagaId, PublishedSaga]:
        """What was published since the backup, as far as it has been read back."""
        return self.recovery.published if self.recovery is not None else NOTHING

    @property
    def comes_first(self) -> bool:
        """Whether `settle` must be called before the next record is read."""
        return bool(self._unchecked) or (self.recovery is not None and not self.recovery.recalled)

    # -- on assignment ----------------------------------------------------------------------------

    async def compare(
        self,
        stored: Mapping[Partition, int],
        committed: Mapping[Partition, int | None],
        bounds: Mapping[Partition, tuple[int, int]],
    ) -> tuple[Mapping[Partition, int], Mapping[Partition, RecoveryRange]]:
        """Mark the partitions whose positions are behind Kafka's committed offsets as lost.

        Returns the positions after that, and the ranges to recover of all partitions.
        """
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
        """Take over the assigned partitions; whether records of any of them were lost."""
        self._unchecked = {number for _, number in mine} - self._checked
        ours = {partition: lost[partition] for partition in mine if partition in lost}
        if ours:
            self.recovery = Recovery(self._context, ours, mine)
            self._unchecked -= {number for _, number in ours}  # Already known to be restored.
            records = sum(one.until - (stored.get(at) or 0) for at, one in ours.items())
            self._log.warning("recovery.begun", partitions=len(ours), records=records)
        return bool(ours)

    # -- before the first record, then along with them --------------------------------------------

    async def settle(self) -> None:
        """Do the next thing that must be done before a record is read."""
        if self._unchecked:
            await self._check_published(frozenset(self._unchecked))
        elif self.recovery is not None:
            await self._recall(self.recovery)

    async def _check_published(self, numbers: frozenset[int]) -> None:
        """Check that the database is not older than the last records published.

        Raises:
            Rejoin: it was restored; the partitions are marked as lost.
        """
        retry = self._guard.until_available
        restored = await retry(lambda: looks_restored(self._context, numbers))
        async with self._positions.lock:
            if not numbers <= self._unchecked:  # A rebalance came in between.
                return
            self._checked |= numbers
            self._unchecked -= numbers
            if restored:
                expected = self._positions.expected
                mine = [partition for partition in expected if partition[1] in numbers]
                bounds = await retry(lambda: self._source.bounds(mine))
                found = {
                    at: (first if (position := expected[at]) is None else position, end)
                    for at, (first, end) in bounds.items()
                }
                await retry(lambda: self._store.begin_recovery(found))
                raise Rejoin(
                    "the last published records are newer than the database: it was restored"
                )

    async def _recall(self, recovery: Recovery) -> None:
        """Read back what was published since the backup; update the surviving sagas with it."""
        retry = self._guard.until_available

        async def is_current() -> bool:
            async with self._positions.lock:
                if self.recovery is recovery:
                    # All partitions are paused: this poll only keeps us in the group.
                    await self._source.poll(0, 1)
                self._guard.advanced()
                return self.recovery is recovery

        # Set the group's offsets back to our positions: from here on, offsets are never ahead of
        # positions again, and a crash is an ordinary crash.
        ours = {at: self._positions.expected[at] or 0 for at in recovery.until}
        await retry(lambda: self._source.commit(ours))
        if not await retry(lambda: recovery.read_back(is_current)):
            return  # The new owner of the partitions starts again.
        for keys in recovery.portions():
            async with self._positions.lock:
                if self.recovery is not recovery:
                    return
                decision = await retry(partial(recovery.bring_up, keys, self._check_recalled))
                now = self._context.clock.now()
                self._admission.committed(decision.outcomes, decision.taken, now)
                await self._publisher.ahead.put(Committed(decision.outgoing, {}))
        recovery.recalled = True
        self._guard.set_ready(True)
        found = {"records": recovery.records, "sagas": len(recovery.published)}
        self._log.info("recovery.recalled", **found, survived=recovery.survived)

    def _check_recalled(self, decision: BatchResult) -> None:
        self._guard.check_mine()
        decision.outcomes = self._admission.observe(decision.changes.sagas.values())
        decision.changes.in_flight = decision.outcomes.in_flight

    async def follow(self, recovery: Recovery) -> None:
        """Let requests be read first, then replies, then timers; then end the recovery."""
        expected = self._positions.expected
        if (channel := await recovery.advance(expected)) is not None:
            self._log.info("recovery.stage", channel=channel)
        if await recovery.finished(expected):
            if lost := recovery.unexplained():
                self._log.error("recovery.unexplained", sagas=len(lost), first=str(lost[0]))
            self._log.info("recovery.done")
            self.recovery = None
