"""Whoever reads a partition publishes its timers: once while they ring, and again when lost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import pytest

from orchestrator.batch.decode import decode, routes
from orchestrator.engine.instance import Saga
from orchestrator.errors import Unavailable
from orchestrator.ports import Outgoing, PartitionShare, Record, Store
from orchestrator.runtime.cache import SagaCache
from orchestrator.settings import CoordinatorSettings
from orchestrator.telemetry import Log
from orchestrator.timers.fired import FiredTimers
from orchestrator.timers.sweeper import LOOK_BACK_MS, TIMERS_A_RECORD, Sweeper, timer_records
from schemas.ids import SagaId, murmur2
from schemas.results import TimerFired
from tests.platform.rows import NOW, saga

DUE = [saga(f"r-{n}", f"w-{n}", due=NOW - 10 + n) for n in range(3)]
IDS = [one.terms.saga_id for one in DUE]
LEASE_MS = round(CoordinatorSettings().sweep_lease_s * 1000)


@dataclass
class World:
    """A database, a broker, a clock and an assignment."""

    sagas: list[Saga] = field(default_factory=lambda: list(DUE))
    published: list[SagaId] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)
    time: int = NOW
    share: PartitionShare = field(default_factory=lambda: PartitionShare(1, frozenset({0})))
    away: bool = False
    count_max: int = 500
    lost_while_reading: bool = False
    cache: SagaCache = field(default_factory=lambda: SagaCache(10))
    fired: FiredTimers = field(default_factory=FiredTimers)

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return self.time / 1000

    async def due(
        self, since: int, now: int, share: PartitionShare, but: Collection[SagaId], count: int
    ) -> Sequence[Saga]:
        self.looks.append(since)
        if self.lost_while_reading:
            self.share = PartitionShare(1, frozenset())
        found = [
            one
            for one in self.sagas
            if one.wake_at is not None
            and since < one.wake_at <= now
            and share.holds(one.terms.key_hash)
            and one.terms.saga_id not in but
        ]
        return found[:count]

    async def publish(self, records: Sequence[Outgoing]) -> None:
        if self.away:
            raise Unavailable("nobody")
        timers = [one for said in records for one in orjson.loads(said.value or b"")["timers"]]
        self.published += [one["saga_id"] for one in timers]

    def sweeper(self) -> Sweeper:
        return Sweeper(
            settings=CoordinatorSettings(sweep_count_max=self.count_max),
            store=cast("Store", self),
            bus=self,
            clock=self,
            log=cast("Log", None),
            offer=self.cache.offer,
            fired=self.fired,
            share=lambda: self.share,
            behind=lambda: False,
        )


async def test_what_rings_is_not_published_again_until_it_is_read_or_lost() -> None:
    world = World()
    sweeper = world.sweeper()
    assert [await sweeper.run_once() for _ in range(3)] == [3, 0, 0]
    world.fired.read(IDS[:1])  # Read, and due all the same: another revision than it rang for.
    world.time += LOOK_BACK_MS
    assert await sweeper.run_once() == 1
    world.time += LEASE_MS
    assert await sweeper.run_once() == 3
    assert world.published == [*IDS, IDS[0], *IDS]


async def test_what_could_not_be_published_is_taken_for_lost_in_time() -> None:
    """It may have been published all the same."""
    world = World(away=True)
    sweeper = world.sweeper()
    with pytest.raises(Unavailable):
        await sweeper.run_once()
    world.away = False
    assert await sweeper.run_once() == 0
    world.time += LEASE_MS
    assert await sweeper.run_once() == 3


async def test_only_what_is_read_here_is_published_here() -> None:
    found: list[list[SagaId]] = []
    for number in range(2):
        world = World(share=PartitionShare(2, frozenset({number})))
        await world.sweeper().run_once()
        found.append(world.published)
    assert sorted(found[0] + found[1]) == sorted(IDS)
    assert World(share=PartitionShare(2, frozenset())).published == []


async def test_nothing_is_published_once_the_partitions_are_given_away() -> None:
    world = World(lost_while_reading=True)
    assert await world.sweeper().run_once() == 0
    assert world.published == []
    assert world.fired.current(NOW) == []


async def test_what_is_due_is_at_hand_when_its_record_is_read() -> None:
    world = World()
    await world.sweeper().run_once()
    needs: Any = type("Needs", (), {"strays": frozenset()})
    needs.keys = frozenset((one.terms.key_hash, one.terms.saga_id) for one in DUE)
    assert await world.cache.load(cast("Any", None), needs) == dict(zip(IDS, DUE, strict=True))


def test_the_record_is_read_as_what_it_says() -> None:
    (said,) = timer_records(DUE, NOW, 1)
    record = Record(said.topic, 0, 1, said.key, said.value, tuple(said.headers))
    arrivals = decode(record, routes({})[said.topic], redelivered=False)
    for one, arrival in zip(DUE, arrivals, strict=True):
        saga_id, bucket = one.terms.saga_id, one.terms.key_hash
        assert arrival.problem is None
        assert arrival.event == TimerFired(saga_id=saga_id, bucket=bucket, revision=one.revision)
        assert (arrival.saga, arrival.key) == (saga_id, (bucket, saga_id))


@pytest.mark.parametrize("partitions", (1, 2, 8))
def test_a_record_tells_of_few_sagas_and_of_one_partition(partitions: int) -> None:
    many = [saga(f"r-{n}", f"w-{n}", due=NOW) for n in range(TIMERS_A_RECORD * 8 + 3)]
    rung: list[SagaId] = []
    records = timer_records(many, NOW, partitions)
    for said in records:
        timers = orjson.loads(said.value or b"")["timers"]
        assert 1 <= len(timers) <= TIMERS_A_RECORD
        told = murmur2(said.key or b"") % partitions
        assert {one["bucket"] % partitions for one in timers} == {told}
        rung += [one["saga_id"] for one in timers]
    assert sorted(rung) == sorted(one.terms.saga_id for one in many)
    assert len({dict(said.headers)["ce_id"] for said in records}) == len(records)


async def test_only_now_and_then_is_looked_at_what_was_looked_at_before() -> None:
    """What lies behind is mostly dead: timers that have rung. But a row may come late."""
    world = World()
    sweeper = world.sweeper()
    await sweeper.run_once()
    late = saga("late", "w-late", due=NOW - 500)
    world.sagas.append(late)
    world.time += 100
    assert await sweeper.run_once() == 0
    world.time += LOOK_BACK_MS
    assert await sweeper.run_once() == 1
    assert world.looks == [0, NOW, 0]
    assert world.published[-1] == late.terms.saga_id


async def test_of_more_than_is_published_at_once_nothing_is_passed_over() -> None:
    world = World(count_max=2)
    sweeper = world.sweeper()
    assert [await sweeper.run_once() for _ in range(3)] == [2, 1, 0]
    assert world.published == IDS


async def test_what_is_taken_over_is_looked_at_from_the_start() -> None:
    world = World(share=PartitionShare(2, frozenset({0})))
    sweeper = world.sweeper()
    await sweeper.run_once()
    world.share = PartitionShare(2, frozenset({0, 1}))
    await sweeper.run_once()
    assert world.looks == [0, 0]
    assert sorted(world.published) == sorted(IDS)
