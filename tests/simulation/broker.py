"""The broker in memory: logs, and a consumer group that rebalances as Kafka's eager one does.

Within a partition records keep their order. Across partitions nothing does: each log shows what was
appended after a delay of its own, and may stall.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import blake2b
from random import Random
from typing import Final

from orchestrator.ports import Member, Partition, Record
from schemas.ids import murmur2
from tests.simulation.line import Server
from tests.simulation.loop import Life, VirtualLoop

Headers = Sequence[tuple[str, bytes | None]]
SESSION_S: Final = 10.0
REBALANCE_S: Final = 30.0
_SHOWN_S: Final = 0.02  # Within which a record is seen by whoever fetches.


@dataclass(slots=True)
class Log:
    """One partition: its records, and how many of them a fetch shows."""

    records: list[Record] = field(default_factory=list)
    shown: int = 0
    stalls: int = 0  # Nothing new is shown while any lasts.
    show_at: float = 0.0


class Signal(Enum):
    """What the group tells a member."""

    REBALANCE = auto()
    ASSIGNED = auto()
    EVICTED = auto()


@dataclass(eq=False)
class Session:
    """One membership of the group."""

    member: Member
    life: Life | None
    poke: Callable[[], None]  # Ends a poll that waits.
    generation: int = 0
    share: list[Partition] = field(default_factory=list)  # What the group gave it.
    alive: bool = True
    joined: bool = False  # In the rebalance that goes on.
    closing: bool = False
    signals: deque[Signal] = field(default_factory=deque)
    heard: asyncio.Future[None] | None = None

    def signal(self, one: Signal) -> None:
        """Tell it, when it listens."""
        self.signals.append(one)
        if self.heard is not None and not self.heard.done():
            self.heard.set_result(None)
        self.poke()

    async def next(self) -> Signal | None:
        """What it is told; None: it leaves."""
        while not self.signals and not self.closing:
            self.heard = asyncio.get_running_loop().create_future()
            await self.heard
        return None if self.closing else self.signals.popleft()


class Broker(Server):
    """All topics; those that the coordinators read are in `inbound`."""

    def __init__(
        self, loop: VirtualLoop, inbound: Iterable[str], partitions: int, random: Random
    ) -> None:
        super().__init__("Kafka")
        self._loop = loop
        self._random = random
        self.partitions: Final = partitions
        self.inbound: Final = sorted(inbound)
        self.logs: dict[Partition, Log] = {
            (topic, number): Log() for topic in self.inbound for number in range(partitions)
        }
        self.readers: dict[str, Callable[[Record], None]] = {}
        self.digest = blake2b(digest_size=16)
        self.appended = 0
        self.group = Group(loop, self)

    def append(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> Record:
        """One record to the end of its partition."""
        number = murmur2(key) % self.partitions if key else self._random.randrange(self.partitions)
        log = self.logs.get((topic, number))
        if log is None:
            log = self.logs[topic, number] = Log()
        at = self._loop.wall()
        record = Record(topic, number, len(log.records), key, value, tuple(headers), at)
        log.records.append(record)
        self.appended += 1
        self.digest.update(f"{at} {topic} {number} ".encode())
        self.digest.update(value or b"-")
        reader = self.readers.get(topic)
        if reader is not None:
            reader(record)
        elif topic in self.group.topics:
            shows = max(log.show_at, self._loop.time() + self._random.random() * _SHOWN_S)
            log.show_at = shows
            self._loop.call_at(shows, self._show, log, len(log.records), context=self._loop.outside)
        return record

    def _show(self, log: Log, count: int) -> None:
        if not log.stalls and count > log.shown:
            log.shown = count
            self.group.poke()

    def stall(self, topic: str, until: int) -> None:
        """Show nothing new of a topic until then."""
        logs = [log for (name, _), log in self.logs.items() if name == topic]
        for log in logs:
            log.stalls += 1
        self._loop.at(until, self._flow, logs)

    def _flow(self, logs: list[Log]) -> None:
        for log in logs:
            log.stalls -= 1
            if not log.stalls:
                log.shown = len(log.records)
        self.group.poke()

    def go(self, *, away: bool) -> None:
        """Go away, or come back."""
        self.away = away
        self.group.poke()

    def records(self, topic: str) -> list[Record]:
        """All that a topic has, partition by partition."""
        return [
            record
            for (name, _), log in sorted(self.logs.items(), key=lambda pair: pair[0])
            if name == topic
            for record in log.records
        ]


class Group:
    """The consumer group of the coordinators: range assignment, eager rebalances."""

    def __init__(self, loop: VirtualLoop, broker: Broker) -> None:
        self._loop = loop
        self._broker = broker
        self.topics: Final = frozenset(broker.inbound)
        self.sessions: list[Session] = []
        self.committed: dict[Partition, int] = {}
        self.generation = 0
        self.stable = True
        self.rebalances = 0

    @property
    def steady(self) -> bool:
        """Whether every partition is with a member that runs."""
        return self.stable and not any(
            one.life is not None and (one.life.dead or one.life.frozen) for one in self.sessions
        )

    def poke(self) -> None:
        """Wake every poll."""
        for session in self.sessions:
            session.poke()

    # -- members --------------------------------------------------------------------------------

    def join(self, session: Session) -> None:
        """A new member, or one that was thrown out."""
        session.alive, session.joined = True, False
        if session not in self.sessions:
            self.sessions.append(session)
        self._rebalance()

    def leave(self, session: Session) -> None:
        """It said good-bye."""
        if session in self.sessions:
            self.sessions.remove(session)
            session.alive = False
            self._rebalance()

    def stopped(self, life: Life) -> None:
        """No heartbeat comes from this process any more; its sessions end some time later."""
        for session in self.sessions:
            if session.life is life:
                self._loop.call_later(
                    SESSION_S, self._expire, session, life.steps, context=self._loop.outside
                )

    def _expire(self, session: Session, steps: int) -> None:
        life = session.life
        assert life is not None
        still = (life.dead or life.frozen) and life.steps == steps
        if still and session in self.sessions:
            self._evict(session)
            self._rebalance()

    def _evict(self, session: Session) -> None:
        self.sessions.remove(session)
        session.alive, session.share = False, []
        session.signal(Signal.EVICTED)

    # -- rebalances -----------------------------------------------------------------------------

    def _rebalance(self) -> None:
        """Begin a round, or begin it anew."""
        self.stable = False
        self.generation += 1
        for session in self.sessions:
            session.joined = False
            session.signal(Signal.REBALANCE)
        generation = self.generation
        self._loop.call_later(
            REBALANCE_S, self._give_up_on_the_late, generation, context=self._loop.outside
        )

    def _give_up_on_the_late(self, generation: int) -> None:
        if generation == self.generation and not self.stable:
            for session in [one for one in self.sessions if not one.joined]:
                self._evict(session)
            self._assign()

    def arrived(self, session: Session) -> None:
        """A member gave up what it had and waits for its share."""
        session.joined = session in self.sessions
        if not self.stable and self.sessions and all(one.joined for one in self.sessions):
            self._assign()

    def _assign(self) -> None:
        """The range assignor: the same partition numbers of every topic to one member."""
        self.stable = True
        self.rebalances += 1
        count, members = self._broker.partitions, len(self.sessions)
        for at, session in enumerate(self.sessions):
            mine = range(at * count // members, (at + 1) * count // members)
            session.generation = self.generation
            session.share = [(topic, n) for topic in self._broker.inbound for n in mine]
            session.signal(Signal.ASSIGNED)

    def owns(self, session: Session) -> bool:
        """Whether the broker still takes its word."""
        return session.alive and session.generation == self.generation and self.stable
