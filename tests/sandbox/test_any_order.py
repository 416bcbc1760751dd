"""Whatever arrives, however often and in whatever order: the books hold."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.sandbox.commands import Command
from tests.sandbox.client import Client, answer, command

VERDICTS = {"CONFIRMED", "REJECTED", "CANCELLED"}
DEDUCTIONS = ("s/d1", "s/d2")
CREDITS = ("s/c1", "s/c2")


def _asked_about(*legs: str) -> st.SearchStrategy[Command]:
    return st.builds(command, st.sampled_from(["inquire", "cancel"]), st.sampled_from(legs))


deducts = st.builds(command, st.just("deduct"), st.sampled_from(DEDUCTIONS), points=st.just(60))
returns = st.sampled_from(
    [
        command("return", f"{leg}/r{points}", deduction_leg_id=leg, points=points)
        for leg in DEDUCTIONS
        for points in (20, 40, 60)
    ]
)
credits_ = st.sampled_from([command("credit", leg, item="scarce", quantity=2) for leg in CREDITS])
reverses = st.sampled_from(
    [
        command("reverse", f"{leg}/v{n}", credit_leg_id=leg, quantity=n)
        for leg in CREDITS
        for n in (1, 2)
    ]
)
bank_talk = st.lists(st.one_of(deducts, returns, _asked_about(*DEDUCTIONS)), max_size=30)
wallet_talk = st.lists(st.one_of(credits_, reverses, _asked_about(*CREDITS)), max_size=30)


def _talk(client: Client, commands: list[Command], batch: int) -> None:
    verdicts: dict[str, dict[str, object]] = {}
    for start in range(0, len(commands), batch):
        for reply in client.send(*commands[start : start + batch]):
            told = answer(reply)
            if told["outcome"] in VERDICTS:
                assert verdicts.setdefault(told["leg_id"], told) == told
        books = client.books()
        assert not list(books.problems())
        assert sum(books.sums.values()) == 0


@settings(max_examples=60, deadline=None)
@given(commands=bank_talk, batch=st.integers(1, 7))
def test_a_bank_keeps_its_books(commands: list[Command], batch: int) -> None:
    with TemporaryDirectory() as folder:
        client = Client(Path(folder), "bank")
        try:
            _talk(client, commands, batch)
            books = client.books()
        finally:
            client.close()
    for leg_id in DEDUCTIONS:
        returned = sum(books.legs[one].moved for one in books.legs if one.startswith(f"{leg_id}/"))
        assert returned <= (books.legs[leg_id].moved if leg_id in books.legs else 0)
    assert books.accounts["m1"].now <= books.accounts["m1"].initial


@settings(max_examples=60, deadline=None)
@given(commands=wallet_talk, batch=st.integers(1, 7))
def test_a_wallet_keeps_its_books(commands: list[Command], batch: int) -> None:
    with TemporaryDirectory() as folder:
        client = Client(Path(folder), "wallet")
        try:
            _talk(client, commands, batch)
            books = client.books()
        finally:
            client.close()
    stock = books.accounts["@stock/scarce"]
    assert stock.initial - stock.now == books.coupons_of("m1") <= 3
