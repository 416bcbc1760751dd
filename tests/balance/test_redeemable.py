"""How much can be redeemed at once: compared with trying everything (`domain.md` C9 to C11)."""

from dataclasses import replace
from itertools import product
from math import gcd
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sagas.balance import redeemable as sums
from orchestrator.sagas.balance.redeemable import redeemable
from orchestrator.sagas.balance.terms import BalanceTerms

COUPONS: Final = BalanceTerms(
    debtor_account="card-1",
    unit="citi-points",
    currency="HKD",
    rate=(5, 2, 1),
    items=((5_000, 1_000), (2_000, 1_000)),
    minimum=10_000,
    maximum=100_000,
    remaining=100_000,
)
"""HK$50 and HK$20, HK$100 at least and HK$1,000 a day at most; 12,500 points for HK$50."""


def tried(terms: BalanceTerms, available: int) -> int:
    """The answer by trying every combination of a few pieces, each line priced by itself."""
    best = 0
    for pieces in product(*[range(most + 1) for _, most in terms.items]):
        worth = sum(n * one for n, (one, _) in zip(pieces, terms.items, strict=True))
        price = sum(
            sums.points_for(terms, n * one) for n, (one, _) in zip(pieces, terms.items, strict=True)
        )
        fits = price <= available and (terms.remaining is None or worth <= terms.remaining)
        if fits and terms.minimum <= worth <= terms.maximum:
            best = max(best, worth)
    return best


def test_every_amount_that_the_day_may_leave() -> None:
    """The 91 totals of C10, and the dead zone below HK$100 in which nothing can be redeemed."""
    few = replace(COUPONS, items=((5_000, 20), (2_000, 50)))
    reached = set()
    for dollars in range(0, 1_001, 5):
        left = replace(few, remaining=dollars * 100)
        found = redeemable(left, 10**9)
        assert found == tried(left, 10**9), dollars
        assert found == (dollars // 10 * 1_000 if dollars >= 100 else 0)
        reached.add(found)
    assert len(reached - {0}) == 91


def test_points_bound_it_too() -> None:
    assert redeemable(COUPONS, 25_000) == 10_000
    assert redeemable(COUPONS, 24_999) == 0
    assert redeemable(COUPONS, 27_500) == 11_000
    assert redeemable(COUPONS, 27_499) == 10_000


def test_what_is_shown_of_the_rules() -> None:
    assert sums.step(COUPONS) == 2_500
    assert sums.points_for(COUPONS, COUPONS.minimum) == 25_000
    assert sums.points_for(COUPONS, sums.largest(COUPONS)) == 250_000


ITEMS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 4)), min_size=1, max_size=3)


@given(
    ITEMS,
    st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5)),
    st.integers(0, 40),
    st.integers(0, 40),
    st.none() | st.integers(0, 40),
    st.integers(0, 200),
)
def test_never_more_than_can_be_asked_for(  # noqa: PLR0917  # Drawn by position.
    items: list[tuple[int, int]],
    rate: tuple[int, int, int],
    minimum: int,
    maximum: int,
    remaining: int | None,
    available: int,
) -> None:
    """Equal where prices need no rounding; where they do, at most a step for each line below."""
    terms = BalanceTerms(
        rate=rate,
        items=tuple(items),
        minimum=minimum,
        maximum=maximum,
        remaining=remaining,
    )
    found, best = redeemable(terms, available), tried(terms, available)
    assert found <= best
    points, buys, step = rate
    if all(worth * points % (buys * step) == 0 for worth, _ in items):
        assert found == best


def test_many_totals_are_not_all_tried() -> None:
    """Miles by the hundred thousand: less than the most, but something that can be asked for."""
    miles = BalanceTerms(
        rate=(4, 3, 10), items=((1, 10**9), (777, 3)), minimum=500, maximum=10**9, remaining=None
    )
    found = redeemable(miles, 10**9)
    assert found % gcd(1, 777) == 0
    assert 0.99 * 750_000_000 <= found <= 750_000_000
