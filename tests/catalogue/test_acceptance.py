"""Why a request may not become a redemption, and what is frozen when it may."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.kind import content_digest
from orchestrator.sagas.redemption import acceptance
from orchestrator.sagas.redemption.programme import Rate
from orchestrator.sagas.redemption.terms import CREDITOR, DEBTOR
from schemas.reasons import Code
from tests.catalogue.requests import COUPONS, HONG_KONG, MILES, NOON, asks, coupons, decide

AT_NOON = datetime.fromtimestamp(NOON / 1_000, UTC)


def test_the_terms_are_those_of_the_programme() -> None:
    terms, refusal = decide(coupons(5, 0, points=25_000))
    assert refusal is None
    assert (terms.participants[DEBTOR], terms.participants[CREDITOR], terms.programme_version) == (
        "citi",
        "alipayhk",
        1,
    )
    assert (terms.body.debtor_account, terms.body.creditor_account) == ("card-1", "m-1")
    assert terms.body.limit == "alipayhk/w-1/daily"
    assert terms.body.business_date == date(2027, 1, 15)


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    (
        ({"lines": [{"item": "hkd100", "quantity": 1}]}, Code.INVALID_FACE_VALUE, "lines.0.item"),
        ({"lines": [{"item": "hkd50", "quantity": 1_001}]}, Code.ABOVE_MAXIMUM, "lines.0.quantity"),
        ({"points": 24_999}, Code.RATE_CHANGED, "points"),
        ({"debtor_account": None}, Code.ACCOUNT_MISSING, "debtor_account"),
        ({"expires_at": "2027-01-15T04:00:00Z"}, Code.STALE_REQUEST, "expires_at"),
        ({"expires_at": "2027-01-15T04:00:00.001Z"}, None, None),
        ({"points": 25_000}, None, None),
        ({"creditor_account": None}, None, None),  # The origin is the creditor: its own account.
    ),
)
def test_why_not(changed: dict[str, Any], code: Code | None, field: str | None) -> None:
    _, refusal = decide(coupons(5, 0, **changed))
    assert (refusal and refusal.code, refusal and refusal.field) == (code, field)


def test_the_creditor_account_of_a_third_company_is_needed() -> None:
    request = asks(MILES, ("miles", 600), creditor_account=None)
    _, refusal = decide(request, MILES, origin="harbour")
    assert refusal is not None
    assert (refusal.code, refusal.field) == (Code.ACCOUNT_MISSING, "creditor_account")


def test_an_unknown_programme_and_a_wrong_origin() -> None:
    _, unknown = decide(coupons(5, 0), None)
    _, wrong = decide(coupons(5, 0), origin="harbour")
    assert unknown is not None
    assert wrong is not None
    assert (unknown.code, unknown.field) == (Code.UNKNOWN_PRODUCT, "programme")
    assert (wrong.code, wrong.field) == (Code.UNKNOWN_CHANNEL, "programme")


def test_an_unknown_item_of_a_programme_that_names_no_code() -> None:
    _, refusal = decide(asks(MILES, ("moon", 1)), MILES, origin="harbour")
    assert refusal is not None
    assert refusal.code == Code.UNKNOWN_PRODUCT


def test_the_gravest_reason_is_told_first() -> None:
    request = coupons(1, 0, points=1, debtor_account=None, expires_at="2020-01-01T00:00:00Z")
    terms = acceptance.draft(request, "harbour", COUPONS, NOON)
    codes = [refusal.code for refusal in acceptance.refusals(request, terms, COUPONS, NOON)]
    assert codes == [
        Code.UNKNOWN_CHANNEL,
        Code.STALE_REQUEST,
        Code.BELOW_MINIMUM,
        Code.RATE_CHANGED,
        Code.ACCOUNT_MISSING,
    ]


@pytest.mark.parametrize(
    ("clock", "day"),
    (
        (datetime(2027, 1, 15, 23, 59, 59, 999_000, HONG_KONG), date(2027, 1, 15)),
        (datetime(2027, 1, 16, 0, 0, 0, 0, HONG_KONG), date(2027, 1, 16)),
        (datetime(2027, 12, 31, 15, 59, 59, 999_000, UTC), date(2027, 12, 31)),
        (datetime(2027, 12, 31, 16, 0, 0, 0, UTC), date(2028, 1, 1)),
    ),
)
def test_the_business_date_turns_at_midnight_in_hong_kong(clock: datetime, day: date) -> None:
    now = round(clock.timestamp() * 1_000)
    terms, _ = decide(coupons(5, 0), now=now)
    assert terms.body.business_date == day


def test_the_same_redemption_has_the_same_digest() -> None:
    digest = content_digest(coupons(5, 2))
    again = coupons(5, 2, locale="zh-Hant", expires_at=AT_NOON, context={"a": 1})
    turned = asks(COUPONS, ("hkd50", 2), ("hkd20", 5))
    assert content_digest(again) == content_digest(turned) == digest
    for other in (coupons(5, 3), coupons(5, 2, points=1), coupons(5, 2, debtor_account="card-2")):
        assert content_digest(other) != digest


@pytest.mark.parametrize(("miles", "points"), ((500, 670), (600, 800), (1_000, 1_340)))
def test_miles_are_charged_in_steps_rounded_up(miles: int, points: int) -> None:
    """4 points for 3 miles, in steps of 10."""
    terms, refusal = decide(asks(MILES, ("miles", miles)), MILES, origin="harbour")
    assert refusal is None
    assert terms.body.points == points


RATES = st.builds(
    Rate,
    points=st.integers(1, 10_000),
    worth=st.integers(1, 10_000),
    step=st.integers(1, 1_000),
)


@given(RATES, st.integers(1, 10**9))
def test_a_price_is_the_least_step_that_is_not_below_the_exact_price(rate: Rate, n: int) -> None:
    points = rate.points_for(n)
    assert points % rate.step == 0
    assert points * rate.worth >= n * rate.points
    assert (points - rate.step) * rate.worth < n * rate.points


@given(RATES, st.integers(1, 10**6), st.integers(1, 10**6))
def test_splitting_a_redemption_gains_nothing(rate: Rate, one: int, other: int) -> None:
    assert rate.points_for(one) + rate.points_for(other) >= rate.points_for(one + other)


@given(st.integers(1, 10**6), st.integers(1, 1_000), st.data())
def test_there_and_back_gains_nothing(points: int, quantity: int, data: st.DataObject) -> None:
    """What is returned for the pieces that were not issued never exceeds their exact price."""
    terms, _ = decide(coupons(5, 0))
    line = type(terms.body.lines[0])("i", "K", quantity, points, quantity, None)
    issued = data.draw(st.integers(0, quantity))
    returned = points - line.points_for(issued)
    assert returned >= 0
    assert returned * quantity <= points * (quantity - issued)
    assert line.points_for(quantity) == points
    assert line.points_for(0) == 0
