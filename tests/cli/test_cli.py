"""The command line says what is wrong, why, and what to run next; data and words never mix."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from adapters.cli.main import app
from adapters.cli.service import COORDINATOR_EXITS
from orchestrator.errors import Stop
from orchestrator.settings import Settings
from tests.foreign.platform import ROOT, UPRP

ESCAPE = "\x1b"
NOWHERE = {
    "UPRP_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "UPRP_KAFKA__REQUEST_TIMEOUT_S": "1",
    "UPRP_POSTGRES__DSN": "postgresql://uprp:hunter2@127.0.0.1:1/uprp",
}
"""Ports on which nothing listens."""


Done = Any  # What a run of a command left behind; typer names its type nowhere.


def commands(group: Any = None, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    found = group or typer.main.get_command(app)
    for name, inner in getattr(found, "commands", {}).items():
        yield from commands(inner, *path, name)
    if path:
        yield path, found


COMMANDS = dict(commands())
WITH_JSON = {
    path for path, command in COMMANDS.items() if any("--json" in p.opts for p in command.params)
}


def uprp(*arguments: str, stdin: str = "", **environment: str) -> Done:
    """Run a command within this process, away from any terminal."""
    clean = {name: None for name in os.environ if name.startswith("UPRP_")}
    return CliRunner().invoke(app, arguments, input=stdin, env=clean | NOWHERE | environment)


def process(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own."""
    return subprocess.run(
        [*UPRP, *arguments],
        cwd=ROOT,
        env={**clean_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """This process's own, without what sets the platform or its colours."""
    dropped = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "COLUMNS", "TERM")
    return {
        name: text
        for name, text in os.environ.items()
        if not name.startswith("UPRP_") and name not in dropped
    }


# -- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_says_in_one_line_what_it_does(path: tuple[str, ...]) -> None:
    done = uprp(*path, "--help")
    assert done.exit_code == 0
    first = (COMMANDS[path].help or "").splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 100
    assert first.split()[0] in done.stdout
    for option in COMMANDS[path].params:
        assert option.param_type_name == "argument" or option.opts[0] in done.stdout


def test_every_exit_code_of_the_coordinator_is_in_its_help() -> None:
    told = " ".join(uprp("coordinator", "--help").stdout.split())
    assert COORDINATOR_EXITS in told
    codes = [int(code) for code in re.findall(r"[:,] (\d+) ", COORDINATOR_EXITS)]
    assert codes == sorted({0, 1, 2, 130} | {stop.exit_code for stop in stops(Stop)})


def stops(kind: type[Stop]) -> Iterator[type[Stop]]:
    """An error that ends the coordinator, and every kind of it."""
    yield kind
    for narrower in kind.__subclasses__():
        yield from stops(narrower)


# -- settings -------------------------------------------------------------------------------------


def test_an_unknown_variable_is_refused_with_the_nearest_name() -> None:
    done = uprp("config", "show", UPRP_KAFKA__BOOTSTRAP_SERVER="x:1")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "UPRP_KAFKA__BOOTSTRAP_SERVER is not a setting" in done.stderr
    assert "did you mean UPRP_KAFKA__BOOTSTRAP_SERVERS?" in done.stderr
    assert "next: uprp config show" in done.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    (
        ("UPRP_KAFKA__PARTITIONS", "many"),
        ("UPRP_COORDINATOR__POLL_S", "0"),
        ("UPRP_LOG__LEVEL", "loud"),
        ("UPRP_COORDINATOR__DEAD_LETTER_SHARE_MAX", "1.5"),
    ),
)
def test_a_wrong_value_is_refused_by_name(name: str, text: str) -> None:
    for command in (("config", "show"), ("config", "check"), ("saga", "list"), ("request", "-")):
        done = uprp(*command, **{name: text})
        assert done.exit_code == 2
        assert done.stdout == ""
        assert f"error: {name}: Input should be" in done.stderr


def test_config_show_hides_the_secret() -> None:
    for arguments in (("config", "show"), ("config", "show", "--json")):
        done = uprp(*arguments)
        assert done.exit_code == 0
        assert "hunter2" not in done.output
        assert "****" in done.stdout
    table = uprp("config", "show").stdout
    assert "UPRP_KAFKA__BOOTSTRAP_SERVERS" in table
    assert "127.0.0.1:1" in table


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    """A copy of what is deployed, to be broken."""
    for part in ("programmes", "participants"):
        shutil.copytree(Settings().deploy / part, tmp_path / "deploy" / part)
    return tmp_path / "deploy"


def test_config_check_finds_nothing_wrong() -> None:
    done = uprp("config", "check")
    assert done.exit_code == 0
    assert "programmes: citi-alipayhk-coupons v1" in done.stdout
    assert "nothing is wrong" in done.stdout


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    (
        ("points = 5", "points = 5.5", "rate.points: Input should be a valid integer"),
        ('debtor = "citi"', 'debtor = "city"', "debtor: there is no participant 'city'"),
        ('zone = "Asia/Hong_Kong"', 'zone = "Asia/Kowloon"', "zone: "),
        ("minimum = 10000", "minimun = 10000", "redemption.minimun: Extra inputs"),
        ("[rate]", "[rate", "(file): is not TOML"),
        ("version = 1\n", "", "version: Field required"),
    ),
)
def test_config_check_names_file_key_and_reason(
    deploy: Path, was: str, becomes: str, told: str
) -> None:
    path = deploy / "programmes" / "citi-alipayhk-coupons.toml"
    path.write_text(path.read_text().replace(was, becomes, 1))
    done = uprp("config", "check", UPRP_DEPLOY=str(deploy))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert f"programmes/citi-alipayhk-coupons.toml: {told}" in done.stderr
    found = uprp("config", "check", "--json", UPRP_DEPLOY=str(deploy))
    assert found.exit_code == 2
    assert any(told in problem for problem in json.loads(found.stdout)["problems"])


