"""Sagas at hand are never believed: whoever moved one meanwhile is noticed."""

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


LEANT = BatchResult(revision_sensitive={ONE.terms.saga_id})


def saved(was: Saga | None, now: Saga) -> BatchResult:
    return BatchResult(changes=Changes(sagas={now.terms.saga_id: Change(was, now)}))


async def test_what_is_left_as_it_is_is_compared_with_its_row() -> None:
    """A reply without its key was taken by another coordinator: what is at hand here is stale."""
    cache, rows = SagaCache(10), Rows(replace(ONE, revision=ONE.revision + 1))
    cache.remember(saved(None, ONE))
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: ONE}
    with pytest.raises(Conflict):
        await cache.check(rows, LEANT)


async def test_what_is_saved_needs_no_second_look() -> None:
    cache, rows = SagaCache(10), Rows(ONE)
    cache.remember(saved(None, ONE))
    await cache.load(rows, NEEDS)
    await cache.check(rows, saved(ONE, replace(ONE, revision=ONE.revision + 1)))
    assert rows.loads == 0


async def test_what_nothing_was_concluded_from_needs_no_second_look() -> None:
    """A company that has not heard of a leg says that whatever has become of it meanwhile."""
    cache, rows = SagaCache(10), Rows(replace(ONE, revision=ONE.revision + 1))
    cache.remember(saved(None, ONE))
    await cache.load(rows, NEEDS)
    await cache.check(rows, BatchResult())
    assert rows.loads == 0


async def test_what_was_read_just_now_needs_no_second_look() -> None:
    cache, rows = SagaCache(10), Rows(ONE)
    await cache.load(rows, NEEDS)
    await cache.check(rows, LEANT)
    assert rows.loads == 1


async def test_what_is_as_it_was_is_no_conflict() -> None:
    cache, rows = SagaCache(10), Rows(ONE)
    cache.remember(saved(None, ONE))
    await cache.load(rows, NEEDS)
    await cache.check(rows, LEANT)
    assert rows.loads == 1


async def test_what_a_sweeper_found_is_at_hand_but_never_instead_of_what_was_saved() -> None:
    cache, rows = SagaCache(10), Rows(ONE)
    later = replace(ONE, revision=ONE.revision + 1)
    cache.offer([ONE])
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: ONE}
    assert rows.loads == 0
    cache.remember(saved(ONE, later))
    cache.offer([ONE])
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: later}


async def test_what_rang_and_was_answered_with_nothing_new_is_let_go() -> None:
    """Nothing is expected of it until its next timer, which brings it along."""
    cache, rows = SagaCache(10), Rows(ONE)
    cache.offer([ONE])
    await cache.load(rows, NEEDS)
    later = replace(ONE, revision=ONE.revision + 1)
    cache.remember(saved(ONE, later))  # It asks, and is at hand for the answer,
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: later}
    assert rows.loads == 0
    cache.remember(BatchResult())  # which changes nothing.
    await cache.load(rows, NEEDS)
    assert rows.loads == 1


async def test_what_is_in_flight_stays_whatever_is_said_of_it() -> None:
    cache, rows = SagaCache(10), Rows(ONE)
    cache.remember(saved(None, ONE))
    await cache.load(rows, NEEDS)
    cache.remember(BatchResult())
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: ONE}
    assert rows.loads == 0


async def test_what_is_offered_is_bounded_too() -> None:
    cache, rows = SagaCache(2), Rows(ONE)
    cache.offer([ONE, saga("r-2"), saga("r-3")])
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: ONE}
    assert rows.loads == 1


async def test_what_a_sweeper_finds_does_not_push_out_what_is_in_flight() -> None:
    """Else thousands that wait again for long cost each redemption a reading of its row."""
    cache, rows = SagaCache(2), Rows(ONE)
    cache.remember(saved(None, ONE))
    for number in range(2, 6):
        found = saga(f"r-{number}")
        cache.offer([found])
        cache.remember(saved(found, replace(found, revision=found.revision + 1)))
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: ONE}
    assert rows.loads == 0


async def test_the_oldest_of_those_in_flight_make_room() -> None:
    cache, rows = SagaCache(2), Rows(ONE)
    cache.remember(saved(None, ONE))
    for number in range(2, 4):
        cache.remember(saved(None, saga(f"r-{number}")))
    assert await cache.load(rows, NEEDS) == {ONE.terms.saga_id: ONE}
    assert rows.loads == 1


async def test_a_sweep_between_loading_and_comparing_changes_nothing() -> None:
    """What the batch was decided on is compared, though it is not at hand any more."""
    cache, rows = SagaCache(2), Rows(ONE)
    cache.offer([ONE])
    await cache.load(rows, NEEDS)
    cache.offer([saga("r-2"), saga("r-3")])  # In the place of the first.
    await cache.check(rows, LEANT)
    moved = Rows(replace(ONE, revision=ONE.revision + 1))
    with pytest.raises(Conflict):
        await cache.check(moved, LEANT)
