"""How the demo is shown: records as they are published, a table of the requests, a summary."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from adapters.cli.audit import in_short
from adapters.cli.saga import story_lines
from adapters.demo.audit import Balance
from adapters.demo.monitor import ObservedRecord
from adapters.demo.report import Report
from adapters.demo.run import Outcome
from adapters.demo.scenarios import Scenario
from schemas.events import Channel

_COLOURS: Final = {
    Channel.REQUESTS: "bold",
    Channel.COMMANDS: "cyan",
    Channel.REPLIES: "blue",
    Channel.RESULTS: "green",
    Channel.DEAD_LETTERS: "red",
    Channel.INTERNAL: "dim",
}


class DemoView:
    """Shows every record as it is published and, on a terminal, a table of the requests below."""

    def __init__(self, console: Console, scenarios: tuple[Scenario, ...]) -> None:
        self._console = console
        self._scenarios = scenarios
        self._outcomes: list[Outcome] = []
        self._live = (
            Live(self._table(), console=console, auto_refresh=False, transient=True)
            if console.is_terminal
            else None
        )
        self._first: ObservedRecord | None = None

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, scenario: Scenario) -> None:
        """Show which request is published next."""
        self._console.print(f"\n[bold]{escape(scenario.about)}[/]", highlight=False)
        self._refresh()

    def observed(self, record: ObservedRecord) -> None:
        """Show a record: when it was published, by whom, for whom, and what it says."""
        self._first = self._first or record
        after = (record.at - self._first.at).total_seconds()
        way = f"{record.sender:>10} -> {record.receiver:<10}"
        text = f"  {after:7.3f}s {way}  {record.in_words()}"
        self._console.print(Text(text, style=_COLOURS[record.channel]))
        self._refresh()

    def finished(self, outcome: Outcome) -> None:
        """Show how a request ended, and whether that was expected."""
        self._outcomes.append(outcome)
        for problem in outcome.problems:
            self._console.print(Text(f"  not as expected: {problem}", style="bold red"))
        if not outcome.problems:
            self._console.print(Text("  as expected", style="dim"))
        self._refresh()

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._table(), refresh=True)

    def _table(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        for heading in ("   request", "ended as"):
            table.add_column(heading, no_wrap=True)
        for at, scenario in enumerate(self._scenarios):
            if at >= len(self._outcomes):
                table.add_row(Text(f" · {scenario.about}", style="dim"), "")
                continue
            outcome = self._outcomes[at]
            mark = (" x ", "bold red") if outcome.problems else ("ok ", "green")
            table.add_row(Text.assemble(mark, scenario.about), Text(_in_short(outcome)))
        return Group(Text(), table)


def _in_short(outcome: Outcome) -> str:
    observed = outcome.observed
    if observed.refused:
        return f"{observed.refused}, set aside ({observed.dead_letter})"
    again = ", the stored answer" if observed.again else ""
    return f"{observed.status or 'nothing'}{f', {observed.code}' if observed.code else ''}{again}"


def print_summary(console: Console, report: Report, path: Path) -> None:
    """Print each saga's timeline, the members' balances, and whether all is as it should be."""
    for story in report.stories:
        console.print()
        for line in story_lines(story):
            console.print(line)
    console.print()
    console.print(_balances(report.audit.balances))
    console.print()
    audit = report.audit
    if report.balanced:
        console.print(
            f"[green]The books balance[/]: {audit.transfers} movements add up to nothing in every"
            f" unit, nothing is left in suspense; {audit.legs} legs are to every company what they"
            " are to us; every balance changed by what the origins were told."
            f" {audit.questions} questions moved nothing."
        )
    else:
        console.print("[red]The books do not balance.[/]")
    console.print(in_short(report.proved))
    for problem in report.problems:
        console.print(Text(f"  {problem}", style="red"))
    good = sum(not outcome.problems for outcome in report.demo_run.outcomes)
    total = len(report.demo_run.outcomes)
    console.print(f"{good} of {total} requests ended as expected, after {report.seconds:.1f} s.")
    console.print(f"report: {path}", markup=False)


def _balances(balances: tuple[Balance, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("company", "member", "unit"):
        table.add_column(heading)
    for heading in ("before", "after", "change", "told"):
        table.add_column(heading, justify="right")
    for one in balances:
        change = one.after - one.before
        numbers = (f"{one.before:,}", f"{one.after:,}", f"{change:+,}", f"{one.told:+,}")
        style = "" if one.ok else "red"
        table.add_row(one.company, one.account, one.unit, *numbers, style=style)
    return table
