"""A channel that deducts itself (`domain.md` U9): told at once what to give back, and followed."""

from __future__ import annotations

from typing import Any, Final

import orjson
import pytest

from orchestrator.batch.effects import BatchResult
from schemas import events
from schemas.commands import ReturnPoints
from schemas.ids import saga_id, split_leg_id
from tests.engine.memory import Platform

SAGA: Final = saga_id("harbour", "s-1", "r-1")
KEY: Final = "harbour/s-1"
LOTS: Final = [
    {"lot": "early", "points": 8_000, "expires_on": "2030-06-30"},
    {"lot": "late", "points": 6_000, "expires_on": "2030-12-31"},
]
REQUEST: Final[dict[str, Any]] = {
    "request_id": "r-1",
    "account": "s-1",
    "programme": "uprp-harbour-coupons",
    "creditor_account": "u-1",
    "lines": [{"item": "uplan-hkd50", "quantity": 1}, {"item": "instant-hkd10", "quantity": 2}],
    "deduction": {"reference": "HB-1", "points": 14_000, "lots": LOTS},
}
YES: Final[dict[str, Any]] = {"outcome": "CONFIRMED", "reference": "R-1"}
NO: Final[dict[str, Any]] = {"outcome": "REJECTED", "reason": {"code": "OFFER_BUDGET_EXHAUSTED"}}


def told(decision: BatchResult) -> list[dict[str, Any]]:
    """What the channel is told."""
    found = (one.value for one in decision.outgoing if one.topic == "uprp.harbour.results")
    return [orjson.loads(value or b"") for value in found]


def returns(decision: BatchResult) -> list[dict[str, Any]]:
    """What the channel is asked to give back."""
    found = (one.value for one in decision.outgoing if one.topic == "uprp.harbour.commands")
    return [orjson.loads(value or b"") for value in found]


def asked(**changed: Any) -> tuple[Platform, BatchResult]:
    """A platform that decided about the request."""
    platform = Platform()
    platform.request(REQUEST | changed, "harbour")
    return platform, platform.batch()


def answered(platform: Platform, path: str, owner: str = "unionpay", **fields: Any) -> BatchResult:
    """An answer about a leg, decided."""
    platform.arrive(owner, events.ANSWERED, KEY, {"leg_id": f"{SAGA}/{path}"} | fields)
    return platform.batch()


def test_the_credits_are_asked_for_at_once_and_a_success_gives_nothing_back() -> None:
    platform, first = asked()
    legs = [orjson.loads(one.value or b"")["leg_id"] for one in first.outgoing]
    paths = [split_leg_id(leg_id)[1] for leg_id in legs]
    assert paths == ["credit/1", "credit/2"]
    answered(platform, "credit/1", **YES)
    (result,) = told(answered(platform, "credit/2", **YES))
    assert (result["status"], result["points"]) == ("SUCCESS", {"charged": 14_000, "returned": 0})
    assert "return_required" not in result


def partial() -> tuple[Platform, BatchResult]:
    """The instant discounts were refused: 4,000 points are to be given back."""
    platform, _ = asked()
    answered(platform, "credit/1", **YES)
    return platform, answered(platform, "credit/2", **NO)


def test_what_was_not_issued_is_to_be_given_back_and_that_is_told_at_once() -> None:
    _, decision = partial()
    (result,) = told(decision)
    lots = [LOTS[1] | {"points": 4_000}]
    assert (result["status"], result["final"]) == ("PARTIAL_SUCCESS", True)
    assert result["points"] == {"charged": 10_000, "returned": 4_000}
    assert result["return_required"] == {"reference": "HB-1", "points": 4_000, "lots": lots}
    (command,) = returns(decision)
    assert (command["reference"], command["deduction_leg_id"]) == ("HB-1", f"{SAGA}/deduct")
    assert (command["account"], command["points"], command["lots"]) == ("s-1", 4_000, lots)


def test_the_acknowledgement_corrects_nothing() -> None:
    platform, decision = partial()
    (result,) = told(decision)
    done = answered(platform, "deduct/return", "harbour", **YES)
    assert done.outgoing == []
    (saga,) = platform.sagas()
    assert saga.told is not None
    assert (saga.told.revision, saga.told.superseded, saga.wake_at) == (1, (), None)
    platform.request(REQUEST, "harbour")
    assert told(platform.batch()) == [result]
    assert platform.books["harbour/member/s-1", "harbour-points"] == -10_000


def test_a_return_that_is_not_acknowledged_is_asked_for_again_after_the_end() -> None:
    platform, decision = partial()
    (first,) = returns(decision)
    again = []
    for _ in range(30):
        due = platform.next_due()
        assert due is not None
        platform.now = due
        platform.ring()
        decision = platform.batch()
        assert told(decision) == []
        again += returns(decision)
    assert len(again) > 10
    assert {one["leg_id"] for one in again} == {first["leg_id"]}
    assert [one["attempt"] for one in again] == [*range(2, len(again) + 2)]
    counted = {"attempt", "issued_at"}
    assert all(
        {name: one[name] for name in one.keys() - counted}
        == {name: first[name] for name in first.keys() - counted}
        for one in again
    )
    assert answered(platform, "deduct/return", "harbour", **YES).outgoing == []
    assert platform.next_due() is None


def test_a_return_that_is_refused_waits_for_a_person_and_the_result_stands() -> None:
    platform, _ = partial()
    refused = answered(platform, "deduct/return", "harbour", **NO)
    assert told(refused) == []
    (saga,) = platform.sagas()
    assert saga.parked
    assert told(answered(platform, "deduct/return", "harbour", **YES)) == []
    (saga,) = platform.sagas()
    assert not saga.parked


