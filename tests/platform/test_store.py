"""The store's laws, on PostgreSQL: nothing is overwritten, and a batch is written whole or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.migrate import check, migrate, migrations
from adapters.postgres.store import PostgresStore
from orchestrator.errors import Conflict, Fenced, SchemaTooOld, Unavailable
from orchestrator.ports import Change, Changes, LimitChange
from orchestrator.saga.instance import Saga, Told
from orchestrator.saga.machine import Status
from schemas.reasons import Code
from schemas.results import ResultStatus
from tests.platform.rows import DAY, NOW, PLACE, created, everything, letter, moved, saga, terms
from tests.support import eventually

pytestmark = pytest.mark.servers

TABLES = (
    "saga",
    "timeline",
    "transfer",
    "account_limit",
    "position",
    "dead_letter",
    "parked_case",
)
DATABASE = "store"


@pytest.fixture(scope="module")
def dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database with the newest schema."""
    found = postgres.create_database(DATABASE)
    asyncio.run(migrate(found))
    yield found
    postgres.drop_database(DATABASE)


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[Any]:
    """Empty tables, and a connection that looks at them."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"truncate {', '.join(TABLES)}, decision")
    yield connection
    await connection.close()


@pytest.fixture
async def store(dsn: str, db: Any) -> AsyncIterator[PostgresStore]:
    """The store."""
    opened = PostgresStore(dsn, statement_timeout_s=10)
    await opened.open()
    yield opened
    await opened.close()


async def save(store: PostgresStore, changes: Changes) -> None:
    async with store.transaction() as batch:
        await batch.save(changes)


async def load(store: PostgresStore, one: Saga) -> Saga | None:
    async with store.transaction() as batch:
        found = await batch.load([(one.terms.key_hash, one.terms.saga_id)], [])
        return found.get(one.terms.saga_id)


async def counts(db: Any) -> dict[str, int]:
    return {table: await db.fetchval(f"select count(*) from {table}") for table in TABLES}


# -- what is written is what is read ------------------------------------------------------------


@pytest.mark.parametrize(
    "one",
    (
        saga(),
        replace(saga(), wake_at=None, withdrawn=False, told=None),
        Saga(terms(), 1, told=Told(1, ResultStatus.REJECTED, True, Code.BELOW_MINIMUM, None, NOW)),
    ),
    ids=("every field", "the least", "refused at once"),
)
async def test_a_saga_comes_back_as_it_was(store: PostgresStore, one: Saga) -> None:
    await save(store, created(one))
    assert await load(store, one) == one


async def test_a_changed_saga_comes_back_as_it_was_changed(store: PostgresStore) -> None:
    was = saga()
    await save(store, created(was))
    leg = replace(was.legs[1], status=Status.CONFIRMED, moved=2, reference="C-1", due=None)
    told = Told(4, ResultStatus.SUCCESS, True, None, None, NOW + 9)
    now = replace(was.with_leg(leg), revision=5, told=told, withdrawn=False, wake_at=None)
    await save(store, Changes(sagas={was.terms.saga_id: Change(was, now)}))
    assert await load(store, was) == now


async def test_what_does_not_exist_is_not_there(store: PostgresStore) -> None:
    assert await load(store, saga()) is None
    async with store.transaction() as batch:
        assert await batch.load([], [uuid4()]) == {}
        assert await batch.limits([(1, "nobody", DAY)]) == {}
        assert await batch.limits([]) == {}


async def test_a_stray_is_found_without_its_key(store: PostgresStore) -> None:
    one, other = saga("r-1", "w-1"), saga("r-2", "w-2")
    await save(store, created(one, other))
    wrong = ((one.terms.key_hash + 1) % 4_096, one.terms.saga_id)
    async with store.transaction() as batch:
        found = await batch.load([wrong], [one.terms.saga_id])
    assert found == {one.terms.saga_id: one}


async def test_a_batch_writes_every_table_and_counts_its_rows(
    store: PostgresStore, db: Any
) -> None:
    async with store.transaction() as batch:
        await batch.save(everything(saga()))
        assert batch.rows == dict.fromkeys(TABLES, 1)
        assert batch.statements == len(TABLES)  # One statement a table (`design.md` 2).
    assert await counts(db) == dict.fromkeys(TABLES, 1)
    assert await store.positions() == {PLACE: 5}


# -- nothing is overwritten -----------------------------------------------------------------------


async def test_a_saga_at_another_revision_is_a_conflict(store: PostgresStore, db: Any) -> None:
    was = saga()
    await save(store, created(was))
    await save(store, moved(was))
    before = await counts(db)
    stale = replace(everything(saga("r-9", "w-9")), sagas=moved(was).sagas)
    with pytest.raises(Conflict):
        await save(store, stale)
    assert await counts(db) == before
    found = await load(store, was)
    assert found is not None
    assert found.revision == was.revision + 1
    assert not found.withdrawn


async def test_one_conflict_undoes_the_whole_batch(store: PostgresStore, db: Any) -> None:
    known, fresh = saga("r-1"), saga("r-2")
    await save(store, created(known))
    with pytest.raises(Conflict):
        await save(store, created(fresh, known))
    assert await load(store, fresh) is None
    assert await counts(db) == dict.fromkeys(TABLES, 0) | {"saga": 1}


async def test_a_position_that_is_elsewhere_fences_the_batch(store: PostgresStore, db: Any) -> None:
    await save(store, Changes(positions={PLACE: (None, 5)}))
    for expected in (None, 4, 6):
        with pytest.raises(Fenced):
            await save(store, everything(saga(), positions=(expected, 9)))
        assert await counts(db) == dict.fromkeys(TABLES, 0) | {"position": 1}
        assert await store.positions() == {PLACE: 5}
    # A known partition keeps an unknown one from moving too: a batch is written whole or not.
    other = ("uprp.citi.replies", 3)
    with pytest.raises(Fenced):
        await save(store, Changes(positions={PLACE: (4, 9), other: (None, 1)}))
    assert await store.positions() == {PLACE: 5}
    await save(store, Changes(positions={PLACE: (5, 9), other: (None, 1)}))
    assert await store.positions() == {PLACE: 9, other: 1}


async def test_of_two_that_move_one_position_one_is_fenced(store: PostgresStore, db: Any) -> None:
    await save(store, Changes(positions={PLACE: (None, 5)}))
    ends = await asyncio.gather(
        save(store, replace(created(saga("r-1")), positions={PLACE: (5, 6)})),
        save(store, replace(created(saga("r-2")), positions={PLACE: (5, 7)})),
        return_exceptions=True,
    )
    assert [type(end) for end in ends if end is not None] == [Fenced]
    assert (await counts(db))["saga"] == 1


async def test_a_limit_that_somebody_else_moved_is_a_conflict(
    store: PostgresStore, db: Any
) -> None:
    one = saga()
    key = (one.terms.key_hash, one.terms.limit, DAY)
    async with store.transaction() as batch:
        assert await batch.limits([key]) == {}
    # Read as unused; meanwhile another saga on the same limit is accepted.
    await save(store, Changes(limits={key: LimitChange(60_000, None)}))
    with pytest.raises(Conflict):
        await save(store, replace(created(one), limits={key: LimitChange(50_000, 0)}))
    assert await load(store, one) is None
    async with store.transaction() as batch:
        assert await batch.limits([key]) == {key: 60_000}
        await batch.save(Changes(limits={key: LimitChange(40_000, 60_000)}))
    assert await db.fetchval("select used from account_limit") == 100_000


async def test_a_limit_is_given_back_whatever_it_is_now(store: PostgresStore, db: Any) -> None:
    """A release follows from the saga alone: it decides nothing, so it needs no reading."""
    key = (7, "alipayhk/w-1/daily", DAY)
    await save(store, Changes(limits={key: LimitChange(60_000, None)}))
    await save(store, Changes(limits={key: LimitChange(-10_000, None)}))
    assert await db.fetchval("select used from account_limit") == 50_000


async def test_of_two_that_read_one_revision_one_conflicts(store: PostgresStore) -> None:
    one = saga()
    await save(store, created(one))
    async with store.transaction() as first:
        await first.save(moved(one))
        second = asyncio.create_task(save(store, moved(one)))
        done, _ = await asyncio.wait([second], timeout=0.2)
        assert not done  # It learns the outcome of the first before its own.
    with pytest.raises(Conflict):
        await second


async def test_a_dead_letter_is_kept_once_and_byte_for_byte(store: PostgresStore, db: Any) -> None:
    first = letter()
    await save(store, Changes(dead_letters=[first]))
    await save(store, Changes(dead_letters=[replace(first, message="again"), letter(10)]))
    rows = await db.fetch('select *, headers::text as headers from dead_letter order by "offset"')
    assert [row["offset"] for row in rows] == [9, 10]
    row = rows[0]
    assert (row["key"], row["value"]) == (first.key, first.value)
    assert row["message"] == "is ? odd"
    assert row["field"] == "value?"
    assert row["fingerprint"] == first.fingerprint
    assert row["first_failed_at"] == first.failed_at
    assert str(row["saga_id"]) == first.saga_id
    assert row["disposition"] == "poison"
    assert row["headers"] == '[["ce_id","e-1"],["x-odd","\\u0000\u00ff"],["x-empty",null]]'


# -- timers ---------------------------------------------------------------------------------------


async def test_a_due_timer_is_leased_once_and_pushed(store: PostgresStore, db: Any) -> None:
    due, later, never = (
        saga("r-1", due=NOW - 1),
        saga("r-2", due=NOW + 1),
        saga("r-3", due=None),
    )
    await save(store, created(due, later, never))
    (timer,) = await store.lease_due(NOW, NOW + 10_000, 10)
    assert timer.saga_id == due.terms.saga_id
    assert (timer.revision, timer.origin, timer.account) == (due.revision, "alipayhk", "w-1")
    assert await store.lease_due(NOW, NOW + 10_000, 10) == []
    found = await load(store, due)
    assert found is not None
    assert found.wake_at == NOW + 10_000
    assert found.revision == due.revision
    # A record that got lost is said again when the lease has run out.
    again = await store.lease_due(NOW + 10_000, NOW + 20_000, 10)
    assert {one.saga_id for one in again} == {due.terms.saga_id, later.terms.saga_id}


async def test_leases_take_the_earliest_first_and_no_more_than_asked(store: PostgresStore) -> None:
    sagas = [saga(f"r-{n}", due=NOW - n) for n in range(5)]
    await save(store, created(*sagas))
    found = await store.lease_due(NOW, NOW + 1_000, 2)
    assert {one.saga_id for one in found} == {sagas[4].terms.saga_id, sagas[3].terms.saga_id}


async def test_two_that_lease_at_once_get_disjoint_sets(store: PostgresStore) -> None:
    sagas = [saga(f"r-{n}", f"w-{n}", due=NOW - 1) for n in range(40)]
    await save(store, created(*sagas))
    # Somebody holds three of them in a batch: nobody waits for these, they stay due.
    held = [(one.terms.key_hash, one.terms.saga_id) for one in sagas[:3]]
    async with store.transaction() as batch:
        for one in sagas[:3]:
            await batch.save(moved(one))
        shares = await asyncio.gather(
            *(store.lease_due(NOW, NOW + 10_000, 15) for _ in range(3)),
        )
    ids = [timer.saga_id for share in shares for timer in share]
    assert len(ids) == len(set(ids)) <= 37
    assert not {saga_id for _, saga_id in held} & set(ids)
    rest = await store.lease_due(NOW, NOW + 10_000, 40)
    assert len(ids) + len(rest) == 40
    assert not set(ids) & {timer.saga_id for timer in rest}


# -- when the server is away ----------------------------------------------------------------------


async def test_a_server_that_is_away_is_said_so_and_comes_back(
    postgres: EmbeddedPostgres, store: PostgresStore, dsn: str
) -> None:
    one = saga()
    await save(store, created(one))
    postgres.stop()
    try:
        for attempt in (store.positions, lambda: load(store, one), lambda: save(store, moved(one))):
            with pytest.raises(Unavailable, match="PostgreSQL"):
                await attempt()
        with pytest.raises(Unavailable):
            await PostgresStore(dsn).open()
    finally:
        postgres.start()

    async def back() -> bool:
        try:
            return await load(store, one) == one
        except Unavailable:
            return False

    await eventually(back, 20, "the same store works again")
    await save(store, moved(one))


async def test_a_session_that_is_cut_in_a_transaction_writes_nothing(
    store: PostgresStore, db: Any
) -> None:
    async def cut() -> None:
        async with store.transaction() as batch:
            await batch.save(created(saga()))
            await db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'uprp-coordinator' and state = 'idle in transaction'"
            )

    with pytest.raises(Unavailable):
        await cut()
    assert (await counts(db))["saga"] == 0
    assert await load(store, saga()) is None


async def test_a_process_that_stands_still_loses_its_locks(dsn: str, db: Any) -> None:
    """Else a frozen coordinator would hold its rows for as long as it is frozen."""
    frozen = PostgresStore(dsn, idle_in_transaction_s=0.2)
    await frozen.open()

    async def stand_still() -> None:
        async with frozen.transaction() as batch:
            await batch.save(created(saga()))

            async def cut() -> bool:
                found = await db.fetchval(
                    "select count(*) from pg_stat_activity"
                    " where application_name = 'uprp-coordinator' and state like 'idle in%'"
                )
                return bool(found == 0)

            await eventually(cut, 10, "the server ends the transaction")

    with pytest.raises(Unavailable):
        await stand_still()
    await frozen.close()
    assert (await counts(db))["saga"] == 0


# -- migrations -----------------------------------------------------------------------------------


async def test_migrations_apply_once_also_when_two_begin_at_once(database: str) -> None:
    done = await asyncio.gather(*(migrate(database) for _ in range(3)))
    assert sorted(map(len, done)) == [0, 0, len(migrations())]
    assert await migrate(database) == []
    connection = await asyncpg.connect(database)
    try:
        await check(connection)
        names = [row["name"] for row in await connection.fetch("select name from migration")]
        assert sorted(names) == list(migrations())
        # A newer schema than this code knows is tolerated.
        await connection.execute("insert into migration (name) values ('9999_post_later.sql')")
        await check(connection)
    finally:
        await connection.close()


async def test_an_old_schema_is_refused(database: str) -> None:
    store = PostgresStore(database)
    await store.open()
    try:
        with pytest.raises(SchemaTooOld, match=f"{next(iter(migrations()))}.*uprp db migrate"):
            await store.check_schema()
        await migrate(database)
        await store.check_schema()
    finally:
        await store.close()
    assert SchemaTooOld.exit_code == 4  # That a coordinator ends with it: tests/cli.
