"""`uprp sandbox`, `sandbox-books`, `sandbox-deduct`: the simulated companies and their own apps."""

import signal
import sqlite3
import sys
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import orjson
import structlog
import typer
from confluent_kafka import KafkaException
from rich.table import Table

from adapters.cli.options import AsJson
from adapters.console import EXIT_FAILED, EXIT_USAGE, complain, emit_json, stdout
from adapters.kafka.requests import LineError, line_of, read_objects
from adapters.sandbox.app import AppError, Apps
from adapters.sandbox.books import Books, CompanyBooks, read_books
from adapters.sandbox.companies import CompaniesError, load_companies
from adapters.sandbox.company import Company
from adapters.sandbox.faults import Faults, FaultsError, load_rules, parse_rates
from adapters.sandbox.ledger import LedgerInUseError
from adapters.sandbox.magic_accounts import MAGIC
from adapters.sandbox.process import GROUP, KafkaConnection, Sandbox, SandboxError
from adapters.settings import read_settings

DATA: Final = Path(".uprp/sandbox")
COMPANIES: Final = Path(__file__).resolve().parents[2] / "deploy" / "sandbox" / "companies.toml"

Data = Annotated[Path, typer.Option("--data", help="Where the companies keep their books.")]


def sandbox_commands(app: typer.Typer) -> None:
    """Register the commands. Exit codes: 0 well, 1 failed or books with problems, 2 wrong usage."""
    app.command("sandbox")(sandbox)
    app.command("sandbox-books")(books)
    app.command("sandbox-deduct")(deduct)


def sandbox(
    *,
    bootstrap: Annotated[
        str, typer.Option(help="Kafka's address, if not as for all commands.")
    ] = "",
    data: Data = DATA,
    companies: Annotated[Path, typer.Option(help="Who the companies are.")] = COMPANIES,
    only: Annotated[str, typer.Option(help="Run these alone, as `citi,alipayhk`.")] = "",
    faults: Annotated[Path | None, typer.Option(help="A script of faults.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the faults of --rates.")] = 0,
    rates: Annotated[str, typer.Option(help="Such as `silence=0.02,repeat=0.05`.")] = "",
    pace: Annotated[
        float, typer.Option(min=0.001, max=1_000, help="Multiplies every wait of a fault.")
    ] = 1.0,
    group: Annotated[str, typer.Option(help="The consumer group.")] = GROUP,
    session_timeout_ms: Annotated[int, typer.Option(min=1_000, help="Of the group.")] = 6_000,
) -> None:
    """Run the simulated companies on Kafka until told to stop.

    Accounts that begin with `magic-` provoke a fault each: docs/partners/sandbox.md lists them.
    """
    _log_to_stderr()
    servers = bootstrap or read_settings().kafka.bootstrap_servers
    connection = KafkaConnection(servers, group, session_timeout_ms)
    try:
        rules = () if faults is None else load_rules(faults)
        injected = Faults(rules, seed, parse_rates(rates), MAGIC, pace)
        profiles = load_companies(companies, [name for name in only.split(",") if name])
    except (CompaniesError, FaultsError) as error:
        complain(str(error))
        raise typer.Exit(EXIT_USAGE) from error
    try:
        with ExitStack() as opened:
            running = []
            for name, profile in profiles.items():
                running.append(Company.open(name, profile, data, injected))
                opened.callback(running[-1].close)
            with Sandbox(running, connection, _announce) as process:
                _stop_on_signals(process)
                process.run()
    except (SandboxError, LedgerInUseError, KafkaException, sqlite3.Error, OSError) as error:
        complain(f"the sandbox stopped: {error}\nnext: uprp status")
        raise typer.Exit(EXIT_FAILED) from error


def books(
    data: Data = DATA,
    *,
    as_json: AsJson = False,
) -> None:
    """Show what the companies know, also while they run; exit code 1 if books do not balance."""
    try:
        found = read_books(data)
    except sqlite3.Error as error:
        complain(f"{data}: {error}")
        raise typer.Exit(EXIT_FAILED) from error
    if not found.companies:
        complain(f"{data} holds no books\nnext: uprp sandbox --data {data}")
        raise typer.Exit(EXIT_FAILED)
    problems = found.problems()
    if as_json:
        emit_json(_document(found, problems))
    else:
        for company in found.companies.values():
            _show(company)
    for problem in problems:
        complain(problem)
    if problems:
        raise typer.Exit(EXIT_FAILED)


def deduct(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON lines, or - for stdin.")],
    *,
    data: Data = DATA,
    companies: Annotated[Path, typer.Option(help="Who the companies are.")] = COMPANIES,
) -> None:
    """Deduct, as a channel's own app does, what requests say that it deducted.

    Prints the requests with the lots that were taken, for `uprp request -`. The same reference
    again takes nothing more.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        lines = []
        for number, found in read_objects(text):
            line_of(number, found)  # What could not be published is refused before it is deducted.
            lines.append(found)
        apps = Apps(load_companies(companies), data)
    except (OSError, UnicodeDecodeError, LineError, CompaniesError) as error:
        complain(f"{file}: {error}")
        raise typer.Exit(EXIT_USAGE) from None
    for line in lines:
        if isinstance(line.get("data"), dict):
            try:
                line["data"] = apps.deducted(line["origin"], line["data"], datetime.now(UTC))
            except AppError as error:
                complain(f"{error}\nnext: uprp sandbox-books --data {data}")
                raise typer.Exit(EXIT_FAILED) from None
        sys.stdout.write(orjson.dumps(line).decode() + "\n")


def _document(found: Books, problems: tuple[str, ...]) -> dict[str, object]:
    return {
        "balanced": not problems,
        "problems": problems,
        "companies": {
            name: {
                "accounts": company.accounts,
                "legs": company.legs,
                "coupons": company.coupons,
                "ledger": [
                    {"account": account, "unit": unit, "net": net}
                    for (account, unit), net in company.sums.items()
                ],
            }
            for name, company in found.companies.items()
        },
    }


def _show(company: CompanyBooks) -> None:
    table = Table(title=company.participant, title_justify="left")
    for heading in ("account", "at first", "now"):
        table.add_column(heading, justify="left" if heading == "account" else "right")
    for one in company.accounts.values():
        table.add_row(one.account, f"{one.initial:,}", f"{one.now:,}")
    held = Counter(
        (coupon.account, coupon.item)
        for coupons in company.coupons.values()
        for coupon in coupons
        if coupon.state == "ISSUED"
    )
    for (account, item), number in sorted(held.items()):
        table.add_row(f"{account}, {item}", "0", f"{number:,}")
    stdout().print(table)
    outcomes = Counter((leg.verb or "-", leg.outcome or "-") for leg in company.legs.values())
    for (verb, outcome), number in sorted(outcomes.items()):
        stdout().print(f"  {verb:8} {outcome:12} {number:,}")


def _announce(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _stop_on_signals(process: Sandbox) -> None:
    def stop(number: int, _frame: FrameType | None) -> None:
        process.stop()
        signal.signal(number, signal.SIG_DFL)  # A second one ends it at once.

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
