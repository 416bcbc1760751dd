"""A channel's own app deducts in its company's books, beside the process that plays the company."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from adapters.sandbox.app import AppError, Apps
from adapters.sandbox.faults import Faults
from adapters.sandbox.magic_accounts import MAGIC
from tests.sandbox.client import NOW, Client, command, load
from tests.sandbox.conftest import OpenClient


def back(bank: Client, leg_id: str, points: int, **more: Any) -> dict[str, Any]:
    """The answer to a return of what the app took under APP-1; the saga's deduction was no leg."""
    fields = {"account": "m1", "deduction_leg_id": "s/deduct", "reference": "APP-1"}
    return bank.ask("return", leg_id, points=points, **fields | more)


def lots_of(told: dict[str, Any]) -> dict[str, int]:
    return {one["lot"]: one["points"] for one in told["lots"]}


def test_the_books_know_what_the_app_took_before_anybody_asked(bank: Client) -> None:
    told = bank.app("m1", "APP-1", 70)
    assert (told["reference"], told["points"]) == ("APP-1", 70)
    assert lots_of(told) == {"early": 40, "late": 30}
    books = bank.books()
    assert books.accounts["m1"].now == 530
    assert (books.legs["app/APP-1"].outcome, books.legs["app/APP-1"].applied) == ("CONFIRMED", 1)
    assert list(books.problems()) == []


def test_the_same_reference_takes_nothing_more(bank: Client) -> None:
    first = bank.app("m1", "APP-1", 70)
    bank.restart()
    assert bank.app("m1", "APP-1", 70) == first
    assert bank.books().accounts["m1"].now == 530


def test_lots_that_the_request_names_itself_are_left_alone(bank: Client) -> None:
    lots = [{"lot": "early", "points": 1}]
    deduction = {"reference": "APP-1", "points": 70, "lots": lots}
    assert bank.app("m1", "APP-1", 70, deduction=deduction)["lots"] == lots
    assert bank.books().accounts["m1"].now == 530


def test_a_request_that_deducted_nothing_stays_as_it_is(bank: Client, tmp_path: Path) -> None:
    asked = {"account": "m1", "debtor_account": "m2"}
    assert Apps(load(tmp_path), tmp_path / "data").deducted("wallet", asked, NOW) == asked
    assert bank.books().accounts["m1"].now == 600


def test_the_account_at_the_bank_is_the_one_that_pays(bank: Client) -> None:
    bank.app("m1", "APP-1", 70, debtor_account="m2")
    assert {name: one.now for name, one in bank.books().accounts.items()} == {
        "m1": 600,
        "m2": 30,
        "frozen": 100,
    }


def test_returns_find_it_by_its_reference_and_never_exceed_it(bank: Client) -> None:
    bank.app("m1", "APP-1", 70)
    assert lots_of(back(bank, "s/r1", 50)) == {"early": 20, "late": 30}
    assert back(bank, "s/r1", 50)["outcome"] == "CONFIRMED"
    assert back(bank, "s/r2", 21)["outcome"] == "PENDING"
    assert lots_of(back(bank, "s/r3", 20)) == {"early": 20}
    assert back(bank, "s/r4", 1)["outcome"] == "PENDING"
    account = bank.books().accounts["m1"]
    assert (account.now, account.lots) == (600, {"gone": 500, "early": 40, "late": 60})
    assert list(bank.books().problems()) == []


def test_a_return_may_name_the_lots_that_the_app_told(bank: Client) -> None:
    told = bank.app("m1", "APP-1", 70)
    lots = [told["lots"][0] | {"points": 5}]
    assert lots_of(back(bank, "s/r1", 5, lots=lots)) == {"early": 5}


