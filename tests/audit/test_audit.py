"""A database of every kind of saga is clean; whatever is broken in it on purpose is named."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import asyncpg
import pytest

from adapters.audit import database
from adapters.audit.database import Options, audit
from adapters.audit.report import Audit
from adapters.cli.audit import EXIT_BROKEN
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.migrate import migrate
from orchestrator.errors import SchemaTooOld, Unavailable
from tests.audit.corruption_kinds import KINDS, QUESTIONS
from tests.audit.corruptions import NAMES_ANOTHER, PLANTS, Plant, filled
from tests.audit.setup import ACCOUNT, offered
from tests.bench.million import every_kind
from tests.cli.test_cli import uprp

pytestmark = pytest.mark.servers

CLEAN: Final = "audit_clean"
WITHOUT_TIMERS: Final = (
    "update saga set due_at = null where due_at is not null and account not like '%balance%'"
)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def clean(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database with one saga of each kind; nobody is connected to it."""
    dsn = postgres.create_database(CLEAN)
    asyncio.run(every_kind(dsn))
    yield dsn
    postgres.drop_database(CLEAN)


@pytest.fixture
def copy(postgres: EmbeddedPostgres, clean: str) -> Iterator[str]:
    """A copy of it, to break."""
    name = f"audit_{next(_numbers)}"

    async def make() -> None:
        connection: Any = await asyncpg.connect(postgres.dsn)
        await connection.execute(f"create database {name} template {CLEAN}")
        await connection.close()

    asyncio.run(make())
    yield clean.replace(CLEAN, name)
    postgres.drop_database(name)


def audited(dsn: str, **options: Any) -> Audit:
    return asyncio.run(audit(dsn, offered(), replace(Options(), **options)))


def broken(found: Audit) -> set[str]:
    return {one.invariant for one in found.findings if one.broken}


def run(dsn: str, *statements: str) -> None:
    """Run SQL as somebody whom no trigger stops."""

    async def act() -> None:
        connection: Any = await asyncpg.connect(dsn)
        await connection.execute("set session_replication_role = replica")
        for statement in statements:
            done = await connection.execute(statement)
            assert not done.endswith(" 0"), f"nothing was broken by: {statement}"
        await connection.close()

    asyncio.run(act())


def fetchval(dsn: str, query: str) -> Any:
    async def ask() -> Any:
        connection: Any = await asyncpg.connect(dsn)
        found = await connection.fetchval(query)
        await connection.close()
        return found

    return asyncio.run(ask())


# -- nothing is broken --------------------------------------------------------------------------


def test_every_kind_of_saga_is_clean(clean: str) -> None:
    found = audited(clean)
    assert [(one.invariant, one.named) for one in found.findings if one.broken] == []
    assert [one.invariant for one in found.findings] == [f"I{n}" for n in range(1, 15)]
    checked = {one.invariant: one.checked for one in found.findings}
    print(checked)
    assert found.sagas == checked["I3"] == len(KINDS)
    assert found.questions == checked["I14"] == len(QUESTIONS) - 1, "one is forgotten"
    assert all(checked.values()), "an invariant that spoke of nothing proves nothing"
    assert found.movements == checked["I10"] == fetchval(clean, "select count(*) from transfer")
    assert found.events == fetchval(clean, "select count(*) from timeline")
    assert found.parked == fetchval(
        clean, "select count(*) from parked_case where closed_at is null"
    )
    assert checked["I5"] == fetchval(clean, "select count(*) from account_limit where used > 0")


def test_what_lies_in_suspense_has_an_owner_and_open_returns_are_no_fault(clean: str) -> None:
    found = audited(clean)
    units = {one.unit: one for one in found.suspense}
    assert units["citi-points"].cases == 25_000, "the refused return"
    assert units["harbour-points"].cases == 8_810, "the silent credit"
    assert units["harbour-points"].flights == 599, "two returns that are not acknowledged"
    assert found.unreturned == 2
    assert all(one.others == 0 for one in found.suspense)


@pytest.mark.parametrize("connections", (1, 2, 3, 16))
def test_the_answer_does_not_depend_on_the_connections(clean: str, connections: int) -> None:
    found = audited(clean, connections=connections)
    assert found.holds
    assert found.sagas == len(KINDS)


def test_an_empty_database_is_clean(database: str) -> None:
    asyncio.run(migrate(database))
    found = audited(database)
    assert found.holds
    assert found.sagas == 0


# -- what is broken on purpose ------------------------------------------------------------------


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.what)
def test_what_is_broken_is_named_and_nothing_else(copy: str, plant: Plant) -> None:
    account = f"{ACCOUNT}-{plant.kind}"
    saga = fetchval(copy, f"select saga_id from saga where account = '{account}'")
    run(copy, *(filled(one, str(saga), account) for one in plant.statements))
    found = audited(copy)
    assert broken(found) == set(plant.breaks.split()), found.findings
    for one in found.findings:
        if one.broken:
            assert one.broken == 1, one
            assert one.next, one
            (named,) = one.named
            assert named.why, one
            if plant.what in NAMES_ANOTHER:
                assert named.name == NAMES_ANOTHER[plant.what]
            elif one.invariant == "I5":
                assert named.name.startswith(f"alipayhk/{account}/daily on ")
            else:
                assert str(saga) in f"{named.name} {named.why}"