# -- what is not found, or cannot be reached ------------------------------------------------------


def test_a_saga_id_that_is_none_is_wrong_usage() -> None:
    done = uprp("saga", "show", "nonsense")
    assert done.exit_code == 2
    assert "'nonsense' is not a saga id" in done.stderr
    assert "next: uprp saga list" in done.stderr


@pytest.mark.parametrize(
    ("lines", "told"),
    (
        ("# a comment\n\n{", "line 3: is not JSON"),
        ('{"data": {}}', "line 1: origin: is missing"),
        ('{"origin": "alipayhk"}', "line 1: data: is missing"),
        ('{"origin": "alipayhk", "data": {}}\n[]', "line 2: origin: is missing"),
        ('{"origin": "alipayhk", "data": {}, "type": 7}', "line 1: type: "),
    ),
)
def test_a_bad_line_of_a_request_file_is_named(tmp_path: Path, lines: str, told: str) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text(lines)
    for source, text in ((str(file), ""), ("-", lines)):
        done = uprp("request", source, stdin=text)
        assert done.exit_code == 2, done.output
        assert done.stdout == ""
        assert f"{source}: {told}" in done.stderr


def test_a_request_file_that_is_not_there_is_named() -> None:
    done = uprp("request", "no/such/file")
    assert done.exit_code == 2
    assert "no/such/file" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    (
        ("topics", "apply"),
        ("topics", "apply", "--json"),
        ("db", "migrate"),
        ("saga", "list"),
        ("saga", "show", "00000000-0000-5000-8000-000000000000"),
        ("request", "-"),
        ("request", "-", "--wait"),
        ("conform", "--participant", "citi"),
    ),
    ids=" ".join,
)
def test_a_server_that_is_away_is_named_with_what_to_run_next(arguments: Sequence[str]) -> None:
    line = json.dumps({"origin": "alipayhk", "data": {"request_id": "r"}})
    done = uprp(*arguments, stdin=line)
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    server = "Kafka" if arguments[0] in ("topics", "request", "conform") else "PostgreSQL"
    assert f"error: {server}" in done.stderr
    assert "next: uprp status" in done.stderr
    assert "Traceback" not in done.output


# -- how it looks ---------------------------------------------------------------------------------


def test_away_from_a_terminal_there_are_no_escape_codes() -> None:
    for arguments in (("config", "show"), ("config", "check"), ("doctor",), ("saga", "show", "x")):
        assert ESCAPE not in uprp(*arguments).output


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a command prints where stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*UPRP, *arguments],
        cwd=ROOT,
        env=clean_environment() | {"TERM": "xterm-256color"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            said = b""
            while True:
                try:
                    part = terminal.read(4096)
                except OSError:  # Linux says so when the last writer has gone.
                    break
                if not part:
                    break
                said += part
    return said.decode()


def test_no_color_is_respected_on_a_terminal() -> None:
    coloured = on_a_terminal("saga", "show", "nonsense")
    assert "is not a saga id" in coloured
    assert f"{ESCAPE}[31m" in coloured
    plain = on_a_terminal("saga", "show", "nonsense", NO_COLOR="1")
    assert "is not a saga id" in plain
    assert f"{ESCAPE}[31m" not in plain


# -- --json ---------------------------------------------------------------------------------------

COVERED = {
    # Here, without servers.
    ("status",): 1,
    ("down",): 0,
    ("doctor",): None,
    ("config", "show"): 0,
    ("config", "check"): 0,
}
ELSEWHERE = {
    ("up",),  # tests/embedded starts the same environment.
    ("demo",),  # tests/demo.
    # test_cli_servers.py.
    ("topics", "apply"),
    ("db", "migrate"),
    ("request",),
    ("saga", "list"),
    ("saga", "show"),
    ("sandbox-books",),
    ("conform",),  # tests/conform.
    # tests/platform/test_parked.py.
    *(("parked", name) for name in ("list", "show", "resolve", "approve", "decline", "decisions")),
    ("participants",),
    ("audit",),  # tests/audit.
}


def test_json_of_every_command_is_tried_somewhere() -> None:
    assert set(COVERED) | ELSEWHERE == WITH_JSON


@pytest.mark.parametrize("path", COVERED, ids=" ".join)
def test_json_is_one_document_on_stdout(path: tuple[str, ...], tmp_path: Path) -> None:
    folder = ("--folder", str(tmp_path / "none")) if path in (("status",), ("down",)) else ()
    done = uprp(*path, *folder, "--json")
    assert COVERED[path] in (None, done.exit_code), done.output
    found: Any = json.loads(done.stdout)
    assert found
