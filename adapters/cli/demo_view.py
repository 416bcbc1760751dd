"""How the demo is shown: records as they pass, a table of requests that fills, the end."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from adapters.cli.audit import in_short
from adapters.cli.saga import tell
from adapters.demo.audit import Balance
from adapters.demo.monitor import Sight
from adapters.demo.report import Report
from adapters.demo.run import Outcome
from adapters.demo.scenarios import Scene
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
    """Shows every record as it passes and, on a terminal, a table of the requests below them."""

    def __init__(self, console: Console, scenes: tuple[Scene, ...]) -> None:
        self._console = console
        self._scenes = scenes
        self._ended: list[Outcome] = []
        self._live = (
            Live(self._table(), console=console, auto_refresh=False, transient=True)
            if console.is_terminal
            else None
        )
        self._first: Sight | None = None

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def begins(self, scene: Scene) -> None:
        """Announce a request."""
        self._console.print(f"\n[bold]{escape(scene.about)}[/]", highlight=False)
        self._refresh()

    def passes(self, sight: Sight) -> None:
        """Show a record: when, who told whom, what."""
        self._first = self._first or sight
        after = (sight.at - self._first.at).total_seconds()
        way = f"{sight.sender:>10} -> {sight.receiver:<10}"
        words = Text(f"  {after:7.3f}s {way}  {sight.words()}", style=_COLOURS[sight.channel])
        self._console.print(words)
        self._refresh()

    def ended(self, outcome: Outcome) -> None:
        """Say what came of a request, and whether that was expected."""
        self._ended.append(outcome)
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
        for at, scene in enumerate(self._scenes):
            if at >= len(self._ended):
                table.add_row(Text(f" · {scene.about}", style="dim"), "")
                continue
            outcome = self._ended[at]
            mark = (" x ", "bold red") if outcome.problems else ("ok ", "green")
            table.add_row(Text.assemble(mark, scene.about), Text(_in_short(outcome)))
        return Group(Text(), table)


def _in_short(outcome: Outcome) -> str:
    seen = outcome.seen
    if seen.refused:
        return f"{seen.refused}, set aside ({seen.dead_letter})"
    again = ", the stored answer" if seen.again else ""
    return f"{seen.status or 'nothing'}{f', {seen.code}' if seen.code else ''}{again}"


def tell_end(console: Console, report: Report, path: Path) -> None:
    """Each saga's timeline, the members' balances, the verdict."""
    for story in report.stories:
        console.print()
        for line in tell(story):
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
        )
    else:
        console.print("[red]The books do not balance.[/]")
    console.print(in_short(report.proved))
    for problem in report.problems:
        console.print(Text(f"  {problem}", style="red"))
    good = sum(not outcome.problems for outcome in report.played.outcomes)
    total = len(report.played.outcomes)
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
