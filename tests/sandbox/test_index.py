"""Legs are found by their id, wherever the books have them: in memory, or taken into the index."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from adapters.sandbox import ledger
from tests.sandbox.client import Client, answer, command
from tests.sandbox.conftest import OpenClient

LEGS = [f"s{number}/deduct" for number in range(10)]
OLD = """
drop table filed;
create table old (
    leg_id text primary key, verb text not null, account text not null, item text not null,
    asked integer not null, outcome text, moved integer not null, answer blob, remaining text,
    deliveries integer not null, inquiries integer not null, cancels integer not null,
    mismatches integer not null);
insert into old select leg_id, verb, account, item, asked, outcome, moved, answer, remaining,
    deliveries, inquiries, cancels, mismatches from leg;
drop table leg;
alter table old rename to leg;
"""


@pytest.fixture(params=(1, 3, 1_000), ids=lambda many: f"{many} at once")
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    many: int = request.param
    monkeypatch.setattr(ledger, "FILED_AT_ONCE", many)
    return many


def _tell(client: Client, verb: str = "deduct") -> list[dict[str, object]]:
    """Every leg, in batches of four; what is answered."""
    told = []
    for start in range(0, len(LEGS), 4):
        batch = [command(verb, leg) for leg in LEGS[start : start + 4]]
        told += [answer(reply) for reply in client.send(*batch)]
    return told


def _filed(client: Client) -> set[int]:
    with closing(sqlite3.connect(client.folder / "data" / f"{client.name}.sqlite3")) as connection:
        return {seq for (seq,) in connection.execute("select seq from filed where mark >= 0")}


def test_a_leg_is_known_before_and_after_it_is_filed(client: OpenClient, at_once: int) -> None:
    wallet = client("wallet")
    told = [answer(r) for leg in LEGS for r in wallet.send(command("credit", leg))]
    for _ in range(2):
        again = [answer(r) for leg in LEGS for r in wallet.send(command("inquire", leg))]
        assert again == told
        wallet.restart()
    assert len(_filed(wallet)) == len(LEGS) - len(LEGS) % at_once
    books = wallet.books()
    assert not list(books.problems())
    assert {leg.leg_id: leg.inquiries for leg in books.legs.values()} == dict.fromkeys(LEGS, 2)


def test_what_comes_again_is_not_done_again(client: OpenClient, at_once: int) -> None:
    bank = client("bank")
    told = _tell(bank)
    for _ in range(3):
        bank.restart()
        assert _tell(bank) == told
    assert len(bank.books().legs) == len(LEGS)
    assert bank.books().accounts["m1"].now == 500  # Of 600, 500 of them expired, two legs got 50.


def test_legs_of_one_mark_are_told_apart(
    client: OpenClient, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_mark", len)
    bank = client("bank")
    told = _tell(bank)
    assert [one["leg_id"] for one in told] == LEGS
    assert bank.ask("inquire", "s0/return")["outcome"] == "NOT_RECEIVED"
    assert _tell(bank, "inquire") == told


def test_what_the_app_does_beside_is_known(client: OpenClient, at_once: int) -> None:
    bank = client("bank")
    for number in range(4):
        reference = f"own-{number}"
        bank.app("m1", reference, 10)
        bank.ask("deduct", f"s{number}/deduct", points=5)
        bank.app("m1", reference, 10)
        back = {"deduction_leg_id": "s/none", "reference": reference, "points": 10}
        assert bank.ask("return", f"s{number}/return", **back)["outcome"] == "CONFIRMED"
    assert bank.books().accounts["m1"].now == 580
    assert len(bank.books().legs) == 12


def test_books_without_an_index_are_read_on(
    client: OpenClient, tmp_path: Path, at_once: int
) -> None:
    bank = client("bank")
    told = _tell(bank)
    bank.company.close()
    with closing(sqlite3.connect(tmp_path / "data" / "bank.sqlite3")) as connection:
        connection.executescript(OLD)
    bank.company = bank._open()
    assert _tell(bank) == told
    assert bank.ask("inquire", "s0/deduct") == told[0]
    assert not list(bank.books().problems())
