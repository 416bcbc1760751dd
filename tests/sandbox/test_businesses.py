"""What banks, wallets and airlines do with points, coupons and miles."""

from typing import Any

import pytest

from tests.sandbox.client import Client


def _lots(told: dict[str, Any]) -> dict[str, int]:
    return {one["lot"]: one["points"] for one in told["lots"]}


def test_a_deduction_takes_the_lot_that_expires_first_and_none_that_has(bank: Client) -> None:
    told = bank.ask("deduct", "s/deduct", points=50)
    assert (told["points"], _lots(told)) == (50, {"early": 40, "late": 10})
    assert told["lots"][0]["expires_on"] == "2030-06-30"
    assert bank.books().accounts["m1"].lots == {"gone": 500, "early": 0, "late": 50}


def test_points_that_are_not_there_cannot_be_deducted(bank: Client) -> None:
    told = bank.ask("deduct", "s/deduct", points=101)
    assert told["reason"]["code"] == "INSUFFICIENT_POINTS"
    assert bank.books().accounts["m1"].now == 600


def test_a_return_puts_points_back_where_they_came_from(bank: Client) -> None:
    bank.ask("deduct", "s/deduct", points=50)
    told = bank.ask("return", "s/return", points=50)
    assert (told["outcome"], _lots(told)) == ("CONFIRMED", {"early": 40, "late": 10})
    account = bank.books().accounts["m1"]
    assert account.lots == {"gone": 500, "early": 40, "late": 60}
    assert account.now == account.initial


def test_returns_in_parts_never_exceed_the_deduction(bank: Client) -> None:
    bank.ask("deduct", "s/deduct", points=50)
    assert _lots(bank.ask("return", "s/r1", points=30)) == {"early": 20, "late": 10}
    assert bank.ask("return", "s/r2", points=21)["outcome"] == "PENDING"
    assert _lots(bank.ask("return", "s/r3", points=20)) == {"early": 20}
    assert bank.ask("return", "s/r4", points=1)["outcome"] == "PENDING"
    assert bank.books().accounts["m1"].now == 600


def test_a_return_may_name_its_lots(bank: Client) -> None:
    bank.ask("deduct", "s/deduct", points=50)
    lots = [{"lot": "early", "points": 5, "expires_on": "2030-06-30"}]
    assert _lots(bank.ask("return", "s/r1", points=5, lots=lots)) == {"early": 5}
    wrong = [{"lot": "gone", "points": 5}]
    assert bank.ask("return", "s/r2", points=5, lots=wrong)["outcome"] == "PENDING"


def test_a_return_is_never_declined_but_waits_for_its_deduction(bank: Client) -> None:
    assert bank.ask("return", "s/return")["outcome"] == "PENDING"
    assert bank.ask("return", "s/return", account="m2")["outcome"] == "PENDING"
    bank.ask("deduct", "s/deduct")
    assert bank.ask("return", "s/return")["outcome"] == "CONFIRMED"


def test_an_account_that_is_not_listed_opens_on_first_use(bank: Client) -> None:
    assert bank.ask("deduct", "s/deduct", account="load-7", points=999)["outcome"] == "CONFIRMED"
    account = bank.books().accounts["load-7"]
    assert (account.initial, account.now) == (1_000, 1)


def test_coupons_have_face_code_and_the_least_one_must_spend(wallet: Client) -> None:
    told = wallet.ask("credit", "s/credit/1", face={"amount": 5_000, "currency": "HKD"})
    assert told["quantity"] == len(told["coupons"]) == 2
    assert len({one["coupon_id"] for one in told["coupons"]}) == 2
    for one in told["coupons"]:
        assert one["face"] == {"amount": 5_000, "currency": "HKD"}
        assert one["min_net_spend"] == {"amount": 5_100, "currency": "HKD"}
        assert one["usable_from"] < one["expires_at"]
    assert wallet.books().coupons_of("m1") == 2


