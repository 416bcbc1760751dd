"""The audit over a live database: one snapshot, some connections, flat memory.

The key space is cut into a part for each connection. A part is surveyed by one statement that
reduces sagas to shapes; only where a shape is broken are sagas themselves read, a few key hashes at
a time, until enough have a name.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final

import asyncpg
import orjson

from adapters.audit.report import (
    Audit,
    Named,
    Surveyed,
    broken_by,
    judged,
    named_questions,
)
from adapters.audit.shape import COLUMNS, QUESTION_COLUMNS, Group, Question, QuestionGroup, Shape
from adapters.postgres import migrate
from adapters.postgres.errors import translated
from adapters.postgres.queries import read_statements
from orchestrator.catalogue.loader import Catalogue
from orchestrator.sagas.balance.kind import KEPT_FOR_MS

KEYS: Final = 4_096
FIRST_LOOK: Final = 8
"""How many key hashes are looked at first for names; each further look takes twice as many."""

_HOLE: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Options:
    """How an audit runs; times are in seconds."""

    connections: int = 2
    names: int = 5  # How many sagas are named for each broken invariant.
    overdue_s: int = 3_600
    behind_s: int = 1  # How far a timer may stand behind its leg: both are rounded.
    kept_s: int = KEPT_FOR_MS // 1_000  # For how long the answer to a question is kept.
    work_mem: str = "64MB"  # For each sort or hash of each connection.


@cache
def statements() -> Mapping[str, str]:
    """The statements of the SQL files by name, each with what it includes."""
    blocks = {
        name: query.sql
        for file in ("audit.sql", "questions.sql")
        for name, query in read_statements("adapters.audit", file).items()
    }
    blocks["columns"] = ", ".join(COLUMNS)
    blocks["question_columns"] = ", ".join(QUESTION_COLUMNS)

    def whole(name: str) -> str:
        return _HOLE.sub(lambda hole: whole(hole[1]), blocks[name])

    return {name: whole(name) for name in blocks}


async def audit(dsn: str, catalogue: Catalogue, options: Options = Options()) -> Audit:
    """Audit the database as it is now. Raises Unavailable while it is away."""
    began = time.monotonic()
    with translated():
        async with AsyncExitStack() as stack:
            reader = await _open(dsn, catalogue, options, stack)
            surveyed = Surveyed()
            await reader.survey(surveyed)
            named = await reader.names(surveyed)
            at = await reader.moment()
    return judged(surveyed, named, at, time.monotonic() - began)


async def _open(dsn: str, catalogue: Catalogue, options: Options, stack: AsyncExitStack) -> _Reader:
    """Connections that all see the same moment, read only."""
    connections: list[Any] = []
    snapshot = None
    for _ in range(options.connections):
        connection: Any = await asyncpg.connect(
            dsn,
            timeout=10,
            server_settings={
                "application_name": "uprp-audit",
                "jit": "off",
                "work_mem": options.work_mem,
                "enable_memoize": "off",  # No two sagas are alike.
                "join_collapse_limit": "1",  # Sagas stream by; what is added up is looked up.
                "max_parallel_workers_per_gather": "0",  # What serves members goes first.
            },
        )
        stack.callback(connection.terminate)  # Nothing is left to be said, whatever happened.
        if snapshot is None:
            await migrate.check(connection)
        await connection.execute("begin isolation level repeatable read read only")
        if snapshot is None:
            snapshot = await connection.fetchval("select pg_export_snapshot()")
        else:
            await connection.execute(f"set transaction snapshot '{snapshot}'")
        connections.append(connection)
    limits = [
        (programme.id, programme.version, programme.limit.worth)
        for programme in catalogue.programmes["redemption"].values()
        if programme.limit is not None
    ]
    bounds = [list(column) for column in zip(*limits, strict=True)] or [[], [], []]
    return _Reader(connections, options, bounds)


class _Reader:
    """What is read, over connections that see one snapshot."""

    def __init__(
        self, connections: Sequence[Any], options: Options, bounds: Sequence[Sequence[Any]]
    ) -> None:
        self._connections = connections
        self._options = options
        self._bounds = bounds

    async def moment(self) -> datetime:
        """When the snapshot was taken."""
        found: datetime = await self._connections[0].fetchval("select now()")
        return found

    async def survey(self, into: Surveyed) -> None:
        """Everything that is counted, part by part."""
        count = len(self._connections)
        cuts = [KEYS * at // count for at in range(count + 1)]
        parts = zip(self._connections, cuts, cuts[1:], strict=False)
        done = await asyncio.gather(
            *(self._part(connection, low, high, into) for connection, low, high in parts),
            return_exceptions=True,
        )
        for error in done:
            if error is not None:
                raise error
        first = self._connections[0]
        for row in await first.fetch(statements()["positions"]):
            into.positions.append((f"{row['topic']}/{row['partition']}", row["forward"]))
        into.guards = tuple(row["name"] for row in await first.fetch(statements()["guards"]))

    async def _part(self, connection: Any, low: int, high: int, into: Surveyed) -> None:
        rows = await self._fetch(connection, "survey", low, high)
        lacking = 0
        for row in rows:
            found = orjson.loads(row["found"])
            if row["kind"] == "shape":
                group = _group(found)
                lacking -= group.movements
                into.groups.append(group)
            elif row["kind"] == "limits":
                into.limits += found["limits"]
                into.limits_differ += found["differ"]
                into.limits_above += found["above"]
            else:
                sums = (found["suspense"], found["cases"], found["flights"])
                known = into.suspense.get(found["unit"], (0, 0, 0))
                into.suspense[found["unit"]] = _added(known, sums)
        for row in await connection.fetch(statements()["journal"], low, high):
            count, total = into.journal.get(row["unit"], (0, 0))
            moved = (count + row["movements"], total + int(row["suspense"]))
            into.journal[row["unit"]] = moved
            lacking += row["movements"]
            into.odd_movements += row["odd"]
        if lacking:
            strays = await connection.fetch(statements()["strays"], low, high)
            into.strays += [str(row["saga_id"]) for row in strays]
        options = self._options
        kept = (options.overdue_s, options.kept_s, options.names)
        for row in await connection.fetch(statements()["questions"], low, high, *kept):
            into.questions.append(_question_group(row))
        for row in await connection.fetch(statements()["twins"], low, high):
            into.twins.append([str(saga_id) for saga_id in row["sagas"]])

    async def names(self, surveyed: Surveyed) -> dict[str, list[Named]]:
        """The first sagas and limits that break an invariant, by invariant."""
        wanted: dict[str, int] = defaultdict(int)
        low = KEYS
        for group in surveyed.groups:
            for invariant in broken_by(group.shape):
                wanted[invariant] += group.sagas
                low = min(low, group.first_key)
        wanted = {name: min(count, self._options.names) for name, count in wanted.items()}
        named: dict[str, list[Named]] = defaultdict(list)
        width = FIRST_LOOK
        while low < KEYS and any(len(named[name]) < count for name, count in wanted.items()):
            for row in await self._fetch(self._connections[0], "look", low, low + width):
                for name, why in broken_by(_shape(row)).items():
                    if len(named[name]) < wanted[name]:
                        named[name].append(Named(str(row["saga_id"]), why + _figures(row)))
            low, width = low + width, width * 2
        if surveyed.limits_differ or surveyed.limits_above:
            named["I5"] = await self._limits()
        if asked := list(named_questions(surveyed)):
            named["I14"] = asked[: self._options.names]
        return named

    async def _limits(self) -> list[Named]:
        low, width = 0, FIRST_LOOK
        named: list[Named] = []
        while low < KEYS and len(named) < self._options.names:
            rows = await self._fetch(self._connections[0], "look_at_limits", low, low + width)
            named += [_limit(row) for row in rows]
            low, width = low + width, width * 2
        return named[: self._options.names]

    async def _fetch(self, connection: Any, name: str, low: int, high: int) -> list[Any]:
        options = self._options
        rows: list[Any] = await connection.fetch(
            statements()[name], low, high, options.overdue_s, options.behind_s, *self._bounds
        )
        return rows


def _added(known: tuple[int, int, int], more: tuple[int, int, int]) -> tuple[int, int, int]:
    return known[0] + more[0], known[1] + more[1], known[2] + more[2]


def _shape(found: Mapping[str, Any]) -> Shape:
    return Shape(**{name: found[name] for name in COLUMNS})


def _group(found: Mapping[str, Any]) -> Group:
    counts = (found["sagas"], found["legs"], found["movements"], found["events"])
    return Group(_shape(found), *counts, found["first_key"])


def _question_group(row: Mapping[str, Any]) -> QuestionGroup:
    question = Question(**{name: row[name] for name in QUESTION_COLUMNS})
    return QuestionGroup(question, row["questions"], tuple(str(one) for one in row["first"]))


def _figures(row: Mapping[str, Any]) -> str:
    return (
        f" (by its legs {row['taken']:,} taken, {row['given_back']:,} returned or to be,"
        f" {row['price']:,} the price of what is kept; in suspense {row['suspense']:,})"
    )


def _limit(row: Mapping[str, Any]) -> Named:
    sagas = ", ".join(str(saga_id) for saga_id in row["sagas"] or ()) or "none"
    if not row["differs"]:
        why = f"{row['used']:,} is used, more than the programme allows"
    else:
        why = f"{row['used']:,} is used, its sagas count {row['counted']:,}"
    return Named(f"{row['scope']} on {row['business_date']}", f"{why}; sagas: {sagas}")
