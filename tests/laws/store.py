"""What every store keeps: nothing is overwritten, and a batch is written whole or not at all.

A subclass called Test... gives the fixtures `store` and `counts` for its adapter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final
from uuid import uuid4

import pytest

from orchestrator.engine.instance import ResultRevision, Saga
from orchestrator.engine.kind import LimitKey
from orchestrator.engine.machine import Status
from orchestrator.errors import Conflict, Fenced
from orchestrator.ports import Change, Changes, DeadLetterReason, LimitChange, PartitionShare, Store
from schemas.reasons import Code
from schemas.results import ResultStatus
from tests.platform.rows import DAY, NOW, PLACE, created, everything, letter, moved, saga, terms

TABLES: Final = (
    "saga",
    "timeline",
    "transfer",
    "account_limit",
    "position",
    "dead_letter",
    "parked_case",
)
EMPTY: Final = dict.fromkeys(TABLES, 0)
ALL: Final = PartitionShare(1, frozenset({0}))
LIMIT: Final[LimitKey] = (7, "alipayhk/w-1/daily", DAY)

Counts = Callable[[], Awaitable[dict[str, int]]]
"""How many rows each of the tables has."""


async def save(store: Store, changes: Changes) -> None:
    """One batch that writes."""
    async with store.transaction() as batch:
        await batch.save(changes)


async def load(store: Store, one: Saga) -> Saga | None:
    """One batch that reads a saga."""
    async with store.transaction() as batch:
        found = await batch.load([(one.terms.key_hash, one.terms.saga_id)], [])
        return found.get(one.terms.saga_id)


async def used(store: Store, key: LimitKey) -> int | None:
    """One batch that reads a limit."""
    async with store.transaction() as batch:
        return (await batch.limits([key])).get(key)


class StoreLaws:
    """The laws; a method a law."""

    # -- what is written is what is read --------------------------------------------------------

    @pytest.mark.parametrize(
        "one",
        (
            saga(),
            replace(saga(), wake_at=None, withdrawn=False, told=None),
            Saga(
                terms(),
                1,
                told=ResultRevision(1, ResultStatus.REJECTED, True, Code.BELOW_MINIMUM, None, NOW),
            ),
        ),
        ids=("every field", "the least", "refused at once"),
    )
    async def test_a_saga_comes_back_as_it_was(self, store: Store, one: Saga) -> None:
        await save(store, created(one))
        assert await load(store, one) == one

    async def test_a_changed_saga_comes_back_as_it_was_changed(self, store: Store) -> None:
        was = saga()
        await save(store, created(was))
        leg = replace(was.legs[1], status=Status.CONFIRMED, moved=2, reference="C-1", due=None)
        told = ResultRevision(4, ResultStatus.SUCCESS, True, None, None, NOW + 9)
        now = replace(was.with_leg(leg), revision=5, told=told, withdrawn=False, wake_at=None)
        await save(store, Changes(sagas={was.terms.saga_id: Change(was, now)}))
        assert await load(store, was) == now

    async def test_what_does_not_exist_is_not_there(self, store: Store) -> None:
        assert await load(store, saga()) is None
        async with store.transaction() as batch:
            assert await batch.load([], [str(uuid4())]) == {}
            assert await batch.limits([(1, "nobody", DAY)]) == {}
            assert await batch.limits([]) == {}

    async def test_a_stray_is_found_without_its_key(self, store: Store) -> None:
        one, other = saga("r-1", "w-1"), saga("r-2", "w-2")
        await save(store, created(one, other))
        wrong = ((one.terms.key_hash + 1) % 4_096, one.terms.saga_id)
        async with store.transaction() as batch:
            found = await batch.load([wrong], [one.terms.saga_id])
            assert await batch.load([wrong], []) == {}
        assert found == {one.terms.saga_id: one}

    async def test_a_batch_writes_every_table(self, store: Store, counts: Counts) -> None:
        await save(store, everything(saga()))
        assert await counts() == dict.fromkeys(TABLES, 1)
        assert await store.positions() == {PLACE: 5}

    # -- nothing is overwritten -----------------------------------------------------------------

    async def test_a_saga_at_another_revision_is_a_conflict(
        self, store: Store, counts: Counts
    ) -> None:
        was = saga()
        await save(store, created(was))
        await save(store, moved(was))
        before = await counts()
        stale = replace(everything(saga("r-9", "w-9")), sagas=moved(was).sagas)
        with pytest.raises(Conflict):
            await save(store, stale)
        assert await counts() == before
        found = await load(store, was)
        assert found is not None
        assert found.revision == was.revision + 1
        assert not found.withdrawn

    async def test_one_conflict_undoes_the_whole_batch(self, store: Store, counts: Counts) -> None:
        known, fresh = saga("r-1"), saga("r-2")
        await save(store, created(known))
        with pytest.raises(Conflict):
            await save(store, created(fresh, known))
        assert await load(store, fresh) is None
        assert await counts() == EMPTY | {"saga": 1}

    async def test_a_block_that_raises_writes_nothing(self, store: Store, counts: Counts) -> None:
        async def give_up() -> None:
            async with store.transaction() as batch:
                await batch.save(everything(saga()))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await give_up()
        assert await counts() == EMPTY
        await save(store, everything(saga()))

    async def test_a_position_that_is_elsewhere_fences_the_batch(
        self, store: Store, counts: Counts
    ) -> None:
        await save(store, Changes(positions={PLACE: (None, 5)}))
        for expected in (None, 4, 6):
            with pytest.raises(Fenced):
                await save(store, everything(saga(), positions=(expected, 9)))
            assert await counts() == EMPTY | {"position": 1}
            assert await store.positions() == {PLACE: 5}
        # A known partition keeps an unknown one from moving too: a batch is written whole or not.
        other = ("uprp.citi.replies", 3)
        with pytest.raises(Fenced):
            await save(store, Changes(positions={PLACE: (4, 9), other: (None, 1)}))
        assert await store.positions() == {PLACE: 5}
        await save(store, Changes(positions={PLACE: (5, 9), other: (None, 1)}))
        assert await store.positions() == {PLACE: 9, other: 1}

    async def test_of_two_that_move_one_position_one_is_fenced(
        self, store: Store, counts: Counts
    ) -> None:
        await save(store, Changes(positions={PLACE: (None, 5)}))
        ends = await asyncio.gather(
            save(store, replace(created(saga("r-1")), positions={PLACE: (5, 6)})),
            save(store, replace(created(saga("r-2")), positions={PLACE: (5, 7)})),
            return_exceptions=True,
        )
        assert [type(end) for end in ends if end is not None] == [Fenced]
        assert (await counts())["saga"] == 1

    async def test_of_two_that_first_read_a_partition_one_is_fenced(
        self, store: Store, counts: Counts
    ) -> None:
        ends = await asyncio.gather(
            save(store, replace(created(saga("r-1")), positions={PLACE: (None, 6)})),
            save(store, replace(created(saga("r-2")), positions={PLACE: (None, 7)})),
            return_exceptions=True,
        )
        assert [type(end) for end in ends if end is not None] == [Fenced]
        assert (await counts())["saga"] == 1

    async def test_of_two_that_begin_one_saga_one_conflicts(self, store: Store) -> None:
        one = saga()
        async with store.transaction() as first:
            await first.save(created(one))
            second = asyncio.create_task(save(store, created(one)))
            done, _ = await asyncio.wait([second], timeout=0.2)
            assert not done  # It learns the outcome of the first before its own.
        with pytest.raises(Conflict):
            await second

    async def test_of_two_that_read_one_revision_one_conflicts(self, store: Store) -> None:
        one = saga()
        await save(store, created(one))
        async with store.transaction() as first:
            await first.save(moved(one))
            second = asyncio.create_task(save(store, moved(one)))
            done, _ = await asyncio.wait([second], timeout=0.2)
            assert not done
        with pytest.raises(Conflict):
            await second

    async def test_who_waits_for_one_that_gives_up_goes_on(self, store: Store) -> None:
        one = saga()
        await save(store, created(one))
        waiting: list[asyncio.Task[None]] = []

        async def give_up() -> None:
            async with store.transaction() as first:
                await first.save(moved(one))
                waiting.append(asyncio.create_task(save(store, moved(one))))
                await asyncio.wait(waiting, timeout=0.05)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await give_up()
        await waiting[0]
        found = await load(store, one)
        assert found is not None
        assert found.revision == one.revision + 1

    # -- limits ---------------------------------------------------------------------------------

    async def test_a_limit_that_somebody_else_moved_is_a_conflict(self, store: Store) -> None:
        one = saga()
        assert await used(store, LIMIT) is None
        # Read as unused; meanwhile another account's saga on the same limit is accepted.
        await save(store, Changes(limits={LIMIT: LimitChange(60_000, 0)}))
        with pytest.raises(Conflict):
            await save(store, replace(created(one), limits={LIMIT: LimitChange(50_000, 0)}))
        assert await load(store, one) is None
        async with store.transaction() as batch:
            assert await batch.limits([LIMIT]) == {LIMIT: 60_000}
            await batch.save(Changes(limits={LIMIT: LimitChange(40_000, 60_000)}))
        assert await used(store, LIMIT) == 100_000

    @pytest.mark.parametrize("was", (0, 10_000))
    async def test_of_two_that_decide_upon_one_limit_one_conflicts(
        self, store: Store, was: int
    ) -> None:
        if was:
            await save(store, Changes(limits={LIMIT: LimitChange(was, 0)}))
        taken = Changes(limits={LIMIT: LimitChange(5_000, was)})
        ends = await asyncio.gather(save(store, taken), save(store, taken), return_exceptions=True)
        assert [type(end) for end in ends if end is not None] == [Conflict]
        assert await used(store, LIMIT) == was + 5_000

    async def test_a_limit_moves_whatever_it_is_now_when_it_was_not_read(
        self, store: Store
    ) -> None:
        """A release follows from the saga alone: it decides nothing, so it needs no reading."""
        await save(store, Changes(limits={LIMIT: LimitChange(60_000, 0)}))
        await save(store, Changes(limits={LIMIT: LimitChange(-10_000, None)}))
        assert await used(store, LIMIT) == 50_000
        await save(store, Changes(limits={LIMIT: LimitChange(2_000, None)}))
        assert await used(store, LIMIT) == 52_000

    # -- dead letters, timers -------------------------------------------------------------------

    async def test_a_dead_letter_is_kept_once(self, store: Store, counts: Counts) -> None:
        first = letter()
        await save(store, Changes(dead_letters=[first]))
        await save(store, Changes(dead_letters=[replace(first, message="again"), letter(10)]))
        assert (await counts())["dead_letter"] == 2
        place = (first.topic, first.partition, first.offset)
        other = (first.topic, first.partition, 10**9)
        async with store.transaction() as batch:
            assert await batch.set_aside([]) == {}
            found = await batch.set_aside([other, place])
        # A text of PostgreSQL holds no U+0000.
        field, message = first.field.replace("\0", "?"), first.message.replace("\0", "?")
        why = DeadLetterReason(first.error_class, field, message, first.disposition)
        assert found == {place: why}

    async def test_what_is_due_is_found_whole_and_left_as_it_is(self, store: Store) -> None:
        due, later, never = (
            saga("r-1", due=NOW - 1),
            saga("r-2", due=NOW + 1),
            saga("r-3", due=None),
        )
        await save(store, created(due, later, never))
        assert list(await store.due(0, NOW, ALL, (), 10)) == [due]
        assert await load(store, due) == due
        assert list(await store.due(0, NOW + 1, ALL, (), 10)) == [due, later]
        assert list(await store.due(NOW - 1, NOW + 1, ALL, (), 10)) == [later]

    async def test_the_earliest_come_first_and_no_more_than_asked(self, store: Store) -> None:
        sagas = [saga(f"r-{n}", due=NOW - n) for n in range(5)]
        await save(store, created(*sagas))
        assert list(await store.due(0, NOW, ALL, (), 2)) == [sagas[4], sagas[3]]

    async def test_what_rings_already_is_left_out(self, store: Store) -> None:
        sagas = [saga(f"r-{n}", due=NOW - n) for n in range(5)]
        await save(store, created(*sagas))
        fired = [one.terms.saga_id for one in sagas[3:]]
        assert list(await store.due(0, NOW, ALL, fired, 2)) == [sagas[2], sagas[1]]

    async def test_every_share_finds_its_own(self, store: Store) -> None:
        """Those who read different partitions have nothing in common, and miss nothing together."""
        sagas = [saga(f"r-{n}", f"w-{n}", due=NOW - n) for n in range(40)]
        await save(store, created(*sagas))
        parts = [frozenset({0, 2}), frozenset({1}), frozenset({3})]
        found = [list(await store.due(0, NOW, PartitionShare(4, part), (), 40)) for part in parts]
        assert all(found)
        for part, mine in zip(parts, found, strict=True):
            assert {one.terms.key_hash % 4 for one in mine} == part
        assert sum(map(len, found)) == 40
        assert list(await store.due(0, NOW, PartitionShare(4, frozenset()), (), 40)) == []

    async def test_what_is_forgotten_is_gone_and_the_others_stay(self, store: Store) -> None:
        one, other = saga("r-1"), saga("r-2", "w-2")
        await save(store, created(one, other))
        key = (one.terms.key_hash, one.terms.saga_id)
        await save(store, Changes(forgotten={key: one.revision}))
        assert await load(store, one) is None
        assert await load(store, other) == other

    async def test_what_moved_meanwhile_is_not_forgotten(self, store: Store) -> None:
        one = saga()
        await save(store, created(one))
        for revision in (one.revision - 1, one.revision + 1):
            key = (one.terms.key_hash, one.terms.saga_id)
            with pytest.raises(Conflict):
                await save(store, Changes(forgotten={key: revision}))
        assert await load(store, one) == one
        gone = (one.terms.key_hash, saga("r-9").terms.saga_id)
        with pytest.raises(Conflict):
            await save(store, Changes(forgotten={gone: 1}))

    async def test_revisions_alone_are_those_of_the_sagas(self, store: Store) -> None:
        one, other = saga("r-1"), saga("r-2", "w-2")
        await save(store, created(one))
        keys = [(known.terms.key_hash, known.terms.saga_id) for known in (one, other)]
        async with store.transaction() as batch:
            assert await batch.revisions([]) == {}
            found = await batch.revisions(keys)
        assert found == {one.terms.saga_id: one.revision}
