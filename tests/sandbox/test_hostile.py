"""Every fault of `domain.md` 4.7 that a company can commit: what is said when, and honest books."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from adapters.sandbox.fault_kinds import ALL_VERBS, ANSWERED_VERBS, KINDS, Kind
from adapters.sandbox.faults import MAGIC_PREFIX, Delivery, Faults, Rule, magic_name
from adapters.sandbox.handler import Reply
from adapters.sandbox.magic_accounts import DESCRIPTIONS, MAGIC
from tests.sandbox.client import Client, answer, command
from tests.sandbox.conftest import OpenClient

CODE = {"code": "PARTNER_DECLINED"}
PARTNERS = (("bank", "deduct", "s/deduct"), ("wallet", "credit", "s/credit/1"))
each_partner = pytest.mark.parametrize(("name", "verb", "leg"), PARTNERS)


def script(action: Kind, verb: str | None = None, **more: Any) -> Faults:
    match = {"first_n": more.pop("first_n", None), "verb": verb}
    return Faults((Rule.model_validate({"match": match, "action": action, **more}),))


def later(client: Client, ms: int) -> list[dict[str, Any]]:
    """What the company says unasked within so many milliseconds, as a new process would."""
    client.restart()
    client.now += timedelta(milliseconds=ms)
    return [answer(reply) for reply in client.company.settle(client.now)]


def settled(client: Client, ms: int) -> list[Reply]:
    """What this process of the company says unasked within so many milliseconds."""
    client.now += timedelta(milliseconds=ms)
    return client.company.settle(client.now)


def holds(client: Client, leg: str, outcome: str | None, applied: int) -> None:
    found = client.books().legs[leg]
    assert (found.outcome, found.applied) == (outcome, applied)
    assert not list(client.books().problems())


@each_partner
def test_pending_then_no(client: OpenClient, name: str, verb: str, leg: str) -> None:
    one = client(name, script("pending_refuse", verb, ms=500, **CODE))
    assert one.ask(verb, leg)["outcome"] == "PENDING"
    assert later(one, 499) == []
    (told,) = later(one, 1)
    assert (told["outcome"], told["reason"]["code"]) == ("REJECTED", "PARTNER_DECLINED")
    assert one.ask("inquire", leg) == told
    holds(one, leg, "REJECTED", 0)


def test_a_pending_return_is_not_done_by_a_repeat_before_its_time(
    client: OpenClient,
) -> None:
    bank = client("bank", script("pending", "return", ms=500))
    bank.ask("deduct", "s/deduct")
    for _ in range(2):
        assert bank.ask("return", "s/return")["outcome"] == "PENDING"
    bank.restart()
    assert bank.ask("return", "s/return")["outcome"] == "PENDING"
    assert [one["outcome"] for one in later(bank, 500)] == ["CONFIRMED"]
    holds(bank, "s/return", "CONFIRMED", 1)


@each_partner
def test_not_received_then_done(client: OpenClient, name: str, verb: str, leg: str) -> None:
    one = client(name, script("apply_late", verb, ms=500))
    assert one.send(command(verb, leg)) == []
    assert one.ask("inquire", leg)["outcome"] == "NOT_RECEIVED"
    holds(one, leg, None, 0)
    (told,) = later(one, 500)
    assert told["outcome"] == "CONFIRMED"
    assert one.ask("inquire", leg) == told
    holds(one, leg, "CONFIRMED", 1)


@each_partner
def test_a_cancel_stops_what_is_held_up(client: OpenClient, name: str, verb: str, leg: str) -> None:
    one = client(name, script("apply_late", verb, ms=500))
    assert one.send(command(verb, leg)) == []
    assert one.ask("cancel", leg)["outcome"] == "CANCELLED"
    assert [told["outcome"] for told in later(one, 500)] == ["CANCELLED"]
    holds(one, leg, "CANCELLED", 0)


@pytest.mark.parametrize("together", (True, False))
def test_a_reply_after_the_cancel(client: OpenClient, together: bool) -> None:
    wallet = client("wallet", script("reply_after_cancel", "credit"))
    original, cancel = command("credit", "s/credit/1"), command("cancel", "s/credit/1")
    if together:
        (to_cancel,) = wallet.send(original, cancel)
    else:
        assert wallet.send(original) == []
        assert later(wallet, 60_000) == []
        (to_cancel,) = wallet.send(cancel)
    (to_original,) = wallet.company.settle(wallet.now)
    assert to_cancel.value == to_original.value
    assert answer(to_original)["outcome"] == "CONFIRMED"
    assert dict(to_original.headers)["ce_causationid"] == "s/credit/1#credit"
    assert dict(to_original.headers)["ce_id"] != dict(to_cancel.headers)["ce_id"]
    holds(wallet, "s/credit/1", "CONFIRMED", 1)


@each_partner
def test_the_liar_accepts_a_cancel_and_does_it_after_all(
    client: OpenClient, name: str, verb: str, leg: str
) -> None:
    one = client(name, script("done_after_cancel", verb, ms=500))
    assert one.send(command(verb, leg)) == []
    assert later(one, 60_000) == []
    assert one.ask("inquire", leg)["outcome"] == "NOT_RECEIVED"
    assert one.ask("cancel", leg)["outcome"] == "CANCELLED"
    assert one.ask("inquire", leg)["outcome"] == "CANCELLED"
    assert [told["outcome"] for told in later(one, 500)] == ["CONFIRMED"]
    assert one.ask("cancel", leg)["outcome"] == "CONFIRMED"
    holds(one, leg, "CONFIRMED", 1)


@each_partner
def test_what_the_liar_did_after_a_cancel_is_undone_as_anything_else(
    client: OpenClient, name: str, verb: str, leg: str
) -> None:
    one = client(name, script("done_after_cancel", verb, ms=500))
    assert one.send(command(verb, leg)) == []
    assert one.ask("cancel", leg)["outcome"] == "CANCELLED"
    assert [told["outcome"] for told in later(one, 500)] == ["CONFIRMED"]
    undo = "return" if verb == "deduct" else "reverse"
    assert one.ask(undo, f"{leg}/{undo}")["outcome"] == "CONFIRMED"
    holds(one, f"{leg}/{undo}", "CONFIRMED", 1)
    assert one.books().legs[leg].verb == verb


@each_partner
def test_a_late_yes_after_a_no(client: OpenClient, name: str, verb: str, leg: str) -> None:
    one = client(name, script("yes_after_no", verb, ms=500, **CODE))
    no = one.ask(verb, leg)
    assert (no["outcome"], no["reason"]["code"]) == ("REJECTED", "PARTNER_DECLINED")
    assert one.ask("inquire", leg) == no
    assert [told["outcome"] for told in later(one, 500)] == ["CONFIRMED"]
    holds(one, leg, "CONFIRMED", 1)


@pytest.mark.parametrize("name", ("bank", "wallet", "airline"))
def test_a_late_no_after_a_yes(client: OpenClient, name: str) -> None:
    verb, leg = ("deduct", "s/deduct") if name == "bank" else ("credit", "s/credit/1")
    one = client(name, script("no_after_yes", verb, ms=500, **CODE))
    before = one.books().accounts.get("m1")
    assert one.ask(verb, leg)["outcome"] == "CONFIRMED"
    holds(one, leg, "CONFIRMED", 1)
    assert [told["outcome"] for told in later(one, 500)] == ["REJECTED"]
    holds(one, leg, "REJECTED", 0)
    assert one.books().accounts.get("m1") == before
    assert one.books().coupons_of("m1") == 0
    assert one.ask("inquire", leg)["outcome"] == "REJECTED"


@each_partner
def test_what_was_undone_cannot_be_denied(
    client: OpenClient, name: str, verb: str, leg: str
) -> None:
    one = client(name, script("no_after_yes", verb, ms=500, **CODE))
    yes = one.ask(verb, leg)
    undo = {"deduct": "return", "credit": "reverse"}[verb]
    amount = {"points": 20} if verb == "deduct" else {"quantity": 1}
    assert one.ask(undo, "s/undo", **amount)["outcome"] == "CONFIRMED"
    assert later(one, 500) == [yes]
    holds(one, leg, "CONFIRMED", 1)


@pytest.mark.parametrize(
    ("name", "verb", "kind", "told"),
    (
        ("bank", "deduct", "wrong_amount", {"points": 51}),
        ("bank", "deduct", "wrong_unit", {"quantity": 50, "points": None}),
        ("wallet", "credit", "wrong_amount", {"quantity": 3}),
        ("wallet", "credit", "wrong_unit", {"points": 2, "quantity": None}),
        ("airline", "credit", "wrong_unit", {"points": 2, "quantity": None}),
    ),
)
def test_a_wrong_answer_states_it_and_the_books_do_not(
    client: OpenClient, name: str, verb: str, kind: Kind, told: dict[str, int | None]
) -> None:
    one = client(name, script(kind, verb, first_n=1))
    wrong = one.ask(verb, "s/leg")
    assert {field: wrong.get(field) for field in told} == told
    truth = one.ask("inquire", "s/leg")
    assert {field: truth.get(field) for field in told} != told
    assert one.ask(verb, "s/leg") == truth
    holds(one, "s/leg", "CONFIRMED", 1)


def test_coupons_of_another_face_and_of_another_currency(client: OpenClient) -> None:
    def faces(kind: Kind, name: str) -> set[tuple[int, str]]:
        told = client(name, script(kind, "credit")).ask("credit", f"s/{kind}")
        return {(one["face"]["amount"], one["face"]["currency"]) for one in told["coupons"]}

    assert faces("wrong_item", "wallet") == {(5_111, "HKD")}
    assert faces("wrong_item", "airline") == {(111, "XTS")}


def test_a_refusal_is_told_as_it_is(client: OpenClient) -> None:
    bank = client("bank", script("wrong_amount", "deduct"))
    assert bank.ask("deduct", "s/d", account="frozen")["reason"]["code"] == "MEMBER_SUSPENDED"


def test_a_return_that_is_refused_stays_refused(client: OpenClient) -> None:
    bank = client("bank", script("refuse_undo", code="ALREADY_CONSUMED"))
    assert bank.ask("deduct", "s/deduct")["outcome"] == "CONFIRMED"
    told = bank.ask("return", "s/return")
    assert (told["outcome"], told["reason"]["code"]) == ("REJECTED", "ALREADY_CONSUMED")
    assert bank.ask("return", "s/return") == told
    holds(bank, "s/return", "REJECTED", 0)


def test_a_company_that_is_down_hears_all_of_it_when_it_is_up_again(
    client: OpenClient,
) -> None:
    bank = client("bank", script("down", "deduct", ms=5_000, first_n=1))
    assert bank.send(command("deduct", "s/deduct"), command("inquire", "t/deduct")) == []
    bank.now += timedelta(milliseconds=4_999)
    assert bank.send(command("cancel", "u/deduct")) == []
    assert bank.company.settle(bank.now) == []
    bank.now += timedelta(milliseconds=1)
    told = [(one["leg_id"], one["outcome"]) for one in map(answer, bank.company.settle(bank.now))]
    assert told == [
        ("s/deduct", "CONFIRMED"),
        ("t/deduct", "NOT_RECEIVED"),
        ("u/deduct", "CANCELLED"),
    ]
    assert bank.ask("inquire", "s/deduct")["outcome"] == "CONFIRMED"
    holds(bank, "s/deduct", "CONFIRMED", 1)


def test_what_expired_while_a_company_was_down_is_refused(client: OpenClient) -> None:
    bank = client("bank", script("down", "deduct", ms=60_000, first_n=1))
    assert bank.send(command("deduct", "s/deduct")) == []
    (told,) = later(bank, 60_000)
    assert told["reason"]["code"] == "EXPIRED"
    holds(bank, "s/deduct", "REJECTED", 0)


def test_down_after_the_pivot_it_is_done_and_told_late(client: OpenClient) -> None:
    wallet = client("wallet", script("down_after", "credit", ms=5_000, first_n=1))
    assert wallet.send(command("credit", "s/credit/1")) == []
    holds(wallet, "s/credit/1", "CONFIRMED", 1)
    assert wallet.send(command("inquire", "s/credit/1")) == []
    assert [told["outcome"] for told in later(wallet, 5_000)] == ["CONFIRMED", "CONFIRMED"]


def test_a_leg_that_is_down_leaves_the_others_in_peace(client: OpenClient) -> None:
    bank = client("bank", script("down", "deduct", ms=5_000, first_n=1, scope="leg"))
    assert bank.send(command("deduct", "s/deduct"), command("inquire", "s/deduct")) == []
    assert bank.ask("inquire", "other/deduct")["outcome"] == "NOT_RECEIVED"


def test_replies_of_what_was_put_off_have_ids_of_their_own(client: OpenClient) -> None:
    bank = client("bank", script("down", "deduct", ms=100, first_n=1))
    bank.send(*[command(verb, "s/deduct") for verb in ("deduct", "inquire", "deduct", "cancel")])
    bank.now += timedelta(milliseconds=100)
    replies = bank.company.settle(bank.now)
    assert len({dict(reply.headers)["ce_id"] for reply in replies}) == len(replies) == 4


def test_pace_makes_every_wait_shorter(client: OpenClient) -> None:
    rules = script("pending", "deduct", ms=10_000).rules
    bank = client("bank", Faults(rules, pace=0.01))
    bank.ask("deduct", "s/deduct")
    assert [told["outcome"] for told in later(bank, 100)] == ["CONFIRMED"]


# -- what is owed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ("yes_after_no", "no_after_yes", "pending", "delay"))
def test_a_reply_that_nobody_asks_for_is_owed_until_it_is_sent(
    client: OpenClient, kind: Kind
) -> None:
    more = CODE if "code" in KINDS[kind].needs else {}
    bank = client("bank", script(kind, "deduct", first_n=1, ms=500, **more))
    bank.send(command("deduct", "s/deduct"))
    (reply,) = settled(bank, 500)
    assert settled(bank.restarted(), 0) == [reply]  # Killed before it was sent.
    assert settled(bank, 0) == []  # Asked again: so it was sent.
    assert settled(bank.restarted(), 60_000) == []
    assert answer(reply) == bank.ask("inquire", "s/deduct")


# -- by seed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_drawn_and_meets_only_what_it_is_for(kind: Kind) -> None:
    faults = Faults(seed=7, rates={kind: 1.0})
    met = set()
    for verb in ALL_VERBS:
        fault = faults.decide(Delivery("bank", verb, "m", "", "s/leg", 1, 1))
        if fault is not None:
            met.add(verb)
            needs = KINDS[kind].needs
            assert bool(fault.code) is ("code" in needs)
            assert bool(fault.ms) is ("ms" in needs)
    assert met == set(KINDS[kind].verbs) - ({"return", "reverse"} if kind == "refuse" else set())


@pytest.mark.parametrize("seed", range(20))
def test_books_hold_under_every_kind_at_once(client: OpenClient, seed: int) -> None:
    """All kinds drawn over many legs: whatever is told, the company's own books balance."""
    rates: dict[Kind, float] = {kind: 1 / len(KINDS) for kind in KINDS}
    one = client("bank", Faults(seed=seed, rates=rates, pace=0.1))
    for number in range(12):
        leg = f"s{number}/deduct"
        one.send(command("deduct", leg, account="load", points=10))
        one.send(command("inquire", leg), command("cancel", leg))
        undo = {"account": "load", "points": 10, "deduction_leg_id": leg}
        one.send(command("return", f"{leg}/return", **undo))
        one.now += timedelta(milliseconds=150)
        one.company.settle(one.now)
    one.now += timedelta(seconds=10)
    one.company.settle(one.now)
    assert not list(one.books().problems())


