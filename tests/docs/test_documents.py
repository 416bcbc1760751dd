"""Pictures show the whole table and the whole definition; generated parts drift loudly."""

from __future__ import annotations

import re
import shutil
from itertools import product
from pathlib import Path

import pytest

from adapters.cli.docs import DOCUMENTS, ladders, main, renewed
from orchestrator.engine import diagram
from orchestrator.engine.machine import TABLE, Event, Status
from orchestrator.sagas.redemption.kind import REDEMPTION
from orchestrator.settings import ROOT, names


def test_the_life_of_a_leg_shows_every_cell_that_moves_it_and_no_other() -> None:
    drawn = {
        (found[1], event, found[2])
        for found in re.finditer(r"^ +(\w+) --> (\w+): (.+)$", diagram.life(), re.MULTILINE)
        for event in found[3].split(", ")
    }
    moves = {
        (status.value, event.value, TABLE[status][event].value)
        for status, event in product(Status, Event)
        if isinstance(TABLE[status][event], Status)
    }
    assert drawn == moves | {("waiting", "asked", "sent")}


def test_the_flow_names_every_verb_and_closes_every_block() -> None:
    picture = diagram.flow(REDEMPTION.definition)
    for verb in REDEMPTION.definition.verbs():
        assert re.search(rf"uprp->>\w+: {verb.name}\b", picture)
    words = [line.split()[0] for line in picture.splitlines()]
    assert words.count("end") == words.count("alt") + words.count("opt")


def test_the_documents_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr()


def copies(folder: Path) -> None:
    for path in DOCUMENTS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)


def test_a_part_that_drifted_is_named_and_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies(tmp_path)
    page = tmp_path / "docs/operations.md"
    text = page.read_text("utf-8")
    page.write_text(text.replace("UPRP_KAFKA__GROUP", "UPRP_KAFKA__TEAM"), "utf-8")
    assert main(["--check"], tmp_path) == 1
    assert capsys.readouterr().out == "docs/operations.md: differs from the code\n"
    assert main([], tmp_path) == 0
    assert page.read_text("utf-8") == text


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="flow: begin"):
        renewed("nothing", "flow")


def test_the_table_of_settings_has_every_variable() -> None:
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    missing = [name for name in names() if f"`{name}`" not in page]
    assert not missing


def rows_of(table: str, verb: str) -> list[str]:
    return [line for line in table.splitlines() if line.split("|")[1].strip() == verb]


@pytest.mark.parametrize(
    ("more", "shown"),
    (
        ("", "| 3 s | it is over |  | never |  |"),
        (
            'rungs = ["resend"]\ntimes = 2\n',
            "| 3 s | resend every 3 s | 2 times, then it is over | never |  |",
        ),
        ('rungs = ["resend"]\ntimes = 0\n', "| 3 s | it is over |  | never |  |"),
    ),
)
def test_a_query_ends_with_its_ladder_and_nobody_hears_pending(
    tmp_path: Path, more: str, shown: str
) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    with (tmp_path / "deploy/participants/citi.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n{more}")
    (row,) = rows_of(ladders(tmp_path / "deploy"), "`citi` balance")
    assert row == f"| `citi` balance {shown} that there was no answer, when it is over |"


def test_what_is_no_query_tells_its_origin_pending() -> None:
    (row,) = rows_of(ladders(), "`citi` deduct")
    assert row.endswith("| PENDING after 1 min |")
