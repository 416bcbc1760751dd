"""Balances in words: what `uprp request` says of an answer, and `uprp saga show` of the row."""

from __future__ import annotations

from typing import Any, Final

import pytest
from rich.text import Text

from adapters.cli.case import Case, case_data, engine_of
from adapters.cli.request import in_words
from adapters.cli.saga import story_lines
from adapters.figures import money_in_words
from adapters.postgres.stories import as_data
from adapters.postgres.views import SagaStory
from orchestrator.engine.instance import Saga
from schemas import events
from schemas.times import moment
from tests.audit.corruption_kinds import FIGURES
from tests.engine.memory import Platform

ANSWER: Final[dict[str, Any]] = {
    "_type": events.BALANCE,
    "request_id": "look-1",
    "revision": 1,
    "status": "ANSWERED",
    "final": True,
    "available": 80_000,
    "held": 0,
    "unit": "citi-points",
    "as_of": "2027-01-15T16:00:00.000+08:00",
    "step": 2_500,
    "minimum": 25_000,
    "maximum": 250_000,
    "max_redeemable_now": {"amount": 32_000, "currency": "HKD"},
    "daily_remaining": {"amount": 100_000, "currency": "HKD"},
}
QUESTION: Final = {
    "request_id": "look-1",
    "programme": "citi-alipayhk-coupons",
    "account": "w-1",
    "debtor_account": "card-[1]",
}


def test_an_answer_in_words() -> None:
    assert in_words(ANSWER) == (
        "final     look-1 r1 ANSWERED  available 80,000, held 0 citi-points, as of"
        " 2027-01-15T16:00:00.000+08:00; redeemable now HKD 320.00; left of today's limit"
        " HKD 1,000.00; one redemption 25,000 to 250,000 in steps of 2,500"
    )


def test_what_is_not_money_is_shown_in_points_alone() -> None:
    told = {name: it for name, it in ANSWER.items() if not isinstance(it, dict)}
    assert "HKD" not in in_words(told)
    assert in_words(told).endswith("one redemption 25,000 to 250,000 in steps of 2,500")


def test_no_answer_in_words() -> None:
    told = {
        **{name: ANSWER[name] for name in ("_type", "request_id", "revision", "final")},
        "status": "UNAVAILABLE",
        "reason": {"code": "TIMEOUT", "message": "The partner has not answered yet."},
    }
    assert in_words(told) == (
        "final     look-1 r1 UNAVAILABLE  TIMEOUT: The partner has not answered yet."
    )


@pytest.mark.parametrize(
    ("amount", "currency", "words"),
    (
        (100_005, "HKD", "HKD 1,000.05"),
        (0, "HKD", "HKD 0.00"),
        (1_500, "JPY", "JPY 1,500"),
        (1_500, "KWD", "KWD 1.500"),
    ),
)
def test_money_in_words(amount: int, currency: str, words: str) -> None:
    assert money_in_words({"amount": amount, "currency": currency}) == words


def asked(answer: dict[str, Any] | None = None, **changed: Any) -> Saga:
    """A question as it stands after an answer, if there is one."""
    platform = Platform()
    platform.arrive("alipayhk", events.BALANCE_INQUIRED, "alipayhk/w-1", {**QUESTION, **changed})
    platform.batch()
    (saga,) = platform.sagas()
    if answer is not None:
        data = {"leg_id": f"{saga.terms.saga_id}/balance", **answer}
        platform.arrive("citi", events.ANSWERED, "alipayhk/w-1", data)
        platform.batch()
        (saga,) = platform.sagas()
    return saga


def shown(saga: Saga) -> str:
    """What `uprp saga show` prints, without its colours."""
    story = SagaStory(saga, (), ())
    return "\n".join(Text.from_markup(line).plain for line in story_lines(story))


def test_a_question_is_shown_as_what_was_asked_and_read() -> None:
    saga = asked(FIGURES)
    words = shown(saga)
    assert f"{saga.terms.saga_id}  ANSWERED" in words
    assert "balance of card-[1] at citi   alipayhk/w-1 request look-1" in words
    assert "available 80,000, held 0 citi-points, as of 2027-01-15" in words
    assert f"ended: ANSWERED; forgotten at {moment(saga.wake_at or 0):%H:%M:%S}Z" in words
    data = as_data(SagaStory(saga, (), ()))
    assert (data["asked"], data["timeline"]) == ("balance of card-[1] at citi", [])


def test_a_question_that_waits_says_for_whom() -> None:
    words = shown(asked())
    assert "waits for citi to answer balance (sent, looks again at" in words
    assert "available" not in words


def test_a_question_that_was_refused_is_shown_too() -> None:
    assert "balance of no account at citi" in shown(asked(debtor_account=None))
    assert "balance of card-[1] at nobody" in shown(asked(programme="nothing"))
    assert "ended: REJECTED, UNKNOWN_PRODUCT" in shown(asked(programme="nothing"))


def test_a_question_has_nothing_at_stake() -> None:
    saga = asked(FIGURES)
    at = moment(saga.terms.accepted_at)
    case = Case(saga, engine_of(saga, Platform().decider.catalogue.policies), at, at, ())
    assert case_data(case)["stake"] == {"points": 0, "unit": ""}
    assert case_data(case)["legs"] == []
    assert "balance of card-[1] at citi" in case.why(saga.legs[0])