# -- by magic account ------------------------------------------------------------------------------


def test_names_are_told_apart_and_documented() -> None:
    for name in MAGIC:
        assert magic_name(f"{name}-1", MAGIC) == magic_name(name, MAGIC) == name
        assert name.startswith(MAGIC_PREFIX)
        assert not [other for other in MAGIC if other.startswith(f"{name}-")]
    assert list(DESCRIPTIONS) == list(MAGIC)
    assert magic_name("magic-lostandfound", MAGIC) == ""


def test_every_kind_of_fault_has_a_magic_account() -> None:
    assert {rule.action for rules in MAGIC.values() for rule in rules} == set(KINDS)


def outcomes(client: Client, *verbs: str, account: str, leg: str = "s/deduct") -> list[Any]:
    """What each command is told, None for nothing, then what is said unasked in the end."""
    told: list[Any] = []
    for verb in verbs:
        fields = {"account": account} if verb in ANSWERED_VERBS else {}
        replies = client.send(command(verb, leg, **fields))
        told.append(orjson.loads(replies[0].value)["outcome"] if replies else None)
    return [*told, *(one["outcome"] for one in later(client, 5_000))]


@pytest.mark.parametrize(
    ("name", "verbs", "told"),
    (
        ("lost", ("deduct", "inquire", "deduct"), [None, "NOT_RECEIVED", "CONFIRMED"]),
        ("never", ("deduct", "inquire", "cancel"), [None, "NOT_RECEIVED", "CANCELLED"]),
        ("reply-lost", ("deduct", "inquire"), [None, "CONFIRMED"]),
        (
            "reply-after-cancel",
            ("deduct", "inquire", "cancel"),
            [None, None, "CONFIRMED", "CONFIRMED"],
        ),
        ("pending-yes", ("deduct", "inquire"), ["PENDING", "PENDING", "CONFIRMED"]),
        ("pending-no", ("deduct", "inquire"), ["PENDING", "PENDING", "REJECTED"]),
        ("late-done", ("deduct", "inquire"), [None, "NOT_RECEIVED", "CONFIRMED"]),
        ("cancel-refused", ("deduct", "inquire", "cancel"), [None, None, "CONFIRMED"]),
        (
            "cancel-unanswered",
            ("deduct", "cancel", "cancel", "cancel", "cancel", "deduct"),
            [None, None, None, None, "CANCELLED", None],
        ),
        (
            "cancelled-then-done",
            ("deduct", "inquire", "cancel", "inquire"),
            [None, "NOT_RECEIVED", "CANCELLED", "CANCELLED", "CONFIRMED"],
        ),
        ("no-then-yes", ("deduct", "inquire"), ["REJECTED", "REJECTED", "CONFIRMED"]),
        ("yes-then-no", ("deduct", "inquire"), ["CONFIRMED", "CONFIRMED", "REJECTED"]),
        ("down-before", ("deduct", "inquire"), [None, None, "CONFIRMED", "CONFIRMED"]),
        ("down-after", ("deduct", "cancel"), [None, None, "CONFIRMED", "CONFIRMED"]),
        ("refused", ("deduct", "deduct"), ["REJECTED", "REJECTED"]),
    ),
)
def test_a_magic_account_does_what_it_says(
    client: OpenClient, name: str, verbs: tuple[str, ...], told: list[Any]
) -> None:
    bank = client("bank", Faults(magic=MAGIC, pace=0.1))
    assert outcomes(bank, *verbs, account=f"magic-{name}-1") == told
    assert not list(bank.books().problems())


