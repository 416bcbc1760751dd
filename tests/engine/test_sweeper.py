"""A coordinator publishes the due timers of its partitions: once, and again if they get lost."""

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
    swept_from: list[int] = field(default_factory=list)
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
        self.swept_from.append(since)
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


async def test_a_published_timer_is_not_published_again_until_it_is_read_or_lost() -> None:
    world = World()
    sweeper = world.sweeper()
    assert [await sweeper.run_once() for _ in range(3)] == [3, 0, 0]
    world.fired.read(IDS[:1])  # Read, and due again at a new revision.
    world.time += LOOK_BACK_MS
    assert await sweeper.run_once() == 1
    world.time += LEASE_MS
    assert await sweeper.run_once() == 3
    assert world.published == [*IDS, IDS[0], *IDS]


async def test_a_timer_that_could_not_be_published_is_published_again_after_the_lease() -> None:
    """Not before, as it may have been published although publishing failed."""
    world = World(away=True)
    sweeper = world.sweeper()
    with pytest.raises(Unavailable):
        await sweeper.run_once()
    world.away = False
    assert await sweeper.run_once() == 0
    world.time += LEASE_MS
    assert await sweeper.run_once() == 3


async def test_only_timers_of_the_own_partitions_are_published() -> None:
    found: list[list[SagaId]] = []
    for number in range(2):
        world = World(share=PartitionShare(2, frozenset({number})))
        await world.sweeper().run_once()
        found.append(world.published)
    assert sorted(found[0] + found[1]) == sorted(IDS)
    assert World(share=PartitionShare(2, frozenset())).published == []


async def test_nothing_is_published_after_a_rebalance_during_the_sweep() -> None:
    world = World(lost_while_reading=True)
    assert await world.sweeper().run_once() == 0
    assert world.published == []
    assert world.fired.current(NOW) == []


async def test_a_due_saga_is_in_the_cache_when_its_record_is_read() -> None:
    world = World()
    await world.sweeper().run_once()
    needs: Any = type("Needs", (), {"strays": frozenset()})
    needs.keys = frozenset((one.terms.key_hash, one.terms.saga_id) for one in DUE)
    assert await world.cache.load(cast("Any", None), needs) == dict(zip(IDS, DUE, strict=True))


def test_a_published_record_decodes_to_its_timers() -> None:
    (said,) = timer_records(DUE, NOW, 1)
    record = Record(said.topic, 0, 1, said.key, said.value, tuple(said.headers))
    arrivals = decode(record, routes({})[said.topic], redelivered=False)
    for one, arrival in zip(DUE, arrivals, strict=True):
        saga_id, bucket = one.terms.saga_id, one.terms.key_hash
        assert arrival.problem is None
        assert arrival.event == TimerFired(saga_id=saga_id, bucket=bucket, revision=one.revision)
        assert (arrival.saga, arrival.key) == (saga_id, (bucket, saga_id))


@pytest.mark.parametrize("partitions", (1, 2, 8))
def test_a_record_has_few_timers_and_all_of_one_partition(partitions: int) -> None:
    many = [saga(f"r-{n}", f"w-{n}", due=NOW) for n in range(TIMERS_A_RECORD * 8 + 3)]
    found: list[SagaId] = []
    records = timer_records(many, NOW, partitions)
    for record in records:
        timers = orjson.loads(record.value or b"")["timers"]
        assert 1 <= len(timers) <= TIMERS_A_RECORD
        number = murmur2(record.key or b"") % partitions
        assert {one["bucket"] % partitions for one in timers} == {number}
        found += [one["saga_id"] for one in timers]
    assert sorted(found) == sorted(one.terms.saga_id for one in many)
    assert len({dict(record.headers)["ce_id"] for record in records}) == len(records)


async def test_a_timer_that_was_committed_late_is_found_by_the_full_rescan() -> None:
    """Sweeps in between start where the last one ended, and do not find it."""
    world = World()
    sweeper = world.sweeper()
    await sweeper.run_once()
    late = saga("late", "w-late", due=NOW - 500)
    world.sagas.append(late)
    world.time += 100
    assert await sweeper.run_once() == 0
    world.time += LOOK_BACK_MS
    assert await sweeper.run_once() == 1
    assert world.swept_from == [0, NOW, 0]
    assert world.published[-1] == late.terms.saga_id


async def test_a_sweep_continues_where_a_full_one_ended() -> None:
    world = World(count_max=2)
    sweeper = world.sweeper()
    assert [await sweeper.run_once() for _ in range(3)] == [2, 1, 0]
    assert world.published == IDS


async def test_new_partitions_are_swept_from_the_start() -> None:
    world = World(share=PartitionShare(2, frozenset({0})))
    sweeper = world.sweeper()
    await sweeper.run_once()
    world.share = PartitionShare(2, frozenset({0, 1}))
    await sweeper.run_once()
    assert world.swept_from == [0, 0]
    assert sorted(world.published) == sorted(IDS)
