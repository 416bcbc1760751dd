"""Numbered migrations, applied once each under an advisory lock."""

from __future__ import annotations

from importlib import resources
from typing import Final

import asyncpg

from adapters.postgres.queries import sql
from orchestrator.errors import SchemaTooOld

_LOCK: Final = 7_570_727  # Any number, the same for every process that migrates.


def migrations() -> dict[str, str]:
    """The migrations that ship: name and text, in the order in which they apply."""
    folder = resources.files("adapters.postgres").joinpath("migrations")
    found = {
        path.name: path.read_text("utf-8") for path in folder.iterdir() if path.name[0].isdigit()
    }
    return dict(sorted(found.items()))


async def applied(connection: asyncpg.Connection[asyncpg.Record]) -> set[str]:
    """The names of the migrations that the database has."""
    if await connection.fetchval("select to_regclass('migration')") is None:
        return set()
    return {row["name"] for row in await connection.fetch(sql("applied_migrations"))}


async def migrate(dsn: str) -> list[str]:
    """Apply the missing migrations in order, all or nothing; returns their names."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("set local lock_timeout = '30s'")
            await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute(
                "create table if not exists migration (name text primary key,"
                " applied_at timestamptz not null default now())"
            )
            known = await applied(connection)
            missing = [name for name in migrations() if name not in known]
            for name in missing:
                await connection.execute(migrations()[name])
                await connection.execute("insert into migration (name) values ($1)", name)
    finally:
        await connection.close()
    return missing


async def check(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Refuse a schema older than this code needs; a newer one is tolerated.

    Raises:
        SchemaTooOld: naming what is missing.
    """
    known = await applied(connection)
    missing = [name for name in migrations() if name not in known]
    if missing:
        raise SchemaTooOld(
            f"the database lacks {len(missing)} migration(s), first {missing[0]};"
            " run `uprp db migrate`"
        )
