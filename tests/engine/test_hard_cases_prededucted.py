"""The hard cases of `domain.md` 4.4 where the channel deducts before it asks."""

from typing import Final

from schemas import events
from tests.engine.story import LOTS, Story, on_offer
from tests.engine.test_hard_cases import LOSS, ONE, TWO

TAKEN: Final = {"reference": "D-1", "points": 25_000, "lots": [LOTS[1]]}


def prededucted() -> Story:
    """The wallet takes the points itself."""
    return Story(offer=on_offer(prededucted=True))


def test_a_channel_that_deducted_is_told_what_to_give_back() -> None:
    story = prededucted()
    assert story.asks(ONE, deduction=TAKEN) == ["credit/1#1"]
    assert story.says("credit/1", "REJECTED") == ["deduct/return#1", "#r1"]
    assert story.results == [(1, "FAILED_POINTS_RETURNED", 0, 25_000)]
    assert story.told[0]["return_required"] == TAKEN
    said = [one for _ in range(9) for one in story.waits()]
    assert said == [f"deduct/return#{n}" for n in range(2, 2 + len(said))], "until acknowledged"
    assert len(said) > 3
    assert story.says("deduct/return", "CONFIRMED") == []
    assert story.saga.wake_at is None
    assert story.books == {}


def test_a_refused_request_of_a_channel_that_deducted() -> None:
    story = prededucted()
    said = story.asks({"hkd50": 1}, deduction=TAKEN | {"points": 12_500, "lots": None})
    assert sorted(said) == ["#r1", "deduct/return#1"]
    assert story.results == [(1, "REJECTED", 0, 12_500)]
    assert story.told[0]["return_required"] == {"reference": "D-1", "points": 12_500}
    assert story.limit == 0


def test_a_late_yes_waits_for_what_the_channel_was_told_to_give_back() -> None:
    story = prededucted()
    story.asks(ONE, deduction=TAKEN)
    story.says("credit/1", "REJECTED")
    assert story.says("credit/1", "CONFIRMED") == [], "the points are on their way back"
    assert story.says("deduct/return", "CONFIRMED") == ["credit/1/reverse#1"]
    assert story.says("credit/1/reverse", "REJECTED") == ["#r2"]
    assert story.results[1:] == [(2, "SUCCESS", 0, 25_000)]
    assert story.books[LOSS] == -25_000


def test_a_repeat_says_nothing_of_a_return_begun_since() -> None:
    """All or nothing: the reversal comes late, of a line that then was issued after all."""
    story = Story(offer=on_offer(prededucted=True, partial="all_or_nothing"))
    story.asks(TWO, deduction=TAKEN | {"points": 35_000, "lots": None})
    story.says("credit/1", "REJECTED")
    story.says("credit/2", "CONFIRMED")
    story.says("credit/1", "CONFIRMED")
    story.says("credit/2/reverse", "CANCELLED")
    assert story.results == [(1, "SUCCESS", 35_000, 0)]
    story.says("credit/1", "CONFIRMED", quantity=1)
    story.says("credit/2/reverse", "CONFIRMED")
    assert story.saga.leg("deduct/return"), "asked for, and the first line is in dispute"
    assert story.from_origin(events.INQUIRED) == ["#r1"]
    assert story.told[-1] == story.told[0]
