"""The audited rows: leased until they are settled, and settled once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.decisions import DecisionStore, Proposal, open_decision_store
from adapters.postgres.migrate import migrate
from adapters.postgres.queries import sql
from adapters.postgres.rows import time_of
from adapters.postgres.store import PostgresStore
from adapters.postgres.views import DecisionLine
from orchestrator.engine.operator import Action, OperatorDecision
from orchestrator.errors import Conflict
from orchestrator.ports import Changes, DecisionOutcome, DecisionRow, DueDecision
from tests.platform.rows import created, saga
from tests.support import eventually

pytestmark = pytest.mark.servers

DATABASE = "decisions"
ONE = saga()
KEY = (ONE.terms.key_hash, ONE.terms.saga_id)
FUTURE = 4_000_000_000_000
"""A moment in 2096: everything is due by then."""


@pytest.fixture(scope="module")
def dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database with the newest schema."""
    found = postgres.create_database(DATABASE)
    asyncio.run(migrate(found))
    yield found
    postgres.drop_database(DATABASE)


@pytest.fixture
async def decisions(dsn: str) -> AsyncIterator[DecisionStore]:
    """A decision store without decisions."""
    async with open_decision_store(dsn) as found:
        await found._connection.execute("truncate decision, saga")
        yield found


@pytest.fixture
async def store(dsn: str, decisions: DecisionStore) -> AsyncIterator[PostgresStore]:
    """The store, with one saga in it."""
    opened = PostgresStore(dsn)
    await opened.open()
    async with opened.transaction() as batch:
        await batch.save(created(ONE))
    yield opened
    await opened.close()


def proposal(action: Action = Action.REJECT, leg: str = "credit/1", **more: Any) -> Proposal:
    return Proposal(leg=leg, action=action, evidence="e", reason="r", actor="alice", **more)


async def propose(decisions: DecisionStore, made: Proposal) -> DecisionLine:
    number = await decisions.propose(*KEY, made)
    assert number is not None
    line = await decisions.decision(number)
    assert line is not None
    return line


async def read(store: PostgresStore, line: DecisionLine) -> DecisionRow:
    async with store.transaction() as batch:
        found = await batch.decisions([(line.key_hash, line.id)])
        assert list(found) == [line.id]
        return found[line.id]


async def settle(store: PostgresStore, *settled: DecisionOutcome) -> None:
    async with store.transaction() as batch:
        await batch.save(Changes(settled=list(settled)))


async def test_a_row_comes_back_as_it_was_made(
    store: PostgresStore, decisions: DecisionStore
) -> None:
    made = proposal(Action.CONFIRM, amount=1, reference="GL-7")
    line = await propose(decisions, made)
    ruling = OperatorDecision(line.id, Action.CONFIRM, 1, "GL-7")
    assert await read(store, line) == DecisionRow(KEY[1], "credit/1", ruling, False, False)
    assert await decisions.approve(line, "bob")
    assert await read(store, line) == DecisionRow(KEY[1], "credit/1", ruling, True, False)
    assert await decisions.decisions_of([KEY]) == [await decisions.decision(line.id)]
    async with store.transaction() as batch:
        assert await batch.decisions([]) == {}
        assert await batch.decisions([(KEY[0], 10**9), (KEY[0] + 1, line.id)]) == {}


async def test_only_what_is_approved_or_needs_no_approval_is_leased(
    store: PostgresStore, decisions: DecisionStore
) -> None:
    forced = await propose(decisions, proposal())
    again = await propose(decisions, proposal(Action.RETRY, "deduct"))
    due = DueDecision(KEY[1], "deduct", again.ruling, "alipayhk", "w-1")
    assert await store.lease_decisions(FUTURE, FUTURE + 10, 10) == [due]
    assert await store.lease_decisions(FUTURE, FUTURE + 10, 10) == [], "leased"
    assert await decisions.approve(forced, "bob")
    (found,) = await store.lease_decisions(FUTURE, FUTURE + 10, 10)
    assert found.ruling == forced.ruling
    both = await store.lease_decisions(FUTURE + 10, FUTURE + 20, 10)
    assert len(both) == 2, "said again when the lease has run out"
    await settle(store, DecisionOutcome((KEY[0], forced.id), 1, revision=5))
    await settle(store, DecisionOutcome((KEY[0], again.id), 1, why="known by now"))
    assert await store.lease_decisions(FUTURE + 20, FUTURE + 30, 10) == []
    ends = [(line.status, line.revision, line.why) for line in await decisions.decisions_of([KEY])]
    assert ends == [("applied", 5, None), ("refused", None, "known by now")]


