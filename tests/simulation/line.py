"""The way from a process to a server: it takes time, and it may fail before or after the deed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from random import Random
from typing import Any, Final, TypeVar

from orchestrator.errors import Conflict, Unavailable
from tests.simulation.loop import PROCESS, Life, outside

T = TypeVar("T")
Trouble = Callable[[str], str | None]
"""What goes wrong with an operation: `before` (nothing is done), `after` (done, not heard), or a
`conflict` with somebody."""


def no_trouble(_operation: str) -> None:
    """A line that always holds."""


class Server:
    """Something that serves, unless it is away."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.away = False
        self.busy = 0  # Operations under way.


class Line:
    """One process's connection to one server."""

    def __init__(
        self,
        server: Server,
        random: Random | None = None,
        trouble: Trouble = no_trouble,
        latency_s: float = 0.0,
    ) -> None:
        self._server = server
        self._random = random or Random(0)
        self._trouble = trouble
        self._latency_s = latency_s
        self._outside: Final[Context] = outside()
        self.life: Final[Life | None] = PROCESS.get()
        self.operation = ""  # The one asked for last.

    async def ask(self, operation: str, serve: Callable[[], T]) -> T:
        """Have the server do something. What was sent is done, whatever becomes of the sender."""
        if self.life is not None and self.life.ghost:
            raise Unavailable("the process is a ghost")
        self.operation = operation
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._server.busy += 1
        delay = self._random.random() * self._latency_s
        loop.call_later(delay, self._serve, operation, serve, answer, context=self._outside)
        return await answer

    def _serve(self, operation: str, serve: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
        server = self._server
        server.busy -= 1
        trouble = "before" if server.away else self._trouble(operation)
        try:
            found = serve() if trouble in (None, "after") else None
        except Exception as error:  # noqa: BLE001  # A refusal or a defect: whoever asked hears it.
            if not answer.done():
                answer.set_exception(error)
            return
        if answer.done():
            return
        if trouble is None:
            answer.set_result(found)
        elif trouble == "conflict":
            answer.set_exception(Conflict(f"{server.name}: somebody else was faster"))
        else:
            why = "is away" if server.away else f"the line broke {trouble} {operation}"
            answer.set_exception(Unavailable(f"{server.name}: {why}"))
