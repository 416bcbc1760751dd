"""How much can be redeemed at once: what items, points and limits allow (`domain.md` C9 to C11).

Pure arithmetic in integers. Nothing is promised that a request could not ask for: where the exact
answer would take too long, it is a little less.
"""

from __future__ import annotations

from math import gcd
from typing import Final

from orchestrator.sagas.balance.terms import BalanceTerms

_TOTALS_MAX: Final = 100_000
"""How many totals are tried; with faces of HK$20 and HK$50 and HK$1,000 a day there are 100."""


def points_for(terms: BalanceTerms, worth: int) -> int:
    """The price of a worth in points, rounded up to the step of the rate."""
    points, buys, step = terms.rate
    return -(-worth * points // (buys * step)) * step


def step(terms: BalanceTerms) -> int:
    """The points by which two redemptions differ at least."""
    return points_for(terms, gcd(*[worth for worth, _ in terms.items]))


def largest(terms: BalanceTerms) -> int:
    """The worth of the largest redemption that the rules allow to anybody."""
    return min(terms.maximum, sum([worth * most for worth, most in terms.items]))


def redeemable(terms: BalanceTerms, available: int) -> int:
    """The largest worth that can be redeemed at once with so many points; 0 if none can be.

    What the account's limit leaves may be less than the smallest redemption: then nothing can be,
    though something is left (`domain.md` C11).
    """
    cap = min(largest(terms), _affordable(terms, available))
    if terms.remaining is not None:
        cap = min(cap, terms.remaining)
    found = _total(terms.items, cap)
    return found if found >= terms.minimum else 0


def _affordable(terms: BalanceTerms, available: int) -> int:
    """The worth that so many points surely pay for, however it is split into lines."""
    points, buys, step_ = terms.rate
    exact = all(worth * points % (buys * step_) == 0 for worth, _ in terms.items)
    # Each line is rounded up by itself: less than a step for each.
    left = available if exact else available - (len(terms.items) - 1) * step_
    return max(0, left // step_ * step_ * buys // points)


def _total(items: tuple[tuple[int, int], ...], cap: int) -> int:
    """The largest sum of pieces that is not above the cap."""
    unit = gcd(*[worth for worth, _ in items])
    if len(items) == 1 or cap // unit > _TOTALS_MAX:
        # One kind of piece after the other, the largest first: reachable, if perhaps not the most.
        total = 0
        for worth, most in sorted(items, reverse=True):
            total += min(most, (cap - total) // worth) * worth
        return total
    reachable = {0}
    for worth, most in items:
        pieces = range(min(most, cap // worth) + 1)
        reachable = {t + n * worth for t in reachable for n in pieces if t + n * worth <= cap}
    return max(reachable)
