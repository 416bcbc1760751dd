"""`uprp coordinator`, `topics`, `db`, `config`: run the platform and look at how it is set."""

from __future__ import annotations

from typing import Annotated, Final

import typer
import uvloop
from rich.table import Table

from adapters.cli.options import AsJson
from adapters.console import EXIT_USAGE, complain, emit_json, run, stdout, step
from adapters.kafka.topics import Plan, TopicAdmin, wanted
from adapters.postgres.errors import translated
from adapters.postgres.migrate import migrate
from adapters.settings import read_settings
from orchestrator.bootstrap import run_coordinator
from orchestrator.catalogue.loader import CatalogueError, load

COORDINATOR_EXITS: Final = (
    "Exit codes: 0 drained, 1 failed, 2 wrong settings, 4 schema too old, 5 too many dead letters,"
    " 6 no progress, 7 topics not as needed, 8 published records contradict the catalogue,"
    " 130 stopped by a second signal."
)


def service_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("coordinator", epilog=COORDINATOR_EXITS)(coordinator)
    topics = typer.Typer(help="The topics that partners and the platform use.")
    topics.command("apply")(topics_apply)
    app.add_typer(topics, name="topics", no_args_is_help=True)
    db = typer.Typer(help="The database.")
    db.command("migrate")(db_migrate)
    app.add_typer(db, name="db", no_args_is_help=True)
    config = typer.Typer(help="Settings, programmes and participants.")
    config.command("show")(config_show)
    config.command("check")(config_check)
    app.add_typer(config, name="config", no_args_is_help=True)


def coordinator() -> None:
    """Run one coordinator until SIGTERM; a second signal stops it at once."""
    settings = read_settings()
    uvloop.install()
    run(run_coordinator(settings))


def topics_apply(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create the topics that are missing and grow those that are too small."""
    settings = read_settings()

    async def act() -> Plan:
        topics = wanted(load(settings.deploy), settings.kafka.partitions)
        admin = TopicAdmin(settings.kafka)
        plan = await admin.plan(topics)
        if not dry_run:
            await admin.apply(plan)
        return plan

    with step("Comparing the topics"):
        plan = run(act())
    if as_json:
        emit_json(plan)
        return
    verb = "would be " if dry_run else ""
    for topic in plan.create:
        stdout().print(f"{topic.name}: {verb}created with {topic.partitions} partitions")
    for topic in plan.grow:
        stdout().print(f"{topic.name}: {verb}grown to {topic.partitions} partitions")
    for topic, count in plan.too_many:
        stdout().print(f"{topic.name}: has {count} partitions, more than {topic.partitions}")
    if not (plan.create or plan.grow or plan.too_many):
        stdout().print("all topics are as they should be")


def db_migrate(*, as_json: AsJson = False) -> None:
    """Apply the migrations that are missing, all or nothing, under a lock."""
    settings = read_settings()
    with step("Migrating the database"):
        done = run(_migrated(settings.postgres.dsn.get_secret_value()))
    if as_json:
        emit_json({"applied": done})
    else:
        stdout().print("\n".join(done) if done else "the schema is up to date")


async def _migrated(dsn: str) -> list[str]:
    with translated():
        return await migrate(dsn)


def config_show(*, as_json: AsJson = False) -> None:
    """Print every setting as it stands, secrets hidden."""
    settings = read_settings()
    found = settings.model_dump(mode="json")
    if as_json:
        emit_json(found)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("variable")
    table.add_column("value")
    for group, values in found.items():
        rows = values.items() if isinstance(values, dict) else [("", values)]
        for name, value in rows:
            variable = f"UPRP_{group}__{name}" if name else f"UPRP_{group}"
            table.add_row(variable.upper(), "" if value is None else str(value))
    stdout().print(table)


def config_check(*, as_json: AsJson = False) -> None:
    """Check settings, programmes and participants; every problem names file, key and reason."""
    settings = read_settings()
    try:
        catalogue = load(settings.deploy)
    except CatalogueError as error:
        if as_json:
            emit_json({"problems": [str(problem) for problem in error.problems]})
        for problem in error.problems:
            complain(str(problem))
        raise typer.Exit(EXIT_USAGE) from None
    found = {
        "programmes": {name: programme.version for name, programme in catalogue.offers()},
        "participants": {p.id: p.version for p in catalogue.participants.values()},
        "problems": [],
    }
    if as_json:
        emit_json(found)
    else:
        for kind in ("programmes", "participants"):
            names = ", ".join(f"{name} v{version}" for name, version in found[kind].items())  # type: ignore[attr-defined]  # Both are dicts.
            stdout().print(f"{kind}: {names}")
        stdout().print("nothing is wrong")
