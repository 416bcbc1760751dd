"""A line to simulated companies in this process, on a clock that jumps: no server, no waiting."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adapters.cli.sandbox import COMPANIES
from adapters.conform.checks import CELLS
from adapters.conform.exchange import ReceivedReply, SentCommand, read_reply
from adapters.conform.runner import Report, examine
from adapters.conform.terms import Terms, read_terms
from adapters.sandbox.books import CompanyBooks, read_company
from adapters.sandbox.commands import read_command
from adapters.sandbox.companies import load_companies
from adapters.sandbox.company import Company
from adapters.sandbox.faults import Faults
from adapters.sandbox.handler import CommandHandler, Reply

TERMS = COMPANIES.parent / "conform.toml"
NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)


class Bench:
    """One company of the shipped file, its answers read as records of its replies topic."""

    def __init__(self, folder: Path, name: str, faults: Faults | None = None) -> None:
        self.folder = folder
        self.name = name
        self.company = Company.open(
            name, load_companies(COMPANIES)[name], folder, faults or Faults()
        )
        self.clock = NOW
        self.topic = f"uprp.{name}.replies"
        self._replies: list[Reply] = []

    def close(self) -> None:
        self.company.close()

    def now(self) -> datetime:
        return self.clock

    def seconds(self) -> float:
        return self.clock.timestamp()

    def send(self, commands: Sequence[SentCommand]) -> None:
        for one in commands:
            read = read_command(one.key.encode(), one.value, one.envelope.headers())
            assert read is not None
            self._keep(self.company.handle([read], self.clock))

    def receive(self, wait_s: float) -> list[ReceivedReply]:
        self._keep(self.company.settle(self.clock))
        due, self._replies = self._replies, []
        if not due:
            self.clock += timedelta(seconds=wait_s)
        return [self.read(reply) for reply in due]

    def read(self, reply: Reply) -> ReceivedReply:
        headers = [(name, _bytes(content)) for name, content in reply.headers]
        return read_reply(self.topic, reply.key, reply.value, headers)

    def books(self) -> CompanyBooks:
        return read_company(self.folder / f"{self.name}.sqlite3")

    def _keep(self, replies: Sequence[Reply]) -> None:
        self._replies.extend(replies)


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def terms_of(name: str, **given: Any) -> Terms:
    return read_terms(TERMS, name, given)


def examined(
    folder: Path,
    name: str,
    *,
    handler: type[CommandHandler] = CommandHandler,
    faults: Faults | None = None,
    terms: Terms | None = None,
    run: str = "test",
) -> tuple[Report, CompanyBooks]:
    """A whole run against one company, and what its books say afterwards."""
    bench = Bench(folder, name, faults)
    bench.company.handler_type = handler
    with closing(bench):
        report = examine(bench, terms or terms_of(name), run)
        return report, bench.books()


def ids(report: Report, verdict: str) -> set[str]:
    return {result.cell for result in report.results if result.verdict == verdict}


def all_ids(terms: Terms) -> set[str]:
    return {cell.id(terms) for cell in CELLS if terms.role in cell.roles}
