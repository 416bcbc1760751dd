"""Recovers a database that was restored from a backup and is older than Kafka's offsets.

First, the records that the platform published since the backup are read back, and the sagas that
survived are updated to them. Then the lost records are read again: all requests, from which lost
sagas begin again, then all replies, then all timers (`docs/decisions/0017`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from orchestrator.batch.decide import Decider
from orchestrator.batch.decode import Route
from orchestrator.batch.effects import BatchResult
from orchestrator.engine.published import PublishedSaga
from orchestrator.errors import Conflict
from orchestrator.ports import Archive, Clock, Partition, RecoveryRange, SagaKey, Source, Store
from orchestrator.recovery.published import PublishedLog, published_topics
from schemas.events import Channel
from schemas.ids import SagaId

MARGIN_MS: Final = 300_000
"""How much earlier to start reading back, as clocks differ and a batch takes time."""
_PORTION: Final = 500
"""How many sagas to update in one transaction."""
_LAST_RECORDS: Final = 5
"""How many records at the end of each partition to check, as the last may not be about a saga."""
_ORDER: Final = (Channel.REQUESTS, Channel.REPLIES, Channel.INTERNAL)
"""The order in which channels are read again."""


def behind(
    stored: Mapping[Partition, int],
    committed: Mapping[Partition, int | None],
    bounds: Mapping[Partition, tuple[int, int]],
) -> dict[Partition, tuple[int, int]]:
    """The partitions whose position is behind Kafka's offset, each with its position and its end.

    Offsets are committed after positions, so only a restored database can be behind them.
    """
    found = {}
    for partition, (first, end) in bounds.items():
        at = stored.get(partition, first)
        offset = committed[partition]
        if offset is not None and offset > at:
            found[partition] = (at, end)
    return found


@dataclass(frozen=True, slots=True)
class RecoveryContext:
    """What recovery needs of the process."""

    decider: Decider
    store: Store
    source: Source
    archive: Archive
    clock: Clock
    routes: Mapping[str, Route]


async def looks_restored(context: RecoveryContext, numbers: Iterable[int]) -> bool:
    """Whether the last records published in these partitions are newer than the database.

    `behind` finds a restored database by its offsets, unless the first batch after the backup was
    also the last one and its offsets were not committed. The messages of that batch are then the
    last ones published.
    """
    topics = published_topics(context.decider.catalogue.participants)
    partitions = [(topic, number) for topic in topics for number in sorted(numbers)]
    published = PublishedLog(context.decider.catalogue.kinds)
    for record in await context.archive.last(partitions, _LAST_RECORDS):
        published.add(record)
    async with context.store.transaction() as transaction:
        loaded = await transaction.load(published.keys(), ())
    return context.decider.is_behind(published.said(), loaded, context.clock.now())


class Recovery:
    """The recovery of the partitions of one membership."""

    def __init__(
        self,
        context: RecoveryContext,
        lost: Mapping[Partition, RecoveryRange],
        held: Iterable[Partition],
    ) -> None:
        self.until = {partition: one.until for partition, one in lost.items()}
        self.published: Mapping[SagaId, PublishedSaga] = {}  # Since the backup.
        self.recalled = False  # Whether the surviving sagas are updated to what was published.
        self.records = 0  # How many published records were read back.
        self.survived = 0  # How many sagas were in the backup and had to be updated.
        self._since = max(0, min(one.since for one in lost.values()) - MARGIN_MS)
        self._context = context
        self._keys: list[SagaKey] = []
        self._paused = frozenset(held)
        self._explained: set[SagaId] = set()
        context.source.pause(self._paused)

    async def read_back(self, is_current: Callable[[], Awaitable[bool]]) -> bool:
        """Read back what was published in the lost partitions.

        Stops and returns False when `is_current` says that they are not held any more.
        """
        numbers = sorted({number for _, number in self.until})
        topics = published_topics(self._context.decider.catalogue.participants)
        partitions = [(topic, number) for topic in topics for number in numbers]
        published = PublishedLog(self._context.decider.catalogue.kinds)
        self.records = 0
        async for records in self._context.archive.since(partitions, self._since):
            for record in records:
                published.add(record)
            self.records += len(records)
            if not await is_current():
                return False
        self.published, self._keys = published.said(), published.keys()
        return True

    def portions(self) -> Iterator[Sequence[SagaKey]]:
        """The keys of the sagas that records were published about, one portion at a time."""
        for at in range(0, len(self._keys), _PORTION):
            yield self._keys[at : at + _PORTION]

    async def bring_up(
        self, keys: Sequence[SagaKey], check: Callable[[BatchResult], None]
    ) -> BatchResult:
        """Update those of the sagas that survived to what was published, in one transaction.

        `check` is called before the sagas are saved, and again before the commit.
        """
        while True:
            with suppress(Conflict):  # Another coordinator changed one of them: load them again.
                return await self._bring_up(keys, check)

    async def _bring_up(
        self, keys: Sequence[SagaKey], check: Callable[[BatchResult], None]
    ) -> BatchResult:
        decider = self._context.decider
        async with self._context.store.transaction() as transaction:
            loaded = await transaction.load(keys, ())
            limits = (decider.limit_of(saga) for saga in loaded.values())
            used = await transaction.limits({limit for limit in limits if limit is not None})
            decision = decider.recall(self.published, loaded, used, self._context.clock.now())
            check(decision)
            await transaction.save(decision.changes)
            check(decision)
        self.explain(loaded)
        self.survived += decision.counts["recalled_sagas"]
        return decision

    def explain(self, sagas: Iterable[SagaId]) -> None:
        """Record that these sagas exist in the database."""
        self._explained.update(sagas)

    def unexplained(self) -> list[SagaId]:
        """The sagas that were published about and whose requests are no longer on the topics."""
        return sorted(self.published.keys() - self._explained)

    async def advance(self, done: Mapping[Partition, int | None]) -> Channel | None:
        """Resume the partitions that may be read now; the last channel resumed, if any was."""
        resumed: Channel | None = None
        for channel in _ORDER:
            paused = {
                partition for partition in self._paused if self._channel(partition) is channel
            }
            if paused:
                self._context.source.resume(paused)
                self._paused -= paused
                resumed = channel
            if await self._lacks(channel, done):
                break
        return resumed

    async def finished(self, done: Mapping[Partition, int | None]) -> bool:
        """Whether all lost records have been read again."""
        return not self._paused and not any([await self._lacks(c, done) for c in _ORDER])

    async def _lacks(self, channel: Channel, done: Mapping[Partition, int | None]) -> bool:
        """Whether lost records of a channel have not been read again yet."""
        for partition, until in self.until.items():
            if self._channel(partition) is not channel or (done.get(partition) or 0) >= until:
                continue
            # The offsets after the last record may belong to a transaction marker, which is not a
            # record: the consumer's position passes it, our position does not.
            if await self._context.source.position(partition) < until:
                return True
        return False

    def _channel(self, partition: Partition) -> Channel:
        return self._context.routes[partition[0]].channel
