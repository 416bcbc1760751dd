"""`uprp demo`: real requests on real servers, live, and whether all became what it should."""

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
from adapters.cli.demo_view import DemoView, tell_end
from adapters.cli.sandbox import COMPANIES
from adapters.console import EXIT_FAILED, EXIT_USAGE, complain, emit_json, run, stderr, stdout
from adapters.demo.audit import audit
from adapters.demo.monitor import Watch
from adapters.demo.report import Report
from adapters.demo.run import LOOK_S, Before, play
from adapters.demo.scenarios import FAULTS, REQUESTS, Scene, ScriptError, read_scenes
from adapters.demo.setup import Stage, lasting, passing
from adapters.embedded.environment import FOLDER, exiting_on
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
    """Redeem points on servers of its own and show what happens, from nothing to the books."""
    began = time.monotonic()
    if keep and FOLDER.exists():
        complain(
            f"{FOLDER} holds an environment already, and the demo wants to begin from nothing\n"
            "next: uprp down --delete-data, or demo without --keep"
        )
        raise typer.Exit(EXIT_USAGE)
    try:
        scenes = read_scenes(requests)
        # A closed terminal is to end it in order, as Ctrl-C does.
        with (
            exiting_on(signal.SIGTERM, signal.SIGHUP),
            lasting(FOLDER, faults) if keep else passing(faults) as stage,
        ):
            found = _perform(scenes, stage, as_json, began)
            found.write(report)
    except ScriptError as error:
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
        tell_end(stdout(), found, report)
    if keep:
        _tell_how_to_talk(stage)
    if found.problems:
        raise typer.Exit(EXIT_FAILED)


def _perform(scenes: tuple[Scene, ...], stage: Stage, as_json: bool, began: float) -> Report:
    servers, data = stage.endpoints.bootstrap_servers, stage.services.books
    before = read_books(data)
    console = stderr() if as_json else stdout()
    with (
        DemoView(console, scenes) as view,
        Watch(servers, stage.catalogue.participants) as watch,
    ):
        played = play(scenes, servers, watch, view, _app(data))
    stories, journal = _settled(stage.endpoints.dsn)
    checked = audit(stories, journal, before, read_books(data), played.results)
    proved = run(invariants.audit(stage.endpoints.dsn, stage.catalogue))
    return Report(played, stories, checked, proved, time.monotonic() - began)


def _app(books: Path) -> Before:
    """What a channel's own app does first: it deducts in the books what the request will state."""
    apps = Apps(load_companies(COMPANIES), books)

    def deduct(line: RequestLine) -> RequestLine:
        if line.type != events.REQUESTED or line.key is None:
            return line  # A raw value is published as it stands.
        asked = apps.deducted(line.origin, orjson.loads(line.value), datetime.now(UTC))
        return replace(line, value=orjson.dumps(asked))

    return deduct


def _settled(dsn: str) -> tuple[list[SagaStory], list[AccountBalance]]:
    """What the platform has once no answer is on its way to its tables."""
    deadline = time.monotonic() + SETTLED_WITHIN_S
    while True:
        stories, journal = run(_read(dsn))
        awaited = any(leg.status in IN_FLIGHT for story in stories for leg in story.saga.legs)
        if not awaited or time.monotonic() >= deadline:
            return stories, journal
        time.sleep(LOOK_S)


async def _read(dsn: str) -> tuple[list[SagaStory], list[AccountBalance]]:
    """Every saga with its history, oldest first, and the journal's balances."""
    async with open_views(dsn) as views:
        lines = await views.sagas(limit=SAGAS_MAX)
        found = [await views.saga(line.saga_id) for line in reversed(lines)]
        return [story for story in found if story is not None], await views.balances()


def _tell_how_to_talk(stage: Stage) -> None:
    """What a person types next; on stderr, since it is no data."""
    console = stderr()
    lines = (
        "",
        "Everything is still running. In this folder:",
        *(() if which("uprp") else ("  . .venv/bin/activate",)),
        "  uprp status",
        "  uprp saga list",
        "  uprp request FILE --wait        # lines as in deploy/demo, with request ids of your own",
        "  uprp sandbox-books              # what the companies know",
        f"  curl http://127.0.0.1:{stage.services.http_port}/metrics",
        "Anywhere else, first:",
        f"  export UPRP_KAFKA__BOOTSTRAP_SERVERS={stage.endpoints.bootstrap_servers}",
        f"  export UPRP_POSTGRES__DSN={stage.endpoints.dsn}",
        "Stop it all with `uprp down`; `uprp down --delete-data` forgets everything too.",
    )
    for line in lines:
        console.print(line, markup=False)
