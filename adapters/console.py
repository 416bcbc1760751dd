"""How commands talk and end: data on stdout, everything else on stderr, and an exit code.

An error says what is wrong, why, and which command to run next.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import orjson
import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from orchestrator.catalogue.loader import CatalogueError
from orchestrator.errors import Stop, Unavailable

T = TypeVar("T")

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NOT_FOUND: Final = 3
EXIT_CONFLICT: Final = 5
EXIT_REFUSED: Final = 6

_PIPE_COLUMNS: Final = 1_000

Say = Callable[[str], None]
"""Tells, in one line, what a long step is doing now."""


def stdout() -> Console:
    """Return the console for data; Rich itself respects NO_COLOR and plain pipes."""
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS  # A pipe has no edge at which to break an id in two.
    return console


def stderr() -> Console:
    """Return the console for progress and errors."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def emit_json(value: Any) -> None:
    """Write one JSON document (of dataclasses, models, paths, dates) to stdout."""
    sys.stdout.write(orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2).decode())
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def complain(text: str) -> None:
    """Write an error (what, why, and the next command to run) to stderr."""
    stderr().print(f"error: {text}", style="red", markup=False)


@contextmanager
def step(text: str) -> Generator[Say]:
    """Show that a long step is under way, with its seconds; yields a function for its details.

    On a terminal one moving line, replaced by one that stays; elsewhere plain lines.
    """
    console = stderr()
    began = time.monotonic()
    try:
        if console.is_terminal:
            with _moving(console, text) as say:
                yield say
        else:
            console.print(f"{text} ...", markup=False)
            yield lambda detail: console.print(f"  {detail}", markup=False)
    except BaseException:
        console.print(f"{text}: given up after {time.monotonic() - began:.1f} s", markup=False)
        raise
    console.print(f"{text}: done in {time.monotonic() - began:.1f} s", markup=False)


@contextmanager
def _moving(console: Console, text: str) -> Generator[Say]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text)

        def say(detail: str) -> None:
            progress.console.print(f"  {detail}", markup=False)
            progress.update(task, description=f"{text} · {detail}")

        yield say


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run some work to its end; an error of the platform becomes a message and an exit code.

    That is `Stop` with its own code, `Unavailable` with 1, `CatalogueError` with 2.
    """
    try:
        return asyncio.run(work)
    except CatalogueError as error:
        complain(f"the catalogue cannot be run:\n{error}")
        raise typer.Exit(EXIT_USAGE) from None
    except Unavailable as error:
        complain(f"{error}\nnext: uprp status, or uprp up")
        raise typer.Exit(EXIT_FAILED) from None
    except Stop as error:
        complain(str(error))
        raise typer.Exit(error.exit_code) from None
