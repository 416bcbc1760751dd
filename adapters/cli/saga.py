"""`uprp saga list` and `show`: what became of a redemption, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from rich.markup import escape
from rich.table import Table

from adapters.cli.console import complain, emit_json, stdout
from adapters.cli.platform import EXIT_NOT_FOUND, EXIT_USAGE, read_settings, run
from adapters.postgres.views import SagaLine, SagaStory, TimelineLine, open_views
from orchestrator.engine.definition import participant
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import IN_FLIGHT, Status
from orchestrator.engine.results import phase
from orchestrator.sagas import KINDS
from schemas.times import moment

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def saga_commands(app: typer.Typer) -> None:
    """Register the commands. Exit codes: 0 found, 2 not a saga id, 3 nothing matched."""
    saga = typer.Typer(help="What became of redemptions.")
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
    """List the newest redemptions."""

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
        for heading in ("saga", "status", "origin", "account", "request", "accepted"):
            table.add_column(heading, overflow="fold", no_wrap=heading == "saga")
        for line in found:
            accepted = f"{line.accepted_at:%Y-%m-%d %H:%M:%S}"
            table.add_row(
                line.saga_id,
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
        for line in tell(story):
            stdout().print(line)


def tell(story: SagaStory) -> Iterator[str]:
    """The story of a saga, line by line, with Rich's markup."""
    saga = story.saga
    yield from heading(saga)
    yield from history(story)
    yield f"  {'now':>22}  {escape(waits_for(saga))}"


def heading(saga: Saga) -> Iterator[str]:
    """Which saga it is, where it stands and what was asked for."""
    terms = saga.terms
    lines = ", ".join(f"{line.quantity:,} x {line.item}" for line in terms.body.lines) or "nothing"
    yield f"[bold]{terms.saga_id}[/]  {_coloured(phase(saga))}"
    yield escape(
        f"  {lines} for {terms.body.points:,} {terms.body.unit or 'points'}"
        f"   {terms.origin}/{terms.account} request {terms.request_id}"
        f"   {terms.programme} v{terms.programme_version}"
    )


def history(story: SagaStory) -> Iterator[str]:
    """What happened, what was said because of it, and what it moved."""
    saga, terms = story.saga, story.saga.terms
    start = story.timeline[0].at if story.timeline else moment(terms.accepted_at)
    for entry in story.timeline:
        after = (entry.at - start).total_seconds()
        yield f"  {entry.at:%H:%M:%S}.{entry.at.microsecond // 1000:03d} +{after:7.3f}s  " + (
            escape(_heard(story, entry))
        )
        for said in entry.detail.get("said", ()):
            yield f"  {'':22}  [dim]->[/] {escape(said_in_words(saga, said))}"
    for movement in story.transfers:
        yield escape(
            f"  {'books':>22}  {movement.amount:,} {movement.unit}:"
            f" {movement.debit} -> {movement.credit}"
        )


def _heard(story: SagaStory, entry: TimelineLine) -> str:
    """One accepted event in words."""
    saga, detail = story.saga, entry.detail
    origin = saga.terms.origin
    if entry.event == "answered":
        leg = str(detail.get("leg"))
        parts = [f"{owner(saga, leg)} answered {leg}: {detail.get('outcome')}"]
        if "amount" in detail:
            parts.append(f"{detail['amount']:,}")
        parts += [str(detail[name]) for name in ("code", "reference") if name in detail]
        return " ".join(parts)
    if entry.event == "refused":
        where = f" ({detail['field']})" if "field" in detail else ""
        return f"{origin} asked; refused: {detail.get('code')}{where}"
    if entry.event == "decided":
        return _decided(story, detail)
    return {
        "requested": f"{origin} asked; accepted for {detail.get('points', 0):,} points",
        "held": f"{origin} asked; accepted for {detail.get('points', 0):,} points and held:"
        f" {detail.get('participant')} cannot be asked ({detail.get('why')})",
        "released": "the participants can be asked",
        "timer": "no answer in time",
        "withdrawn": f"{origin} withdrew the request",
        "asked": f"{origin} asked how it stands",
    }.get(entry.event, entry.event)


