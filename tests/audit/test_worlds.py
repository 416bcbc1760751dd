"""Worlds that go wrong in every way, some of them losing their database: clean at every commit.

What the simulated coordinator committed is saved by the shipped store, in the same order, and
audited on the way: an audit that cries wolf shows here.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import asyncpg
import pytest

from adapters.audit.database import audit
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.migrate import migrate
from adapters.postgres.store import PostgresStore
from orchestrator.batch.decode import InboundEvent
from orchestrator.batch.effects import BatchResult
from orchestrator.ports import Changes
from tests.audit.setup import offered
from tests.engine.memory import Platform
from tests.engine.restored import LosingPlatform, LosingWorld
from tests.engine.world import World

pytestmark = pytest.mark.servers

DATABASE: Final = "audit_worlds"
LOOKS: Final = 4
TABLES: Final = "saga, timeline, transfer, account_limit, parked_case, dead_letter"


@dataclass
class Remembering(Platform):
    """A platform that remembers what it committed."""

    committed: list[Changes] = field(default_factory=list)

    def commit(self, decision: BatchResult, arrivals: Sequence[InboundEvent]) -> None:
        super().commit(decision, arrivals)
        self.committed.append(decision.changes)


@dataclass
class RememberingLosses(LosingPlatform):
    """The same, of a platform whose database is lost: what was lost was never committed."""

    committed: list[Changes] = field(default_factory=list)
    backed_up: int = 0

    def commit(self, decision: BatchResult, arrivals: Sequence[InboundEvent]) -> None:
        super().commit(decision, arrivals)
        self.committed.append(decision.changes)

    def back_up(self) -> None:
        super().back_up()
        self.backed_up = len(self.committed)

    def lose(self) -> None:
        del self.committed[self.backed_up :]
        super().lose()


@pytest.fixture(scope="module")
def dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    found = postgres.create_database(DATABASE)
    asyncio.run(migrate(found))
    yield found
    postgres.drop_database(DATABASE)


def world_of(seed: int) -> World:
    """Every other one loses its database now and then."""
    dice = random.Random(seed)
    tape = [dice.randrange(256) for _ in range(dice.randrange(60, 300))]
    if seed % 2:
        return LosingWorld(tape, RememberingLosses())
    return World(tape, Remembering())


async def look(dsn: str, committed: Sequence[Changes], dice: random.Random) -> Counter[str]:
    """Save all, in a few portions; audit after each."""
    seen: Counter[str] = Counter()
    cuts = sorted(dice.choices(range(len(committed) + 1), k=LOOKS - 1))
    store = PostgresStore(dsn)
    await store.open()
    connection: Any = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"truncate {TABLES}")
        for low, high in zip((0, *cuts), (*cuts, len(committed)), strict=True):
            async with store.transaction() as batch:
                for changes in committed[low:high]:
                    await batch.save(replace(changes, settled=[], in_flight={}))
            found = await audit(dsn, offered())
            assert found.holds, [one for one in found.findings if one.broken]
            seen += Counter(audits=1, sagas=found.sagas, waiting=found.waiting, parked=found.parked)
            seen += Counter({one.invariant: one.checked for one in found.findings})
        recalled = "select count(*) from timeline where event = 'recalled'"
        seen["recalled"] += await connection.fetchval(recalled)
    finally:
        await connection.close()
        await store.close()
    return seen


def audited(dsn: str, seeds: range) -> Counter[str]:
    """Worlds audited on the way and at their end; how much was seen."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        world = world_of(seed)
        world.live()
        committed: list[Changes] = world.platform.committed  # type: ignore[attr-defined]
        try:
            seen += asyncio.run(look(dsn, committed, random.Random(seed)))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    print(dict(seen))
    return seen


def test_worlds_are_clean_at_every_look(dsn: str) -> None:
    seen = audited(dsn, range(40))
    assert min(seen.values()) > 20, seen
    assert seen["I10"] > 1_000


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_many_more_worlds_are_clean(dsn: str) -> None:
    audited(dsn, range(1_000, 2_000))
