"""The hard cases of `domain.md` 4.4, one by one: what happens, and what comes of it."""

from typing import Any, Final

import orjson

from orchestrator.batch.decide import Decider
from orchestrator.engine.operator import Action
from orchestrator.engine.policy import Remedy
from schemas import events
from tests.engine.story import COUPONS, LOTS, MILES, Story, on_offer

ONE: Final = {"hkd50": 2}
TWO: Final = {"hkd50": 2, "hkd20": 2}
"""HK$100 for 25,000 points; HK$140 for 35,000."""
BANK: Final = "citi/member/card-1"
REDEEMED: Final = "citi/redeemed"
LOSS: Final = "platform/loss"
REVERSE, CHARGE, BOOK, PARK = Remedy.REVERSE, Remedy.CHARGE, Remedy.LOSS, Remedy.PARK


def returned(story: Story) -> Story:
    """The wallet refused, the points went back, the origin was told so."""
    story.asks(ONE)
    story.says("deduct", "CONFIRMED")
    story.says("credit/1", "REJECTED")
    story.says("deduct/return", "CONFIRMED")
    assert story.results == [(1, "FAILED_POINTS_RETURNED", 0, 25_000)]
    assert story.books == {}
    assert story.limit == 0
    return story


def succeeded(story: Story) -> Story:
    """Everything was given, and the origin was told so."""
    story.asks(ONE)
    story.says("deduct", "CONFIRMED")
    story.says("credit/1", "CONFIRMED")
    assert story.results == [(1, "SUCCESS", 25_000, 0)]
    assert story.limit == 10_000
    return story


# -- late success after compensation ----------------------------------------------------------


def test_a_late_yes_is_reversed() -> None:
    story = returned(Story())
    assert story.says("credit/1", "CONFIRMED") == ["credit/1/reverse#1"]
    assert story.books == {REDEEMED: 25_000, "uprp/suspense": -25_000}, "given, and not paid for"
    assert story.limit == 10_000
    assert story.says("credit/1/reverse", "CONFIRMED") == ["#r2"]
    assert story.results[1:] == [(2, "FAILED_POINTS_RETURNED", 0, 25_000)]
    assert story.books == {}
    assert story.limit == 0
    assert story.timeline == ["requested", *["answered"] * 5]


def test_a_late_yes_that_was_used_already_is_charged_again() -> None:
    story = returned(Story())
    story.says("credit/1", "CONFIRMED")
    assert story.says("credit/1/reverse", "REJECTED") == ["charge#1"]
    assert story.says("charge", "CONFIRMED") == ["#r2"]
    assert story.results[1:] == [(2, "SUCCESS", 25_000, 25_000)]
    assert story.books == {BANK: -25_000, REDEEMED: 25_000}
    assert story.limit == 10_000


def test_a_late_yes_that_nobody_pays_for_is_a_loss_of_who_bears_it() -> None:
    story = returned(Story())
    story.says("credit/1", "CONFIRMED")
    story.says("credit/1/reverse", "REJECTED")
    no = {"reason": {"code": "INSUFFICIENT_POINTS"}}
    assert story.says("charge", "REJECTED", **no) == ["#r2"]
    assert story.results[1:] == [(2, "SUCCESS", 0, 25_000)]
    assert story.books == {LOSS: -25_000, REDEEMED: 25_000}
    assert story.limit == 10_000


def test_a_late_yes_is_parked_where_the_contract_says_so() -> None:
    story = returned(Story(offer=on_offer(late_yes=(PARK,))))
    assert story.says("credit/1", "CONFIRMED") == []
    assert story.saga.parked
    assert story.books == {}, "the first verdict stands until a person decides"
    assert story.decides("credit/1", Action.CONFIRM) == []
    assert story.saga.parked, "nothing pays for it, and only people may book a loss"
    assert story.decides("credit/1", Action.WRITE_OFF) == ["#r2"]
    assert story.results[1:] == [(2, "SUCCESS", 0, 25_000)]
    assert story.books == {LOSS: -25_000, REDEEMED: 25_000}


