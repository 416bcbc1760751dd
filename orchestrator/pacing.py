"""How attempts follow each other in time: one exponential back-off and one periodic loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

from orchestrator.errors import Unavailable

T = TypeVar("T")
OnUnavailable = Callable[[Unavailable], object]
"""Called with each failure that is retried, to log it. What it raises ends the retries."""


class Backoff:
    """Exponential back-off: each wait is twice as long as the one before it, up to a maximum."""

    def __init__(self, min_s: float, max_s: float) -> None:
        self._next_s = min_s
        self._max_s = max_s

    async def wait(self) -> None:
        """Sleep, and double the length of the next wait."""
        await asyncio.sleep(self._next_s)
        self._next_s = min(self._next_s * 2, self._max_s)


async def retry(
    attempt: Callable[[], Awaitable[T]], backoff: Backoff, on_unavailable: OnUnavailable
) -> T:
    """Repeat an attempt until it does not raise Unavailable, and return its result."""
    while True:
        try:
            return await attempt()
        except Unavailable as error:
            on_unavailable(error)
            await backoff.wait()


async def periodically(
    run_once: Callable[[], Awaitable[object]],
    interval_s: float,
    *,
    on_unavailable: OnUnavailable | None = None,
    wait_first: bool = False,
) -> NoReturn:
    """Run something again and again, and sleep for the interval after each run.

    Args:
        run_once: what to run.
        interval_s: from the end of one run to the start of the next.
        on_unavailable: called when a run raises Unavailable, which then does not end the loop.
            Without it, Unavailable ends the loop like any other exception.
        wait_first: sleep for one interval before the first run, too.
    """
    if wait_first:
        await asyncio.sleep(interval_s)
    while True:
        try:
            await run_once()
        except Unavailable as error:
            if on_unavailable is None:
                raise
            on_unavailable(error)
        await asyncio.sleep(interval_s)
