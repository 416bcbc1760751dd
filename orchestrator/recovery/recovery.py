"""What a coordinator does first when its database is older than Kafka's offsets: it was restored.

What was said since the backup is read back, the sagas that survived are brought up to it, those
that were lost begin again as their requests are read; replies are read when the requests are, and
timers when the replies are (`docs/decisions/0017`).
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
"""How far clocks may differ, and a batch may last, for nothing that was said to be missed."""
_PORTION: Final = 500
_LAST: Final = 5  # Records of each partition: what ends one need not be about a saga.
_TURNS: Final = (Channel.REQUESTS, Channel.REPLIES, Channel.INTERNAL)


def behind(
    stored: Mapping[Partition, int],
    committed: Mapping[Partition, int | None],
    bounds: Mapping[Partition, tuple[int, int]],
) -> dict[Partition, tuple[int, int]]:
    """The partitions whose position lies behind Kafka's offset: where, and where they end.

    Offsets are committed after positions, so that only a restored database is behind them.
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
    """What it works with."""

    decider: Decider
    store: Store
    source: Source
    archive: Archive
    clock: Clock
    routes: Mapping[str, Route]


async def looks_restored(context: RecoveryContext, numbers: Iterable[int]) -> bool:
    """Whether the last that was said in these partitions is not what the database implies.

    Offsets tell of a restored database unless the very first batch after its backup was the last
    one, and died before them; what was lost then stands at the end of what was said.
    """
    topics = published_topics(context.decider.catalogue.participants)
    spoken = [(topic, number) for topic in topics for number in sorted(numbers)]
    memory = PublishedLog(context.decider.catalogue.kinds)
    for record in await context.archive.last(spoken, _LAST):
        memory.add(record)
    async with context.store.transaction() as transaction:
        loaded = await transaction.load(memory.keys(), ())
    return context.decider.is_behind(memory.said(), loaded, context.clock.now())


class Recovery:
    """The way of one membership through what was lost."""

    def __init__(
        self,
        context: RecoveryContext,
        lost: Mapping[Partition, RecoveryRange],
        held: Iterable[Partition],
    ) -> None:
        self.until = {partition: one.until for partition, one in lost.items()}
        self.said: Mapping[SagaId, PublishedSaga] = {}
        self.recalled = False  # Whether what survived was brought up to what was said.
        self.records = 0  # How many were read back.
        self.survived = 0  # How many sagas were there, and behind what was said of them.
        self._since = max(0, min(one.since for one in lost.values()) - MARGIN_MS)
        self._context = context
        self._keys: list[SagaKey] = []
        self._paused = frozenset(held)
        self._explained: set[SagaId] = set()
        context.source.pause(self._paused)

    async def remember(self, still: Callable[[], Awaitable[bool]]) -> bool:
        """Read back what was said to anybody in the partitions held; false once they are not."""
        numbers = sorted({number for _, number in self.until})
        topics = published_topics(self._context.decider.catalogue.participants)
        spoken = [(topic, number) for topic in topics for number in numbers]
        memory = PublishedLog(self._context.decider.catalogue.kinds)
        self.records = 0
        async for records in self._context.archive.since(spoken, self._since):
            for record in records:
                memory.add(record)
            self.records += len(records)
            if not await still():
                return False
        self.said, self._keys = memory.said(), memory.keys()
        return True

    def portions(self) -> Iterator[Sequence[SagaKey]]:
        """The sagas that were spoken of, so many at a time."""
        for at in range(0, len(self._keys), _PORTION):
            yield self._keys[at : at + _PORTION]

    async def bring_up(
        self, keys: Sequence[SagaKey], check: Callable[[BatchResult], None]
    ) -> BatchResult:
        """Bring those that survived up to what was said of them, in one transaction.

        `check` is called before it is saved and before it is committed.
        """
        while True:
            with suppress(Conflict):  # Somebody else moved one of them meanwhile: read it again.
                return await self._bring_up(keys, check)

    async def _bring_up(
        self, keys: Sequence[SagaKey], check: Callable[[BatchResult], None]
    ) -> BatchResult:
        decider = self._context.decider
        async with self._context.store.transaction() as transaction:
            loaded = await transaction.load(keys, ())
            limits = (decider.limit_of(saga) for saga in loaded.values())
            used = await transaction.limits({limit for limit in limits if limit is not None})
            decision = decider.recall(self.said, loaded, used, self._context.clock.now())
            check(decision)
            await transaction.save(decision.changes)
            check(decision)
        self.explain(loaded)
        self.survived += decision.counts["recalled_sagas"]
        return decision

    def explain(self, sagas: Iterable[SagaId]) -> None:
        """These sagas exist now."""
        self._explained.update(sagas)

    def unexplained(self) -> list[SagaId]:
        """The sagas that were spoken of and whose requests are not on the topics any more."""
        return sorted(self.said.keys() - self._explained)

    async def advance(self, done: Mapping[Partition, int | None]) -> Channel | None:
        """Resume what may be read now; the channel whose turn begins, if one's does."""
        begins: Channel | None = None
        for channel in _TURNS:
            waits = {one for one in self._paused if self._channel(one) is channel}
            if waits:
                self._context.source.resume(waits)
                self._paused -= waits
                begins = channel
            if await self._lacks(channel, done):
                break
        return begins

    async def finished(self, done: Mapping[Partition, int | None]) -> bool:
        """Whether everything that was lost has been read again."""
        return not self._paused and not any([await self._lacks(c, done) for c in _TURNS])

    async def _lacks(self, channel: Channel, done: Mapping[Partition, int | None]) -> bool:
        """Whether something of a channel that was lost has not been read again."""
        for partition, until in self.until.items():
            if self._channel(partition) is not channel or (done.get(partition) or 0) >= until:
                continue
            # Past the last record there may be a transaction's marker, which is no record.
            if await self._context.source.position(partition) < until:
                return True
        return False

    def _channel(self, partition: Partition) -> Channel:
        return self._context.routes[partition[0]].channel
