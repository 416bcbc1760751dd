"""What a storm is made of: stories that all are told, and companies that know what they owe."""

from __future__ import annotations

import itertools
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.sandbox.faults import Faults, Rule
from adapters.sandbox.magic_accounts import MAGIC
from tests.chaos.company_staff import Word, word
from tests.chaos.load import MUTE, mixed, stories
from tests.chaos.quiescence import owed
from tests.chaos.verdict import Verdict, dead_letters, decided
from tests.sandbox.client import Client, answer, command


def test_every_story_is_told_of_both_sides_in_two_programmes() -> None:
    names = {MUTE, *MAGIC}
    told = list(itertools.islice(stories(1), 5 * len(names)))
    for programme in ("citi-alipayhk-coupons", "uprp-harbour-miles"):
        ours = [one for one in told if one.programme == programme]
        for accounts in ([one.card for one in ours], [one.creditor for one in ours]):
            assert not [n for n in names if not any(one.startswith(f"{n}-") for one in accounts)]
    assert len({one.saga_id for one in told}) == len(told)


def test_stories_are_told_among_the_rest() -> None:
    some = [one.request_id for one in itertools.islice(mixed(1), 5_000)]
    assert some == [one.request_id for one in itertools.islice(mixed(1), 5_000)]
    assert 100 < sum(one.startswith("t") for one in some) < 300


def test_a_company_owes_until_what_it_put_off_is_done_and_sent(tmp_path: Path) -> None:
    rule = {"match": {"first_n": 1}, "action": "yes_after_no", "ms": 500, "code": "DECLINED"}
    client = Client(tmp_path, "bank", Faults((Rule.model_validate(rule),)))
    with closing(client):
        assert not owed(tmp_path / "data")
        client.send(command("deduct", "s/deduct"))
        assert owed(tmp_path / "data")
        client.now += timedelta(seconds=1)
        assert len(client.company.settle(client.now)) == 1
        assert owed(tmp_path / "data")  # It may not have been sent yet.
        client.company.settle(client.now)
        assert not owed(tmp_path / "data")


def test_unreadable_records_are_counted_among_the_dead_letters() -> None:
    def wrong(found: int, poison: int, garbled: int = 0) -> str:
        verdict = Verdict()
        verdict.seen["magic-garbled"] = 2
        of_all = {"field": "value", "message": ""}
        requests = {**of_all, "replied": False, "count": found}
        replies = {**of_all, "replied": True, "count": garbled}
        dead_letters(verdict, [requests, replies], poison)
        return " ".join(verdict.wrong)

    assert (wrong(3, 3), wrong(2, 3), wrong(4, 3)) == ("", "lost", "unexplained")
    assert (wrong(3, 3, 2), wrong(3, 3, 3)) == ("", "unexplained")


def test_what_a_company_says_it_will_not_do_it_does_not_do(tmp_path: Path) -> None:
    with closing(Client(tmp_path, "bank")) as client:
        books = tmp_path / "data"
        assert word(books, "bank", "s/deduct", bar=False) == Word(0)
        assert word(books, "bank", "t/deduct", bar=True) == Word(0)
        both = client.send(command("deduct", "s/deduct"), command("deduct", "t/deduct"))
        done, barred = map(answer, both)
        assert (done["outcome"], barred["outcome"]) == ("CONFIRMED", "CANCELLED")
        told = word(books, "bank", "s/deduct", bar=True)
        assert told == Word(done["points"], done["reference"])


@pytest.mark.parametrize(
    ("outcome", "due", "carried_out", "wrong"),
    (
        ("applied", None, [7], ""),
        ("applied", None, [], "lost"),
        ("applied", None, [7, 7], "doubled"),
        ("refused", None, [], ""),
        ("refused", None, [7], "unexplained"),
        (None, None, [], ""),
        (None, 1, [], "lost"),
        ("declined", None, [8], "unexplained"),
    ),
)
def test_a_decision_is_carried_out_once_or_not_at_all(
    outcome: str | None, due: int | None, carried_out: list[int], wrong: str
) -> None:
    row = {"id": 7, "action": "retry", "outcome": outcome, "due_at": due}
    verdict = Verdict()
    decided(verdict, [row], carried_out, {7})
    assert " ".join(verdict.wrong) == wrong
    assert verdict.seen["retry applied"] == (outcome == "applied")


def test_a_decision_that_the_database_had_is_not_gone() -> None:
    verdict = Verdict()
    decided(verdict, [], [], {7})
    assert verdict.wrong == {"lost": 1}
