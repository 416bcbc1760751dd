"""The straight way says what the engine says, wherever a saga may stand; and it is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Leg, Saga, Terms, next_wake
from orchestrator.engine.kind import Transition
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import Event, NoChange, Status
from orchestrator.engine.operator import Action, OperatorDecision
from orchestrator.engine.outbox import MessageKind, MessageRef, new_messages
from orchestrator.engine.policy import Policies, Remedy, Until
from orchestrator.engine.published import PublishedLeg, PublishedSaga
from orchestrator.engine.results import phase
from orchestrator.sagas.redemption.fast_path import RedemptionFastPath
from orchestrator.sagas.redemption.journal import transfers
from orchestrator.sagas.redemption.kind import REDEMPTION
from orchestrator.sagas.redemption.terms import Deducted, Partial
from schemas.reasons import Code
from tests.engine.cases import NOW, policies, started, terms

HOUR = 3_600_000
DETAIL = {"lots": [{"lot": "l-1", "points": 5}]}
VERDICTS = (
    Event.CONFIRMED,
    Event.REJECTED,
    Event.CANCELLED,
    Event.PENDING,
    Event.NOT_RECEIVED,
    Event.UNUSABLE,
)


def general(engine: Engine, was: Saga | None, now: Saga, at: int) -> Transition:
    """A step as the engine's parts make it up, one after the other."""
    after = replace(now, wake_at=next_wake(was, engine.due(now), at))
    moved = tuple(transfers(engine.definition, was, after))
    return Transition(after, new_messages(was, after), moved, phase(after))


def hostile(call_after: int) -> Policies:
    """Ladders with every rung: cancels, and a person who is called while one goes on."""
    found = {
        leg: replace(
            policy,
            cancel=True,
            call_after=Until(after=call_after),
            late_no=(Remedy.REVERSE, Remedy.LOSS),
        )
        for leg, policy in policies(2).by_leg.items()
    }
    return Policies(found)


@st.composite
def agreed(draw: Any) -> Terms:
    """Terms of every kind."""
    fresh = draw(st.sampled_from((None, None, None, NOW - 1, NOW, NOW + 1, NOW + HOUR)))
    lines = draw(st.integers(1, 3))
    partial = draw(st.sampled_from(Partial))
    return terms(
        lines, partial, fresh_until=fresh, prededucted=draw(st.sampled_from((False,) * 4 + (True,)))
    )


Step = tuple[str, int, Event, bool, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("hear",) * 6 + ("tick", "withdraw", "asked", "rule", "lease", "recall")),
        st.integers(0, 6),
        st.sampled_from((Event.CONFIRMED,) * 6 + VERDICTS),
        st.sampled_from((True, True, False)),
        st.sampled_from((0, 1, 2_000, 4_000, 6_000, 2 * HOUR)),
    ),
    max_size=8,
)


def told(leg: Leg, event: Event, *, full: bool) -> LegUpdate:
    if event is Event.CONFIRMED:
        amount = leg.asked if full or leg.verb != "credit" else max(1, leg.asked - 1)
        return LegUpdate(event=event, amount=amount, reference="R-1", detail=DETAIL)
    return LegUpdate(event=event, code=Code.PARTNER_DECLINED if event is Event.REJECTED else None)


def moved(engine: Engine, saga: Saga, step: Step, now: int) -> Saga | NoChange:
    """What one step of a history makes of a saga."""
    what, at, event, full, _ = step
    if what == "lease":
        return replace(saga, wake_at=now + 10_000) if saga.wake_at is not None else NoChange.STALE
    if what == "recall":
        return recalled(engine, saga, at, now)
    if what != "hear":
        act = {
            "tick": engine.apply_timer,
            "withdraw": engine.withdraw,
            "asked": engine.status_requested,
        }.get(what)
        return act(saga, now) if act is not None else ruled(engine, saga, now)
    asked = [leg for leg in saga.legs if leg.status is Status.SENT] if at < 5 else ()
    leg = (asked or saga.legs)[at % len(asked or saga.legs)]
    return engine.apply_reply(saga, leg.path, told(leg, event, full=full), now)


def recalled(engine: Engine, saga: Saga, count: int, now: int) -> Saga:
    """The database was lost: more was said of the saga than its row knows."""
    legs = saga.legs[: count + 1]
    said = [
        PublishedLeg(leg.path, leg.asked, attempt=1, sent_at=now - 700, expires_at=now + 300)
        for leg in legs
    ]
    return engine.recall(saga, PublishedSaga(tuple(said)), now)


def ruled(engine: Engine, saga: Saga, now: int) -> Saga | NoChange:
    """A person decides something that may be decided; rather to try again."""
    for leg in saga.legs:
        allowed = engine.allowed(saga, leg)
        if allowed:
            action = Action.RETRY if Action.RETRY in allowed else allowed[0]
            return engine.apply_decision(
                saga, leg.path, OperatorDecision(saga.revision, action), now
            )
    return NoChange.STALE


