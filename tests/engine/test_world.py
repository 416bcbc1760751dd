"""Belief equals fact, whatever is lost, late, doubled, garbled or out of order."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine import checkers
from tests.engine.hostile import Hostile
from tests.engine.memory import Platform
from tests.engine.world import World

HOSTILE: Final = 200


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(0, 255), min_size=20, max_size=200))
def test_belief_equals_fact(tape: list[int]) -> None:
    World(tape).live()


def test_worlds_of_every_kind_are_seen() -> None:
    ends = checkers.check_worlds(range(160))
    print(ends)
    for end in ("SUCCESS", "PARTIAL_SUCCESS", "FAILED_POINTS_RETURNED", "CANCELLED"):
        assert ends[end] > 5, ends


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(0, 255), min_size=20, max_size=300))
def test_what_differs_is_on_the_record_or_has_an_owner(tape: list[int]) -> None:
    Hostile(tape).live()


def test_hostile_worlds_of_every_kind_are_seen() -> None:
    seen = checkers.check_worlds(range(HOSTILE), Hostile)
    print(f"{HOSTILE} hostile worlds: {dict(seen)}")
    for kind in (
        "SUCCESS",
        "PARTIAL_SUCCESS",
        "REJECTED",
        "FAILED_POINTS_RETURNED",
        "CANCELLED",
        "corrected",
        "decided",
        "prededucted",
        "overturned",
        "held",
        "held, begun",
        "held, refused",
    ):
        assert seen[kind] > 5, (kind, seen)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_many_more_worlds() -> None:
    checkers.check_worlds(range(1_000, 9_000))
    checkers.check_worlds(range(1_000, 21_000), Hostile)


def test_what_is_given_after_all_may_take_room_that_others_used() -> None:
    """Found among 20,000: a line was refused, its room used by others, and then issued late."""
    checkers.check_worlds(range(5_968, 5_969), Hostile)


def test_companies_that_echo_cause_no_extra_command() -> None:
    checkers.check_amplification()


def test_the_limit_holds_in_every_order_and_batch() -> None:
    checkers.check_limits()


def test_two_redemptions_of_600_in_one_batch() -> None:
    """`domain.md` C11: exactly one passes."""
    platform = Platform()
    lines = [{"item": "hkd50", "quantity": 12}]
    for request_id in ("r-1", "r-2"):
        platform.request(checkers.REQUEST | {"request_id": request_id, "lines": lines})
    platform.batch()
    told = [saga.told for saga in platform.sagas()]
    assert told[0] is None
    assert told[1] is not None
    assert (told[1].status, told[1].code) == ("REJECTED", "DAILY_LIMIT_EXCEEDED")
    assert set(platform.used.values()) == {60_000}
