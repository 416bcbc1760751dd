"""`uprp conform`: the partners' acceptance test, against a participant that is running."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import uuid4

import typer
from confluent_kafka import KafkaException
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from adapters.cli.options import AsJson
from adapters.conform.checks import CELLS
from adapters.conform.monitors import MONITORS
from adapters.conform.runner import Report, Result, examine
from adapters.conform.scheduler import Timeouts
from adapters.conform.terms import Terms, TermsError, read_terms
from adapters.conform.transport import KafkaTransport, TopicsMissingError, coordinators
from adapters.console import EXIT_FAILED, EXIT_USAGE, complain, emit_json, stdout, step
from adapters.settings import read_settings
from orchestrator.settings import ROOT, KafkaSettings

TERMS: Final = ROOT / "deploy" / "sandbox" / "conform.toml"

_MARKS: Final = {
    "kept": "green",
    "broken": "bold red",
    "warning": "yellow",
    "undecided": "yellow",
    "not offered": "dim",
}


def conform_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "conform",
        epilog="Exit codes: 0 every promise that was tried is kept, 1 one is broken or Kafka is"
        " away, 2 wrong usage or a coordinator is running, 3 the participant did not answer or"
        " something stayed undecided.",
    )(conform)


def conform(
    *,
    participant: Annotated[str, typer.Option(help="Whom to examine, as `citi`.")],
    terms: Annotated[Path, typer.Option(help="Accounts and items, one table each.")] = TERMS,
    role: Annotated[str, typer.Option(help="debtor or creditor.")] = "",
    programme: Annotated[str, typer.Option(help="The programme named in commands.")] = "",
    account: Annotated[str, typer.Option(help="An account that is good for anything.")] = "",
    amount: Annotated[int, typer.Option(help="Points or pieces a command, 2 or more.")] = 0,
    refused_account: Annotated[str, typer.Option(help="One that must be refused.")] = "",
    item: Annotated[str, typer.Option(help="Creditor: what to credit.")] = "",
    kind: Annotated[str, typer.Option(help="Creditor: the item's kind.")] = "",
    face: Annotated[str, typer.Option(help="Creditor: as 5000HKD, in minor units.")] = "",
    exact_account: Annotated[str, typer.Option(help="Debtor: one with --exact-amount.")] = "",
    exact_item: Annotated[str, typer.Option(help="Creditor: one with --exact-amount.")] = "",
    exact_amount: Annotated[int, typer.Option(help="All that there is of it.")] = 0,
    balance_account: Annotated[str, typer.Option(help="Debtor: one that only the kit uses.")] = "",
    lacking: Annotated[
        str, typer.Option(help="What it does not offer: of repeat,inquire,cancel,undo,balance.")
    ] = "",
    cells: Annotated[str, typer.Option(help="Only these, as `cancel.*,*.repeat`.")] = "*",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 10.0,
    settle: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a PENDING.")] = 30.0,
    run: Annotated[str, typer.Option(help="Names the run; a name is good for once.")] = "",
    beside_coordinator: Annotated[
        bool, typer.Option("--beside-coordinator", help="Go on although a coordinator is running.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Try every promise of a participant by playing its platform on Kafka."""
    given: dict[str, Any] = {
        "role": role,
        "programme": programme,
        "account": account,
        "amount": amount,
        "refused_account": refused_account,
        "item": item,
        "kind": kind,
        "face": _face(face),
        "exact_account": exact_account,
        "exact_item": exact_item,
        "exact_amount": exact_amount,
        "balance_account": balance_account,
        "lacking": [word.strip() for word in lacking.split(",") if word.strip()],
    }
    try:
        ours = read_terms(terms, participant, {name: it for name, it in given.items() if it})
        chosen = _chosen(cells, ours)
    except TermsError as error:
        complain(f"{error}\nnext: uprp conform --help, docs/partners/conformance.md")
        raise typer.Exit(EXIT_USAGE) from None
    name = run or uuid4().hex[:12]
    timeouts = Timeouts(timeout, settle)
    report = _examined(ours, name, chosen, timeouts, beside_coordinator=beside_coordinator)
    _show(report, as_json=as_json)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _examined(
    ours: Terms, run: str, chosen: Any, timeouts: Timeouts, *, beside_coordinator: bool
) -> Report:
    """Examine the participant; exits with 1 where Kafka is away or topics are missing."""
    kafka = read_settings().kafka
    try:
        _refuse_beside(kafka, beside_coordinator)
        with (
            step(f"Examining {ours.participant}") as progress,
            KafkaTransport(
                kafka.bootstrap_servers, ours.participant, kafka.request_timeout_s
            ) as transport,
        ):
            return examine(
                transport, ours, run, chosen=chosen, timeouts=timeouts, progress=progress
            )
    except TopicsMissingError as error:
        complain(f"{error}\nnext: uprp topics apply")
        raise typer.Exit(EXIT_FAILED) from None
    except KafkaException as error:
        complain(f"Kafka at {kafka.bootstrap_servers}: {error}\nnext: uprp status")
        raise typer.Exit(EXIT_FAILED) from None


