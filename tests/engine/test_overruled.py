"""Replies and people who contradict each other: no one overrules the other in silence."""

from orchestrator.engine.instance import Leg, ResultRevision, Saga
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import Event, Status
from orchestrator.engine.operator import Action
from orchestrator.engine.policy import Remedy
from orchestrator.sagas.redemption.balance import points
from orchestrator.sagas.redemption.terms import Partial
from schemas.results import ResultStatus
from tests.engine import shapes
from tests.engine.cases import LINES, NOW
from tests.engine.story import Story, on_offer
from tests.engine.test_hard_cases import BOOK, CHARGE, ONE, PARK


def given_up(action: Action) -> Story:
    """The wallet never answered; people decided what became of the coupons."""
    story = Story()
    story.asks(ONE)
    story.says("deduct", "CONFIRMED")
    story.waits_for_ever()
    story.decides("credit/1", action)
    return story


def test_a_late_yes_does_not_overrule_the_people_who_said_no() -> None:
    """Both claims stand side by side until people decide again (`contract.md` 3)."""
    story = given_up(Action.REJECT)
    story.says("deduct/return", "CONFIRMED")
    told = story.results
    assert told[-1][1] == "FAILED_POINTS_RETURNED"
    assert story.says("credit/1", "CONFIRMED") == [], "nothing is asked back behind their backs"
    credit = story.saga.leg("credit/1")
    assert credit is not None
    assert (credit.status, credit.moved, credit.claim) == ("disputed", 0, 2)
    assert story.saga.parked
    assert story.results == told
    assert story.books == {}
    assert story.decides("credit/1", Action.CONFIRM) == ["credit/1/reverse#1"]
    assert "#r4" in story.says("credit/1/reverse", "CONFIRMED")
    assert story.books == {}


def test_a_late_no_does_not_overrule_the_people_who_said_yes() -> None:
    story = Story(offer=on_offer(late_no=(CHARGE, BOOK)))
    story.asks(ONE)
    story.waits_for_ever()
    story.decides("deduct", Action.CONFIRM)
    story.says("credit/1", "CONFIRMED")
    assert story.results[-1] == (3, "SUCCESS", 25_000, 0)
    assert story.says("deduct", "REJECTED") == [], "no second charge behind their backs"
    assert set(story.platform.cases) == {story.saga.terms.saga_id}
    assert story.decides("deduct", Action.CONFIRM) == []
    assert story.says("deduct", "REJECTED") == [], "it was decided upon"
    assert not story.platform.cases


def test_asking_again_decides_nothing_so_the_policy_stands() -> None:
    story = given_up(Action.RETRY)
    story.says("credit/1", "REJECTED")
    story.says("deduct/return", "CONFIRMED")
    assert story.says("credit/1", "CONFIRMED") == ["credit/1/reverse#1"]


def declined(late_no: tuple[Remedy, ...]) -> Story:
    """The bank will not give back what, as it says now, it never took."""
    story = Story(offer=on_offer(late_no=late_no))
    story.asks(ONE)
    story.says("deduct", "CONFIRMED")
    story.says("credit/1", "REJECTED")
    story.says("deduct/return", "REJECTED")
    return story


def test_there_was_nothing_to_give_back_once_the_deduction_is_denied() -> None:
    story = declined((PARK,))
    story.decides("deduct/return", Action.REJECT)
    assert "there is something" in story.platform.refusals[1], "the deduction is a known fact"
    assert story.says("deduct", "REJECTED") == []
    story.decides("deduct/return", Action.REJECT)
    assert 2 in story.platform.refusals, "the first verdict stands until people decide"
    assert story.decides("deduct", Action.REJECT) == []
    for action in (Action.RETRY, Action.WRITE_OFF, Action.CONFIRM):
        story.decides("deduct/return", action)
    assert set(story.platform.refusals) == {1, 2, 4, 5, 6}, "nothing was taken"
    assert story.decides("deduct/return", Action.REJECT) == ["#r2"]
    assert story.results[1] == (2, "FAILED_NOTHING_DEDUCTED", 0, 0)
    assert not story.saga.parked
    assert story.books == {}
    assert story.limit == 0


def test_a_return_of_what_was_not_taken_is_a_dispute() -> None:
    story = declined((CHARGE, BOOK))
    assert story.says("deduct", "REJECTED") == []
    assert story.says("deduct/return", "PENDING") == []
    assert story.says("deduct/return", "CONFIRMED") == []
    back = story.saga.leg("deduct/return")
    assert back is not None
    assert (back.status, back.moved, back.claim) == ("disputed", 0, 25_000)
    assert story.books == {}
    assert story.decides("deduct/return", Action.REJECT) == ["#r2"]
    assert story.results[1] == (2, "FAILED_NOTHING_DEDUCTED", 0, 0)


def test_a_call_ends_with_what_was_missing() -> None:
    """Found by a walk at night: the other line's late reversal left nothing missing but a call."""
    (shape,) = (
        one
        for one in shapes.several(LINES[:2])
        if one.terms.body.partial is Partial.ALL_OR_NOTHING and not one.terms.body.prededucted
    )
    legs = (
        Leg("deduct", 5_005, Status.CONFIRMED, 1, moved=5_005, reference="D"),
        Leg("credit/1", 2, Status.OVERTURNED, 1, moved=2, first=2, claim=1, escalated_at=NOW),
        Leg("credit/2", 1, Status.CONFIRMED, 1, moved=1, reference="C"),
        Leg("credit/2/reverse", 1, Status.CANCELLED, 1, cancels=1),
        Leg("deduct/return", 5, Status.WRITTEN_OFF, 1),
    )
    told = ResultRevision(1, ResultStatus.SUCCESS, True, None, None, NOW, superseded=(5_005, 2, 1))
    saga = Saga(shape.terms, 9, legs, told)
    assert saga.parked
    assert points(saga, shape.engine.definition).owed == -5
    undone = LegUpdate(event=Event.CONFIRMED, amount=1, reference="V")
    now = shape.engine.apply_reply(saga, "credit/2/reverse", undone, NOW)
    assert isinstance(now, Saga), now
    assert [leg.path for leg in now.legs if leg.status is Status.SENT] == ["credit/1/reverse"]
    assert points(now, shape.engine.definition).owed > 0
    assert not now.parked
