"""Belief equals fact, whatever is lost, late, doubled, garbled or out of order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.saga import checkers
from tests.saga.memory import Platform
from tests.saga.world import World


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(0, 255), min_size=20, max_size=200))
def test_belief_equals_fact(tape: list[int]) -> None:
    World(tape).live()


def test_worlds_of_every_kind_are_seen() -> None:
    ends = checkers.check_worlds(range(160))
    print(ends)
    for end in ("SUCCESS", "PARTIAL_SUCCESS", "FAILED_POINTS_RETURNED", "CANCELLED"):
        assert ends[end] > 5, ends


@pytest.mark.nightly
def test_many_more_worlds() -> None:
    checkers.check_worlds(range(1_000, 9_000))


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
