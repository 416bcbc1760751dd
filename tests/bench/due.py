"""What a due saga costs the coordinator's own code, part by part, without any server.

As `tests/bench/engine.py` for redemptions: a row that waits is read and its timer published, the
timer is read, a company is asked, and answers that it knows nothing of it, which changes nothing.
`python -m tests.bench.due` prints microseconds of CPU for each part.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import orjson

from adapters.postgres.rows import COLUMNS, new_saga_row, saga_from
from orchestrator.engine.instance import Saga
from orchestrator.ports import Outgoing, Record
from orchestrator.timers.sweeper import timer_records
from tests.bench.engine import START_MS, Line, Nowhere, headers, record_of
from tests.bench.waiting import patient, waiting_sagas

EVERY_S: Final = 100
PARTITIONS: Final = 8
CACHE_BYTES: Final = 1 << 26
"""More than a processor has."""


class Rows(Nowhere):
    """A connection that knows at which revision each saga was saved last."""

    def __init__(self) -> None:
        self.revisions: dict[str, int] = {}

    async def execute(self, sql: str, *columns: Sequence[Any]) -> str:
        """Take every row, and the revisions of sagas."""
        if "update saga" in sql:
            self.revisions.update(zip(columns[1], columns[3], strict=True))
        return await super().execute(sql, *columns)

    async def fetch(self, sql: str, *columns: Sequence[Any]) -> list[dict[str, Any]]:
        """The revisions that are asked for."""
        if "s.revision" in sql:
            return [{"saga_id": one, "revision": self.revisions[one]} for one in columns[1]]
        return await super().fetch(sql, *columns)


def as_record(said: Outgoing, number: int) -> Record:
    """What was published, as it is read."""
    return record_of(said.topic, number, said.key, said.value or b"", tuple(said.headers))


def unknown(inquiry: Outgoing, number: int) -> Record:
    """A company that knows nothing of the leg."""
    leg_id = orjson.loads(inquiry.value or b"")["leg_id"]
    company = inquiry.topic.split(".")[1]
    head = headers(f"{leg_id}!n{number}", company, "uprp.leg.answered.v1")
    value = orjson.dumps({"leg_id": leg_id, "outcome": "NOT_RECEIVED"})
    return record_of(f"uprp.{company}.replies", number, inquiry.key, value, head)


async def run(
    deploy: Path, count: int, size: int, between: Callable[[], object] = int
) -> dict[str, float]:
    """Microseconds a due saga, by part; `between` what is done and what comes of it."""
    line = Line(deploy, Rows())
    sagas = list(waiting_sagas(deploy, count, START_MS - 1_000))
    for start in range(0, count, size):
        rows = [dict(zip(COLUMNS["saga"], new_saga_row(one), strict=True)) for one in sagas[:size]]
        del sagas[:size]
        with line.part("find"):
            due: list[Saga] = [saga_from(row) for row in rows]
        with line.part("publish"):
            line.recent.offer(due)
            rung = timer_records(due, line.now, PARTITIONS)
        between()
        asked = await line.batch([as_record(said, start + at) for at, said in enumerate(rung)])
        between()
        assert len(asked.outgoing) == size, asked.counts
        replies = [unknown(said, start + at) for at, said in enumerate(asked.outgoing)]
        heard = await line.batch(replies)
        between()
        assert heard.counts["stale_replies"] == size, heard.counts
        if start == 0:
            line.spent.clear()  # The first batch fills the caches.
    return {name: spent / (count - size) * 1e6 for name, spent in line.spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.due", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument(
        "--cold", action="store_true", help="as if others had used the caches in between"
    )
    options = parser.parse_args()
    gc.disable()
    others = bytearray(CACHE_BYTES)
    between = partial(others.translate, None) if options.cold else int
    with TemporaryDirectory() as folder:
        deploy = patient(Path(folder), EVERY_S)
        found = asyncio.run(run(deploy, options.count, options.batch, between))
    text = ", ".join(f"{name} {us:.1f}" for name, us in found.items())
    sys.stdout.write(f"{sum(found.values()):.0f} us a due saga: {text}\n")


if __name__ == "__main__":
    main()