def test_the_same_late_yes_again_changes_nothing() -> None:
    """I12."""
    story = returned(Story())
    story.says("credit/1", "CONFIRMED")
    for outcome in ("CONFIRMED", "REJECTED", "PENDING", "NOT_RECEIVED"):
        assert story.says("credit/1", outcome) == []
    assert story.timeline == ["requested", *["answered"] * 4]


def test_a_dispute_that_people_decided_does_not_come_again() -> None:
    story = returned(Story(offer=on_offer(late_yes=(PARK,))))
    story.says("credit/1", "CONFIRMED")
    story.decides("credit/1", Action.REJECT)
    assert not story.saga.parked
    assert story.says("credit/1", "CONFIRMED") == []
    assert not story.saga.parked
    assert story.results == [(1, "FAILED_POINTS_RETURNED", 0, 25_000)]


# -- late no after success --------------------------------------------------------------------


def test_a_late_no_after_success_is_a_dispute() -> None:
    story = succeeded(Story())
    assert story.says("credit/1", "REJECTED") == []
    assert story.saga.parked
    assert story.results == [(1, "SUCCESS", 25_000, 0)], "what was told stands"
    assert story.limit == 10_000
    assert story.decides("credit/1", Action.REJECT) == ["deduct/return#1"]
    assert story.says("deduct/return", "CONFIRMED") == ["#r2"]
    assert story.results[1:] == [(2, "FAILED_POINTS_RETURNED", 0, 25_000)]
    assert story.limit == 0
    assert story.books == {}


def test_a_deduction_that_was_none_is_charged_again() -> None:
    story = succeeded(Story(offer=on_offer(late_no=(CHARGE, BOOK))))
    assert story.says("deduct", "REJECTED") == ["charge#1"]
    assert story.says("charge", "CONFIRMED") == ["#r2"]
    assert story.results[1:] == [(2, "SUCCESS", 25_000, 0)]
    assert story.books == {BANK: -25_000, REDEEMED: 25_000}


def test_who_gave_points_back_cannot_say_that_they_were_never_taken() -> None:
    story = returned(Story(offer=on_offer(late_no=(CHARGE, BOOK))))
    assert story.says("deduct", "REJECTED") == []
    assert story.saga.parked, "no second charge because of a statement that cannot be true"
    assert story.saga.leg("charge") is None
    assert story.decides("deduct", Action.REJECT) == []
    assert "cannot be that it was never done" in story.platform.refusals[1]


# -- the cancel -------------------------------------------------------------------------------


def test_an_accepted_cancel_is_the_last_word_under_a_leg() -> None:
    """TCC suspension: the cancel overtakes the original; nothing is sent under that leg again."""
    story = Story()
    story.asks(ONE)
    story.says("deduct", "CONFIRMED")
    said = story.waits_until("cancel")
    assert said == ["credit/1#inquire1", "credit/1#inquire2", "credit/1#cancel1"]
    assert story.says("credit/1", "NOT_RECEIVED") == [], "a reading is no verdict"
    assert story.says("credit/1", "PENDING") == []
    assert story.says("credit/1", "CANCELLED") == ["deduct/return#1"]
    assert story.says("deduct/return", "CONFIRMED") == ["#r1"]
    assert story.results == [(1, "FAILED_POINTS_RETURNED", 0, 25_000)]
    assert story.told[0]["reason"]["code"] == "NO_ANSWER"
    assert story.saga.wake_at is None
    # Not even when it comes too late after all: then it is asked back under another leg.
    assert story.says("credit/1", "CONFIRMED") == ["credit/1/reverse#1"]


