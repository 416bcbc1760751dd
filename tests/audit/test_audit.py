"""A database of every kind of saga is clean; whatever is broken in it on purpose is named."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
from tests.audit.kinds import KINDS
from tests.audit.stage import ACCOUNT, offered
from tests.bench.million import every_kind
from tests.cli.test_cli import uprp

pytestmark = pytest.mark.servers

CLEAN: Final = "audit_clean"
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
    assert [one.invariant for one in found.findings] == [f"I{n}" for n in range(1, 14)]
    checked = {one.invariant: one.checked for one in found.findings}
    print(checked)
    assert found.sagas == checked["I3"] == len(KINDS)
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


@dataclass(frozen=True)
class Plant:
    """One corruption of one saga, and which invariants it breaks."""

    what: str
    kind: str
    breaks: str
    statements: tuple[str, ...]


def at(path: str, value: str, column: str = "state") -> str:
    """Change one place in the JSON of a saga."""
    return (
        f"update saga set {column} = jsonb_set({column}::jsonb, '{{{path}}}', '{value}')::text"
        " where saga_id = {saga}"
    )


JOURNAL: Final = "saga_id = {saga}"
PLANTS: Final = (
    Plant(
        "success is told, and nothing was given",
        "returned",
        "I1",
        (at("1,1", '"SUCCESS"'), "update saga set status = 'SUCCESS' where saga_id = {saga}"),
    ),
    Plant(
        "a thousand points were not returned",
        "returned",
        "I1 I11",
        (
            at("0,2,8", "24000"),
            "update transfer set amount = 24000 where credit like 'citi/member/%' and " + JOURNAL,
        ),
    ),
    Plant(
        "a point too few was consumed",
        "one-line",
        "I1 I3 I11",
        ("update transfer set amount = amount - 1 where credit = 'citi/redeemed' and " + JOURNAL,),
    ),
    Plant(
        "a loss is borne by nobody",
        "lost",
        "I2",
        (
            at("16", '""', "terms"),
            "update transfer set debit = '/loss' where debit = 'platform/loss' and " + JOURNAL,
        ),
    ),
    Plant(
        "a loss is missing",
        "lost",
        "I1 I2 I8 I11",
        (
            "update saga set state = (state::jsonb #- '{0,5}')::text where saga_id = {saga}",
            "delete from transfer where debit = 'platform/loss' and " + JOURNAL,
        ),
    ),
    Plant(
        "a movement of pieces is missing",
        "success",
        "I3",
        ("delete from transfer where unit = 'alipayhk:hkd20' and " + JOURNAL,),
    ),
    Plant(
        "points went back to another member",
        "returned",
        "I3",
        ("update transfer set credit = 'citi/member/x' where debit = 'uprp/suspense' and "
         + JOURNAL,),
    ),
    Plant(
        "a coupon of another kind was booked",
        "one-line",
        "I3",
        ("update transfer set unit = 'alipayhk:hkd20' where unit like 'alipayhk:%' and "
         + JOURNAL,),
    ),
    Plant(
        "a command was said that nobody wrote down",
        "one-line",
        "I3",
        ("update timeline set detail = replace(detail, 'do credit/1#1', '') where revision = 2 and "
         + JOURNAL,),
    ),
    Plant(
        "an event that moved something is missing",
        "pending",
        "I3",
        ("delete from timeline where revision = 4 and " + JOURNAL,),
    ),
    Plant(
        "the saga of some movements is missing",
        "asked-whole",
        "I3",
        ("delete from saga where saga_id = {saga}",),
    ),
    Plant(
        "the saga of some movements is missing, and a limit has it still",
        "success",
        "I3 I5",
        ("delete from saga where saga_id = {saga}",),
    ),
    Plant("a leg was never asked for", "one-line", "I3", (at("0,1,3", "0"),)),
    Plant("what is decided has a timer", "one-line", "I4", (at("0,0,7", "1800000000000"),)),
    Plant(
        "it ended, and a leg is not answered",
        "cancelled",
        "I4 I7",
        (at("0,1,2", '"unknown"'), at("0,1,7", "1"),
         "update saga set due_at = now() where saga_id = {saga}"),
    ),
    Plant(
        "a limit is one too high",
        "success",
        "I5",
        ("update account_limit set used = used + 1 where scope like '%/{account}/daily'",),
    ),
    Plant(
        "a limit was not released",
        "returned",
        "I5",
        ("update account_limit set used = 10000 where scope like '%/{account}/daily'",),
    ),
    Plant(
        "a limit is missing",
        "pending",
        "I5",
        ("delete from account_limit where scope like '%/{account}/daily'",),
    ),
    Plant(
        "more was redeemed than the programme allows",
        "one-line",
        "I5",
        (
            at("11,0,4", "100001", "terms"),
            "update account_limit set used = 100001 where scope like '%/{account}/daily'",
        ),
    ),
    Plant(
        "the final result was told twice",
        "one-line",
        "I6",
        ("""update timeline set detail = replace(detail, '"said":[', '"said":["result #1",')
            where revision = 2 and """ + JOURNAL,),
    ),
    Plant(
        "there are two final results",
        "one-line",
        "I6",
        (
            "update saga set revision = revision + 1 where saga_id = {saga}",
            """insert into timeline select key_hash, saga_id, 4, at, event,
               replace(replace(detail, 'result #1', 'result #2'), 'replies/0/', 'replies/9/')
               from timeline where revision = 3 and """ + JOURNAL,
        ),
    ),
    Plant(
        "operators see what was not told",
        "partial",
        "I6",
        ("update saga set status = 'SUCCESS' where saga_id = {saga}",),
    ),
    Plant(
        "points are returned while it is not known what was given",
        "returning",
        "I7",
        (
            at("0,1,2", '"pending"'),
            """update saga set state = jsonb_set(state::jsonb, '{0,1,7}',
               state::jsonb#>'{0,2,7}') where saga_id = {saga}""",
        ),
    ),
    Plant(
        "what was cancelled was done",
        "cancelled",
        "I1 I2 I3 I5 I8",
        (at("0,1,8", "2"),),
    ),
    Plant("the content of a request is not known", "success", "I9", (at("2", '""', "terms"),)),
    Plant(
        "one request is two sagas",
        "refused",
        "I9",
        (
            """insert into saga select key_hash, '{other}', revision, due_at, status, origin,
               account, request_id, programme, programme_version, accepted_at, terms, state
               from saga where saga_id = {saga}""",
            """insert into timeline select key_hash, '{other}', revision, at, event, detail
               from timeline where """ + JOURNAL,
        ),
    ),
    Plant(
        "the journal may be changed",
        "success",
        "I10",
        ("drop trigger append_only on transfer",),
    ),
    Plant(
        "the timeline may be changed",
        "success",
        "I10",
        ("alter table timeline disable trigger append_only",),
    ),
    Plant(
        "a movement moves nothing",
        "success",
        "I10",
        (
            "alter table transfer drop constraint transfer_amount_check",
            """insert into transfer select key_hash, saga_id, seq + 6, debit, credit, unit, 0
               from transfer where debit like 'citi/member/%' and """ + JOURNAL,
        ),
    ),
    Plant(
        "a case states another amount",
        "return-refused",
        "I11",
        ("update parked_case set stake = stake - 1 where " + JOURNAL,),
    ),
    Plant(
        "one record counted twice",
        "success",
        "I12",
        ("""update timeline t set detail = replace(t.detail, t.detail::json->>'record',
            o.detail::json->>'record') from timeline o
            where o.saga_id = t.saga_id and o.revision = 2 and t.revision = 3 and t.""" + JOURNAL,),
    ),
    Plant(
        "a reader went back",
        "success",
        "I12",
        ("update position set next_offset = previous_offset where topic = 'uprp.citi.replies'",),
    ),
    Plant(
        "the beginning is missing",
        "nothing-deducted",
        "I3 I12",
        ("delete from timeline where revision = 1 and " + JOURNAL,),
    ),
    Plant(
        "no timer will ring",
        "deducting",
        "I13",
        ("update saga set due_at = null where saga_id = {saga}",),
    ),
    Plant(
        "the correction has no timer",
        "correcting",
        "I13",
        ("update saga set due_at = null where saga_id = {saga}",),
    ),
    Plant(
        "a timer is long overdue",
        "pending",
        "I13",
        ("update saga set due_at = now() - interval '3 hours' where saga_id = {saga}",),
    ),
    Plant(
        "a timer rings too late",
        "deducting",
        "I13",
        ("update saga set due_at = now() + interval '3 days' where saga_id = {saga}",),
    ),
    Plant(
        "a case was closed by hand",
        "silent",
        "I13",
        ("update parked_case set closed_at = now() where " + JOURNAL,),
    ),
    Plant(
        "a case is open about nothing",
        "success",
        "I13",
        ("""insert into parked_case select key_hash, saga_id, now(), 'deduct', 'TIMEOUT', 0,
            'citi-points' from saga where saga_id = {saga}""",),
    ),
    Plant(
        "it waits for nobody",
        "deducting",
        "I13",
        (at("0,0,2", '"waiting"'),),
    ),
)  # fmt: skip
OTHER: Final = "00000000-0000-5000-8000-000000000009"
NAMES_ANOTHER: Final = {
    "the journal may be changed": "transfer",
    "the timeline may be changed": "timeline",
    "a movement moves nothing": "transfer",
    "a reader went back": "uprp.citi.replies/0",
}


def filled(statement: str, saga: str, account: str) -> str:
    words = {"{saga}": f"'{saga}'", "{account}": account, "{other}": OTHER}
    for hole, word in words.items():
        statement = statement.replace(hole, word)
    return statement


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
    for number in range(1, 14):
        assert any(f"I{number}" in breaks.split() for breaks in alone)
    assert {f"I{number}" for number in range(1, 14)} - alone == {"I8"}, "alone, where that can be"


def test_the_first_are_named_and_the_others_counted(copy: str) -> None:
    waiting = audited(copy).waiting
    run(copy, "update saga set due_at = null where due_at is not null")
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
    assert "13 invariants hold" in done.stdout
    assert "in suspense, harbour-points: 9,409; in cases 8,810" in done.stdout
    run(copy, "update saga set due_at = null where due_at is not null")
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