def test_an_instant_discount_has_no_code(wallet: Client) -> None:
    told = wallet.ask("credit", "s/credit/1", item="instant", kind="INSTANT_DISCOUNT")
    assert [set(one) & {"coupon_id", "code"} for one in told["coupons"]] == [{"coupon_id"}] * 2
    assert wallet.ask("reverse", "s/credit/1/reverse")["outcome"] == "CONFIRMED"
    assert wallet.books().coupons_of("m1") == 0


@pytest.mark.parametrize(
    ("fields", "code"),
    (
        ({"item": "hkd10"}, "UNKNOWN_PRODUCT"),
        ({"face": {"amount": 2_000, "currency": "HKD"}}, "INVALID_FACE_VALUE"),
        ({"face": {"amount": 5_000, "currency": "USD"}}, "INVALID_FACE_VALUE"),
        ({"quantity": 201}, "USER_LIMIT_EXCEEDED"),
    ),
)
def test_what_is_not_on_offer_is_refused(wallet: Client, fields: dict[str, Any], code: str) -> None:
    assert wallet.ask("credit", "s/credit/1", **fields)["reason"]["code"] == code
    assert not wallet.books().coupons


def test_a_short_stock_issues_what_there_is_then_nothing_until_some_comes_back(
    wallet: Client,
) -> None:
    first = wallet.ask("credit", "s/credit/1", item="scarce", quantity=5)
    assert (first["quantity"], len(first["coupons"])) == (3, 3)
    none = wallet.ask("credit", "s/credit/2", item="scarce", quantity=1)
    assert none["reason"]["code"] == "OFFER_BUDGET_EXHAUSTED"
    assert wallet.ask("reverse", "s/reverse", quantity=1)["quantity"] == 1
    assert wallet.ask("credit", "s/credit/3", item="scarce", quantity=2)["quantity"] == 1
    assert not list(wallet.books().problems())


def test_coupon_numbers_are_not_given_twice(wallet: Client) -> None:
    first = wallet.ask("credit", "s/credit/1")
    wallet.restart()
    second = wallet.ask("credit", "s/credit/2")
    ids = {one["coupon_id"] for told in (first, second) for one in told["coupons"]}
    assert len(ids) == 4


def test_a_reverse_voids_coupons_and_never_more_than_were_issued(wallet: Client) -> None:
    wallet.ask("credit", "s/credit/1", quantity=3)
    assert wallet.ask("reverse", "s/v1", quantity=2)["outcome"] == "CONFIRMED"
    assert wallet.ask("reverse", "s/v2", quantity=2)["outcome"] == "REJECTED"
    assert wallet.ask("reverse", "s/v3", quantity=1)["outcome"] == "CONFIRMED"
    states = [one.state for one in wallet.books().coupons["s/credit/1"]]
    assert states == ["VOID"] * 3
    assert not list(wallet.books().problems())


def test_a_reverse_of_nothing_is_not_received_and_leaves_the_way_open(wallet: Client) -> None:
    assert wallet.ask("reverse", "s/v1")["outcome"] == "NOT_RECEIVED"
    wallet.ask("credit", "s/credit/1")
    assert wallet.ask("reverse", "s/v1")["outcome"] == "CONFIRMED"


def test_a_reverse_of_what_was_refused_is_refused(wallet: Client) -> None:
    wallet.ask("cancel", "s/credit/1")
    assert wallet.ask("reverse", "s/v1")["outcome"] == "REJECTED"


def test_miles_come_and_go(airline: Client) -> None:
    assert airline.ask("credit", "s/credit/1", quantity=700)["quantity"] == 700
    assert airline.ask("reverse", "s/v1", quantity=300)["outcome"] == "CONFIRMED"
    assert airline.ask("reverse", "s/v2", quantity=401)["outcome"] == "REJECTED"
    account = airline.books().accounts["m1"]
    assert (account.initial, account.now) == (500, 900)


def test_miles_go_to_a_traveller_whom_nobody_listed(airline: Client) -> None:
    airline.ask("credit", "s/credit/1", account="new", quantity=700)
    account = airline.books().accounts["new"]
    assert (account.initial, account.now) == (0, 700)
