"""`uprp sandbox-deduct`: a filter between a request file and `uprp request`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from adapters.cli.main import app
from adapters.cli.sandbox import COMPANIES
from adapters.sandbox.books import read_company
from adapters.sandbox.companies import load_companies
from adapters.sandbox.company import Company
from adapters.sandbox.faults import Faults

ASKED: dict[str, Any] = {
    "origin": "harbour",
    "id": "e-1",
    "data": {
        "request_id": "r-1",
        "account": "saver-001",
        "deduction": {"reference": "HB-1", "points": 20_000},
    },
}
ANOTHER = {"origin": "alipayhk", "data": {"request_id": "r-2", "account": "w-1"}}


def deduct(books: Path, text: str) -> Any:
    return CliRunner().invoke(app, ["sandbox-deduct", "-", "--data", str(books)], input=text)


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """The books of a bank that was played once."""
    profile = load_companies(COMPANIES)["harbour"]
    Company.open("harbour", profile, tmp_path, Faults()).close()
    return tmp_path


def points_of(books: Path, account: str) -> int:
    return read_company(books / "harbour.sqlite3").accounts[account].now


def test_requests_come_out_with_the_lots_that_were_taken(books: Path) -> None:
    text = "# a comment\n\n" + json.dumps(ASKED) + "\n" + json.dumps(ANOTHER) + "\n"
    for _ in range(2):  # The same reference again takes nothing more.
        done = deduct(books, text)
        assert done.exit_code == 0, done.output
        first, second = (json.loads(line) for line in done.stdout.splitlines())
        lots = [{"lot": "2034-base", "points": 20_000, "expires_on": "2036-12-31"}]
        assert first["data"]["deduction"] == {**ASKED["data"]["deduction"], "lots": lots}
        assert {**first, "data": None} == {**ASKED, "data": None}
        assert second == ANOTHER
        assert points_of(books, "saver-001") == 100_000


def test_what_the_bank_refuses_is_told_and_not_printed(books: Path) -> None:
    data = ASKED["data"] | {"deduction": {"reference": "HB-1", "points": 200_000}}
    done = deduct(books, json.dumps(ASKED | {"data": data}))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "INSUFFICIENT_POINTS" in done.stderr
    assert "next: uprp sandbox-books" in done.stderr
    assert points_of(books, "saver-001") == 120_000


@pytest.mark.parametrize("text", ('{"origin"', '{"data": {}}', "[]"))
def test_a_line_that_cannot_be_published_is_named(books: Path, text: str) -> None:
    done = deduct(books, text)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "line 1" in done.stderr


def test_without_books_the_next_step_is_told(tmp_path: Path) -> None:
    done = deduct(tmp_path, json.dumps(ASKED))
    assert done.exit_code == 1
    assert "start uprp sandbox first" in done.stderr