@pytest.mark.parametrize(
    ("name", "told"),
    (
        ("undo-refused", ["REJECTED", "REJECTED"]),
        ("undo-lost", [None, "CONFIRMED"]),
        ("undo-reply-lost", [None, "CONFIRMED"]),
        ("undo-pending", ["PENDING", "PENDING", "CONFIRMED"]),
    ),
)
def test_a_magic_account_whose_undo_goes_wrong(
    client: OpenClient, name: str, told: list[Any]
) -> None:
    bank = client("bank", Faults(magic=MAGIC, pace=0.1))
    account = f"magic-{name}"
    assert bank.ask("deduct", "s/deduct", account=account)["outcome"] == "CONFIRMED"
    assert outcomes(bank, "return", "return", account=account, leg="s/return") == told


def test_other_accounts_meet_no_magic(client: OpenClient) -> None:
    bank = client("bank", Faults(magic=MAGIC))
    assert bank.ask("deduct", "s/deduct")["outcome"] == "CONFIRMED"
    assert bank.ask("deduct", "t/deduct", account="magic-nothing")["outcome"] == "CONFIRMED"


def test_a_magic_account_meets_nothing_that_is_drawn() -> None:
    faults = Faults(seed=1, rates={"silence": 1.0}, magic=MAGIC)
    one = Delivery("bank", "deduct", "magic-refused", "", "s/leg", 1, 1)
    found = faults.decide(one)
    assert found is not None
    assert found.kind == "refuse"
    assert faults.decide(one._replace(account="magic-undo-lost")) is None
