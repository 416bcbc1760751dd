"""`uprp up`, `down`, `status` and `doctor`: the embedded environment from the command line."""

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from adapters.cli.options import AsJson
from adapters.console import complain, emit_json, stderr, stdout, step
from adapters.demo.services import Services
from adapters.embedded.doctor import Finding, examine
from adapters.embedded.environment import FOLDER, DetachedEnvironment, EnvironmentStatus
from adapters.embedded.processes import EmbeddedError

EXIT_MISSING: Final = 1

Folder = Annotated[Path, typer.Option("--folder", help="Where its data and ports are kept.")]


def environment_commands(app: typer.Typer) -> None:
    """Register the commands. Exit codes: 0 well, 1 missing or not running, 2 wrong usage."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)
    app.command("doctor")(doctor)


def up(folder: Folder = FOLDER, *, as_json: AsJson = False) -> None:
    """Start Apache Kafka and PostgreSQL in the background; does nothing if they run."""
    try:
        with step("Starting the environment") as say:
            found = DetachedEnvironment(folder, progress=say).up()
    except EmbeddedError as error:
        complain(f"the environment is not up: {error}\nnext: uprp doctor")
        raise typer.Exit(EXIT_MISSING) from error
    _show(found, as_json)
    if not as_json:
        stderr().print("\nstop it with `uprp down`; to use it from another program:", style="dim")
        stderr().print(f"  export UPRP_KAFKA__BOOTSTRAP_SERVERS={found.bootstrap_servers}")
        stderr().print(f"  export UPRP_POSTGRES__DSN={found.dsn}")


def down(
    folder: Folder = FOLDER,
    *,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Delete all topics and tables too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Stop both servers, and what `demo --keep` left running; data stays unless it is to go."""
    try:
        with step("Stopping the environment") as say:
            Services(folder, progress=say).stop()
            environment = DetachedEnvironment(folder, progress=say)
            found = environment.remove() if delete_data else environment.down()
    except EmbeddedError as error:
        complain(f"the environment is not down: {error}\nnext: uprp status")
        raise typer.Exit(EXIT_MISSING) from error
    _show(found, as_json)


def status(folder: Folder = FOLDER, *, as_json: AsJson = False) -> None:
    """Say what runs and where; exit code 1 unless both servers do."""
    try:
        found = DetachedEnvironment(folder).status()
    except EmbeddedError as error:
        complain(str(error))
        raise typer.Exit(EXIT_MISSING) from error
    _show(found, as_json)
    if not found.running:
        if not as_json:
            stderr().print("start it with `uprp up`", style="dim")
        raise typer.Exit(EXIT_MISSING)


def doctor(*, as_json: AsJson = False) -> None:
    """Say what is missing on this machine, and the command that repairs it."""
    findings = examine()
    if as_json:
        emit_json(findings)
    else:
        _show_findings(findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(EXIT_MISSING)


def _show(found: EnvironmentStatus, as_json: bool) -> None:
    if as_json:
        emit_json(found)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("server", "state", "pid", "endpoint"):
        table.add_column(heading)
    for server in found.servers:
        state = "[green]running[/]" if server.running else "[yellow]stopped[/]"
        table.add_row(server.name, state, str(server.pid or "-"), server.endpoint or "-")
    stdout().print(table)


def _show_findings(findings: tuple[Finding, ...]) -> None:
    console = stdout()
    for finding in findings:
        mark = "[green]ok     [/]" if finding.ok else "[red]missing[/]"
        console.print(f"{mark}  {finding.name}: {escape(finding.detail)}")
        if finding.repair_command:
            console.print(f"         repair: [bold]{escape(finding.repair_command)}[/]")