def _face(text: str) -> dict[str, Any] | str:
    """`5000HKD` as a table of the terms; any other text stays as it is, for the terms to refuse."""
    amount, currency = text[:-3], text[-3:]
    return {"amount": int(amount), "currency": currency} if amount.isdecimal() else text


def _chosen(cells: str, terms: Terms) -> Any:
    """The choice of cells by their ids. Raises TermsError where a glob matches none."""
    globs = [glob.strip() for glob in cells.split(",")]
    known = [cell.id(terms) for cell in CELLS if terms.role in cell.roles]
    known += [monitor.id for monitor in MONITORS]
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in known):
            raise TermsError(f"--cells: {glob!r} is none of {', '.join(known)}")
    return lambda name: any(fnmatchcase(name, glob) for glob in globs)


def _refuse_beside(kafka: KafkaSettings, beside_coordinator: bool) -> None:
    """Exit with 2 while a coordinator runs: it would make dead letters of the same replies."""
    running = coordinators(kafka.bootstrap_servers, kafka.group, kafka.request_timeout_s)
    if not running:
        return
    what = f"{running} coordinator(s) of group {kafka.group} read the same replies"
    if not beside_coordinator:
        complain(
            f"{what}; they would become dead letters\nnext: stop them, use an environment without"
            " one, or add --beside-coordinator"
        )
        raise typer.Exit(EXIT_USAGE)
    complain(f"{what}; they become dead letters")


def _show(report: Report, *, as_json: bool) -> None:
    counts = {verdict: report.count(verdict) for verdict in _MARKS}  # type: ignore[arg-type]
    if as_json:
        emit_json({"exit_code": report.exit_code, "counts": counts, "report": report})
    else:
        _show_table(report)
        for result in report.results:
            if result.verdict not in ("kept", "not offered"):
                _show_details(result)
        told = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
        stdout().print(f"\n{report.participant} as {report.role}, run {report.run}: {told}.")
        stdout().print(
            f"{len(report.moves)} effects were confirmed; --json lists them: your books must show"
            f" those and no others. {report.left or 'Nothing'} of it is left to be undone."
        )
    if not report.heard:
        complain(
            f"{report.participant} did not answer at all: does it read"
            f" uprp.{report.participant}.commands?\nnext: start it; here, uprp sandbox"
        )


def _show_table(report: Report) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("cell", "verdict", "promise"):
        table.add_column(heading, no_wrap=heading != "promise")
    for result in report.results:
        mark = Text(result.verdict, style=_MARKS[result.verdict])
        table.add_row(result.cell, mark, result.promise)
    stdout().print(table)


def _show_details(result: Result) -> None:
    console = stdout()
    console.print(f"\n[bold]{result.cell}[/] {result.verdict}: {escape(result.why)}")
    for entry in result.log:
        where = f"{entry.topic} {entry.key}"
        console.print(f"  {entry.way:8} {where}\n           {entry.record}", markup=False)
    if result.expected:
        console.print(f"  expected {result.expected}", markup=False)
