"""Source and Bus over the broker in memory, as awkward as aiokafka is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Final

from orchestrator.errors import Unavailable
from orchestrator.ports import Member, Outgoing, Partition, Record
from schemas.ids import murmur2
from tests.simulation.broker import Broker, Session, Signal
from tests.simulation.line import Line

_STOP_S: Final = 5.0
_FETCH_MAX: Final = 40


class MemorySource:
    """A member of the consumer group; every `start` is a new session."""

    def __init__(self, broker: Broker, line: Line, random: Random) -> None:
        self._broker = broker
        self._line = line
        self._random = random
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._held: list[Partition] = []
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._news: asyncio.Future[None] | None = None

    async def start(self, member: Member) -> None:
        """Join the group."""
        session = Session(member, self._line.life, self._poke)
        await self._line.ask("join", lambda: self._broker.group.join(session))
        self._session = session
        self._task = asyncio.create_task(self._coordinate(session), name="group")

    async def stop(self) -> None:
        """Leave the group."""
        session, task = self._session, self._task
        if session is None or task is None:
            return
        session.closing = True
        if session.heard is not None and not session.heard.done():
            session.heard.set_result(None)
        await asyncio.wait({task}, timeout=_STOP_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._session, self._task = None, None
        self._held, self._positions = [], {}
        with suppress(Unavailable):
            await self._line.ask("leave", lambda: self._broker.group.leave(session))

    async def _coordinate(self, session: Session) -> None:
        """What aiokafka's background task does: callbacks between the rounds of the group."""
        group, member = self._broker.group, session.member
        while (signal := await session.next()) is not None:
            if signal is Signal.ASSIGNED:
                if session.alive:
                    self._held = list(session.share)
                    self._positions = {}
                    self._paused.clear()
                    await member.on_assigned(self._held)
                continue
            await member.on_revoked(self._held)
            self._held, self._positions = [], {}
            if signal is Signal.EVICTED:
                group.join(session)
            elif Signal.REBALANCE not in session.signals:
                group.arrived(session)

    # -- records --------------------------------------------------------------------------------

    async def poll(self, timeout_s: float, count_max: int) -> Sequence[Record]:
        """Records of assigned partitions, in order per partition."""
        found = self._take(count_max)
        if found:
            return found
        session = self._session
        if timeout_s <= 0 or (session is not None and session.signals):
            await asyncio.sleep(0.001)  # A rebalance waits for whoever polls.
            return []
        loop = asyncio.get_running_loop()
        self._news = loop.create_future()
        timer = loop.call_later(timeout_s, self._poke)
        try:
            await self._news
        finally:
            timer.cancel()
            self._news = None
        return self._take(count_max)

    def _poke(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _take(self, count_max: int) -> list[Record]:
        """What is shown beyond our positions, some of it, partition by partition in any order."""
        if self._broker.away:
            return []
        logs = self._broker.logs
        waiting = [
            at
            for at, offset in self._positions.items()
            if offset < logs[at].shown and at not in self._paused
        ]
        if not waiting:
            return []
        if len(waiting) > 1:
            self._random.shuffle(waiting)
        left = min(count_max, 1 + self._random.randrange(_FETCH_MAX))
        found: list[Record] = []
        for at in waiting:
            start, log = self._positions[at], logs[at]
            part = log.records[start : min(start + left, log.shown)]
            found += part
            left -= len(part)
            self._positions[at] = start + len(part)
        return found

    def satisfied(self, done: Mapping[Partition, int]) -> bool:
        """Whether it waits in a poll, has read all there is, and all of it is done."""
        logs = self._broker.logs
        return (
            self._news is not None
            and len(self._positions) == len(self._held)
            and all(
                done.get(at) == offset and (offset == len(logs[at].records) or logs[at].stalls)
                for at, offset in self._positions.items()
            )
        )

    # -- offsets --------------------------------------------------------------------------------

    async def committed(self, partitions: Iterable[Partition]) -> Mapping[Partition, int | None]:
        """The offsets that the group committed."""
        wanted, kept = list(partitions), self._broker.group.committed
        return await self._line.ask("committed", lambda: {at: kept.get(at) for at in wanted})

    async def bounds(self, partitions: Iterable[Partition]) -> Mapping[Partition, tuple[int, int]]:
        """The first offset of each partition and the one after its last."""
        wanted, logs = list(partitions), self._broker.logs
        return await self._line.ask(
            "bounds", lambda: {at: (0, len(logs[at].records)) for at in wanted}
        )

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from there."""
        self._positions[partition] = offset

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Poll nothing from these until they are resumed."""
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Poll from these again."""
        self._paused.difference_update(partitions)

    async def position(self, partition: Partition) -> int:
        """The offset of what the next poll brings."""
        return self._positions[partition]

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit the offsets of partitions that are still held."""
        mine = {at: offset for at, offset in offsets.items() if at in self._held}
        session, group = self._session, self._broker.group

        def serve() -> None:
            if session is None or not group.owns(session):
                raise Unavailable("Kafka: CommitFailedError")
            group.committed.update(mine)

        if mine:
            await self._line.ask("commit offsets", serve)


class MemoryArchive:
    """What the platform said, as the broker keeps it."""

    def __init__(self, broker: Broker, line: Line) -> None:
        self._broker = broker
        self._line = line

    async def since(
        self, partitions: Iterable[Partition], moment: int
    ) -> AsyncIterator[Sequence[Record]]:
        """All of it; more than was asked for does no harm."""
        for at in partitions:
            log = self._broker.logs.get(at)
            if log is not None:
                yield await self._line.ask("archive", log.records.copy)

    async def last(self, partitions: Iterable[Partition], count: int) -> Sequence[Record]:
        """The last so many records of each partition."""
        logs = [self._broker.logs[at] for at in partitions if at in self._broker.logs]
        return await self._line.ask(
            "archive", lambda: [record for log in logs for record in log.records[-count:]]
        )


class MemoryBus:
    """Records in order per partition; a failure leaves any part of them appended."""

    def __init__(self, broker: Broker, line: Line, random: Random) -> None:
        self._broker = broker
        self._line = line
        self._random = random

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Return when every record is acknowledged; raise Unavailable when one may not be."""
        groups: dict[tuple[str, int], list[Outgoing]] = {}
        for record in records:
            number = murmur2(record.key) % self._broker.partitions if record.key else 0
            groups.setdefault((record.topic, number), []).append(record)
        order = list(groups.values())
        if len(order) > 1:
            self._random.shuffle(order)
        for group in order:
            await self._line.ask("publish", lambda group=group: self._append(group))  # type: ignore[misc]

    def _append(self, records: list[Outgoing]) -> None:
        for record in records:
            self._broker.append(record.topic, record.key, record.value, record.headers)
