"""The coupon programme against an oracle that counts for itself (`domain.md` C9 to C11)."""

from itertools import product

import pytest

from schemas.reasons import Code
from tests.catalogue.requests import coupons, decide


def test_every_combination_of_faces() -> None:
    """C10: 533 combinations of coupons, 91 totals, all multiples of HK$10 from 100 to 1,000."""
    accepted = []
    for n20, n50 in product(range(56), range(26)):
        if n20 + n50 == 0:
            continue
        dollars = 20 * n20 + 50 * n50
        terms, refusal = decide(coupons(n20, n50))
        if dollars < 100:
            expected = Code.BELOW_MINIMUM
        elif dollars > 1_000:
            expected = Code.ABOVE_MAXIMUM
        else:
            expected = None
            accepted.append(dollars)
            assert terms.body.worth == dollars * 100
            assert terms.body.points == 5_000 * n20 + 12_500 * n50
        assert (refusal and refusal.code) == expected, (n20, n50)
    assert len(accepted) == 533
    assert sorted(set(accepted)) == list(range(100, 1_001, 10))
    assert len(set(accepted)) == 91


@pytest.mark.parametrize(
    ("n20", "n50", "code"),
    (
        (2, 1, Code.BELOW_MINIMUM),  # 90
        (5, 0, None),  # 100
        (0, 2, None),  # 100
        (0, 20, None),  # 1,000
        (3, 19, Code.ABOVE_MAXIMUM),  # 1,010
    ),
)
def test_bounds_are_inclusive(n20: int, n50: int, code: Code | None) -> None:
    _, refusal = decide(coupons(n20, n50))
    assert (refusal and refusal.code) == code
    assert refusal is None or refusal.field == "lines"


def test_prices_of_one_coupon_each() -> None:
    terms, _ = decide(coupons(1, 1))
    assert [(line.item, line.points, line.face) for line in terms.body.lines] == [
        ("hkd20", 5_000, 2_000),
        ("hkd50", 12_500, 5_000),
    ]


@pytest.mark.parametrize("dollars", range(100, 1_001, 10))
def test_what_is_left_of_the_day(dollars: int) -> None:
    """C11: inclusive; what remains below HK$100 cannot be used, since C10 forbids it."""
    n50 = next(n for n in range(21) if dollars >= 50 * n and (dollars - 50 * n) % 20 == 0)
    request = coupons((dollars - 50 * n50) // 20, n50)
    _, fits = decide(request, used=100_000 - dollars * 100)
    _, over = decide(request, used=100_000 - dollars * 100 + 1)
    assert fits is None
    assert over is not None
    assert (over.code, over.field) == (Code.DAILY_LIMIT_EXCEEDED, "lines")


@pytest.mark.parametrize("left", range(10, 100, 10))
def test_the_dead_zone(left: int) -> None:
    """No combination at all fits into HK$10 to HK$90."""
    for n20, n50 in product(range(51), range(21)):
        if n20 + n50:
            _, refusal = decide(coupons(n20, n50), used=100_000 - left * 100)
            assert refusal is not None, (n20, n50)
