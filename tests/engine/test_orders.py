"""All faults of `domain.md` 4.7 in every order: belief equals fact at every conclusion."""

import time
from collections.abc import Iterable
from typing import Final

import pytest

from tests.engine import orders
from tests.engine.orders import Try

DECIDED: Final = ("confirmed", "rejected", "cancelled")
LOUD: Final = ("overturned", "disputed", "refused", "written_off")
UNDISPUTED: Final = {
    *(f"{verb} {status}" for verb in ("deduct", "credit") for status in (*DECIDED, "cancelling")),
    *(f"{verb} silent" for verb in ("deduct", "credit", "reverse")),
    *(f"{verb} pending" for verb in ("deduct", "credit", "return", "reverse")),
    "return confirmed",
    "reverse confirmed",
    "reverse rejected",
}
DISPUTED: Final = {
    f"{verb} {status}"
    for verb in ("deduct", "credit", "return")
    for status in ("disputed", "overturned")
}
GIVEN_UP: Final = {"return refused", "return written_off"}
REMEDIES: Final = {
    "reverse confirmed",
    "reverse overturned",
    "charge confirmed",
    "charge rejected",
    "charge silent",
    "loss confirmed",
}

FURTHER: Final = {
    "too late to be built upon",
    *(f"told {status}" for status in ("PENDING", "MANUAL_REVIEW", "PARTIAL_SUCCESS", "CANCELLED")),
    *(
        f"told {status} again"
        for status in ("SUCCESS", "PARTIAL_SUCCESS", "FAILED_POINTS_RETURNED")
    ),
}


def tried(kind: str, tries: Iterable[Try], deeper: int = 0) -> set[str]:
    """Carry them out, and say how much was tried; every status and result that was seen.

    One step less deep (-1) takes two thirds of the time; each night goes deeper than is said.
    """
    begun, seen = time.process_time(), set[str]()
    count = total = worlds = rests = 0
    for one in tries:
        found = one.search(deeper)
        assert found.rests, f"{one.shape.name}: nothing is ever concluded"
        assert found.whole or not one.whole, f"{one.shape.name}: there is more to try"
        count, total, worlds = count + 1, total + found.orders, worlds + found.worlds
        rests += found.rests
        seen |= found.seen
    took = time.process_time() - begun
    print(
        f"{kind}: {count} redemptions, {total:,} orders, {worlds:,} worlds of which {rests:,}"
        f" conclude, {took:.1f} s"
    )
    return seen


def test_whatever_is_lost_late_doubled_or_overtaken() -> None:
    seen = tried("truthful", orders.truthful())
    assert seen >= UNDISPUTED, UNDISPUTED - seen
    assert not {one for one in seen if one.endswith(LOUD)}, "a dispute, and nobody lied"


def test_people_who_err() -> None:
    seen = tried("mistaken", orders.mistaken())
    assert seen >= DISPUTED | GIVEN_UP, (DISPUTED | GIVEN_UP) - seen


def test_companies_that_lie() -> None:
    seen = tried("lying", orders.lying(), -1)
    wanted = DISPUTED | GIVEN_UP | REMEDIES
    assert wanted <= seen, wanted - seen


def test_what_is_late_takes_long_or_has_three_lines() -> None:
    seen = tried("further", orders.further())
    assert seen >= FURTHER, FURTHER - seen


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_deeper() -> None:
    tried("truthful, deeper", orders.truthful(), 2)
    tried("mistaken, deeper", orders.mistaken(), 2)
    tried("lying, deeper", orders.lying(), 1)
    tried("further, deeper", orders.further(), 1)
