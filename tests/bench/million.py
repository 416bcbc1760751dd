"""`python -m tests.bench.million`: a million realistic sagas, audited: seconds, and memory.

One saga of every kind is made by the shipped code; the others are copies of those rows under ids
and accounts of their own, by set-based SQL, in the shares of a busy platform on a bad day.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import psutil

from adapters.audit.database import Options, audit
from adapters.embedded.environment import Environment, ServerKey
from adapters.postgres.migrate import migrate
from adapters.postgres.store import PostgresStore
from tests.audit.corruption_kinds import KINDS, QUESTIONS
from tests.audit.setup import Platform, Scenario, offered
from tests.bench.load import say

SHARES: Final = {
    "one-line": 600,
    "success": 180,
    "partial": 30,
    "returned": 40,
    "nothing-deducted": 50,
}
"""Of a thousand sagas; the other kinds share the rest."""
SLOTS: Final = 1_000
PORTION: Final = 100_000

_KEYS: Final = {
    "saga": "saga_id",
    "timeline": "saga_id, revision",
    "transfer": "saga_id, seq",
    "account_limit": "scope, business_date",
}
"""The big tables, and what stands in their primary keys after the key hash."""
_NUMBERS: Final = """
    from generate_series($1::integer, $2) as n (n)
    join template t on t.slot = n.n % 1000
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


async def every_kind(dsn: str) -> list[Scenario]:
    """One saga of each kind, in a database with the newest schema."""
    await migrate(dsn)
    store = PostgresStore(dsn)
    await store.open()
    try:
        platform = Platform(store)
        scenarios = []
        for name, (origin, play) in KINDS.items():
            scenarios.append(Scenario(platform, name, origin))
            await play(scenarios[-1])
        for name, ask in QUESTIONS.items():
            await ask(Scenario(platform, name))
        return scenarios
    finally:
        await store.close()


async def fill(dsn: str, sagas: int) -> None:
    """So many more sagas."""
    scenarios = await every_kind(dsn)
    connection: Any = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "create temporary table template"
            " (slot integer, key_hash smallint, saga_id uuid, origin text, account text)"
        )
        rows = await connection.fetch("select key_hash, saga_id, origin, account from saga")
        await connection.copy_records_to_table("template", records=_slots(scenarios, rows))
        await connection.execute("set synchronous_commit = off; set maintenance_work_mem = '256MB'")
        for table in _KEYS:  # Made once at the end rather than row by row.
            await connection.execute(f"alter table {table} drop constraint {table}_pkey")
        for first in range(1, sagas + 1, PORTION):
            last = min(first + PORTION - 1, sagas)
            for statement in _COPIES.values():
                await connection.execute(statement, first, last, timeout=600)
            say(f"{last:,} sagas")
        for table, key in _KEYS.items():
            await connection.execute(
                f"alter table {table} add primary key (key_hash, {key})", timeout=600
            )
        await connection.execute("vacuum analyze", timeout=600)
    finally:
        await connection.close()


def _slots(scenarios: list[Scenario], rows: list[Any]) -> list[tuple[Any, ...]]:
    """Which saga each of a thousand copies."""
    by_account = {row["account"]: tuple(row) for row in rows}
    templates = {scenario.name: by_account[scenario.account] for scenario in scenarios}
    names = [name for name, share in SHARES.items() for _ in range(share)]
    rest = [name for name in templates if name not in SHARES]
    names += [rest[at % len(rest)] for at in range(SLOTS - len(names))]
    return [(at, *templates[name]) for at, name in enumerate(names)]


@dataclass
class Watched:
    """What the server's processes took of this machine, sampled: their own memory at most, CPU."""

    pid: int | None
    most_mb: int = 0
    cpu: dict[int, float] = field(default_factory=dict)

    async def __call__(self) -> None:
        """Sample until cancelled."""
        while True:
            self.most_mb = max(self.most_mb, await asyncio.to_thread(self._sample))
            await asyncio.sleep(0.25)

    def _sample(self) -> int:
        total = 0
        for child in psutil.Process(self.pid).children() if self.pid else ():
            with suppress(psutil.Error):
                total += child.memory_full_info().uss
                times = child.cpu_times()
                self.cpu[child.pid] = times.user + times.system
        return total // 1_000_000


async def measure(dsn: str, pid: int | None, connections: int) -> dict[str, Any]:
    """Audit it: the figures."""
    watched = Watched(pid)
    watching = asyncio.create_task(watched())
    await asyncio.sleep(0.5)
    before = sum(watched.cpu.values())
    found = await audit(dsn, offered(), Options(connections=connections))
    watching.cancel()
    client = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_000
    return {
        "sagas": found.sagas,
        "movements": found.movements,
        "events": found.events,
        "holds": found.holds,
        "connections": connections,
        "seconds": found.seconds,
        "client_mb": client,
        "server_mb": watched.most_mb,
        "server_cpu_s": round(sum(watched.cpu.values()) - before, 1),
        "busy": [round(load, 1) for load in psutil.getloadavg()],  # Who else wanted the cores.
    }


def main() -> None:
    """Fill a database of its own, audit it with one connection and with two."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.million", description=__doc__)
    parser.add_argument("--sagas", type=int, default=1_000_000)
    options = parser.parse_args()
    wanted: tuple[ServerKey, ...] = ("postgres",)
    with Environment(wanted=wanted, progress=say) as servers:
        postgres = servers.postgres
        asyncio.run(fill(postgres.dsn, options.sagas))
        for connections in (2, 1):
            figures = asyncio.run(measure(postgres.dsn, postgres.pid, connections))
            sys.stdout.write(json.dumps(figures) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
