"""A virtual-time event loop: nothing waits, nothing is real, the same seed runs the same way.

Time stands still while anything can run and then jumps to the next timer. Callbacks belong to the
simulated process in whose context they were made, so a process can be stopped between any two of
its steps: killed, it never runs again; frozen, it goes on where it stood.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from typing import Any, Final, NoReturn, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STEPS_MAX: Final = 400_000
"""More than this in one run is no progress: it ends with NeverRests.

A return that is said again for an hour, while a company is down and a clock runs ahead, takes more
than a quarter of it.
"""


class NeverRests(Exception):
    """The run goes on and on, or waits for what will never come."""


class Life:
    """One process from its start to its death, as the loop sees it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False  # Killed: it never runs again.
        self.frozen = False  # SIGSTOP: it runs again after `thaw`.
        self.ghost = False  # The run is over: it only unwinds, and reaches nobody any more.
        self.steps = 0
        self.halt_at: int | None = None  # The step before which it is halted, for now or for good.
        self.on_halt: Callable[[], None] | None = None
        self.held: list[asyncio.Handle] = []  # What it would have run.
        self.tasks: list[asyncio.Task[Any]] = []

    def admits(self, handle: asyncio.Handle) -> bool:
        """Whether the process may run this now; else it is kept for it."""
        if self.dead or self.frozen:
            self.held.append(handle)
            return False
        self.steps += 1
        if self.steps == self.halt_at and self.on_halt is not None:
            self.held.append(handle)
            self.on_halt()
            return False
        return True


PROCESS: Final[ContextVar[Life | None]] = ContextVar("process", default=None)
"""Whose callback this is; None for the world outside."""


def outside() -> Context:
    """A context for what happens whether or not the process that asked for it still lives."""
    context = copy_context()
    context.run(PROCESS.set, None)
    return context


class VirtualLoop(asyncio.AbstractEventLoop):
    """The loop, and the world's wall clock, which may leap while nothing is going on."""

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms
        self._leapt_ms = 0
        self._now = 0.0
        self._sequence = 0
        self._steps = 0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.Handle]] = []
        self._dated: list[tuple[int, int, asyncio.Handle]] = []
        self._running = False
        self.outside = Context()
        self.on_idle: Callable[[], None] | None = None  # Nothing can run before time passes.
        self.problems: list[str] = []

    # -- time -----------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds that only grow; a leap of the wall clock does not touch them."""
        return self._now

    def wall(self) -> int:
        """Milliseconds since 1970."""
        return self._start_ms + self._leapt_ms + round(self._now * 1000)

    @property
    def elapsed_ms(self) -> int:
        """How much wall time has passed."""
        return self.wall() - self._start_ms

    def next_dated(self) -> int | None:
        """When the next thing happens that has a date."""
        return self._dated[0][0] if self._dated else None

    def leap(self, milliseconds: int) -> None:
        """Let the wall clock jump ahead, and everything that has a date with it."""
        self._leapt_ms += milliseconds

    def at(self, wall_ms: int, callback: Callable[..., object], *args: Any) -> None:
        """Call back, outside every process, when the wall clock stands there."""
        self._sequence += 1
        handle = asyncio.Handle(callback, args, self, self.outside)
        heappush(self._dated, (wall_ms, self._sequence, handle))

    # -- what asyncio asks of a loop ------------------------------------------------------------

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Run in this instant, after what was called before."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run at that time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._sequence += 1
        heappush(self._timers, (when, self._sequence, handle))
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run so many seconds from now."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **_: Any,
    ) -> asyncio.Task[T]:
        """A task of this loop, remembered by the process whose it is."""
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=name, context=context)
        life = PROCESS.get() if context is None else context.get(PROCESS)
        if life is not None:
            life.tasks.append(task)
        return task

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Whether it is."""
        return self._running

    def is_closed(self) -> bool:
        """Never: there is nothing to close."""
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is dropped when its time comes."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A callback failed: nothing of this may happen."""
        error = context.get("exception")
        if error is not None and "never retrieved" not in context.get("message", ""):
            self.problems.append(f"{context.get('message')}: {error!r}")

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> NoReturn:  # type: ignore[override]
        """There are no threads here."""
        raise AssertionError(f"{func} would run in a thread, which no seed repeats")

    # -- running --------------------------------------------------------------------------------

    def run_until_complete(self, future: Any) -> Any:
        """Run until the coroutine or future is done."""
        outer = events._get_running_loop()
        events._set_running_loop(self)
        self._running = True
        try:
            task = asyncio.ensure_future(future, loop=self)
            while not task.done():
                self._turn()
            return task.result()
        finally:
            self._running = False
            events._set_running_loop(outer)

    def _turn(self) -> None:
        """One callback."""
        ready = self._ready
        while not ready:
            self._advance()
        self._steps += 1
        if self._steps > STEPS_MAX:
            self._steps = 0
            raise NeverRests(f"{STEPS_MAX} steps and no rest")
        handle: Any = ready.popleft()
        if handle._cancelled:
            return
        context = handle._context
        life = context.get(PROCESS)
        if life is not None and not life.admits(handle):
            return
        try:
            context.run(handle._callback, *handle._args)
        except Exception as error:  # noqa: BLE001  # As asyncio does.
            self.call_exception_handler({"message": str(handle), "exception": error})

    def _advance(self) -> None:
        """Let time pass until something can run."""
        if self.on_idle is not None:
            self.on_idle()
        timers, dated, ready = self._timers, self._dated, self._ready
        nexts = [timers[0][0]] if timers else []
        if dated:
            nexts.append((dated[0][0] - self._start_ms - self._leapt_ms) / 1000)
        if not nexts and not ready:
            raise NeverRests("nothing will ever happen again")
        self._now = max(self._now, min(nexts, default=self._now))
        while timers and timers[0][0] <= self._now:
            ready.append(heappop(timers)[2])
        wall = self.wall()
        while dated and dated[0][0] <= wall:
            ready.append(heappop(dated)[2])

    def release(self, life: Life) -> None:
        """Let a process run what was kept for it."""
        self._ready.extend(life.held)
        life.held.clear()

    def bury(self, lives: list[Life]) -> None:
        """After the run: let every process unwind, reaching nobody, so that nothing is left."""
        self.on_idle = None
        self._dated.clear()
        self._steps = 0
        for life in lives:
            life.dead = life.frozen = False
            life.ghost, life.halt_at = True, None
            self.release(life)
            for task in life.tasks:
                task.cancel()
        left = [task for life in lives for task in life.tasks if not task.done()]
        if left:
            self.run_until_complete(self._all(left))
        for life in lives:
            life.tasks.clear()

    @staticmethod
    async def _all(tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            while not task.done():
                task.cancel()
                await asyncio.sleep(0.01)