def one_of(item: str) -> dict[str, Any]:
    """What changes when one piece of an item is asked for, for the same points."""
    return {"lines": [{"item": item, "quantity": 1}]}


@pytest.mark.parametrize(
    ("changed", "code", "field", "points"),
    (
        ({"lines": [{"item": "instant-hkd10", "quantity": 1}]}, "BELOW_MINIMUM", "lines", 14_000),
        (
            {"lines": [{"item": "coffee", "quantity": 1}]},
            "RATE_CHANGED",
            "deduction.points",
            14_000,
        ),
        ({"lines": [{"item": "moon", "quantity": 1}]}, "UNKNOWN_PRODUCT", "lines.0.item", 14_000),
        ({"programme": "nothing"}, "UNKNOWN_PRODUCT", "programme", 14_000),
        ({"programme": "uprp-harbour-miles"}, "UNKNOWN_PRODUCT", "lines.0.item", 14_000),
        (
            {"deduction": {"reference": "HB-1", "points": 13_999}},
            "RATE_CHANGED",
            "deduction.points",
            13_999,
        ),
        (
            {"deduction": {"reference": "HB-1", "points": 14_000, "lots": LOTS[:1]}},
            "DEDUCTION_MISMATCH",
            "deduction.lots",
            14_000,
        ),
    ),
    ids=str,
)
def test_what_is_refused_at_once_is_to_be_given_back_too(
    changed: dict[str, Any], code: str, field: str, points: int
) -> None:
    platform, decision = asked(**changed)
    (result,) = told(decision)
    assert (result["status"], result["final"], result["revision"]) == ("REJECTED", True, 1)
    assert (result["reason"]["code"], result["reason"]["field"]) == (code, field)
    assert result["points"] == {"charged": 0, "returned": points}
    assert result["return_required"]["points"] == points
    (command,) = returns(decision)
    assert (command["points"], command["reference"]) == (points, "HB-1")
    assert answered(platform, "deduct/return", "harbour", **YES).outgoing == []
    (saga,) = platform.sagas()
    assert not saga.parked
    assert platform.next_due() is None
    assert not +platform.books


def test_what_was_not_deducted_is_neither_done_nor_given_back() -> None:
    _, decision = asked(deduction=None)
    (result,) = told(decision)
    assert (result["status"], result["reason"]["code"]) == ("REJECTED", "DEDUCTION_MISMATCH")
    assert "return_required" not in result
    assert returns(decision) == []


def test_a_withdrawal_comes_too_late_for_what_was_asked_at_once() -> None:
    platform, _ = asked()
    platform.arrive("harbour", events.WITHDRAWN, KEY, {"request_id": "r-1", "account": "s-1"})
    (result,) = told(platform.batch())
    assert result["status"] == "PENDING"


def test_a_redelivered_request_says_the_same_return_again() -> None:
    platform = Platform()
    platform.request(REQUEST | one_of("coffee"), "harbour")
    first = platform.batch(published=0)
    again = platform.batch()
    assert first.outgoing
    assert {(one.topic, one.value) for one in again.outgoing} == {
        (one.topic, one.value) for one in first.outgoing
    }


def withdrawn_first() -> tuple[Platform, dict[str, Any]]:
    """A withdrawal that overtook its request, and what the channel was told."""
    platform = Platform()
    platform.arrive("harbour", events.WITHDRAWN, KEY, {"request_id": "r-1", "account": "s-1"})
    (stone,) = told(platform.batch())
    assert (stone["status"], stone["final"]) == ("CANCELLED", True)
    return platform, stone


def test_what_was_taken_for_a_withdrawn_request_is_given_back() -> None:
    platform, _ = withdrawn_first()
    platform.request(REQUEST, "harbour")
    decision = platform.batch(published=0)
    (result,) = told(decision)
    assert (result["status"], result["revision"], result["corrected"]) == ("CANCELLED", 2, True)
    assert result["points"] == {"charged": 0, "returned": 14_000}
    assert result["return_required"] == {"reference": "HB-1", "points": 14_000, "lots": LOTS}
    (command,) = returns(decision)
    ReturnPoints.model_validate(command, strict=False)
    assert (command["programme"], command["points"]) == ("uprp-harbour-coupons", 14_000)
    assert (command["account"], command["lots"]) == ("s-1", LOTS)
    assert {(one.topic, one.value) for one in platform.batch().outgoing} == {
        (one.topic, one.value) for one in decision.outgoing
    }, "redelivered: said again"
    platform.request(REQUEST, "harbour")
    assert told(again := platform.batch()) == [result]
    assert returns(again) == [], "one deduction is given back once"
    assert answered(platform, "deduct/return", "harbour", **YES).outgoing == []
    (saga,) = platform.sagas()
    assert saga.wake_at is None
    assert not any(platform.books.values())


def test_its_return_is_asked_for_until_it_is_acknowledged() -> None:
    platform, _ = withdrawn_first()
    platform.request(REQUEST, "harbour")
    platform.batch()
    due = platform.next_due()
    assert due is not None
    platform.now = due
    platform.ring()
    (command,) = returns(platform.batch())
    assert (command["attempt"], command["programme"]) == (2, "uprp-harbour-coupons")


def test_another_deduction_under_a_withdrawn_id_is_another_redemption() -> None:
    platform, _ = withdrawn_first()
    platform.request(REQUEST, "harbour")
    platform.batch()
    other = {"reference": "HB-2", "points": 14_000, "lots": LOTS}
    platform.request(REQUEST | {"deduction": other}, "harbour")
    (letter,) = platform.batch().changes.dead_letters
    assert letter.error_class == "DUPLICATE_MISMATCH"
