"""The cache of sagas: stale entries are noticed, and it stays within its limits."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from orchestrator.batch.decide import Needs
from orchestrator.batch.effects import BatchResult
from orchestrator.engine.instance import Saga
from orchestrator.engine.kind import LimitKey
from orchestrator.errors import Conflict
from orchestrator.ports import (
    Change,
    Changes,
    DeadLetterReason,
    DecisionKey,
    DecisionRow,
    RecordPosition,
    SagaKey,
)
from orchestrator.runtime.cache import SagaCache
from schemas.ids import SagaId
from tests.platform.rows import saga


class Rows:
    """A transaction that reads rows from a dict, and counts how often."""

    def __init__(self, *sagas: Saga) -> None:
        self.rows = {one.terms.saga_id: one for one in sagas}
        self.loads = 0

    async def load(self, keys: Iterable[SagaKey], strays: Iterable[SagaId]) -> dict[SagaId, Saga]:
        self.loads += 1
        return {key[1]: self.rows[key[1]] for key in keys if key[1] in self.rows}

    async def revisions(self, keys: Iterable[SagaKey]) -> dict[SagaId, int]:
        return {one: found.revision for one, found in (await self.load(keys, ())).items()}

    async def limits(self, keys: Iterable[LimitKey]) -> dict[LimitKey, int]:
        return {}

    async def decisions(self, keys: Iterable[DecisionKey]) -> dict[int, DecisionRow]:
        return {}

    async def set_aside(
        self, places: Iterable[RecordPosition]
    ) -> dict[RecordPosition, DeadLetterReason]:
        return {}

    async def save(self, changes: Changes) -> None:
        raise AssertionError(changes)


ONE = saga()
NEEDS = Needs(frozenset({(ONE.terms.key_hash, ONE.terms.saga_id)}), frozenset(), frozenset())


SENSITIVE = BatchResult(revision_sensitive={ONE.terms.saga_id})


def saved(was: Saga | None, now: Saga) -> BatchResult:
    return BatchResult(changes=Changes(sagas={now.terms.saga_id: Change(was, now)}))


async def test_an_unchanged_saga_is_compared_with_its_row() -> None:
    """Another coordinator has processed a reply without its key: the entry here is stale."""
    cache, rows = SagaCache(10), Rows(replace(ONE, revision=ONE.revision + 1))
    cache.remember(saved(None, ONE))
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: ONE}
    with pytest.raises(Conflict):
        await cache.check(rows, SENSITIVE)


async def test_a_saved_saga_is_not_compared() -> None:
    cache, rows = SagaCache(10), Rows(ONE)
    cache.remember(saved(None, ONE))
    await cache.load(rows, NEEDS)
    await cache.check(rows, saved(ONE, replace(ONE, revision=ONE.revision + 1)))
    assert rows.loads == 0


async def test_a_saga_that_stays_unchanged_at_any_revision_is_not_compared() -> None:
    """For example, the reply that a company has not received a leg never changes a saga."""
    cache, rows = SagaCache(10), Rows(replace(ONE, revision=ONE.revision + 1))
    cache.remember(saved(None, ONE))
    await cache.load(rows, NEEDS)
    await cache.check(rows, BatchResult())
    assert rows.loads == 0


async def test_a_saga_that_this_batch_loaded_is_not_compared() -> None:
    cache, rows = SagaCache(10), Rows(ONE)
    await cache.load(rows, NEEDS)
    await cache.check(rows, SENSITIVE)
    assert rows.loads == 1


async def test_an_entry_that_is_up_to_date_is_no_conflict() -> None:
    cache, rows = SagaCache(10), Rows(ONE)
    cache.remember(saved(None, ONE))
    await cache.load(rows, NEEDS)
    await cache.check(rows, SENSITIVE)
    assert rows.loads == 1


async def test_an_offered_saga_is_cached_but_never_replaces_a_saved_one() -> None:
    cache, rows = SagaCache(10), Rows(ONE)
    later = replace(ONE, revision=ONE.revision + 1)
    cache.offer([ONE])
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: ONE}
    assert rows.loads == 0
    cache.remember(saved(ONE, later))
    cache.offer([ONE])
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: later}


async def test_a_due_saga_is_removed_after_a_batch_that_does_not_change_it() -> None:
    """No reply is expected before its next timer, and the sweep then offers it again."""
    cache, rows = SagaCache(10), Rows(ONE)
    cache.offer([ONE])
    await cache.load(rows, NEEDS)
    later = replace(ONE, revision=ONE.revision + 1)
    cache.remember(saved(ONE, later))  # Its timer sent an inquiry: it stays for the reply.
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: later}
    assert rows.loads == 0
    cache.remember(BatchResult())  # The reply changes nothing.
    await cache.load(rows, NEEDS)
    assert rows.loads == 1


async def test_a_saga_in_flight_stays_after_a_batch_that_does_not_change_it() -> None:
    cache, rows = SagaCache(10), Rows(ONE)
    cache.remember(saved(None, ONE))
    await cache.load(rows, NEEDS)
    cache.remember(BatchResult())
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: ONE}
    assert rows.loads == 0


async def test_the_number_of_offered_sagas_is_limited() -> None:
    cache, rows = SagaCache(2), Rows(ONE)
    cache.offer([ONE, saga("r-2"), saga("r-3")])
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: ONE}
    assert rows.loads == 1


async def test_due_sagas_do_not_evict_those_in_flight() -> None:
    """Otherwise thousands of waiting sagas would make each redemption read its row again."""
    cache, rows = SagaCache(2), Rows(ONE)
    cache.remember(saved(None, ONE))
    for number in range(2, 6):
        found = saga(f"r-{number}")
        cache.offer([found])
        cache.remember(saved(found, replace(found, revision=found.revision + 1)))
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: ONE}
    assert rows.loads == 0


async def test_the_oldest_sagas_in_flight_are_evicted_first() -> None:
    cache, rows = SagaCache(2), Rows(ONE)
    cache.remember(saved(None, ONE))
    for number in range(2, 4):
        cache.remember(saved(None, saga(f"r-{number}")))
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: ONE}
    assert rows.loads == 1


async def test_the_saga_that_was_loaded_is_compared_even_if_it_was_evicted() -> None:
    """A sweep between loading and comparing may replace the entry."""
    cache, rows = SagaCache(2), Rows(ONE)
    cache.offer([ONE])
    await cache.load(rows, NEEDS)
    cache.offer([saga("r-2"), saga("r-3")])  # Evicts the first.
    await cache.check(rows, SENSITIVE)
    moved = Rows(replace(ONE, revision=ONE.revision + 1))
    with pytest.raises(Conflict):
        await cache.check(moved, SENSITIVE)