@pytest.mark.parametrize(
    "wrong", ({"reference": "APP-2"}, {"account": "m2"}, {"points": 71}), ids=str
)
def test_a_return_that_fits_nothing_waits_for_a_person(bank: Client, wrong: dict[str, Any]) -> None:
    bank.app("m1", "APP-1", 70)
    assert back(bank, "s/r1", wrong.pop("points", 70), **wrong)["outcome"] == "PENDING"
    assert bank.books().accounts["m1"].now == 530


@pytest.mark.parametrize(
    ("account", "reference", "points", "said"),
    (
        ("m1", "APP-1", 101, "INSUFFICIENT_POINTS"),
        ("frozen", "APP-1", 10, "MEMBER_SUSPENDED"),
        ("unknown-1", "APP-1", 10, "MEMBER_UNKNOWN"),
        ("m1", "APP-1", 0, "below 1"),
        ("m1", "denied/s/deduct", 10, "reserved"),
    ),
)
def test_what_the_bank_refuses_is_not_asked_for(
    bank: Client, account: str, reference: str, points: int, said: str
) -> None:
    with pytest.raises(AppError, match=said):
        bank.app(account, reference, points)
    assert all(one.now == one.initial for one in bank.books().accounts.values())


def test_a_reference_stands_for_one_deduction(bank: Client) -> None:
    bank.app("m1", "APP-1", 70)
    for account, points in (("m1", 60), ("m2", 70)):
        with pytest.raises(AppError, match="used before"):
            bank.app(account, "APP-1", points)
    assert bank.books().legs["app/APP-1"].mismatches == 0


@pytest.mark.parametrize("origin", ("wallet", "nobody"))
def test_only_a_bank_of_the_sandbox_has_an_app(tmp_path: Path, origin: str) -> None:
    asked = {"account": "m1", "deduction": {"reference": "APP-1", "points": 10}}
    with pytest.raises(AppError, match="no bank"):
        Apps(load(tmp_path), tmp_path / "data").deducted(origin, asked, NOW)


def test_a_bank_that_was_never_played_has_no_books(tmp_path: Path) -> None:
    asked = {"account": "m1", "deduction": {"reference": "APP-1", "points": 10}}
    with pytest.raises(AppError, match="start uprp sandbox first"):
        Apps(load(tmp_path), tmp_path / "data").deducted("bank", asked, NOW)


@pytest.mark.parametrize("deduction", (7, {}, {"reference": "A"}, {"reference": 1, "points": 1}))
def test_what_is_no_deduction_is_named(tmp_path: Path, deduction: object) -> None:
    asked = {"account": "m1", "deduction": deduction}
    with pytest.raises(AppError, match="deduction: "):
        Apps(load(tmp_path), tmp_path / "data").deducted("bank", asked, NOW)


def test_the_app_and_the_company_write_side_by_side(bank: Client) -> None:
    """Neither loses what the other did: 300 of each, on one account."""
    wrong: list[BaseException] = []

    def shop() -> None:
        try:
            for number in range(300):
                bank.app("m9", f"APP-{number}", 1)
        except BaseException as error:  # noqa: BLE001 - raised below, in the test's own thread.
            wrong.append(error)

    thread = threading.Thread(target=shop)
    thread.start()
    for number in range(300):
        bank.ask("deduct", f"s{number}/deduct", account="m9", points=1)
    thread.join(60)
    assert not wrong
    books = bank.books()
    assert (books.accounts["m9"].initial, books.accounts["m9"].now) == (1_000, 400)
    assert list(books.problems()) == []


def test_a_lost_answer_to_a_return_is_the_same_when_asked_again(
    client: OpenClient,
) -> None:
    bank = client("bank", Faults(magic=MAGIC))
    account = "magic-undo-reply-lost-1"
    bank.app(account, "APP-1", 70)
    fields = {"account": account, "deduction_leg_id": "s/deduct", "reference": "APP-1"}
    assert bank.send(command("return", "s/r1", points=70, **fields)) == []
    assert bank.ask("return", "s/r1", points=70, **fields)["outcome"] == "CONFIRMED"
    assert bank.books().accounts[account].now == 1_000
