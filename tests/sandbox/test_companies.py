"""The companies' file, and books that tell when somebody cheats."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from adapters.cli.sandbox import COMPANIES
from adapters.sandbox.companies import CompaniesError, load_companies
from adapters.sandbox.faults import load_rules
from adapters.sandbox.ledger import LedgerInUseError
from tests.sandbox.client import Client


def test_the_shipped_files_load() -> None:
    companies = load_companies(COMPANIES)
    assert list(companies) == ["citi", "alipayhk", "harbour", "pacificair", "unionpay"]
    assert list(load_companies(COMPANIES, ["harbour"])) == ["harbour"]
    assert load_rules(COMPANIES.parent / "demo-faults.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    (
        ("", "(file)"),
        ("x = 1", "x:"),
        ("[x", "not TOML"),
        ('[x]\nkind = "shop"\nname = "x"', "x: Input tag 'shop'"),
        ('[x]\nkind = "bank"\nname = "x"\ncolour = 1', "x.bank.colour"),
        ('[x]\nkind = "bank"\nname = "x"\ndefault_points = 0', "x.bank.default_points"),
        ('[x]\nkind = "airline"\nname = "x"\nmembers = [{ account = "@a" }]', "members.0.account"),
        (
            '[x]\nkind = "airline"\nname = "x"\nmembers = [{ account = "a" }, { account = "a" }]',
            "account 'a' comes twice",
        ),
    ),
)
def test_a_bad_file_is_explained(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "companies.toml"
    path.write_text(text)
    with pytest.raises(CompaniesError, match=r"companies\.toml") as raised:
        load_companies(path)
    assert said in str(raised.value)


def test_a_company_that_is_not_there_is_named() -> None:
    with pytest.raises(CompaniesError, match="no company 'acme'; it has citi"):
        load_companies(COMPANIES, ["acme"])


def test_two_processes_cannot_play_one_company(bank: Client, tmp_path: Path) -> None:
    with pytest.raises(LedgerInUseError, match="in use"):
        Client(tmp_path, "bank")


@pytest.mark.parametrize(
    ("cheat", "said"),
    (
        (
            "insert into movement (leg_id, giver, taker, unit, lot, amount) "
            "select leg_id, giver, taker, unit, lot, amount from movement where leg_id != ''",
            "s/deduct was applied 2 times",
        ),
        ('update account set lots = \'[["only", "2030-06-30", 99]]\'', "m2 holds 99"),
        ("update leg set mismatches = 1", "differing content"),
        ("delete from movement where leg_id = 's/deduct'", "s/deduct was applied 0 times"),
    ),
)
def test_the_books_tell_when_somebody_cheats(
    bank: Client, tmp_path: Path, cheat: str, said: str
) -> None:
    bank.ask("deduct", "s/deduct")
    assert not list(bank.books().problems())
    with closing(sqlite3.connect(tmp_path / "data" / "bank.sqlite3")) as connection:
        connection.execute(cheat)
        connection.commit()
    assert any(said in problem for problem in bank.books().problems())
