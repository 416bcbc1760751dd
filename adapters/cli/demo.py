"""`uprp demo`: real requests on real servers, shown live and compared with expectations."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from typing import Annotated, Final

import orjson
import typer
from confluent_kafka import KafkaException

from adapters.audit import database as invariants
from adapters.cli.demo_view import DemoView, print_summary
from adapters.cli.sandbox import COMPANIES
from adapters.console import EXIT_FAILED, EXIT_USAGE, complain, emit_json, run, stderr, stdout
from adapters.demo.audit import audit
from adapters.demo.monitor import TopicMonitor
from adapters.demo.report import Report
from adapters.demo.run import POLL_S, Before, run_scenarios
from adapters.demo.scenarios import FAULTS, REQUESTS, Scenario, ScenarioError, read_scenarios
from adapters.demo.setup import Deployment, detached_deployment, temporary_deployment
from adapters.embedded.environment import FOLDER, exit_on_signals
from adapters.embedded.processes import EmbeddedError
from adapters.kafka.requests import RequestLine
from adapters.postgres.views import AccountBalance, SagaStory, open_views
from adapters.sandbox.app import AppError, Apps
from adapters.sandbox.books import read_books
from adapters.sandbox.companies import load_companies
from orchestrator.engine.machine import IN_FLIGHT
from schemas import events

REPORT: Final = Path("build/demo.json")
SAGAS_MAX: Final = 10_000
SETTLED_WITHIN_S: Final = 5.0


def demo_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "demo",
        epilog="Exit codes: 0 every request ended as its file says and the books balance, 1 not,"
        " or it could not run, 2 a request file is wrong or --keep finds an environment, 130 and"
        " 143 broken off.",
    )(demo)


def demo(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help=f"Leave everything running, under {FOLDER}.")
    ] = False,
    requests: Annotated[
        Path, typer.Option(help="The folder of the request files (*.jsonl).")
    ] = REQUESTS,
    faults: Annotated[Path, typer.Option(help="What the companies do wrong on purpose.")] = FAULTS,
    report: Annotated[Path, typer.Option(help="Where the report is written.")] = REPORT,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report; what happens goes to stderr.")
    ] = False,
) -> None:
    """Redeem points and ask for balances on servers of its own, and show what happens."""
    began = time.monotonic()
    if keep and FOLDER.exists():
        complain(
            f"{FOLDER} holds an environment already, and the demo wants to begin from nothing\n"
            "next: uprp down --delete-data, or demo without --keep"
        )
        raise typer.Exit(EXIT_USAGE)
    try:
        scenarios = read_scenarios(requests)
        # A closed terminal is to end it in order, as Ctrl-C does.
        with (
            exit_on_signals(signal.SIGTERM, signal.SIGHUP),
            detached_deployment(FOLDER, faults)
            if keep
            else temporary_deployment(faults) as deployment,
        ):
            found = _run_demo(scenarios, deployment, as_json, began)
            found.write(report)
    except ScenarioError as error:
        complain(str(error))
        raise typer.Exit(EXIT_USAGE) from None
    except (EmbeddedError, KafkaException, AppError) as error:
        complain(f"the demo cannot run: {error}\nnext: uprp doctor")
        raise typer.Exit(EXIT_FAILED) from None
    except KeyboardInterrupt:
        stderr().print("broken off; nothing was left behind", markup=False)
        raise typer.Exit(128 + signal.SIGINT) from None
    if as_json:
        emit_json(found.document())
    else:
        print_summary(stdout(), found, report)
    if keep:
        _print_next_commands(deployment)
    if found.problems:
        raise typer.Exit(EXIT_FAILED)


def _run_demo(
    scenarios: tuple[Scenario, ...], deployment: Deployment, as_json: bool, began: float
) -> Report:
    servers, data = deployment.endpoints.bootstrap_servers, deployment.services.books
    before = read_books(data)
    console = stderr() if as_json else stdout()
    with (
        DemoView(console, scenarios) as view,
        TopicMonitor(servers, deployment.catalogue.participants) as monitor,
    ):
        demo_run = run_scenarios(scenarios, servers, monitor, view, _deducting_app(data))
    stories, journal = _settled(deployment.endpoints.dsn)
    checked = audit(stories, journal, before, read_books(data), demo_run.results)
    proved = run(invariants.audit(deployment.endpoints.dsn, deployment.catalogue))
    return Report(demo_run, stories, checked, proved, time.monotonic() - began)


def _deducting_app(books: Path) -> Before:
    """What a channel's own app does before it asks: deduct, in its company's books, the points."""
    apps = Apps(load_companies(COMPANIES), books)

    def deduct(line: RequestLine) -> RequestLine:
        if line.type != events.REQUESTED or line.key is None:
            return line  # A question, or a raw value, is published as it stands.
        asked = apps.deducted(line.origin, orjson.loads(line.value), datetime.now(UTC))
        return replace(line, value=orjson.dumps(asked))

    return deduct


def _settled(dsn: str) -> tuple[list[SagaStory], list[AccountBalance]]:
    """Every saga and the journal's balances, once no answer is awaited any more.

    After `SETTLED_WITHIN_S` they are returned as they are.
    """
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while True:
        stories, journal = run(_read(dsn))
        awaited = any(leg.status in IN_FLIGHT for story in stories for leg in story.saga.legs)
        if not awaited or time.monotonic() >= deadline:
            return stories, journal
        time.sleep(POLL_S)


async def _read(dsn: str) -> tuple[list[SagaStory], list[AccountBalance]]:
    """Every saga with its history, oldest first, and the journal's balances."""
    async with open_views(dsn) as views:
        lines = await views.sagas(limit=SAGAS_MAX)
        found = [await views.saga(line.saga_id) for line in reversed(lines)]
        return [story for story in found if story is not None], await views.balances()


def _print_next_commands(deployment: Deployment) -> None:
    """Print the commands that a person may run next; on stderr, since they are no data."""
    console = stderr()
    lines = (
        "",
        "Everything is still running. In this folder:",
        *(() if which("uprp") else ("  . .venv/bin/activate",)),
        "  uprp status",
        "  uprp saga list",
        "  uprp request FILE --wait        # lines as in deploy/demo, with request ids of your own",
        "  uprp sandbox-books              # what the companies know",
        f"  curl http://127.0.0.1:{deployment.services.http_port}/metrics",
        "Anywhere else, first:",
        f"  export UPRP_KAFKA__BOOTSTRAP_SERVERS={deployment.endpoints.bootstrap_servers}",
        f"  export UPRP_POSTGRES__DSN={deployment.endpoints.dsn}",
        "Stop it all with `uprp down`; `uprp down --delete-data` forgets everything too.",
    )
    for line in lines:
        console.print(line, markup=False)
