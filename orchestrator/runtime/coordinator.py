"""The one loop: poll, decode, load, decide, commit, publish, commit offsets (`design.md` 2).

One batch is one transaction. While a batch is published, the next one is already decided; offsets
move last and in order. Whatever interrupts it, the records come again, and that is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from orchestrator.admission.controller import AdmissionController
from orchestrator.batch.decide import Decider
from orchestrator.batch.decode import InboundEvent, routes
from orchestrator.batch.effects import BatchResult
from orchestrator.errors import (
    BrokerRefuses,
    Conflict,
    Fenced,
    Stop,
    TooManyDeadLetters,
    Unavailable,
)
from orchestrator.ports import Partition
from orchestrator.recovery.recovery import RecoveryContext
from orchestrator.runtime.cache import SagaCache
from orchestrator.runtime.dependencies import Dependencies
from orchestrator.runtime.membership import MembershipGuard, Rejoin
from orchestrator.runtime.publisher import Committed, Publisher
from orchestrator.runtime.reader import Reader
from orchestrator.runtime.reporting import BatchReport
from orchestrator.runtime.restoration import RestoreMonitor
from orchestrator.settings import CoordinatorSettings
from orchestrator.timers.fired import FiredTimers
from schemas.events import INTERNAL_TOPIC
from schemas.ids import SagaId
from schemas.results import TimerFired


class Coordinator:
    """One member of the group, from its first poll to its last offset."""

    def __init__(
        self,
        world: Dependencies,
        decider: Decider,
        settings: CoordinatorSettings,
        *,
        admission: AdmissionController,
        cache: SagaCache,
        fired: FiredTimers,
    ) -> None:
        log, metrics, store, source = world.log, world.metrics, world.store, world.source
        self._settings = settings
        self._decider = decider
        self._store = store
        self._source = source
        self._clock = world.clock
        self._log = log
        self._metrics = metrics
        self._report = BatchReport(log, metrics)
        self._probe = world.probe
        self._admission = admission
        self._expected: dict[Partition, int | None] = {}
        self._cache = cache
        self._fired = fired
        self._assigned = asyncio.Event()  # Set while partitions are held.
        self._turn = asyncio.Lock()  # Held while batches are read, decided and committed.
        self._leaving = False  # From the moment that a rebalance takes the partitions away.
        self._draining = asyncio.Event()
        self._stop: Stop | None = None
        by_topic = routes(decider.catalogue.participants)
        context = RecoveryContext(decider, store, source, world.archive, world.clock, by_topic)
        patience_s = world.session_timeout_s * 0.8
        self._guard = membership = MembershipGuard(settings, patience_s, world.clock, log, metrics)
        self._publisher = publisher = Publisher(
            settings, membership, source, world.bus, log=log, metrics=metrics, probe=world.probe
        )
        expected = self._expected
        self._restore = restore = RestoreMonitor(
            context, membership, publisher, admission, turn=self._turn, expected=expected, log=log
        )
        self._reader = Reader(settings, membership, context, restore, admission, expected=expected)

    # -- life ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until drained.

        Raises:
            Stop: the process must end with the error's exit code.
        """
        while not self._draining.is_set():
            try:
                await self._membership()
            except (Rejoin, Unavailable) as error:
                self._log.warning("consumer.remade", why=str(error))
                self._metrics.dropped.inc()
                await asyncio.sleep(self._settings.backoff_min_s)

    @property
    def ready(self) -> bool:
        """Whether it holds an assignment and its last attempt succeeded."""
        return self._guard.ready

    @property
    def numbers(self) -> frozenset[int]:
        """The partitions that it reads, by their numbers; none while they may be given away."""
        if self._leaving or not self._assigned.is_set():
            return frozenset()
        return frozenset(n for topic, n in self._expected if topic == INTERNAL_TOPIC)

    @property
    def assigned(self) -> bool:
        """Whether the group gave it an assignment, be it an empty one."""
        return self._assigned.is_set()

    @property
    def recovering(self) -> bool:
        """Whether it reads once more what was lost with its database."""
        return self._restore.recovery is not None

    @property
    def draining(self) -> bool:
        """Whether it was told to stop."""
        return self._draining.is_set()

    @property
    def behind(self) -> bool:
        """Whether answers wait to be read, and have for some time."""
        return self._reader.behind

    @property
    def done_offsets(self) -> dict[Partition, int]:
        """Where everything before is done with, of each partition held."""
        return self._publisher.done_offsets

    @property
    def progress_at(self) -> float:
        """When something was done last, or the watchdog saw that nothing was to do."""
        return self._guard.progress_at

    @progress_at.setter
    def progress_at(self, at: float) -> None:
        self._guard.progress_at = at

    def drain(self) -> None:
        """Finish the batch in hand, publish it, commit its offsets, leave the group."""
        self._log.info("coordinator.draining", batches=self._publisher.ahead.qsize())
        self._draining.set()

    async def _membership(self) -> None:
        """Join, work, leave; one consumer from its start to its end."""
        self._guard.begin()
        self._publisher.begin()
        self._assigned.clear()
        self._leaving = False
        self._forget()
        self._restore.begin()
        beat = asyncio.create_task(self._guard.heartbeat(), name="pulse")
        publisher = asyncio.create_task(self._publisher.run(), name="publisher")
        work = asyncio.create_task(self._work(), name="work")
        tasks = (work, publisher, beat)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:  # In this order: which failure is told does not depend on chance.
                if task in done:
                    task.result()
        finally:
            self._guard.set_ready(False)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._source.stop()

    async def _work(self) -> None:
        """Batch after batch until drained; then wait until the last one is published."""
        await self._guard.until_available(lambda: self._source.start(self))
        while not self._draining.is_set():
            if not self._assigned.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._assigned.wait(), self._settings.poll_s)
                continue
            if self._restore.comes_first:
                await self._restore.settle()
                continue
            # No rebalance happens within a turn: what was polled is ours until it is committed.
            async with self._turn:
                if self._stop is not None:
                    raise self._stop
                recovery = self._restore.recovery
                if recovery is not None and not self._reader.arrivals:
                    await self._restore.follow(recovery)
                if not self._reader.arrivals:
                    await self._reader.read_on(self._settings.poll_s)
                if self._reader.arrivals:
                    await self._publisher.ahead.put(await self._commit(self._reader.take()))
            if self._settings.publish_ahead == 0:
                await self._publisher.ahead.join()
        async with asyncio.timeout(self._settings.drain_s):
            await self._publisher.ahead.join()

    # -- membership -----------------------------------------------------------------------------

    async def on_revoked(self, partitions: Iterable[Partition]) -> None:
        """Finish what is in hand before somebody else gets the partitions."""
        self._leaving = True  # Before anything is awaited: see _save_while_polling.
        gone = list(partitions)
        try:
            async with asyncio.timeout(self._settings.drain_s), self._turn:
                self._assigned.clear()
                await self._publisher.ahead.join()
        except TimeoutError:
            self._assigned.clear()
            self._guard.lost = True  # The batch in hand must not be committed any more.
        self._expected.clear()
        self._restore.revoked()
        self._forget()
        self._publisher.done_offsets.clear()
        self._guard.set_ready(False)
        self._log.info("coordinator.revoked", partitions=len(gone))

    def _forget(self) -> None:
        """Drop what was read and not begun, and what others may change from now on."""
        self._reader.forget()
        self._cache.forget()
        self._fired.forget()

    async def on_assigned(self, partitions: Iterable[Partition]) -> None:
        """Read on from Kafka's offsets, or from ours where the database is behind them."""
        self._leaving = False
        mine = list(partitions)
        # Offsets first: they follow the positions, so that whatever somebody else commits meanwhile
        # does not look like a database that is behind; and the ends last, which positions precede.
        committed = await self._guard.until_available(lambda: self._source.committed(mine))
        stored = await self._guard.until_available(self._store.positions)
        bounds = await self._guard.until_available(lambda: self._source.bounds(mine))
        stored, lost = await self._restore.compare(stored, committed, bounds)
        for partition in mine:
            first, end = bounds[partition]
            position = stored.get(partition)
            if position is not None and position > end:
                self._stop = BrokerRefuses(
                    f"{partition[0]}/{partition[1]} ends at {end}, but {position} records of it are"
                    " in the database: the topic was made anew, or this is another broker"
                )
                self._assigned.set()
                return
            offset = committed[partition]
            start = first if offset is None or position is None else min(offset, position)
            self._expected[partition] = position
            self._publisher.done_offsets[partition] = max(start, first)
            self._source.seek(partition, max(start, first))
        self._metrics.rebalances.inc()
        self._guard.set_ready(not self._restore.assigned(mine, stored, lost))
        self._assigned.set()
        self._log.info("coordinator.assigned", partitions=len(mine))

    # -- one batch ------------------------------------------------------------------------------

    async def _commit(self, arrivals: Sequence[InboundEvent]) -> Committed:
        """Decide a batch and commit it, however often that takes."""
        backoff = self._guard.backoff()
        while True:
            self._guard.check_mine()
            try:
                decision, offsets = await self._transact(arrivals)
            except Conflict as conflict:
                self._cache.forget()
                self._metrics.retries.labels("conflict").inc()
                self._log.warning("batch.retried", why=str(conflict), records=len(arrivals))
            except Unavailable as error:
                self._metrics.retries.labels("unavailable").inc()
                self._guard.set_ready(False)
                self._log.warning("batch.retried", why=str(error), records=len(arrivals))
                await backoff.wait()
            except Fenced as fenced:
                self._log.warning("batch.dropped", why=str(fenced), records=len(arrivals))
                raise Rejoin(str(fenced)) from fenced
            else:
                self._guard.set_ready(True)
                now = self._clock.now()
                self._admission.committed(decision.outcomes, decision.taken, now)
                self._fired.read(_timers(arrivals))
                self._probe("after_commit")
                self._report.committed(arrivals, decision, now)
                return Committed(decision.outgoing, offsets)

    async def _transact(
        self, arrivals: Sequence[InboundEvent]
    ) -> tuple[BatchResult, dict[Partition, int]]:
        """The batch in one transaction."""
        now = self._clock.now()
        said = self._restore.said
        needs = self._decider.needs(arrivals, now, said)
        async with self._store.transaction() as transaction:
            with self._metrics.stage.labels("load").time():
                loaded = await self._cache.load(transaction, needs)
                used = await transaction.limits(needs.limits)
                made = await transaction.decisions(needs.decisions)
                aside = await transaction.set_aside(needs.places)
            with self._metrics.stage.labels("decide").time():
                allowances = self._admission.allowances(now)
                decision = self._decider.decide(
                    arrivals,
                    loaded,
                    used,
                    now,
                    made=made,
                    allowances=allowances,
                    aside=aside,
                    said=said,
                )
                decision.outcomes = self._admission.observe(decision.changes.sagas.values())
                decision.changes.in_flight = decision.outcomes.in_flight
            await self._cache.check(transaction, decision)
            self._check_dead_letters(decision)
            offsets = _ends(arrivals)
            moves = {
                partition: (self._expected.get(partition), after)
                for partition, after in offsets.items()
                if after > (self._expected.get(partition) or 0)
            }
            decision.changes.positions = moves
            with self._metrics.stage.labels("save").time():
                await self._save_while_polling(transaction.save(decision.changes))
            self._probe("before_commit")
            self._guard.check_mine()
        for partition, (_, after) in moves.items():
            self._expected[partition] = after
        self._cache.remember(decision)
        if self._restore.recovery is not None:
            self._restore.recovery.explain(decision.recalled)
        return decision, offsets

    async def _save_while_polling(self, saving: Coroutine[Any, Any, None]) -> None:
        """Save, and read the next batch while the database works."""
        task = asyncio.create_task(saving)
        try:
            await asyncio.sleep(0)  # The first statement leaves before this thread is busy.
            # Once a rebalance began, a poll would wait for its end, and that waits for this turn.
            if not (self._reader.arrivals or self._leaving or task.done()):
                with suppress(Unavailable):  # The next turn polls again, and says so.
                    await self._reader.read_on(0)
            await task
        finally:
            if not task.done():  # The reading was interrupted: the transaction is rolled back only
                task.cancel()  # once nothing is under way in it, or that would fail and hide why.
                await asyncio.wait({task})

    def _check_dead_letters(self, decision: BatchResult) -> None:
        """If most of a batch cannot be read, the fault is systemic: set nothing aside."""
        settings, total = self._settings, decision.new_records
        if total < settings.dead_letter_batch_min:
            return
        if decision.poison > total * settings.dead_letter_share_max:
            first = decision.changes.dead_letters[0]
            raise TooManyDeadLetters(
                f"{decision.poison} of {total} records of a batch cannot be read, first {first.id}"
                f" ({first.field}: {first.message}); nothing was set aside. Find out who sends"
                " them, or raise UPRP_COORDINATOR__DEAD_LETTER_SHARE_MAX to let them through"
            )


def _timers(arrivals: Sequence[InboundEvent]) -> Iterator[SagaId]:
    """The sagas whose timers are among these."""
    for arrival in arrivals:
        if type(arrival.event) is TimerFired and arrival.saga is not None:
            yield arrival.saga


def _ends(arrivals: Sequence[InboundEvent]) -> dict[Partition, int]:
    """The offset after the last record of each partition."""
    ends: dict[Partition, int] = {}
    for arrival in arrivals:
        record = arrival.record
        ends[record.topic, record.partition] = record.offset + 1
    return ends