def test_a_cancel_that_comes_too_late_is_a_success() -> None:
    story = Story()
    story.asks(ONE)
    story.says("deduct", "CONFIRMED")
    story.waits_until("cancel")
    assert story.says("credit/1", "CONFIRMED") == ["#r1"]
    assert story.results == [(1, "SUCCESS", 25_000, 0)]


def test_silence_concludes_nothing_for_as_long_as_it_lasts() -> None:
    """I7: after a day of cancels a person must look; points and limit are as they were."""
    story = Story()
    story.asks(ONE)
    story.says("deduct", "CONFIRMED")
    said = story.waits_for_ever()
    assert [one for one in said if one.startswith("#")] == ["#r1", "#r2"]
    assert [status for _, status, _, _ in story.results] == ["PENDING", "MANUAL_REVIEW"]
    assert {one.partition("#")[0] for one in said} == {"credit/1", ""}
    assert story.saga.parked
    assert story.books == {BANK: -25_000, "uprp/suspense": 25_000}
    assert story.limit == 10_000
    assert story.says("credit/1", "CONFIRMED") == ["#r3"], "a late answer still counts"


# -- duplicates, and answers that cannot be used ----------------------------------------------


def test_the_same_request_a_hundred_times() -> None:
    story = Story()
    story.asks(ONE)
    for _ in range(100):
        assert story.asks(ONE) == ["#r1"], "the stored answer, and no second deduction"
    assert story.asks(TWO)[0] != "deduct#1"
    assert story.platform.letters[-1].error_class == "DUPLICATE_MISMATCH"
    assert story.limit == 10_000


def test_every_answer_five_times() -> None:
    story = Story()
    story.asks(ONE)
    for path in ("deduct", "credit/1"):
        story.says(path, "CONFIRMED")
        for _ in range(4):
            assert story.says(path, "CONFIRMED") == []
    assert story.results == [(1, "SUCCESS", 25_000, 0)]
    assert len(story.moves) == 3


def test_another_amount_face_or_item_is_never_accepted() -> None:
    story = Story()
    story.asks(ONE)
    assert story.says("deduct", "CONFIRMED", points=24_999) == ["deduct#inquire1"]
    story.says("deduct", "CONFIRMED")
    coupon = {
        "coupon_id": "c-1",
        "face": {"amount": 2_000, "currency": "HKD"},
        "usable_from": "2027-01-15T08:00:00Z",
    }
    wrong = {"quantity": 2, "coupons": [coupon, coupon]}
    assert story.says("credit/1", "CONFIRMED", quantity=3) == ["credit/1#inquire1"]
    assert story.says("credit/1", "CONFIRMED", **wrong) == []
    assert story.saga.legs[1].status == "unknown"
    assert story.saga.legs[1].code == "REPLY_AMOUNT_MISMATCH"
    assert story.says("credit/1", "CONFIRMED", quantity=2) == ["#r1"]


# -- lines ------------------------------------------------------------------------------------


def test_what_was_issued_is_kept_and_the_rest_returned() -> None:
    story = Story()
    story.asks(TWO)
    story.says("deduct", "CONFIRMED", lots=list(LOTS))
    story.says("credit/1", "CONFIRMED", quantity=1)
    assert story.says("credit/2", "REJECTED") == ["deduct/return#1"]
    assert story.says("deduct/return", "CONFIRMED") == ["#r1"]
    assert story.results == [(1, "PARTIAL_SUCCESS", 12_500, 22_500)]
    assert story.limit == 5_000, "only the issued value, though below the minimum of a request"
    assert story.books == {BANK: -12_500, REDEEMED: 12_500}


