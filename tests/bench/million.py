"""`python -m tests.bench.million`: a million realistic sagas, audited: seconds, and memory.

One saga of every kind is made by the shipped code; the others are copies of those rows under ids
and accounts of their own, by set-based SQL, in the shares of a busy platform on a bad day.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg

from adapters.postgres.migrate import migrate
from adapters.postgres.store import PostgresStore
from tests.audit.kinds import KINDS
from tests.audit.stage import Scene, Stage
from tests.bench.load import say

SHARES: Final = {"one-line": 58, "success": 16, "partial": 3, "returned": 4, "nothing-deducted": 4}
"""Of a hundred sagas; the other kinds share the rest."""
PORTION: Final = 100_000

_NUMBERS: Final = """
    from generate_series($1::integer, $2) as n (n)
    join template t on t.slot = n.n % 100
"""
_KEY: Final = "(hashint4(n.n) & 4095)::smallint, md5('million ' || n.n)::uuid"
_COPIES: Final = {
    "saga": f"""
        insert into saga
        select {_KEY}, s.revision, s.due_at, s.status, s.origin, 'm-' || n.n, s.request_id,
               s.programme, s.programme_version, s.accepted_at,
               replace(s.terms, s.account, 'm-' || n.n), s.state
        {_NUMBERS} join saga s on s.account = t.account""",
    "timeline": f"""
        insert into timeline
        select {_KEY}, o.revision, o.at, o.event, o.detail
        {_NUMBERS} join timeline o on o.key_hash = t.key_hash and o.saga_id = t.saga_id""",
    "transfer": f"""
        insert into transfer
        select {_KEY}, o.seq, replace(o.debit, t.account, 'm-' || n.n),
               replace(o.credit, t.account, 'm-' || n.n), o.unit, o.amount
        {_NUMBERS} join transfer o on o.key_hash = t.key_hash and o.saga_id = t.saga_id""",
    "account_limit": f"""
        insert into account_limit
        select (hashint4(n.n) & 4095)::smallint, replace(o.scope, t.account, 'm-' || n.n),
               o.business_date, o.used
        {_NUMBERS} join account_limit o
          on o.key_hash = t.key_hash and o.scope = t.origin || '/' || t.account || '/daily'""",
    "parked_case": f"""
        insert into parked_case
        select {_KEY}, o.opened_at, o.leg, o.why, o.stake, o.unit, o.closed_at
        {_NUMBERS} join parked_case o on o.key_hash = t.key_hash and o.saga_id = t.saga_id""",
}


async def every_kind(dsn: str) -> list[Scene]:
    """One saga of each kind, in a database with the newest schema."""
    await migrate(dsn)
    store = PostgresStore(dsn)
    await store.open()
    try:
        stage = Stage(store)
        scenes = []
        for name, (origin, play) in KINDS.items():
            scenes.append(Scene(stage, name, origin))
            await play(scenes[-1])
        return scenes
    finally:
        await store.close()


async def fill(dsn: str, sagas: int) -> None:
    """So many more sagas."""
    scenes = await every_kind(dsn)
    connection: Any = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "create temporary table template"
            " (slot integer, key_hash smallint, saga_id uuid, origin text, account text)"
        )
        rows = await connection.fetch("select key_hash, saga_id, origin, account from saga")
        by_account = {row["account"]: tuple(row) for row in rows}
        names = [scene.name for scene in scenes]
        slots = [name for name, share in SHARES.items() for _ in range(share)]
        rest = [name for name in names if name not in SHARES]
        slots += [rest[at % len(rest)] for at in range(100 - len(slots))]
        accounts = {scene.name: scene.account for scene in scenes}
        await connection.copy_records_to_table(
            "template",
            records=[(at, *by_account[accounts[name]]) for at, name in enumerate(slots)],
        )
        for first in range(1, sagas + 1, PORTION):
            last = min(first + PORTION - 1, sagas)
            for statement in _COPIES.values():
                await connection.execute(statement, first, last, timeout=600)
            say(f"{last:,} sagas")
        await connection.execute("vacuum analyze", timeout=600)
    finally:
        await connection.close()


if __name__ == "__main__":
    import sys

    asyncio.run(fill(sys.argv[1], int(sys.argv[2])))
