"""Walk every reachable state of the redemption and check every edge."""

import time

import pytest

from orchestrator.saga.instance import Partial
from tests.saga.cases import engine, terms
from tests.saga.walk import EVENTS, REPLIES, walk

UNASKED = (*REPLIES, "withdraw")  # That an origin may ask at any time, one line shows.
VERDICTS = ("confirmed", "rejected", "withdraw")
EVERYWHERE = {
    "SUCCESS",
    "PARTIAL_SUCCESS",
    "CANCELLED",
    "FAILED_NOTHING_DEDUCTED",
    "FAILED_POINTS_RETURNED",
}


@pytest.mark.parametrize("partial", Partial)
@pytest.mark.parametrize(
    ("lines", "times", "events", "disputes_max"),
    ((1, 1, EVENTS, 2), (1, 2, EVENTS, 2), (2, 1, UNASKED, 1), (3, 1, VERDICTS, 0)),
)
def test_what_must_hold_on_every_edge(
    lines: int, times: int, events: tuple[str, ...], disputes_max: int, partial: Partial
) -> None:
    begun = time.perf_counter()
    walked = walk(engine(times), terms(lines, partial), events, disputes_max)
    took = time.perf_counter() - begun
    print(f"{walked.states} states, {walked.edges} edges, {took:.2f} s, ends {walked.ends}")
    assert set(walked.ends) == EVERYWHERE
