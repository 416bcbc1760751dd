"""The store's laws on PostgreSQL, and what only a server can show."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.migrate import check, migrate, migrations
from adapters.postgres.queries import queries
from adapters.postgres.store import BY_KEY, PostgresStore
from orchestrator.errors import SchemaTooOld, Unavailable
from orchestrator.ports import Changes
from tests.laws.store import TABLES, Counts, StoreLaws, load, save
from tests.platform.rows import PLACE, created, everything, letter, moved, saga
from tests.support import eventually

pytestmark = pytest.mark.servers

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


async def counts(db: Any) -> dict[str, int]:
    return {table: await db.fetchval(f"select count(*) from {table}") for table in TABLES}


class TestPostgresStore(StoreLaws):
    """Every law of a store."""

    @pytest.fixture
    def counts(self, db: Any) -> Counts:
        """How many rows there are."""
        return lambda: counts(db)


# -- what is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(name for name, query in queries().items() if query.hot))
@pytest.mark.parametrize("rows", (0, 5_000))
async def test_a_hot_statement_never_scans_a_table(dsn: str, db: Any, name: str, rows: int) -> None:
    """Whatever the planner believes of the tables: nothing is known of them, or all of it."""
    if rows:
        await db.execute(
            "insert into account_limit select n % 4096, 's' || n, date '2026-09-21', 0"
            f" from generate_series(1, {rows}) n"
        )
        await db.execute(f"analyze {', '.join(TABLES)}")
    connection = await asyncpg.connect(dsn, server_settings=BY_KEY)
    try:
        sql = queries()[name].sql
        nulls = ", ".join("null" for _ in set(re.findall(r"\$\d+", sql)))
        await connection.execute(f"prepare hot as {sql}")
        plan = await connection.fetch(f"explain execute hot({nulls})")
    finally:
        await connection.close()
    text = "\n".join(row[0] for row in plan)
    assert "Seq Scan" not in text, text


async def test_a_batch_writes_every_table_and_counts_its_rows(
    store: PostgresStore, db: Any
) -> None:
    async with store.transaction() as batch:
        await batch.save(everything(saga()))
        assert batch.rows == dict.fromkeys(TABLES, 1)
        assert batch.statements == len(TABLES)  # One statement a table (`design.md` 2).
    assert await counts(db) == dict.fromkeys(TABLES, 1)
    assert await store.positions() == {PLACE: 5}


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