async def test_two_that_lease_at_once_get_disjoint_sets(
    store: PostgresStore, decisions: DecisionStore
) -> None:
    for number in range(30):
        await propose(decisions, proposal(Action.RETRY, f"credit/{number}"))
    leases = (store.lease_decisions(FUTURE, FUTURE + 10, 20) for _ in range(3))
    numbers = [due.ruling.number for share in await asyncio.gather(*leases) for due in share]
    assert len(numbers) == len(set(numbers))
    rest = await store.lease_decisions(FUTURE, FUTURE + 10, 30)
    assert len(numbers) + len(rest) == 30


async def test_what_was_settled_since_it_was_read_is_a_conflict(
    store: PostgresStore, decisions: DecisionStore
) -> None:
    line = await propose(decisions, proposal(Action.RETRY))
    assert not (await read(store, line)).settled
    assert await decisions.decline(line, "bob", "not so")
    for settled in (
        DecisionOutcome((KEY[0], line.id), 1, revision=5),
        DecisionOutcome((KEY[0], 10**9), 1, why="-"),
    ):
        with pytest.raises(Conflict, match="decision"):
            await settle(store, settled)
    assert (await read(store, line)).settled


async def test_one_is_open_at_a_time(store: PostgresStore, decisions: DecisionStore) -> None:
    async def attempt() -> int | None:
        async with open_decision_store(dsn_of_store) as other:
            return await other.propose(*KEY, proposal())

    dsn_of_store = store._dsn
    numbers = await asyncio.gather(*(attempt() for _ in range(8)))
    (number,) = [number for number in numbers if number is not None]
    line = await decisions.decision(number)
    assert line is not None
    assert await decisions.decline(line, "alice", "a slip")
    assert await decisions.propose(*KEY, proposal()) is not None
    assert await decisions.propose(KEY[0] + 1, KEY[1], proposal()) is None, "there is no such saga"


async def test_of_two_who_approve_or_decline_one_succeeds(
    store: PostgresStore, decisions: DecisionStore
) -> None:
    line = await propose(decisions, proposal())
    assert not await decisions.approve(line, "alice"), "her own"
    assert await decisions.approve(line, "bob")
    assert not await decisions.approve(line, "carol")
    assert await decisions.decline(line, "carol", "not applied yet")
    assert not await decisions.decline(line, "bob", "twice")
    assert not await decisions.approve(line, "bob")
    assert not (await store.lease_decisions(FUTURE, FUTURE + 10, 10))


async def test_the_query_that_runs_every_second_reads_an_index(
    store: PostgresStore, decisions: DecisionStore
) -> None:
    """Whatever stands in the table, only what is due is looked at."""
    await decisions._connection.execute(
        "insert into decision (key_hash, saga_id, leg, action, evidence, reason, actor, outcome,"
        " settled_at, why) select 1, gen_random_uuid(), 'deduct', 'retry', 'e', 'r', 'alice',"
        " 'refused', now(), 'w' from generate_series(1, 20000)"
    )
    await decisions._connection.execute("analyze decision")

    async def plan() -> bool:
        now = time_of(FUTURE)
        async with store.connection() as connection:
            rows = await connection.fetch(f"explain {sql('lease_decisions')}", now, now, 100)
        text = "\n".join(row[0] for row in rows)
        return "decision_due" in text and "Seq Scan on decision" not in text

    await eventually(plan, 5, "the partial index serves it")
