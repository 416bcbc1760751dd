"""What the commands about parked sagas share: connection, cases, stories, and how they refuse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Final, NoReturn, TypeVar
from uuid import UUID

import typer

from adapters.cli.case import Case, engine_of
from adapters.console import EXIT_NOT_FOUND, EXIT_USAGE, complain, run
from adapters.postgres.decisions import DecisionStore, Parked, open_decision_store
from adapters.postgres.views import SagaStory
from adapters.settings import read_settings
from orchestrator.catalogue.loader import load

T = TypeVar("T")

EXITS: Final = (
    "Exit codes: 0 done, 1 a server is away or --wait ran out, 2 asked wrongly, 3 no such saga or"
    " decision, 4 schema too old, 5 another decision is open or it is settled already, 6 refused:"
    " it is not allowed now, or needs another person."
)
SagaId = Annotated[str, typer.Argument(metavar="ID", help="The saga's id.")]


def with_decisions(work: Callable[[DecisionStore], Awaitable[T]]) -> T:
    """Run some work with a decision store of its own; errors become exit codes."""

    async def act() -> T:
        async with open_decision_store(read_settings().postgres.dsn.get_secret_value()) as store:
            return await work(store)

    return run(act())


async def cases_of(store: DecisionStore, parked: Iterable[Parked]) -> list[Case]:
    """The cases with their decisions, under the policies that are deployed now."""
    found = list(parked)
    policies = load(read_settings().deploy).policies
    keys = [(one.saga.terms.key_hash, one.saga.terms.saga_id) for one in found]
    decisions = await store.decisions_of(keys)
    now = datetime.now(UTC)
    return [
        Case(
            one.saga,
            engine_of(one.saga, policies),
            one.since,
            now,
            tuple(line for line in decisions if line.saga_id == one.saga.terms.saga_id),
        )
        for one in found
    ]


async def story_of(store: DecisionStore, saga_id: str) -> SagaStory:
    """The saga of that id with its history.

    Exits with 2 when the text is no saga id, with 3 when there is no such saga.
    """
    try:
        wanted = str(UUID(saga_id))
    except ValueError:
        refuse(EXIT_USAGE, f"{saga_id!r} is not a saga id\nnext: uprp parked list")
    story = await store.saga(wanted)
    if story is None:
        refuse(EXIT_NOT_FOUND, f"there is no saga {wanted}\nnext: uprp parked list")
    return story


def refuse(code: int, text: str) -> NoReturn:
    """Write what is wrong, why, and what to do next to stderr; exit with the code."""
    complain(text)
    raise typer.Exit(code)
