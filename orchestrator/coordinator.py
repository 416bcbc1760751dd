"""The one loop: poll, decode, load, decide, commit, publish, commit offsets (`design.md` 2).

One batch is one transaction. While a batch is published, the next one is already decided; offsets
move last and in order. Whatever interrupts it, the records come again, and that is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from orchestrator.consequences import Decision
from orchestrator.decide import NOTHING, Decider
from orchestrator.decode import Arrival, decode, routes
from orchestrator.errors import (
    BrokerRefuses,
    Conflict,
    Fenced,
    Stop,
    TooManyDeadLetters,
    Unavailable,
)
from orchestrator.gatekeeper import Gatekeeper
from orchestrator.ports import (
    Archive,
    Bus,
    Clock,
    Outgoing,
    Partition,
    Record,
    Source,
    Store,
)
from orchestrator.recent import Recent
from orchestrator.recovery import Reach, Recovery, behind, looks_restored
from orchestrator.report import Report
from orchestrator.ringing import Ringing
from orchestrator.settings import CoordinatorSettings, Phase
from orchestrator.telemetry import Log, Metrics
from schemas.catalogue import INTERNAL_TOPIC, Channel
from schemas.ids import SagaId
from schemas.results import TimerFired
from schemas.value import but

T = TypeVar("T")
Probe = Callable[[Phase], None]
"""Called at each phase; crash tests hang a signal on it."""


_WAITED_MS: Final = 1_000
_SAMPLE: Final = 32
"""How many records of a poll are looked at for their age."""
_DECODED_AT_ONCE: Final = 16
"""Records that are decoded before others have their turn in this process."""


def unharmed(_phase: Phase) -> None:
    """The probe of everyday life."""


class Rejoin(Exception):
    """This membership is not trustworthy any more: leave the group and join it again."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A batch that is in the database and not yet on its topics.

    Nothing more than is still to be done: what a batch leaves behind it fills the processor's cache
    for the next one.
    """

    outgoing: list[Outgoing]
    offsets: dict[Partition, int]


class Coordinator:
    """One member of the group, from its first poll to its last offset."""

    def __init__(
        self,
        *,
        settings: CoordinatorSettings,
        session_timeout_s: float,
        decider: Decider,
        store: Store,
        source: Source,
        bus: Bus,
        archive: Archive,
        clock: Clock,
        log: Log,
        metrics: Metrics,
        probe: Probe = unharmed,
        gatekeeper: Gatekeeper | None = None,
        recent: Recent | None = None,
        ringing: Ringing | None = None,
    ) -> None:
        self._settings = settings
        self._frozen_after_s = session_timeout_s * 0.8
        self._decider = decider
        self._routes = routes(decider.catalogue.participants)
        self._reach = Reach(decider, store, source, archive, clock, self._routes)
        self._store = store
        self._source = source
        self._bus = bus
        self._clock = clock
        self._log = log
        self._metrics = metrics
        self._report = Report(log, metrics)
        self._probe = probe
        self._gatekeeper = gatekeeper or Gatekeeper({})
        self._expected: dict[Partition, int | None] = {}
        self._recent = recent or Recent(settings.recent_sagas_max)
        self._ringing = ringing or Ringing()
        self._assigned = asyncio.Event()  # Set while partitions are held.
        self._ready = False
        self._recovery: Recovery | None = None  # While what a restored database lost is read again.
        self._unseen: set[int] = set()  # Partitions of which it was not asked what was said last.
        self._seen: set[int] = set()
        self._lost = False  # Taken away before the batch in hand was finished.
        self._turn = asyncio.Lock()  # Held while batches are read, decided and committed.
        self._read: list[Arrival] = []  # The next batch, read while the one before was saved.
        self._leaving = False  # From the moment that a rebalance takes the partitions away.
        self._ahead: asyncio.Queue[Committed] = asyncio.Queue(settings.publish_ahead or 1)
        self._pulse = clock.monotonic()
        self._draining = asyncio.Event()
        self._stop: Stop | None = None
        self.progress_at = clock.monotonic()
        self.behind = False  # Whether answers wait to be read, and have for some time.
        self.done_offsets: dict[Partition, int] = {}

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
        return self._ready

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
        return self._recovery is not None

    @property
    def draining(self) -> bool:
        """Whether it was told to stop."""
        return self._draining.is_set()

    def _set_ready(self, ready: bool) -> None:
        self._ready = ready
        self._metrics.ready.set(ready)

    def drain(self) -> None:
        """Finish the batch in hand, publish it, commit its offsets, leave the group."""
        self._log.info("coordinator.draining", batches=self._ahead.qsize())
        self._draining.set()

    async def _membership(self) -> None:
        """Join, work, leave; one consumer from its start to its end."""
        self._pulse = self._clock.monotonic()
        self._ahead = asyncio.Queue(self._settings.publish_ahead or 1)
        self._assigned.clear()
        self._lost = self._leaving = False
        self._forget()
        self._recovery = None
        self._seen.clear()
        self._unseen.clear()
        beat = asyncio.create_task(self._beat(), name="pulse")
        publisher = asyncio.create_task(self._publisher(), name="publisher")
        work = asyncio.create_task(self._work(), name="work")
        tasks = (work, publisher, beat)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:  # In this order: which failure is told does not depend on chance.
                if task in done:
                    task.result()
        finally:
            self._set_ready(False)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._source.stop()

    async def _work(self) -> None:
        """Batch after batch until drained; then wait until the last one is published."""
        await self._patiently(lambda: self._source.start(self))
        while not self._draining.is_set():
            if not self._assigned.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._assigned.wait(), self._settings.poll_s)
                continue
            if self._unseen:
                await self._look_back(frozenset(self._unseen))
                continue
            if self._recovery is not None and not self._recovery.recalled:
                await self._recall(self._recovery)
                continue
            # No rebalance happens within a turn: what was polled is ours until it is committed.
            async with self._turn:
                if self._stop is not None:
                    raise self._stop
                if self._recovery is not None and not self._read:
                    await self._follow(self._recovery)
                if not self._read:
                    await self._read_on(self._settings.poll_s)
                if self._read:
                    await self._ahead.put(await self._commit(self._taken()))
            if self._settings.publish_ahead == 0:
                await self._ahead.join()
        async with asyncio.timeout(self._settings.drain_s):
            await self._ahead.join()

    def _taken(self) -> list[Arrival]:
        """The batch that was read, out of the hands of whoever reads the next one."""
        arrivals, self._read = self._read, []
        return arrivals

    async def _read_on(self, wait_s: float) -> None:
        """Poll and decode the next batch; within a turn, so no rebalance comes in between."""
        count_max = self._settings.batch_records_max
        records = await self._source.poll(wait_s, count_max)
        self._check_pulse()
        now = self._clock.now()
        self._gatekeeper.heard(records, now)
        self.behind = len(records) * 2 >= count_max and self._waited(records, now)
        arrivals = []
        for at, record in enumerate(records, 1):
            arrivals.append(self._decode(record))
            if at % _DECODED_AT_ONCE == 0:
                await asyncio.sleep(0)  # What others wait for is handed on meanwhile.
        self._read = arrivals

    def _waited(self, records: Sequence[Record], now: int) -> bool:
        """Whether answers or timers lay unread for long; requests are read after them anyway."""
        return any(
            now - record.timestamp > _WAITED_MS
            for record in records[:: 1 + len(records) // _SAMPLE]
            if self._routes[record.topic].channel is not Channel.REQUESTS
        )

    async def _beat(self) -> None:
        """Notice that the process stood still: then others may own its partitions by now."""
        while True:
            await asyncio.sleep(0.1)
            self._check_pulse()
            self._pulse = self._clock.monotonic()

    def _check_mine(self) -> None:
        self._check_pulse()
        if self._lost:
            raise Rejoin("the partitions were given away while a batch was in hand")

    def _check_pulse(self) -> None:
        still = self._clock.monotonic() - self._pulse
        if still > self._frozen_after_s:
            raise Rejoin(f"the process stood still for {still:.1f} s")

    # -- membership -----------------------------------------------------------------------------

    async def on_revoked(self, partitions: Iterable[Partition]) -> None:
        """Finish what is in hand before somebody else gets the partitions."""
        self._leaving = True  # Before anything is awaited: see _beside_reading.
        gone = list(partitions)
        try:
            async with asyncio.timeout(self._settings.drain_s), self._turn:
                self._assigned.clear()
                await self._ahead.join()
        except TimeoutError:
            self._assigned.clear()
            self._lost = True  # The batch in hand must not be committed any more.
        self._expected.clear()
        self._recovery = None
        self._forget()
        self.done_offsets.clear()
        self._set_ready(False)
        self._log.info("coordinator.revoked", partitions=len(gone))

    def _forget(self) -> None:
        """Drop what was read and not begun, and what others may change from now on."""
        self._read.clear()
        self._recent.forget()
        self._ringing.forget()

    async def on_assigned(self, partitions: Iterable[Partition]) -> None:
        """Read on from Kafka's offsets, or from ours where the database is behind them."""
        self._leaving = False
        mine = list(partitions)
        # Offsets first: they follow the positions, so that whatever somebody else commits meanwhile
        # does not look like a database that is behind; and the ends last, which positions precede.
        committed = await self._patiently(lambda: self._source.committed(mine))
        stored = await self._patiently(self._store.positions)
        bounds = await self._patiently(lambda: self._source.bounds(mine))
        if found := behind(stored, committed, bounds):
            await self._patiently(lambda: self._store.begin_recovery(found))
            stored = await self._patiently(self._store.positions)
        lost = await self._patiently(self._store.recovery)
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
            self.done_offsets[partition] = max(start, first)
            self._source.seek(partition, max(start, first))
        self._unseen = {number for _, number in mine} - self._seen
        ours = {partition: lost[partition] for partition in mine if partition in lost}
        if ours:
            self._recovery = Recovery(self._reach, ours, mine)
            self._unseen -= {number for _, number in ours}  # Known already to be restored.
            records = sum(one.until - (stored.get(at) or 0) for at, one in ours.items())
            self._log.warning("recovery.begun", partitions=len(ours), records=records)
        self._metrics.rebalances.inc()
        self._set_ready(not ours)
        self._assigned.set()
        self._log.info("coordinator.assigned", partitions=len(mine))

    # -- after a restored backup ------------------------------------------------------------------

    async def _look_back(self, numbers: frozenset[int]) -> None:
        """Before the first record of these partitions: is the database as new as what was said?"""
        restored = await self._patiently(lambda: looks_restored(self._reach, numbers))
        async with self._turn:
            if not numbers <= self._unseen:
                return
            self._seen |= numbers
            self._unseen -= numbers
            if restored:
                mine = [at for at in self._expected if at[1] in numbers]
                bounds = await self._patiently(lambda: self._source.bounds(mine))
                found = {
                    at: (first if (position := self._expected[at]) is None else position, end)
                    for at, (first, end) in bounds.items()
                }
                await self._patiently(lambda: self._store.begin_recovery(found))
                raise Rejoin("what was said is newer than the database: it was restored")

    async def _recall(self, recovery: Recovery) -> None:
        """Read back what was said since the backup; bring the sagas that survived up to it."""

        async def still() -> bool:
            async with self._turn:
                if self._recovery is recovery:
                    await self._source.poll(0, 1)  # All is paused: to be seen alive by the group.
                self.progress_at = self._clock.monotonic()
                return self._recovery is recovery

        # From here on what is between Kafka's offsets and ours is what it always is.
        ours = {at: self._expected[at] or 0 for at in recovery.until}
        await self._patiently(lambda: self._source.commit(ours))
        if not await self._patiently(lambda: recovery.remember(still)):
            return  # Whoever holds the partitions now begins anew.
        for keys in recovery.portions():
            async with self._turn:
                if self._recovery is not recovery:
                    return
                up = partial(recovery.bring_up, keys, self._check_recalled)
                decision = await self._patiently(up)
                self._gatekeeper.committed(decision.outcomes, decision.taken, self._clock.now())
                await self._ahead.put(Committed(decision.outgoing, {}))
        recovery.recalled = True
        self._set_ready(True)
        found = {"records": recovery.records, "sagas": len(recovery.said)}
        self._log.info("recovery.recalled", **found, survived=recovery.survived)

    def _check_recalled(self, decision: Decision) -> None:
        self._check_mine()
        decision.outcomes = self._gatekeeper.observe(decision.changes.sagas.values())
        decision.changes.in_flight = decision.outcomes.in_flight

    async def _follow(self, recovery: Recovery) -> None:
        """Read requests first, then replies, then timers; then all is as it always is."""
        if (channel := await recovery.advance(self._expected)) is not None:
            self._log.info("recovery.stage", channel=channel)
        if await recovery.finished(self._expected):
            if lost := recovery.unexplained():
                self._log.error("recovery.unexplained", sagas=len(lost), first=str(lost[0]))
            self._log.info("recovery.done")
            self._recovery = None

    # -- one batch ------------------------------------------------------------------------------

    async def _commit(self, arrivals: Sequence[Arrival]) -> Committed:
        """Decide a batch and commit it, however often that takes."""
        backoff = self._settings.backoff_min_s
        while True:
            self._check_mine()
            try:
                decision, offsets = await self._transact(arrivals)
            except Conflict as conflict:
                self._recent.forget()
                self._metrics.retries.labels("conflict").inc()
                self._log.warning("batch.retried", why=str(conflict), records=len(arrivals))
            except Unavailable as away:
                self._metrics.retries.labels("unavailable").inc()
                self._set_ready(False)
                self._log.warning("batch.retried", why=str(away), records=len(arrivals))
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, self._settings.backoff_max_s)
            except Fenced as fenced:
                self._log.warning("batch.dropped", why=str(fenced), records=len(arrivals))
                raise Rejoin(str(fenced)) from fenced
            else:
                self._set_ready(True)
                now = self._clock.now()
                self._gatekeeper.committed(decision.outcomes, decision.taken, now)
                self._ringing.rang(_timers(arrivals))
                self._probe("after_commit")
                self._report.committed(arrivals, decision, now)
                return Committed(decision.outgoing, offsets)

    def _decode(self, record: Record) -> Arrival:
        position = self._expected.get((record.topic, record.partition))
        redelivered = position is not None and record.offset < position
        arrival = decode(record, self._routes[record.topic], redelivered=redelivered)
        recovery = self._recovery
        if recovery is None:
            return arrival
        until = recovery.until.get((record.topic, record.partition), 0)
        return but(arrival, restored=record.offset < until)

    async def _transact(self, arrivals: Sequence[Arrival]) -> tuple[Decision, dict[Partition, int]]:
        """The batch in one transaction."""
        now = self._clock.now()
        said = self._recovery.said if self._recovery is not None else NOTHING
        needs = self._decider.needs(arrivals, now, said)
        async with self._store.transaction() as transaction:
            with self._metrics.stage.labels("load").time():
                loaded = await self._recent.load(transaction, needs)
                used = await transaction.limits(needs.limits)
                made = await transaction.decisions(needs.decisions)
                aside = await transaction.set_aside(needs.places)
            with self._metrics.stage.labels("decide").time():
                allowances = self._gatekeeper.allowances(now)
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
                decision.outcomes = self._gatekeeper.observe(decision.changes.sagas.values())
                decision.changes.in_flight = decision.outcomes.in_flight
            await self._recent.check(transaction, decision)
            self._check_dead_letters(decision)
            offsets = _ends(arrivals)
            moves = {
                partition: (self._expected.get(partition), after)
                for partition, after in offsets.items()
                if after > (self._expected.get(partition) or 0)
            }
            decision.changes.positions = moves
            with self._metrics.stage.labels("save").time():
                await self._beside_reading(transaction.save(decision.changes))
            self._probe("before_commit")
            self._check_mine()
        for partition, (_, after) in moves.items():
            self._expected[partition] = after
        self._recent.remember(decision)
        if self._recovery is not None:
            self._recovery.explain(decision.recalled)
        return decision, offsets

    async def _beside_reading(self, saving: Coroutine[Any, Any, None]) -> None:
        """Save, and read the next batch while the database works."""
        task = asyncio.create_task(saving)
        try:
            await asyncio.sleep(0)  # The first statement leaves before this thread is busy.
            # Once a rebalance began, a poll would wait for its end, and that waits for this turn.
            if not (self._read or self._leaving or task.done()):
                with suppress(Unavailable):  # The next turn polls again, and says so.
                    await self._read_on(0)
            await task
        finally:
            if not task.done():  # The reading was interrupted: the transaction is rolled back only
                task.cancel()  # once nothing is under way in it, or that would fail and hide why.
                await asyncio.wait({task})

    def _check_dead_letters(self, decision: Decision) -> None:
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

    # -- the way out ------------------------------------------------------------------------------

    async def _publisher(self) -> None:
        """Publish committed batches in order, then commit their offsets."""
        while True:
            batch = await self._ahead.get()
            with self._metrics.stage.labels("publish").time():
                await self._publish(batch)
            self._probe("before_offsets")
            self._check_mine()
            try:
                await self._source.commit(batch.offsets)
            except Unavailable as error:
                # Normal after a rebalance: the records come again, below the stored position.
                self._log.warning("offsets.not_committed", why=str(error))
            self._probe("after_offsets")
            self.done_offsets.update(batch.offsets)
            self.progress_at = self._clock.monotonic()
            self._ahead.task_done()
            del batch  # Before the wait for the next one.

    async def _publish(self, batch: Committed) -> None:
        backoff = self._settings.backoff_min_s
        for part in self._parts(batch.outgoing):
            while True:
                self._check_mine()
                try:
                    await self._bus.publish(part)
                    break
                except Unavailable as away:
                    self._set_ready(False)
                    self._log.warning("publish.retried", why=str(away), records=len(part))
                    await asyncio.sleep(backoff)
                    backoff = min(backoff * 2, self._settings.backoff_max_s)
            self._probe("half_published")
        self._metrics.published.inc(len(batch.outgoing))
        self._set_ready(True)

    def _parts(self, outgoing: list[Outgoing]) -> Sequence[list[Outgoing]]:
        """All at once; in two halves when a crash test listens, so that there is a middle."""
        if self._probe is unharmed or len(outgoing) < 2:
            return [outgoing] if outgoing else []
        half = len(outgoing) // 2
        return [outgoing[:half], outgoing[half:]]

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat what heals by waiting; the watchdog ends it when it does not."""
        backoff = self._settings.backoff_min_s
        while True:
            try:
                return await attempt()
            except Unavailable as away:
                self._set_ready(False)
                self._log.warning("batch.retried", why=str(away), records=0)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, self._settings.backoff_max_s)


def _timers(arrivals: Sequence[Arrival]) -> Iterator[SagaId]:
    """The sagas whose timers are among these."""
    for arrival in arrivals:
        if type(arrival.event) is TimerFired and arrival.saga is not None:
            yield arrival.saga


def _ends(arrivals: Sequence[Arrival]) -> dict[Partition, int]:
    """The offset after the last record of each partition."""
    ends: dict[Partition, int] = {}
    for arrival in arrivals:
        record = arrival.record
        ends[record.topic, record.partition] = record.offset + 1
    return ends
