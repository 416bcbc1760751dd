"""Faults: by script, first rule first; by seed, the same in every run."""

from datetime import timedelta
from pathlib import Path

import pytest

from adapters.sandbox.faults import (
    Delivery,
    Fault,
    Faults,
    FaultsError,
    Match,
    Rule,
    load_rules,
    parse_rates,
)
from tests.sandbox.client import answer, command
from tests.sandbox.conftest import OpenClient

FIRST = Delivery("wallet", "credit", "m1", "hkd50", "s/credit/1", attempt=1, nth=1)


def _script(action: str, **more: object) -> Faults:
    match = more.pop("match", {})
    return Faults((Rule.model_validate({"match": match, "action": action, **more}),))


def test_a_scripted_refusal_is_final(client: OpenClient) -> None:
    refusal = _script("refuse", code="PARTNER_DECLINED", match={"account": "m*", "verb": "credit"})
    wallet = client("wallet", refusal)
    told = wallet.ask("credit", "s/credit/1")
    assert (told["outcome"], told["reason"]["code"]) == ("REJECTED", "PARTNER_DECLINED")
    assert wallet.ask("inquire", "s/credit/1") == told
    assert wallet.ask("credit", "s/credit/2", account="other")["outcome"] == "CONFIRMED"


def test_silence_means_that_the_command_never_arrived(client: OpenClient) -> None:
    bank = client("bank", _script("silence", match={"verb": "deduct", "first_n": 1}))
    assert bank.send(command("deduct", "s/deduct")) == []
    assert bank.ask("inquire", "s/deduct")["outcome"] == "NOT_RECEIVED"
    bank.restart()
    assert bank.ask("deduct", "s/deduct")["outcome"] == "CONFIRMED"
    assert bank.books().legs["s/deduct"].deliveries == 2


def test_applied_without_an_answer_is_learnt_by_asking(client: OpenClient) -> None:
    bank = client("bank", _script("apply_silent", match={"verb": "deduct"}))
    assert bank.send(command("deduct", "s/deduct")) == []
    assert bank.ask("inquire", "s/deduct")["outcome"] == "CONFIRMED"
    assert bank.books().legs["s/deduct"].applied == 1


def test_a_delayed_answer_is_true_at_once(client: OpenClient) -> None:
    bank = client("bank", _script("delay", ms=700, match={"verb": "deduct"}))
    assert bank.send(command("deduct", "s/deduct")) == []
    told = bank.ask("inquire", "s/deduct")
    bank.now += timedelta(milliseconds=699)
    assert bank.company.settle(bank.now) == []
    bank.now += timedelta(milliseconds=1)
    (reply,) = bank.company.settle(bank.now)
    assert answer(reply) == told


def test_repeated_answers_are_the_same_under_different_ids(client: OpenClient) -> None:
    bank = client("bank", _script("repeat", times=5))
    replies = bank.send(command("deduct", "s/deduct"))
    assert len({reply.value for reply in replies}) == 1
    assert len({dict(reply.headers)["ce_id"] for reply in replies}) == 5
    assert bank.books().legs["s/deduct"].applied == 1


def test_a_pending_leg_is_settled_later_also_by_a_new_process(
    client: OpenClient,
) -> None:
    bank = client("bank", _script("pending", ms=1_000, match={"verb": "deduct"}))
    assert bank.ask("deduct", "s/deduct") == {"leg_id": "s/deduct", "outcome": "PENDING"}
    assert bank.ask("deduct", "s/deduct")["outcome"] == "PENDING"
    assert bank.books().accounts["m1"].now == 600
    bank.restart()
    assert bank.company.settle(bank.now) == []
    bank.now += timedelta(seconds=1)
    (reply,) = bank.company.settle(bank.now)
    assert answer(reply)["outcome"] == "CONFIRMED"
    assert bank.ask("inquire", "s/deduct") == answer(reply)
    assert bank.company.settle(bank.now + timedelta(days=1)) == []


