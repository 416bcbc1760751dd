"""A balance: what could be deducted now, said truthfully, and not written down."""

from datetime import date, datetime, timedelta
from typing import Any, Final

import orjson
import pytest

from adapters.sandbox.faults import Faults, Rule
from adapters.sandbox.magic_accounts import MAGIC
from schemas.replies import LegAnswered
from tests.sandbox.client import NOW, Client, answer, command
from tests.sandbox.conftest import OpenClient

LEG: Final = "8851abe8-7819-5810-856f-b019c65f2c53/balance"


def figures(client: Client, account: str = "m1", leg: str = LEG) -> tuple[int, int]:
    """What is available and held of an account, in an answer that the contract takes."""
    told = client.ask("balance", leg, account=account)
    read = LegAnswered.model_validate_json(orjson.dumps(told))
    assert told["outcome"] == "CONFIRMED"
    assert read.available is not None
    assert read.held is not None
    assert told["as_of"] == client.now.isoformat(timespec="milliseconds")
    assert datetime.fromisoformat(told["as_of"]) == client.now
    assert told["reference"].startswith("BANK-")
    assert not {"points", "lots", "quantity", "coupons"} & set(told)
    return read.available, read.held


def written(client: Client) -> tuple[Any, ...]:
    """All that the company has in its books."""
    books = client.books()
    return books.legs, books.accounts, books.sums


def test_what_is_available_is_what_could_be_deducted_and_an_expired_lot_is_not(
    bank: Client,
) -> None:
    assert figures(bank) == (100, 0)
    assert bank.ask("deduct", "s/deduct", points=101)["outcome"] == "REJECTED"
    assert bank.ask("deduct", "t/deduct", points=100)["outcome"] == "CONFIRMED"
    assert figures(bank) == (0, 0)


def test_a_lot_counts_until_its_last_day_is_over(bank: Client) -> None:
    bank.now = datetime.combine(date(2030, 6, 30), NOW.timetz())
    later = {"expires_at": (bank.now + timedelta(days=9)).isoformat()}
    assert bank.ask("balance", LEG, **later)["available"] == 100
    bank.now += timedelta(days=1)
    assert bank.ask("balance", LEG, **later)["available"] == 60


def test_asking_moves_nothing_and_is_not_written_down(bank: Client) -> None:
    before = written(bank)
    for account in ("m1", "frozen", "unknown-1", "opens-on-first-use"):
        bank.ask("balance", f"{account}/balance", account=account)
    assert written(bank) == before


def test_an_account_that_opens_on_first_use_has_what_it_will_open_with(bank: Client) -> None:
    assert figures(bank, "new") == (1_000, 0)
    bank.ask("deduct", "s/deduct", account="new", points=50)
    assert figures(bank, "new") == (950, 0)


def test_a_repeat_is_answered_with_what_is_so_now_under_an_id_of_its_own(bank: Client) -> None:
    asked = command("balance", LEG)
    first, again, moved, after = bank.send(asked, asked, command("deduct", "s/deduct"), asked)
    assert answer(first) == answer(again)
    assert (answer(first)["available"], answer(after)["available"]) == (100, 50)
    ids = [dict(one.headers)["ce_id"] for one in (first, again, moved, after)]
    assert ids[0] == ids[1]  # The same reply once more keeps its id.
    assert len(set(ids)) == 3
    assert figures(bank.restarted()) == (50, 0)


def test_no_refusal_tells_whether_there_is_an_account(bank: Client) -> None:
    told = [bank.ask("balance", LEG, account=one) for one in ("unknown-1", "frozen", "@clearing")]
    assert told[0]["outcome"] == "REJECTED"
    assert told[0]["reason"]["code"] == "MEMBER_UNKNOWN"
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize("name", ("wallet", "airline"))
def test_who_is_no_debtor_does_not_offer_it(client: OpenClient, name: str) -> None:
    one = client(name)
    told = one.ask("balance", LEG)
    assert (told["outcome"], told["reason"]["code"]) == ("REJECTED", "PARTNER_DECLINED")
    assert not one.books().legs


def test_a_question_past_its_time_is_rejected(bank: Client) -> None:
    bank.now += timedelta(seconds=10)
    assert bank.ask("balance", LEG)["reason"]["code"] == "EXPIRED"


# -- what can go wrong -----------------------------------------------------------------------------


def heard(client: Client, account: str, attempt: int = 1) -> list[Any]:
    """The answers to a question at once, and those that come within five seconds."""
    asked = command("balance", LEG, account=account, attempt=attempt)
    told = [*client.send(asked)]
    client.now += timedelta(seconds=5)
    told += client.company.settle(client.now)
    return [_parsed(one.value) for one in told]


def _parsed(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return "garbled"


@pytest.mark.parametrize(
    ("name", "outcomes"),
    (
        ("lost", []),
        ("never", []),
        ("reply-lost", []),
        ("reply-late", ["CONFIRMED"]),
        ("reply-twice", ["CONFIRMED"] * 3),
        ("wrong-unit", ["CONFIRMED"]),
        ("garbled", ["garbled"]),
        ("pending-yes", ["PENDING", "CONFIRMED"]),
        ("system-error", ["REJECTED"]),
        ("refused", ["REJECTED"]),
        ("down-before", ["CONFIRMED"]),
        ("down-after", ["CONFIRMED"]),
        ("undo-lost", ["CONFIRMED"]),
    ),
)
def test_a_magic_account_does_to_a_balance_what_it_does_to_a_deduction(
    client: OpenClient, name: str, outcomes: list[str]
) -> None:
    bank = client("bank", Faults(magic=MAGIC, pace=0.1))
    told = heard(bank, f"magic-{name}-1")
    assert [one if one == "garbled" else one["outcome"] for one in told] == outcomes
    assert not bank.books().legs


def test_the_attempt_says_the_how_manieth_it_is(client: OpenClient) -> None:
    bank = client("bank", Faults(magic=MAGIC, pace=0.1))
    assert heard(bank, "magic-lost", attempt=1) == []
    assert [one["outcome"] for one in heard(bank, "magic-lost", attempt=2)] == ["CONFIRMED"]


def test_another_unit_stands_beside_the_figures(client: OpenClient) -> None:
    bank = client("bank", Faults((Rule(action="wrong_unit"),)))
    told = bank.ask("balance", LEG)
    assert (told["available"], told["quantity"]) == (100, 100)


def test_a_late_answer_says_what_was_so(client: OpenClient) -> None:
    late = client("bank", Faults((Rule(action="delay", ms=1_000),)))
    asked = late.now
    (told,) = heard(late, "m1")
    assert datetime.fromisoformat(told["as_of"]) == asked


def test_an_answer_that_was_put_off_says_what_is_so_when_it_comes(client: OpenClient) -> None:
    put_off = client("bank", Faults((Rule(action="pending", ms=1_000),)))
    pending, told = heard(put_off, "m1")
    assert pending == {"leg_id": LEG, "outcome": "PENDING"}
    assert datetime.fromisoformat(told["as_of"]) == put_off.now
