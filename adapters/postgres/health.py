"""Shares the participants' health among coordinators: each writes its own rows and reads all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from adapters.postgres.queries import sql
from adapters.postgres.rows import ms_at
from adapters.postgres.store import PostgresStore
from orchestrator.admission.board import HealthReport, SharedHealth
from orchestrator.admission.breaker import Breaker, Counts, State, Window
from orchestrator.admission.gate import Slot
from schemas.times import moment

HEARTBEAT = ""
"""The participant of the row by which a coordinator says that it is alive."""


class PostgresHealth:
    """The health board over the store's own connections."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    async def share(
        self, sights: Sequence[HealthReport], now: int, alive_since: int
    ) -> SharedHealth:
        """Write what this coordinator has seen at `now` (ms), and read what all have seen.

        Only coordinators that wrote since `alive_since` (ms) count as alive.
        Raises Unavailable.
        """
        rows = [(report.participant, report.revision, encode(report.window)) for report in sights]
        names, revisions, windows = zip(*rows, (HEARTBEAT, 0, "[]"), strict=True)
        mine = self._store.instance
        async with self._store.connection() as connection:
            await connection.execute(
                sql("share_health"), mine, moment(now), names, revisions, windows
            )
            found = await read(connection)
        alive = sorted(one for one, at in found.heard.items() if at >= alive_since)
        rank = alive.index(mine) if mine in alive else 0
        return SharedHealth(
            Slot(rank, max(1, len(alive))), found.sights, found.in_flight, found.breakers
        )

    async def move(self, participant: str, expected: int, to: Breaker) -> bool:
        """Write a breaker if it is still at the expected revision; returns whether it was."""
        async with self._store.connection() as connection:
            done: str = await connection.execute(
                sql("move_breaker"),
                participant,
                expected,
                to.revision,
                to.state.value,
                moment(to.since),
                None if to.until is None else moment(to.until),
            )
        return done.endswith(" 1")

    async def tidy(self, before: int) -> None:
        """Delete the rows of coordinators silent since `before` (ms); their counts are kept."""
        async with self._store.connection() as connection:
            await connection.execute(sql("fold_in_flight"), moment(before))
            await connection.execute(sql("forget_health"), moment(before))


class Board:
    """The rows of the health board as they were read.

    `heard` says when each coordinator wrote last, in ms since 1970; `in_flight` and `breakers` are
    by participant.
    """

    def __init__(
        self, health: Sequence[Any], loads: Sequence[Any], breakers: Sequence[Any]
    ) -> None:
        self.heard = {
            row["instance"]: ms_at(row["seen_at"])
            for row in health
            if row["participant"] == HEARTBEAT
        }
        self.sights = [
            HealthReport(row["participant"], row["revision"], decode(row["seen"]))
            for row in health
            if row["participant"] != HEARTBEAT
        ]
        self.in_flight: Mapping[str, int] = {row["participant"]: row["legs"] for row in loads}
        self.breakers: Mapping[str, Breaker] = {
            row["participant"]: Breaker(
                row["revision"],
                State(row["state"]),
                ms_at(row["since"]),
                None if row["until"] is None else ms_at(row["until"]),
            )
            for row in breakers
        }


async def read(connection: Any) -> Board:
    """Read all rows of the health board, without a lock."""
    return Board(
        await connection.fetch(sql("read_health")),
        await connection.fetch(sql("read_in_flight")),
        await connection.fetch(sql("read_breakers")),
    )


def encode(window: Window) -> str:
    """A window as JSON: [slot, asked, answered, missed] for each slot."""
    rows = [[slot, n.asked, n.answered, n.missed] for slot, n in sorted(window.items())]
    return orjson.dumps(rows).decode()


def decode(text: str) -> Window:
    """The window that `encode` wrote."""
    return {slot: Counts(*counts) for slot, *counts in orjson.loads(text)}