def test_a_pending_leg_can_be_cancelled(client: OpenClient) -> None:
    bank = client("bank", _script("pending", ms=1_000, match={"verb": "deduct"}))
    bank.ask("deduct", "s/deduct")
    assert bank.ask("cancel", "s/deduct")["outcome"] == "CANCELLED"
    assert bank.company.settle(bank.now + timedelta(days=1)) == []
    assert bank.books().legs["s/deduct"].applied == 0


@pytest.mark.parametrize(
    ("match", "covers"),
    (
        ({}, True),
        ({"participant": "bank"}, False),
        ({"verb": "deduct"}, False),
        ({"account": "m?"}, True),
        ({"account": "x*"}, False),
        ({"item": "hkd20"}, False),
        ({"leg": "s/*"}, True),
        ({"leg": "t/*"}, False),
        ({"attempt": 2}, False),
        ({"first_n": 1}, True),
    ),
)
def test_a_rule_covers_what_it_names(match: dict[str, object], covers: bool) -> None:
    assert Match.model_validate(match).covers(FIRST) is covers
    assert not Match(first_n=1).covers(FIRST._replace(nth=2))


def test_the_first_rule_decides() -> None:
    rules = (Rule(match=Match(item="hkd50"), action="silence"), Rule(action="apply_silent"))
    assert Faults(rules).decide(FIRST) == Fault("silence")
    assert Faults(rules).decide(FIRST._replace(item="x")) == Fault("apply_silent")


def test_a_seed_gives_the_same_faults_at_about_the_rates_asked_for() -> None:
    rates = parse_rates("silence=0.1,repeat=0.2,refuse=0.1")
    legs = [FIRST._replace(leg=f"s{number}/credit/1") for number in range(4_000)]

    def drawn(seed: int) -> list[Fault | None]:
        return [Faults(seed=seed, rates=rates).decide(leg) for leg in legs]

    assert drawn(1) == drawn(1) != drawn(2)
    kinds = [fault.kind for fault in drawn(1) if fault]
    assert 300 < kinds.count("silence") < 500
    assert 650 < kinds.count("repeat") < 950
    assert 300 < kinds.count("refuse") < 500


def test_a_seeded_fault_meets_the_first_delivery_only() -> None:
    faults = Faults(seed=1, rates={"silence": 1.0})
    assert faults.decide(FIRST) == Fault("silence")
    assert faults.decide(FIRST._replace(nth=2)) is None


def test_a_seed_never_declines_a_return() -> None:
    faults = Faults(seed=1, rates={"refuse": 1.0})
    assert faults.decide(FIRST._replace(verb="return")) is None


def test_scripts_are_read_as_toml_and_as_json_lines(tmp_path: Path) -> None:
    toml = tmp_path / "faults.toml"
    toml.write_text('[[rule]]\nmatch = { verb = "credit" }\naction = "delay"\nms = 5\n')
    lines = tmp_path / "faults.jsonl"
    lines.write_text('{"match": {"verb": "credit"}, "action": "delay", "ms": 5}\n\n')
    assert load_rules(toml) == load_rules(lines) != ()


@pytest.mark.parametrize(
    ("text", "said"),
    (
        ("[[rules]]", "rules: expected only"),
        ("[[rule]", "unreadable"),
        ('[[rule]]\naction = "explode"', "0.action"),
        ('[[rule]]\naction = "refuse"', "refuse needs code"),
        ('[[rule]]\naction = "silence"\nms = 5', "silence takes no ms"),
        ('[[rule]]\naction = "silence"\nmatch = { who = "x" }', "0.match.who"),
    ),
)
def test_a_bad_script_is_explained(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(text)
    with pytest.raises(FaultsError, match=r"faults\.toml") as raised:
        load_rules(path)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "text", ("silence", "silence=x", "boom=0.1", "silence=2", "silence=.6,delay=.6")
)
def test_bad_rates_are_explained(text: str) -> None:
    with pytest.raises(FaultsError, match="--rates"):
        parse_rates(text)
