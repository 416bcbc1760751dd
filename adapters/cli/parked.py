"""`uprp parked`: sagas that wait for a person, and what people decided about them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from adapters.cli.case import (
    MEANING,
    Case,
    age,
    case_data,
    command,
    decision_data,
    decision_lines,
    decision_status,
)
from adapters.cli.decisions import parked_approve, parked_decline, parked_resolve
from adapters.cli.options import AsJson
from adapters.cli.saga import heading, history
from adapters.cli.session import EXITS, SagaId, cases_of, story_of, with_decisions
from adapters.console import emit_json, stdout
from adapters.postgres.decisions import DecisionStore, Parked
from adapters.postgres.stories import waits_for
from adapters.postgres.views import DecisionLine, SagaStory
from orchestrator.engine.operator import TWO_PERSONS


def parked_commands(app: typer.Typer) -> None:
    """Register the commands."""
    parked = typer.Typer(
        help="Sagas that wait for a person.",
        epilog="Begin with: uprp parked list, then uprp parked show ID.",
    )
    parked.command("list", epilog=EXITS)(parked_list)
    parked.command("show", epilog=EXITS)(parked_show)
    parked.command("resolve", epilog=EXITS)(parked_resolve)
    parked.command("approve", epilog=EXITS)(parked_approve)
    parked.command("decline", epilog=EXITS)(parked_decline)
    parked.command("decisions", epilog=EXITS)(parked_decisions)
    app.add_typer(parked, name="parked", no_args_is_help=True)


def parked_list(
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The longest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what waits for a person: why, since when, whose turn, what is at stake."""

    async def find(store: DecisionStore) -> list[Case]:
        return await cases_of(store, await store.parked(limit))

    found = with_decisions(find)
    if as_json:
        emit_json([case_data(case) for case in found])
    elif not found:
        stdout().print("nothing waits for a person")
    for number, case in enumerate([] if as_json else found):
        terms = case.saga.terms
        out = stdout()
        if number:
            out.print()
        out.print(
            f"[bold]{terms.saga_id}[/]  {age(case.since, case.now)}"
            f"  [red]{case.stake:,} {escape(case.unit)} in suspense[/]"
            f"  {escape(f'{terms.origin}/{terms.account} request {terms.request_id}')}"
        )
        for leg in case.legs:
            out.print(f"  {leg.path}  {escape(case.why(leg))}")
            allowed = ", ".join(case.allowed(leg))
            out.print(f"    turn: {case.responsible(leg)}; allowed: {allowed}")
        for line in case.open:
            out.print(escape(f"    decision {line.id}, {line.action}: {decision_status(line)}"))


def parked_show(saga_id: SagaId, *, as_json: AsJson = False) -> None:
    """Show one case: its story, its legs, and what may be decided, with the commands for it."""

    async def find(store: DecisionStore) -> tuple[SagaStory, Case | None]:
        story = await story_of(store, saga_id)
        since = await store.parked_since(story.saga)
        if since is None:
            return story, None
        (case,) = await cases_of(store, [Parked(story.saga, since)])
        return story, case

    story, case = with_decisions(find)
    if as_json:
        emit_json(
            case_data(case)
            if case is not None
            else {
                "saga_id": story.saga.terms.saga_id,
                "legs": [],
                "decisions": [decision_data(one) for one in story.decisions],
            }
        )
        return
    out = stdout()
    for text in (*heading(story.saga), *history(story)):
        out.print(text)
    out.print(f"  {'now':>22}  {escape(waits_for(story.saga))}")
    if case is not None:
        _show_case(case)
    for line in story.decisions:
        for text in decision_lines(line):
            out.print(escape(f"  {text}"))
    if case is None:
        out.print("  nothing about it waits for a person")


def _show_case(case: Case) -> None:
    out = stdout()
    out.print(
        f"\n  waits since {case.since:%Y-%m-%d %H:%M:%S}Z, {age(case.since, case.now)};"
        f" [red]{case.stake:,} {escape(case.unit)} in suspense[/]"
    )
    for leg in case.legs:
        out.print(f"\n  [bold]{leg.path}[/]  {escape(case.why(leg))}")
        out.print(f"    turn: {case.responsible(leg)}")
        for action in case.allowed(leg):
            second = ", needs a second person" if action in TWO_PERSONS else ""
            out.print(f"    [bold]{action}[/]: {MEANING[action]}{second}")
            out.print(f"      [dim]then[/] {escape(case.preview(leg, action))}")
            out.print(f"      [dim]{escape(command(case.saga, leg, action))}[/]")
    out.print()


def parked_decisions(
    *,
    only_open: Annotated[bool, typer.Option("--open", help="Only what is not settled.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what people decided, who approved it and what became of it."""

    async def find(store: DecisionStore) -> list[DecisionLine]:
        return await store.decisions(open_only=only_open, limit=limit)

    found = with_decisions(find)
    if as_json:
        emit_json([decision_data(line) for line in found])
        return
    if not found:
        stdout().print("no decisions")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("decision", "saga", "leg", "action", "by", "approved by", "status", "why"):
        table.add_column(name, overflow="fold", no_wrap=name == "saga")
    for line in found:
        why = line.why or line.reason
        cells = (line.leg, line.action, line.actor, line.approved_by or "", line.status, why)
        table.add_row(str(line.id), line.saga_id, *(escape(cell) for cell in cells))
    stdout().print(table)
