"""`uprp saga list` and `show`: what became of a redemption or of a question, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

import typer
from rich.markup import escape
from rich.table import Table

from adapters.cli.options import AsJson
from adapters.console import EXIT_NOT_FOUND, EXIT_USAGE, complain, emit_json, run, stdout
from adapters.postgres.stories import (
    asked_in_words,
    event_in_words,
    figures_read,
    said_in_words,
    waits_for,
)
from adapters.postgres.views import SagaLine, SagaStory, open_views
from adapters.settings import read_settings
from orchestrator.engine.instance import Saga
from orchestrator.engine.results import phase
from schemas.times import moment


def saga_commands(app: typer.Typer) -> None:
    """Register the commands. Exit codes: 0 found, 2 not a saga id, 3 nothing matched."""
    saga = typer.Typer(help="What became of redemptions and of questions about balances.")
    saga.command("list")(saga_list)
    saga.command("show")(saga_show)
    app.add_typer(saga, name="saga", no_args_is_help=True)


def saga_list(
    *,
    status: Annotated[str | None, typer.Option(help="Such as SUCCESS, PARKED, REJECTED.")] = None,
    account: Annotated[str | None, typer.Option(help="The member's account at the origin.")] = None,
    programme: Annotated[str | None, typer.Option(help="The programme's id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """List the newest redemptions, and the questions about balances that are not forgotten."""

    async def find() -> list[SagaLine]:
        async with open_views(read_settings().postgres.dsn.get_secret_value()) as views:
            return await views.sagas(
                status=status, account=account, programme=programme, limit=limit
            )

    found = run(find())
    if as_json:
        emit_json(found)
    elif found:
        table = Table(box=None, pad_edge=False)
        for heading in ("saga", "kind", "status", "origin", "account", "request", "accepted"):
            table.add_column(heading, overflow="fold", no_wrap=heading == "saga")
        for line in found:
            accepted = f"{line.accepted_at:%Y-%m-%d %H:%M:%S}"
            table.add_row(
                line.saga_id,
                line.kind,
                _coloured(line.status),
                *(escape(t) for t in (line.origin, line.account, line.request_id)),
                accepted,
            )
        stdout().print(table)
    if not found:
        complain("no saga matches\nnext: uprp saga list without filters")
        raise typer.Exit(EXIT_NOT_FOUND)


def saga_show(
    saga_id: Annotated[str, typer.Argument(help="The saga's id.")], *, as_json: AsJson = False
) -> None:
    """Show what was asked of whom, when, what came back, and what the saga waits for now."""
    try:
        wanted = str(UUID(saga_id))
    except ValueError:
        complain(f"{saga_id!r} is not a saga id\nnext: uprp saga list")
        raise typer.Exit(EXIT_USAGE) from None

    async def find() -> SagaStory | None:
        async with open_views(read_settings().postgres.dsn.get_secret_value()) as views:
            return await views.saga(wanted)

    story = run(find())
    if story is None:
        complain(f"there is no saga {wanted}\nnext: uprp saga list")
        raise typer.Exit(EXIT_NOT_FOUND)
    if as_json:
        emit_json(story)
    else:
        for line in story_lines(story):
            stdout().print(line)


def story_lines(story: SagaStory) -> Iterator[str]:
    """The story of a saga, line by line, with Rich's markup."""
    saga = story.saga
    yield from heading(saga)
    yield from history(story)
    yield f"  {'now':>22}  {escape(waits_for(saga))}"


def heading(saga: Saga) -> Iterator[str]:
    """The saga's id and status, and what was asked for, with Rich's markup."""
    terms = saga.terms
    yield f"[bold]{terms.saga_id}[/]  {_coloured(phase(saga))}"
    yield escape(
        f"  {asked_in_words(saga)}   {terms.origin}/{terms.account} request {terms.request_id}"
        f"   {terms.programme} v{terms.programme_version}"
    )
    if said := figures_read(saga):
        yield escape(f"  {said}")


def history(story: SagaStory) -> Iterator[str]:
    """The saga's events, the messages that followed from each, and its movements, line by line."""
    saga, terms = story.saga, story.saga.terms
    start = story.timeline[0].at if story.timeline else moment(terms.accepted_at)
    for entry in story.timeline:
        after = (entry.at - start).total_seconds()
        yield f"  {entry.at:%H:%M:%S}.{entry.at.microsecond // 1000:03d} +{after:7.3f}s  " + (
            escape(event_in_words(story, entry))
        )
        for said in entry.detail.get("said", ()):
            yield f"  {'':22}  [dim]->[/] {escape(said_in_words(saga, said))}"
    for movement in story.transfers:
        yield escape(
            f"  {'books':>22}  {movement.amount:,} {movement.unit}:"
            f" {movement.debit} -> {movement.credit}"
        )


def _coloured(status: str) -> str:
    colours = {"SUCCESS": "green", "PARTIAL_SUCCESS": "green", "ANSWERED": "green", "PARKED": "red"}
    colour = colours.get(status, "yellow")
    return f"[{colour}]{status}[/]"
