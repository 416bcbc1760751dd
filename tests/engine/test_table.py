"""The table is total, and says what the contract says."""

from itertools import product

import pytest

from orchestrator.engine import machine
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import DECIDED, IN_FLIGHT, PARKED, TABLE, Event, NoChange, Status
from orchestrator.engine.policy import LegPolicy, Remedy
from orchestrator.engine.transition import cell_of, inconclusive
from tests.engine.cases import terms

VERDICTS = (Event.CONFIRMED, Event.REJECTED, Event.CANCELLED)
READINGS = (Event.NOT_RECEIVED, Event.UNUSABLE, Event.PENDING)
CLOCK = (Event.TIMED_OUT, Event.GAVE_UP, Event.EXHAUSTED)
REPLIES = (*VERDICTS, *READINGS)
DECISIONS = (Event.DONE, Event.NOT_DONE, Event.AGAIN, Event.WRITE_OFF)


def test_every_pair_of_status_and_event_is_a_cell() -> None:
    assert set(TABLE) == set(Status)
    for status, row in TABLE.items():
        assert list(row) == list(Event), status


def test_every_status_is_of_one_sort() -> None:
    sorts = (IN_FLIGHT, PARKED, DECIDED, {Status.WAITING})
    assert sorted(status for sort in sorts for status in sort) == sorted(Status)


@pytest.mark.parametrize("event", (*READINGS, *CLOCK))
def test_only_a_verdict_decides(event: Event) -> None:
    for status, row in TABLE.items():
        assert row[event] not in DECIDED | {Status.DISPUTED}, (status, event)


def test_what_only_reads_says_nothing_of_a_leg_for_good() -> None:
    """`orchestrator/runtime/cache.py` relies on it: no leg that was asked ever waits again."""
    assert {Event.NOT_RECEIVED} == machine.READINGS
    for status, row in TABLE.items():
        assert row[Event.NOT_RECEIVED] is (
            NoChange.PREMATURE if status is Status.WAITING else NoChange.STALE
        )
        assert Status.WAITING not in row.values()


def test_what_says_nothing_is_stale_whatever_the_policy() -> None:
    """The engine asks the table first, and the policy only for the rest."""
    late = LegPolicy(late_yes=(Remedy.PARK,), late_no=(Remedy.REVERSE, Remedy.LOSS))
    done = Leg("deduct", 25, Status.CONFIRMED, 1, moved=25)
    nothing = 0
    for status, event, policy, only_late, cancels, path in product(
        Status, Event, (LegPolicy(), late), (True, False), (0, 1), ("credit/1", "deduct/return")
    ):
        leg, update = Leg(path, 2, status, 1, cancels=cancels), LegUpdate(event=event)
        if inconclusive(leg, update):
            saga = Saga(terms(), 1, (done, leg))
            assert cell_of(saga, leg, update, policy, only_late=only_late) is NoChange.STALE
            nothing += 1
    assert nothing > len(Status)


def test_a_verdict_is_never_overwritten() -> None:
    """What contradicts it is kept beside it, and it never counts as not given again."""
    for status in DECIDED | {Status.DISPUTED}:
        moves = {cell for cell in TABLE[status].values() if isinstance(cell, Status)}
        assert moves <= {Status.OVERTURNED, Status.DISPUTED}, status
    assert TABLE[Status.CONFIRMED][Event.REJECTED] is Status.OVERTURNED
    for no in (Status.REJECTED, Status.CANCELLED):
        assert TABLE[no][Event.CONFIRMED] is Status.OVERTURNED


def test_what_was_called_final_twice_is_known() -> None:
    """No reply moves what was overturned or is disputed: a person has the last word."""
    for status in (Status.OVERTURNED, Status.DISPUTED):
        assert {TABLE[status][event] for event in REPLIES} == {NoChange.STALE, NoChange.UNFIT}


def test_a_cancel_is_repeated_until_it_is_answered() -> None:
    """Nothing but a verdict, the end of its window or a person leads out of CANCELLING."""
    row = TABLE[Status.CANCELLING]
    for event in (Event.PENDING, Event.NOT_RECEIVED, Event.UNUSABLE, Event.GAVE_UP):
        assert row[event] is NoChange.STALE, event
    assert row[Event.TIMED_OUT] is Status.CANCELLING
    assert row[Event.EXHAUSTED] is Status.SILENT


@pytest.mark.parametrize("event", DECISIONS)
def test_a_person_decides_only_where_one_is_called(event: Event) -> None:
    for status in DECIDED | {Status.WAITING, Status.SENT}:
        booked = status is Status.OVERTURNED and event is Event.WRITE_OFF
        assert booked or TABLE[status][event] is NoChange.FORBIDDEN, (status, event)


def test_a_late_verdict_counts_wherever_the_leg_was_asked() -> None:
    for status in IN_FLIGHT | {Status.SILENT}:
        assert TABLE[status][Event.CONFIRMED] is Status.CONFIRMED
        assert TABLE[status][Event.REJECTED] is Status.REJECTED


def test_what_was_not_asked_cannot_be_answered() -> None:
    assert {TABLE[Status.WAITING][event] for event in REPLIES} == {NoChange.PREMATURE}


def test_who_is_asked_can_always_be_given_up_on() -> None:
    """From every status in flight, time alone leads to a person."""
    for status in IN_FLIGHT:
        late = TABLE[status][Event.TIMED_OUT]
        assert isinstance(late, Status), status
        assert TABLE[late][Event.EXHAUSTED] is Status.SILENT, status
