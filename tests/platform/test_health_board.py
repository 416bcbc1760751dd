"""The board on PostgreSQL: rows of one's own, sums that outlive their writers, one mover."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from adapters.postgres.health import PostgresHealth
from adapters.postgres.migrate import migrate
from adapters.postgres.store import PostgresStore
from orchestrator.admission.board import HealthReport
from orchestrator.admission.breaker import Breaker, Counts, State
from orchestrator.admission.gate import Slot
from orchestrator.ports import Changes
from tests.platform.rows import NOW

pytestmark = pytest.mark.servers

HOUR = 3_600_000
OPEN = Breaker(1, State.OPEN, NOW, NOW + 30_000)


@asynccontextmanager
async def stores(dsn: str, count: int = 2) -> AsyncIterator[list[PostgresStore]]:
    """The stores of several coordinators on one database."""
    await migrate(dsn)
    opened = [PostgresStore(dsn, statement_timeout_s=10) for _ in range(count)]
    try:
        for store in opened:
            await store.open()
        yield opened
    finally:
        for store in opened:
            await store.close()


async def add(store: PostgresStore, **legs: int) -> None:
    async with store.transaction() as batch:
        await batch.save(Changes(in_flight=legs))


async def crash(store: PostgresStore) -> None:
    async with store.transaction() as batch:
        await batch.save(Changes(in_flight={"citi": 9}))
        raise RuntimeError("crash")


async def test_each_reads_what_all_have_told(database: str) -> None:
    async with stores(database) as (one, other):
        mine, theirs = PostgresHealth(one), PostgresHealth(other)
        window = {178: Counts(3, 2, 1), 179: Counts(1, 0, 0)}
        first = await mine.share([HealthReport("citi", 4, window)], NOW, NOW - 3_000)
        assert first.part == Slot(0, 1)
        assert first.sights == [HealthReport("citi", 4, window)]
        second = await theirs.share([HealthReport("citi", 4, {})], NOW + 10, NOW - 3_000)
        assert second.part.of == 2
        assert {sight.window == window for sight in second.sights} == {True, False}
        again = await mine.share([HealthReport("citi", 5, {})], NOW + 20, NOW - 3_000)
        assert {again.part.rank, second.part.rank} == {0, 1}
        assert sorted(sight.revision for sight in again.sights) == [4, 5]
        alone = await mine.share([], NOW + 5_000, NOW + 1_000)
        assert alone.part == Slot(0, 1)
        assert len(alone.sights) == 2, "what was seen counts on when its writer is gone"


async def test_legs_in_flight_are_the_sum_over_all_who_counted(database: str) -> None:
    async with stores(database) as (one, other):
        await add(one, citi=5, alipayhk=2)
        await add(other, citi=-3)
        await add(one, citi=1, alipayhk=-2)
        found = await PostgresHealth(one).share([], NOW, NOW)
        assert found.in_flight == {"citi": 3, "alipayhk": 0}
        with pytest.raises(RuntimeError, match="crash"):
            await crash(one)
        assert (await PostgresHealth(other).share([], NOW, NOW)).in_flight["citi"] == 3


async def test_who_is_gone_is_forgotten_but_for_the_sum(database: str) -> None:
    async with stores(database) as (one, other):
        mine, theirs = PostgresHealth(one), PostgresHealth(other)
        await add(one, citi=5)
        await add(other, citi=-3)
        await theirs.share([HealthReport("citi", 0, {})], NOW, NOW)
        await mine.share([HealthReport("citi", 0, {})], NOW + HOUR, NOW)
        for _ in range(2):
            await mine.tidy(NOW + 1)
            found = await mine.share([], NOW + HOUR, NOW)
            assert found.in_flight == {"citi": 2}
            assert len(found.sights) == 1
        connection = await asyncpg.connect(database)
        rows = await connection.fetch("select instance, legs from participant_load order by legs")
        await connection.close()
        assert [tuple(row) for row in rows] == [("", -3), (one.instance, 5)]
        await add(other, citi=1)  # It was only asleep: what it did still counts.
        assert (await mine.share([], NOW + HOUR, NOW)).in_flight == {"citi": 3}


async def test_only_one_moves_a_breaker(database: str) -> None:
    async with stores(database) as (one, other):
        mine, theirs = PostgresHealth(one), PostgresHealth(other)
        assert not await mine.move("citi", 1, Breaker(2, State.OPEN, NOW, NOW + 1))
        assert await mine.move("citi", 0, OPEN)
        assert not await theirs.move("citi", 0, OPEN)
        half = Breaker(2, State.HALF_OPEN, NOW + 1, NOW + 2)
        assert await theirs.move("citi", 1, half)
        assert not await mine.move("citi", 1, half)
        assert (await mine.share([], NOW, NOW)).breakers == {"citi": half}
        closed = Breaker(3, State.CLOSED, NOW + 3, None)
        assert await mine.move("citi", 2, closed)
        assert (await theirs.share([], NOW, NOW)).breakers == {"citi": closed}