def _decided(story: SagaStory, detail: Mapping[str, Any]) -> str:
    number = detail.get("decision")
    text = f"decision {number}: {detail.get('action')} {detail.get('leg')}"
    line = next((one for one in story.decisions if one.id == number), None)
    if line is None:
        return text
    approved = f", approved by {line.approved_by}" if line.approved_by else ""
    return f"{text}, by {line.actor}{approved}: {line.reason} (evidence: {line.evidence})"


def said_in_words(saga: Saga, said: str, *, past: bool = True) -> str:
    """`do credit/1#1` in words: what was said, or what is to be said."""
    kind, _, rest = said.partition(" ")
    path, _, number = rest.partition("#")
    if kind == "result":
        told = saga.told
        latest = told is not None and str(told.revision) == number
        which = "correction" if told is not None and latest and told.corrected else "result"
        status = f", {told.status}" if told is not None and latest else ""
        return f"{'told' if past else 'tell'} {saga.terms.origin}: {which} r{number}{status}"
    again = "" if number == "1" else f" (time {number})"
    asks = (_ASKED if past else _ASK)[kind]
    return f"{asks.format(owner(saga, path))}: {path}{again}"


_ASKED: Final = {"do": "asked {}", "inquire": "inquired of {}", "cancel": "told {} to cancel"}
_ASK: Final = {"do": "ask {}", "inquire": "inquire of {}", "cancel": "tell {} to cancel"}


def owner(saga: Saga, path: str) -> str:
    """The participant whose leg it is; nobody for a loss."""
    definition = KINDS[saga.terms.definition, saga.terms.definition_version].definition
    return participant(saga.terms, definition, Leg(path=path, asked=0).verb)


def waits_for(saga: Saga) -> str:
    """What the saga waits for now, in one sentence."""
    parts = []
    if parked := [leg for leg in saga.legs if leg.parked]:
        what = ", ".join(f"{leg.path} ({leg.status}: {leg.code})" for leg in parked)
        parts.append(f"waits for a person: {what}")
    if saga.held:
        parts.append(f"held before anything is asked, looks again at {_clock(saga.held)}")
    parts += [
        f"waits for {owner(saga, leg.path)} to answer {_question(leg)}"
        f" ({leg.status}, looks again at {_clock(leg.due)})"
        for leg in saga.legs
        if leg.status in IN_FLIGHT
    ]
    told = saga.told
    if told is not None and told.final:
        code = f", {told.code}" if told.code else ""
        how = "corrected" if told.corrected else "ended"
        parts.insert(0, f"{how}: {told.status}{code}")
        if told.superseded:
            parts.insert(1, "that is being corrected")
    return "; ".join(parts) or "nothing was told yet"


def _question(leg: Leg) -> str:
    return f"the cancel of {leg.path}" if leg.status is Status.CANCELLING else leg.path


def _clock(at: int | None) -> str:
    return "never" if at is None else f"{datetime.fromtimestamp(at / 1000, UTC):%H:%M:%S}Z"


def _coloured(status: str) -> str:
    colour = {"SUCCESS": "green", "PARTIAL_SUCCESS": "green", "PARKED": "red"}.get(status, "yellow")
    return f"[{colour}]{status}[/]"


def as_data(story: SagaStory) -> dict[str, Any]:
    """The story for a JSON report: the ids, the end, and the lines without markup."""
    saga = story.saga
    return {
        "saga_id": str(saga.terms.saga_id),
        "request_id": saga.terms.request_id,
        "account": f"{saga.terms.origin}/{saga.terms.account}",
        "status": phase(saga),
        "timeline": [
            {"at": entry.at, "event": entry.event, "text": _heard(story, entry)}
            | {"said": [said_in_words(saga, said) for said in entry.detail.get("said", ())]}
            for entry in story.timeline
        ],
        "now": waits_for(saga),
    }