def test_one_unknown_line_holds_back_its_own_points_and_no_others() -> None:
    story = Story()
    story.asks(TWO)
    story.says("deduct", "CONFIRMED", lots=list(LOTS))
    assert story.says("credit/2", "REJECTED") == [], "the other answer is not even late"
    said = story.waits()
    assert sorted(said) == ["credit/1#inquire1", "deduct/return#1"]
    first = story.saga.leg("deduct/return")
    assert first is not None
    assert first.asked == 10_000
    story.says("deduct/return", "CONFIRMED")
    assert not story.told, "the first line may still be given"
    assert story.says("credit/1", "CONFIRMED", quantity=1) == ["deduct/return/2#1"]
    assert story.says("deduct/return/2", "CONFIRMED") == ["#r1"]
    assert story.results == [(1, "PARTIAL_SUCCESS", 12_500, 22_500)]


def test_lots_are_given_back_once_each_with_their_expiry() -> None:
    """`domain.md` 0, fact 6: a returned point comes back as the same point."""
    story = Story()
    story.asks(TWO)
    story.says("deduct", "CONFIRMED", lots=list(LOTS))
    story.says("credit/2", "REJECTED")
    story.waits()
    story.says("deduct/return", "CONFIRMED")
    story.says("credit/1", "REJECTED")
    back = [lot for command in _commands(story, events.RETURN) for lot in command["lots"]]
    assert back == [
        {"lot": "2026", "points": 10_000, "expires_on": "2028-03-31"},
        {"lot": "2025", "points": 10_000, "expires_on": "2027-03-31"},
        {"lot": "2026", "points": 15_000, "expires_on": "2028-03-31"},
    ]


def test_all_or_nothing_takes_back_what_was_issued() -> None:
    story = Story(MILES)
    story.asks({"miles": 600, "lounge-pass": 1})
    story.says("deduct", "CONFIRMED")
    story.says("credit/1", "CONFIRMED")
    assert story.says("credit/2", "REJECTED") == ["credit/1/reverse#1"]
    assert story.says("credit/1/reverse", "CONFIRMED") == ["deduct/return#1"]
    assert story.says("deduct/return", "CONFIRMED") == ["#r1"]
    assert story.results == [(1, "FAILED_POINTS_RETURNED", 0, 4_800)]
    assert story.books == {}


def test_a_reversal_that_is_refused_makes_it_partial() -> None:
    story = Story(MILES)
    story.asks({"miles": 600, "lounge-pass": 1})
    story.says("deduct", "CONFIRMED")
    story.says("credit/1", "CONFIRMED")
    story.says("credit/2", "REJECTED")
    assert story.says("credit/1/reverse", "REJECTED") == ["deduct/return#1"]
    assert story.says("deduct/return", "CONFIRMED") == ["#r1"]
    assert story.results == [(1, "PARTIAL_SUCCESS", 800, 4_000)]


def test_a_reversal_that_succeeds_after_all_returns_its_points() -> None:
    story = Story(MILES)
    story.asks({"miles": 600, "lounge-pass": 1})
    for path, outcome in (
        ("deduct", "CONFIRMED"),
        ("credit/1", "CONFIRMED"),
        ("credit/2", "REJECTED"),
        ("credit/1/reverse", "REJECTED"),
        ("deduct/return", "CONFIRMED"),
    ):
        story.says(path, outcome)
    assert story.says("credit/1/reverse", "CONFIRMED") == ["deduct/return/2#1"]
    assert story.says("deduct/return/2", "CONFIRMED") == ["#r2"]
    assert story.results[1:] == [(2, "FAILED_POINTS_RETURNED", 0, 4_800)]
    assert story.books == {}


# -- the return -------------------------------------------------------------------------------


def test_a_return_is_said_until_it_is_answered() -> None:
    story = Story()
    story.asks(ONE)
    story.says("deduct", "CONFIRMED")
    story.says("credit/1", "REJECTED")
    said = [one for _ in range(50) for one in story.waits()]
    commands = [one for one in said if not one.startswith("#")]
    assert commands == [f"deduct/return#{number}" for number in range(2, 2 + len(commands))]
    assert len(commands) > 20
    assert not story.saga.parked
    assert story.limit == 10_000