def test_every_invariant_was_broken_at_least_once() -> None:
    alone = {plant.breaks for plant in PLANTS}
    for number in range(1, 15):
        assert any(f"I{number}" in breaks.split() for breaks in alone)
    assert {f"I{number}" for number in range(1, 15)} - alone == {"I8"}, "alone, where that can be"


def test_the_first_are_named_and_the_others_counted(copy: str) -> None:
    waiting = audited(copy).waiting
    run(copy, WITHOUT_TIMERS)
    found = audited(copy, names=2)
    (one,) = [one for one in found.findings if one.broken]
    assert one.invariant == "I13"
    assert one.broken == waiting > 5
    assert len({named.name for named in one.named}) == 2


def test_a_limit_names_its_sagas(copy: str) -> None:
    run(copy, f"update account_limit set used = 1 where scope like '%/{ACCOUNT}-success/daily'")
    (one,) = [one for one in audited(copy).findings if one.broken]
    saga = fetchval(copy, f"select saga_id from saga where account = '{ACCOUNT}-success'")
    assert one.named[0].name.startswith(f"alipayhk/{ACCOUNT}-success/daily on ")
    assert one.named[0].why == f"1 is used, its sagas count 16,000; sagas: {saga}"


# -- the command ---------------------------------------------------------------------------------


def test_the_command_tells_what_holds_and_what_does_not(copy: str) -> None:
    done = uprp("audit", UPRP_POSTGRES__DSN=copy)
    assert done.exit_code == 0, done.output
    assert "14 invariants hold" in done.stdout
    assert "4 questions are not forgotten yet" in done.stdout
    assert "in suspense, harbour-points: 9,409; in cases 8,810" in done.stdout
    run(copy, WITHOUT_TIMERS)
    done = uprp("audit", "--names", "1", UPRP_POSTGRES__DSN=copy)
    assert done.exit_code == EXIT_BROKEN
    assert "I13 is broken" in done.stdout
    assert "more; --names says how many are named" in done.stdout
    assert "next: uprp saga show " in done.stdout
    done = uprp("audit", "--json", UPRP_POSTGRES__DSN=copy)
    assert done.exit_code == EXIT_BROKEN
    found = json.loads(done.stdout)
    assert not found["holds"]
    (one,) = [one for one in found["findings"] if one["broken"]]
    assert one["invariant"] == "I13"
    assert len(one["named"]) == 5
    assert found["sagas"] == len(KINDS)


def test_the_command_says_what_is_missing(database: str) -> None:
    done = uprp("audit", UPRP_POSTGRES__DSN=database)
    assert done.exit_code == SchemaTooOld.exit_code
    assert "uprp db migrate" in done.stderr
    done = uprp("audit", UPRP_POSTGRES__DSN="postgresql://uprp@127.0.0.1:1/uprp")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: PostgreSQL")
    assert "next: " in done.stderr


# -- how it reads -------------------------------------------------------------------------------


def test_it_writes_nothing_and_holds_no_lock(clean: str) -> None:
    """A role that may only read can run it, while others hold rows."""

    async def act() -> Audit:
        writer: Any = await asyncpg.connect(clean)
        await writer.execute("create role auditor login")
        await writer.execute("grant select on all tables in schema public to auditor")
        try:
            async with writer.transaction():
                await writer.execute("update saga set revision = revision + 0")
                await writer.execute("update account_limit set used = used + 5")
                return await audit(clean.replace("uprp@", "auditor@"), offered())
        finally:
            await writer.execute("drop owned by auditor")
            await writer.execute("drop role auditor")
            await writer.close()

    async def undone() -> Audit:
        return await asyncio.wait_for(act(), 30)

    found = asyncio.run(undone())
    assert broken(found) == set(), "what is not committed is not there"


async def test_a_database_that_is_away_is_said_so() -> None:
    with pytest.raises(Unavailable, match="PostgreSQL"):
        await audit("postgresql://uprp@127.0.0.1:1/uprp", offered())


def test_a_connection_that_is_cut_is_said_so(clean: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = """select pg_terminate_backend(pg_backend_pid()) where $1::integer < $2::integer
             and $3::integer > 0 and $4::integer > 0 and $5::text[] is not null
             and $6::integer[] is not null and $7::bigint[] is not null"""
    changed = {**database.statements(), "survey": cut}
    monkeypatch.setattr(database, "statements", lambda: changed)
    with pytest.raises(Unavailable, match="PostgreSQL"):
        audited(clean)


# -- the journal and the timeline only grow -------------------------------------------------------


@pytest.mark.parametrize("table", ("transfer", "timeline"))
@pytest.mark.parametrize("change", ("update {} set key_hash = 1", "delete from {}"))
def test_what_was_written_cannot_be_changed(clean: str, table: str, change: str) -> None:
    async def act() -> None:
        connection: Any = await asyncpg.connect(clean)
        try:
            await connection.execute(change.format(table))
        finally:
            await connection.close()

    with pytest.raises(asyncpg.RaiseError, match=f"{table} is append-only"):
        asyncio.run(act())