def reached(engine: Engine, start: Saga, steps: list[Step]) -> Iterator[tuple[Saga, int]]:
    """Every state of a history and the moment in which it is looked at."""
    saga, now = start, NOW
    yield saga, now
    for step in steps:
        now += step[-1]
        after = moved(engine, saga, step, now)
        if not isinstance(after, NoChange):
            due = engine.due(after)
            wake_at = next_wake(saga, due, now) if step[0] != "lease" else after.wake_at
            saga = replace(after, wake_at=wake_at)
            yield saga, now


@settings(max_examples=500)
@given(
    agreed(),
    STEPS,
    st.sampled_from((policies(1), hostile(1_500), hostile(9_000))),
    st.sampled_from((0, 700, HOUR)),
)
def test_whatever_happened_both_say_the_same(
    agreed_on: Terms, steps: list[Step], ladders: Policies, lag: int
) -> None:
    engine, way = Engine(REDEMPTION, ladders), RedemptionFastPath(ladders)
    taken = Deducted("d-1", agreed_on.body.points) if agreed_on.body.prededucted else None
    begun = started(engine, agreed_on, NOW, taken)
    first = way.begun(agreed_on, NOW)
    assert first in (None, general(engine, None, begun, NOW))
    start = general(engine, None, begun, NOW).saga
    for saga, then in reached(engine, start, steps):
        now = then + lag
        later = way.waiting(saga, now)
        if later is not None:
            ticked = engine.apply_timer(saga, now)
            assert not isinstance(ticked, NoChange), saga
            ticked = replace(ticked, wake_at=engine.due(ticked))
            follows = general(engine, saga, ticked, now)
            assert later == replace(follows, saga=ticked), saga
            assert not later.saga.parked
            assert not saga.parked
            assert not later.saga.ended
        for leg in saga.legs:
            quick = way.confirmed(saga, leg, "R-2", DETAIL, now)
            if quick is not None:
                update = LegUpdate(
                    event=Event.CONFIRMED, amount=leg.asked, reference="R-2", detail=DETAIL
                )
                heard = engine.apply_reply(saga, leg.path, update, now)
                assert not isinstance(heard, NoChange), (saga, leg)
                assert quick == general(engine, saga, heard, now), (saga, leg)
                assert not quick.saga.parked
                assert not saga.parked


@pytest.mark.parametrize("lines", (1, 2, 3))
@pytest.mark.parametrize("partial", Partial)
def test_the_straight_way_is_taken_from_the_request_to_the_result(
    lines: int, partial: Partial
) -> None:
    way = RedemptionFastPath(policies())
    transition = way.begun(terms(lines, partial, fresh_until=NOW + HOUR), NOW)
    for path in ("deduct", *(f"credit/{number}" for number in range(lines, 0, -1))):
        assert transition is not None
        leg = transition.saga.leg(path)
        assert leg is not None
        assert leg.status is Status.SENT
        transition = way.confirmed(transition.saga, leg, "R-1", None, NOW + 50)
    assert transition is not None
    assert transition.phase == "SUCCESS"
    assert transition.saga.ended
    assert transition.saga.wake_at is None


@pytest.mark.parametrize("pending", (False, True))
def test_what_has_to_wait_takes_the_straight_way_too(pending: bool) -> None:
    """From when the origin knows of it until the ladder leads somewhere else."""
    ladders = policies(3, None)
    engine, way = Engine(REDEMPTION, ladders), RedemptionFastPath(ladders)
    saga: Saga | NoChange = engine.apply_timer(started(engine, terms(), NOW), NOW + 5_000)
    assert isinstance(saga, Saga)
    if pending:
        saga = engine.apply_reply(saga, "deduct", LegUpdate(event=Event.PENDING), NOW + 5_100)
        assert isinstance(saga, Saga)
    assert way.waiting(saga, NOW + 8_000) is None, "the origin knows nothing yet"
    saga = engine.status_requested(saga, NOW + 5_200)
    assert isinstance(saga, Saga)
    due = engine.due(saga)
    assert due is not None
    assert way.waiting(saga, due - 1) is None, "it is not due"
    later = way.waiting(saga, due)
    assert later is not None
    assert later.messages == (
        MessageRef(MessageKind.INQUIRE, "deduct", saga.legs[0].inquiries + 1),
    )
    assert later.saga.wake_at is not None
    assert later.saga.wake_at > due


def test_the_rows_timer_is_kept_while_it_is_early_enough_and_does_not_ring() -> None:
    """Kept, the index is left alone; one that rings already would ring again, and in vain."""
    was = replace(started(Engine(REDEMPTION, policies()), terms(), NOW), wake_at=NOW + 5_000)
    assert next_wake(was, NOW + 9_000, NOW + 4_999) == NOW + 5_000
    assert next_wake(was, NOW + 9_000, NOW + 5_000) == NOW + 9_000
    assert next_wake(was, NOW + 3_000, NOW) == NOW + 3_000
    assert next_wake(was, None, NOW) is None
    assert next_wake(None, NOW + 3_000, NOW) == NOW + 3_000
