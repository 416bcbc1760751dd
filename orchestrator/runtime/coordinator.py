"""The main loop: poll, decode, load, decide, commit, publish, commit offsets (`design.md` 2).

One batch is one transaction. While a batch is published, the next one is already decided. Offsets
are committed last and in order: whatever interrupts the loop, the records are delivered again, and
a record that was committed before changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from orchestrator.admission.controller import AdmissionController
from orchestrator.batch.decide import Decider, Needs
from orchestrator.batch.decode import InboundEvent, routes
from orchestrator.batch.effects import BatchResult
from orchestrator.engine.published import PublishedSaga
from orchestrator.errors import (
    BrokerRefuses,
    Conflict,
    Fenced,
    Stop,
    TooManyDeadLetters,
    Unavailable,
)
from orchestrator.ports import Partition, Transaction
from orchestrator.recovery.recovery import RecoveryContext
from orchestrator.runtime.cache import SagaCache
from orchestrator.runtime.dependencies import Dependencies
from orchestrator.runtime.membership import MembershipGuard, Rejoin
from orchestrator.runtime.positions import Positions
from orchestrator.runtime.publisher import Committed, Publisher
from orchestrator.runtime.reader import Reader
from orchestrator.runtime.reporting import BatchReport
from orchestrator.runtime.restoration import RestoreMonitor
from orchestrator.settings import CoordinatorSettings
from orchestrator.timers.fired import FiredTimers
from schemas.ids import SagaId
from schemas.results import TimerFired

_PAUSE_SHARE_MAX: Final = 0.8
"""The share of the session time-out after which a paused process no longer trusts its membership.
Below 1, so that the process leaves the group before the broker expels it."""


class Coordinator:
    """One member of the consumer group, from its first poll to its last offset commit."""

    def __init__(
        self,
        dependencies: Dependencies,
        decider: Decider,
        settings: CoordinatorSettings,
        *,
        admission: AdmissionController,
        cache: SagaCache,
        fired: FiredTimers,
    ) -> None:
        log, metrics, clock = dependencies.log, dependencies.metrics, dependencies.clock
        store, source, probe = dependencies.store, dependencies.source, dependencies.probe
        self._settings = settings
        self._decider = decider
        self._store = store
        self._source = source
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._probe = probe
        self._report = BatchReport(log, metrics)
        self._admission = admission
        self._cache = cache
        self._fired = fired
        self._assigned = asyncio.Event()  # Set while partitions are assigned.
        self._leaving = False  # True from the start of a rebalance until the next assignment.
        self._draining = asyncio.Event()
        self._stop: Stop | None = None
        by_topic = routes(decider.catalogue.participants)
        context = RecoveryContext(decider, store, source, dependencies.archive, clock, by_topic)
        pause_max_s = dependencies.session_timeout_s * _PAUSE_SHARE_MAX
        self._positions = positions = Positions()
        self._guard = guard = MembershipGuard(settings, pause_max_s, clock, log, metrics)
        self._publisher = publisher = Publisher(
            settings, guard, source, dependencies.bus, log=log, metrics=metrics, probe=probe
        )
        self._restore = restore = RestoreMonitor(
            context, guard, publisher, admission, positions=positions, log=log
        )
        self._reader = Reader(settings, guard, context, restore, admission, positions=positions)

    # -- state and life cycle -------------------------------------------------------------------

    async def run(self) -> None:
        """Work until drained; join the group again whenever the membership fails.

        Raises:
            Stop: the process must end with the error's exit code.
        """
        while not self._draining.is_set():
            try:
                await self._run_membership()
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
        """The numbers of the partitions that it reads; empty from the start of a rebalance."""
        if self._leaving or not self._assigned.is_set():
            return frozenset()
        return self._positions.numbers

    @property
    def assigned(self) -> bool:
        """Whether the group gave it an assignment, which may be empty."""
        return self._assigned.is_set()

    @property
    def recovering(self) -> bool:
        """Whether it is reading again what a restored database lost."""
        return self._restore.recovery is not None

    @property
    def draining(self) -> bool:
        """Whether it was told to stop."""
        return self._draining.is_set()

    @property
    def behind(self) -> bool:
        """Whether replies have been waiting to be read for some time."""
        return self._reader.behind

    @property
    def done_offsets(self) -> dict[Partition, int]:
        """By partition held, the offset before which everything is committed and published."""
        return self._publisher.done_offsets

    @property
    def progress_at(self) -> float:
        """When a batch was last finished, or the watchdog last saw that there was nothing to do."""
        return self._guard.progress_at

    @progress_at.setter
    def progress_at(self, at: float) -> None:
        self._guard.progress_at = at

    def drain(self) -> None:
        """Finish the current batch, publish it, commit its offsets and leave the group."""
        self._log.info("coordinator.draining", batches=self._publisher.ahead.qsize())
        self._draining.set()

    async def _run_membership(self) -> None:
        """Join the group, work and leave it: the life of one consumer."""
        self._guard.begin()
        self._publisher.begin()
        self._assigned.clear()
        self._leaving = False
        self._forget()
        self._restore.begin()
        heartbeat = asyncio.create_task(self._guard.heartbeat(), name="heartbeat")
        publisher = asyncio.create_task(self._publisher.run(), name="publisher")
        work = asyncio.create_task(self._work(), name="work")
        tasks = (work, publisher, heartbeat)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:  # In a fixed order, so that the failure reported is always the same.
                if task in done:
                    task.result()
        finally:
            self._guard.set_ready(False)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._source.stop()

    async def _work(self) -> None:
        """Process batch after batch until drained; then wait until the last one is published."""
        await self._guard.until_available(lambda: self._source.start(self))
        while not self._draining.is_set():
            if not self._assigned.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._assigned.wait(), self._settings.poll_s)
                continue
            if self._restore.comes_first:
                await self._restore.settle()
                continue
            # The lock keeps rebalances out: the partitions stay ours from the poll to the commit.
            async with self._positions.lock:
                await self._process_batch()
            if self._settings.publish_ahead == 0:
                await self._publisher.ahead.join()
        async with asyncio.timeout(self._settings.drain_s):
            await self._publisher.ahead.join()

    async def _process_batch(self) -> None:
        """Read a batch unless one was read already, commit it and hand it to the publisher."""
        if self._stop is not None:
            raise self._stop
        recovery = self._restore.recovery
        if recovery is not None and not self._reader.arrivals:
            await self._restore.follow(recovery)
        if not self._reader.arrivals:
            await self._reader.read_on(self._settings.poll_s)
        if self._reader.arrivals:
            await self._publisher.ahead.put(await self._commit(self._reader.take()))

    # -- rebalances -----------------------------------------------------------------------------

    async def on_revoked(self, partitions: Iterable[Partition]) -> None:
        """Finish the current batch before another coordinator gets the partitions."""
        self._leaving = True  # Before anything is awaited: see _save_while_polling.
        revoked = list(partitions)
        try:
            async with asyncio.timeout(self._settings.drain_s), self._positions.lock:
                self._assigned.clear()
                await self._publisher.ahead.join()
        except TimeoutError:
            self._assigned.clear()
            self._guard.lost = True  # The current batch must not be committed any more.
        self._positions.clear()
        self._restore.revoked()
        self._forget()
        self._publisher.done_offsets.clear()
        self._guard.set_ready(False)
        self._log.info("coordinator.revoked", partitions=len(revoked))

    def _forget(self) -> None:
        """Drop records that were read and not processed, and state that others may now change."""
        self._reader.forget()
        self._cache.forget()
        self._fired.forget()

    async def on_assigned(self, partitions: Iterable[Partition]) -> None:
        """Start at the committed offsets, or at our positions where the database is behind them."""
        self._leaving = False
        assigned = list(partitions)
        # The order of these reads matters, as another coordinator may commit meanwhile. Positions
        # move before offsets, so offsets are read first: otherwise the database could look as if it
        # were behind. The ends come last, as no position can be beyond an end that is read later.
        committed = await self._guard.until_available(lambda: self._source.committed(assigned))
        stored = await self._guard.until_available(self._store.positions)
        bounds = await self._guard.until_available(lambda: self._source.bounds(assigned))
        stored, lost = await self._restore.compare(stored, committed, bounds)
        for partition in assigned:
            first, end = bounds[partition]
            position = stored.get(partition)
            if position is not None and position > end:
                self._stop = BrokerRefuses(
                    f"{partition[0]}/{partition[1]} ends at {end}, but {position} records of it are"
                    " in the database: the topic was recreated, or this is another broker"
                )
                self._assigned.set()
                return
            offset = committed[partition]
            start = first if offset is None or position is None else min(offset, position)
            self._positions.assign(partition, position)
            self._publisher.done_offsets[partition] = max(start, first)
            self._source.seek(partition, max(start, first))
        self._metrics.rebalances.inc()
        self._guard.set_ready(not self._restore.assigned(assigned, stored, lost))
        self._assigned.set()
        self._log.info("coordinator.assigned", partitions=len(assigned))

    # -- one batch ------------------------------------------------------------------------------

    async def _commit(self, arrivals: Sequence[InboundEvent]) -> Committed:
        """Decide a batch and commit it; repeat that until it succeeds."""
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
        """Decide and save the batch in one transaction; its result and its end offsets."""
        now, published = self._clock.now(), self._restore.published
        needs = self._decider.needs(arrivals, now, published)
        async with self._store.transaction() as transaction:
            decision = await self._decide(transaction, arrivals, needs, now, published)
            await self._cache.check(transaction, decision)
            self._check_dead_letters(decision)
            offsets = _ends(arrivals)
            decision.changes.positions = moves = self._positions.moves(offsets)
            with self._metrics.stage.labels("save").time():
                await self._save_while_polling(transaction.save(decision.changes))
            self._probe("before_commit")
            self._guard.check_mine()
        self._positions.advance(moves)
        self._cache.remember(decision)
        if self._restore.recovery is not None:
            self._restore.recovery.explain(decision.recalled)
        return decision, offsets

    async def _decide(
        self,
        transaction: Transaction,
        arrivals: Sequence[InboundEvent],
        needs: Needs,
        now: int,
        published: Mapping[SagaId, PublishedSaga],
    ) -> BatchResult:
        """Load what the batch needs and decide it."""
        with self._metrics.stage.labels("load").time():
            loaded = await self._cache.load(transaction, needs)
            used = await transaction.limits(needs.limits)
            made = await transaction.decisions(needs.decisions)
            aside = await transaction.set_aside(needs.places)
        with self._metrics.stage.labels("decide").time():
            decision = self._decider.decide(
                arrivals,
                loaded,
                used,
                now,
                made=made,
                allowances=self._admission.allowances(now),
                aside=aside,
                published=published,
            )
            decision.outcomes = self._admission.observe(decision.changes.sagas.values())
            decision.changes.in_flight = decision.outcomes.in_flight
        return decision

    async def _save_while_polling(self, saving: Coroutine[Any, Any, None]) -> None:
        """Save the batch, and read the next one while the database works."""
        task = asyncio.create_task(saving)
        try:
            await asyncio.sleep(
                0
            )  # Lets the first statement be sent before decoding takes the CPU.
            # Never poll once a rebalance has begun: the poll would wait for the end of the
            # rebalance, which waits for the lock that this batch holds.
            if not (self._reader.arrivals or self._leaving or task.done()):
                with suppress(Unavailable):  # The next batch polls again and reports it.
                    await self._reader.read_on(0)
            await task
        finally:
            # If reading was interrupted, the statement under way must end before the transaction is
            # rolled back: otherwise the rollback would fail and hide the reason.
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    def _check_dead_letters(self, decision: BatchResult) -> None:
        """Refuse to go on when most of a batch cannot be read: then the fault is systemic."""
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
    """The sagas whose timers are among the arrivals."""
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
