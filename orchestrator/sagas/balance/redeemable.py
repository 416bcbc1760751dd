"""How much can be redeemed at once, given items, points and limits (`domain.md` C9 to C11).

Pure arithmetic in integers. Worth is in minor units of the currency, or in what the programme gives
where it has no currency. An amount that is shown can always be redeemed: where the exact maximum
would take too long to compute, a slightly smaller amount is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from typing import Final

from orchestrator.sagas.balance.terms import BalanceTerms

_TOTALS_MAX: Final = 100_000
"""The most totals that are tried one by one.

For example, coupons of HK$20 and HK$50 with a limit of HK$1,000 have 100 totals.
"""


def points_for(terms: BalanceTerms, worth: int) -> int:
    """The price of a worth, in points, rounded up to the step of the rate."""
    points, buys, step = terms.rate
    return -(-worth * points // (buys * step)) * step


def step(terms: BalanceTerms) -> int:
    """The smallest difference between the prices of two redemptions, in points."""
    return points_for(terms, gcd(*[worth for worth, _ in terms.items]))


def largest(terms: BalanceTerms) -> int:
    """The worth of the largest redemption that the rules allow, whatever the member has."""
    return min(terms.maximum, sum([worth * most for worth, most in terms.items]))


def redeemable(terms: BalanceTerms, available: int) -> int:
    """The largest worth that can be redeemed at once with that many points; 0: none.

    It is also 0 when the account's limit leaves less than the smallest redemption
    (`domain.md` C11).
    """
    cap = min(largest(terms), _affordable(terms, available))
    if terms.remaining is not None:
        cap = min(cap, terms.remaining)
    total = _total(terms.items, cap)
    return total if total >= terms.minimum else 0


def _affordable(terms: BalanceTerms, available: int) -> int:
    """The worth that so many points pay for in any case, however it is split into lines."""
    points, buys, step_ = terms.rate
    exact = all(worth * points % (buys * step_) == 0 for worth, _ in terms.items)
    # The price of each line is rounded up on its own, by less than a step.
    left = available if exact else available - (len(terms.items) - 1) * step_
    return max(0, left // step_ * step_ * buys // points)


def _total(items: tuple[tuple[int, int], ...], cap: int) -> int:
    """The largest worth of pieces that does not exceed the cap; of each item (worth, maximum)."""
    unit = gcd(*[worth for worth, _ in items])
    if len(items) == 1 or cap // unit > _TOTALS_MAX:
        # Item by item, the most valuable first: a total that exists, perhaps not the largest.
        total = 0
        for worth, most in sorted(items, reverse=True):
            total += min(most, (cap - total) // worth) * worth
        return total
    reachable = 1  # Bit n: whether n units can be reached.
    every = (1 << cap // unit + 1) - 1
    for worth, most in items:
        for pieces in _portions(min(most, cap // worth)):
            reachable |= reachable << pieces * (worth // unit) & every
    return (reachable.bit_length() - 1) * unit


def _portions(most: int) -> Iterator[int]:
    """Numbers of which some add up to each number from 0 to `most`, and none to more."""
    portion = 1
    while most > 0:
        yield min(portion, most)
        most -= portion
        portion *= 2