def test_a_return_that_is_declined_lies_in_suspense_until_people_decide() -> None:
    story = Story()
    story.asks(ONE)
    story.says("deduct", "CONFIRMED")
    story.says("credit/1", "REJECTED")
    assert story.says("deduct/return", "REJECTED") == ["#r1"]
    assert story.saga.parked
    assert story.books == {BANK: -25_000, "uprp/suspense": 25_000}
    assert story.decides("deduct/return", Action.RETRY) == ["deduct/return#2"]
    story.says("deduct/return", "REJECTED")
    assert story.decides("deduct/return", Action.WRITE_OFF) == ["#r2"]
    assert story.results == [
        (1, "MANUAL_REVIEW", 25_000, 0),
        (2, "FAILED_POINTS_RETURNED", 25_000, 0),
    ]
    assert story.told[1]["reason"]["code"] == "WRITTEN_OFF"
    assert story.books == {BANK: -25_000, "citi/forgone": 25_000}
    assert story.says("deduct/return", "CONFIRMED") == ["#r3"], "done after all: that is believed"
    assert story.results[2] == (3, "FAILED_POINTS_RETURNED", 0, 25_000)
    assert story.books == {}


# -- interruptions and changes ----------------------------------------------------------------


def test_the_process_dies_between_the_deduction_and_the_credit() -> None:
    story = Story()
    story.asks(ONE)
    story.sends("deduct", "CONFIRMED")
    assert story.batch(published=0) == ["credit/1#1"], "committed, and never published"
    assert story.batch() == ["credit/1#1"], "the row says what must be said"
    story.says("credit/1", "CONFIRMED")
    assert story.results == [(1, "SUCCESS", 25_000, 0)]


def test_a_result_that_was_not_heard_is_said_again_and_undoes_nothing() -> None:
    story = succeeded(Story())
    told = story.told[:]
    for _ in range(3):
        assert story.from_origin(events.INQUIRED) == ["#r1"]
    assert story.from_origin(events.WITHDRAWN) == ["#r1"]
    assert story.told == told
    assert [leg.path for leg in story.saga.legs] == ["deduct", "credit/1"]


def test_a_new_rate_does_not_touch_what_was_accepted() -> None:
    story = Story()
    story.asks(ONE)
    ours = story.offer.programmes["redemption"]
    dearer = ours[COUPONS].model_dump()
    dearer["rate"]["points"] = 50
    new = {COUPONS: type(ours[COUPONS]).model_validate(dearer, strict=False)}
    programmes = {**story.offer.programmes, "redemption": new}
    offer = type(story.offer)(programmes, story.offer.participants, story.offer.policies)
    story.platform.decider = Decider(offer, "uprp")
    story.says("deduct", "CONFIRMED")
    story.says("credit/1", "CONFIRMED", quantity=1)
    story.says("deduct/return", "CONFIRMED")
    assert story.results == [(1, "PARTIAL_SUCCESS", 12_500, 12_500)]


def test_a_redemption_counts_on_the_day_on_which_it_was_accepted() -> None:
    """`domain.md` C11: the day is fixed at 23:59:59 in Hong Kong, and freed there."""
    story = Story()
    story.platform.now = 1_800_028_799_000  # 15 January 2027, 23:59:59.
    story.asks(ONE)
    story.platform.now += 2_000
    story.says("deduct", "CONFIRMED")
    story.says("credit/1", "REJECTED")
    story.says("deduct/return", "CONFIRMED")
    assert {str(day) for _, _, day in story.platform.used} == {"2027-01-15"}
    assert story.limit == 0
    assert story.told[0]["business_date"] == "2027-01-15"


def _commands(story: Story, type_: str) -> list[dict[str, Any]]:
    """The commands of one type that were said, each once."""
    found = {}
    for record in story.platform.outgoing:
        heads = dict(record.headers)
        if (heads["ce_type"] or b"").decode() == type_:
            found[heads["ce_id"]] = orjson.loads(record.value or b"")
    return list(found.values())
