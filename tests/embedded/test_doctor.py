"""The doctor names what is missing and the command that repairs it; the commands report it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from adapters.cli import environment as commands
from adapters.embedded.doctor import (
    INSTALL_JAVA,
    Finding,
    Machine,
    built_how,
    examine,
    output_of,
)


def without(*names: str) -> Machine:
    """This machine, with an empty cache and without some programs."""

    def which(name: str) -> str | None:
        return None if name in names else f"/usr/bin/{name}"

    return Machine(cache=Path("/nowhere"), which=which, run=modern)


def modern(command: Sequence[str]) -> str:
    return 'openjdk version "21.0.1"' if "-version" in command else "postgres (PostgreSQL) 18.6"


def finding(machine: Machine, name: str) -> Finding:
    (found,) = [one for one in examine(machine) if one.name.startswith(name)]
    return found


@pytest.fixture(autouse=True)
def _no_java_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)


def test_a_python_in_a_shared_library_is_named(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    assert built_how(maps) == "", "nobody knows"
    maps.write_text("7f00 r-xp /usr/bin/python3.11\n")
    assert built_how(maps) == ""
    maps.write_text("7f00 r-xp /usr/bin/python3.11\n7f01 r-xp /usr/lib/libpython3.11.so.1.0\n")
    assert "slower" in built_how(maps)


def test_a_slow_python_is_good_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.embedded.doctor.built_how", lambda: ", slow")
    found = finding(without(), "Python")
    assert (found.ok, found.detail.endswith(", slow")) == (True, True)


@pytest.mark.parametrize(("program", "name"), (("java", "Java"), ("mvn", "Maven")))
def test_a_missing_program_has_a_repair(program: str, name: str) -> None:
    assert finding(without(), name).ok
    missing = finding(without(program), name)
    assert not missing.ok
    assert missing.repair_command == INSTALL_JAVA


@pytest.mark.parametrize(
    ("printed", "ok"),
    (
        ('java version "1.8.0_402"', False),
        ('openjdk version "11.0.2" 2019', False),
        ('openjdk version "17.0.15" 2025', True),
        ('openjdk version "25"', True),
        ("what is this", False),
    ),
)
def test_an_old_java_is_not_enough(printed: str, ok: bool) -> None:
    machine = Machine(which=lambda name: f"/usr/bin/{name}", run=lambda _: printed)
    assert finding(machine, "Java").ok is ok


def test_maven_is_not_needed_once_the_jars_are_there(tmp_path: Path) -> None:
    machine = Machine(cache=tmp_path, which=lambda _: None, run=modern)
    assert not finding(machine, "Maven").ok
    from adapters.embedded.kafka import jars_folder  # noqa: PLC0415 - its name is all we need.

    jars = tmp_path / jars_folder().name
    jars.mkdir()
    (jars / "kafka_2.13-0.jar").touch()
    assert finding(machine, "Maven").ok


def test_the_binaries_of_postgresql_are_run(tmp_path: Path) -> None:
    assert finding(Machine(run=output_of), "PostgreSQL").ok

    def broken(_command: Sequence[str]) -> str:
        raise OSError("Exec format error")

    assert finding(Machine(run=broken), "PostgreSQL").repair_command == "make setup"


def test_every_finding_that_is_not_ok_says_why() -> None:
    for found in examine(without("java", "mvn")):
        assert found.detail
        assert found.ok or found.repair_command or found.name == "Memory"


def test_the_commands_keep_data_and_progress_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    commands.environment_commands(app)
    status = CliRunner().invoke(app, ["status", "--json"])
    assert status.exit_code == 1
    assert json.loads(status.stdout)["running"] is False
    assert CliRunner().invoke(app, ["status", "--no-such-option"]).exit_code == 2

    monkeypatch.setattr(commands, "examine", lambda: examine(without("java")))
    doctor = CliRunner().invoke(app, ["doctor", "--json"])
    assert doctor.exit_code == 1
    assert {row["name"] for row in json.loads(doctor.stdout) if not row["ok"]} >= {
        "Java 17 or newer"
    }
    assert INSTALL_JAVA in CliRunner().invoke(app, ["doctor"]).stdout
