"""`uprp audit`: whether the invariants hold in the live database, and what breaks them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from adapters.audit.database import Options, audit
from adapters.audit.report import Audit, Finding
from adapters.cli.options import AsJson
from adapters.console import emit_json, run, stdout
from adapters.settings import read_settings
from orchestrator.catalogue.loader import load

EXIT_BROKEN: Final = 8

Names = Annotated[
    int, typer.Option(min=1, max=1_000, help="How many are named for each broken invariant.")
]
Connections = Annotated[
    int, typer.Option(min=1, max=16, help="How many read side by side, in one snapshot.")
]
OverdueS = Annotated[
    int, typer.Option("--overdue-s", min=1, help="How late a timer may be, in seconds.")
]


def audit_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "audit",
        epilog="Exit codes: 0 every invariant holds, 1 the database could not be read, 2 wrong"
        f" usage, 4 migrations are missing, {EXIT_BROKEN} an invariant is broken.",
    )(audit_database)


def audit_database(
    *,
    names: Names = 5,
    connections: Connections = 2,
    overdue_s: OverdueS = 3_600,
    as_json: AsJson = False,
) -> None:
    """Prove the invariants I1 to I14 over the live database, in one snapshot; changes nothing."""
    settings = read_settings()
    dsn = settings.postgres.dsn.get_secret_value()
    options = Options(connections, names, overdue_s)

    async def read() -> Audit:
        return await audit(dsn, load(settings.deploy), options)

    found = run(read())
    if as_json:
        emit_json(as_data(found))
    else:
        show(stdout(), found)
    if not found.holds:
        raise typer.Exit(EXIT_BROKEN)


def as_data(found: Audit) -> dict[str, Any]:
    """The audit as plain data."""
    suspense = [asdict(one) | {"others": one.others} for one in found.suspense]
    return asdict(found) | {"suspense": suspense, "holds": found.holds}


def show(console: Console, found: Audit) -> None:
    """Print what was checked, how much of it, and what is broken."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("invariant", overflow="fold")
    table.add_column("checked", justify="right")
    table.add_column("of")
    table.add_column("broken", justify="right")
    for one in found.findings:
        style = "red" if one.broken else ""
        counts = (f"{one.checked:,}", one.of, f"{one.broken:,}")
        table.add_row(one.invariant, one.says, *counts, style=style)
    console.print(table)
    for line in _lines(found):
        console.print(line)


def _lines(found: Audit) -> Iterator[str]:
    for one in found.findings:
        if one.broken:
            yield from _broken(one)
    yield ""
    for unit in found.suspense:
        yield (
            f"in suspense, {escape(unit.unit)}: {unit.total:,}; in cases {unit.cases:,}, awaiting"
            f" an answer {unit.flights:,}, of sagas that ended {unit.others:,}"
        )
    yield (
        f"open: {found.waiting:,} wait for an answer, {found.parked:,} for a person;"
        f" {found.unreturned:,} ended, and the channel has not acknowledged its return;"
        f" {found.questions:,} questions are not forgotten yet"
    )
    yield in_short(found)


def _broken(one: Finding) -> Iterator[str]:
    yield f"\n[red]{one.invariant} is broken[/]: {one.broken:,} of {one.checked:,} {one.of}"
    for named in one.named:
        yield f"  {escape(named.name)}: {escape(named.why)}"
    if len(one.named) < one.broken:
        yield f"  ... and {one.broken - len(one.named):,} more; --names says how many are named"
    yield f"  next: {escape(one.next or '')}"


def in_short(found: Audit) -> str:
    """Whether the invariants hold, in one line with Rich's markup."""
    over = (
        f"{found.sagas:,} sagas, {found.legs:,} legs, {found.movements:,} movements and"
        f" {found.events:,} events, as of {found.at:%Y-%m-%d %H:%M:%S}Z, in {found.seconds} s"
    )
    broken = [one.invariant for one in found.findings if one.broken]
    if broken:
        return f"audit: [red]{', '.join(broken)} broken[/] over {over}"
    return f"audit: [green]{len(found.findings)} invariants hold[/] over {over}"
