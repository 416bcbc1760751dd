"""The table is total, and says what the contract says."""

import pytest

from orchestrator.saga.machine import DECIDED, IN_FLIGHT, PARKED, TABLE, Event, Status, Still

READINGS = (Event.NOT_RECEIVED, Event.UNUSABLE, Event.PENDING, Event.TIMED_OUT, Event.EXHAUSTED)


def test_every_pair_of_status_and_event_is_a_cell() -> None:
    assert set(TABLE) == set(Status)
    for status, row in TABLE.items():
        assert list(row) == list(Event), status


def test_every_status_is_of_one_sort() -> None:
    sorts = (IN_FLIGHT, PARKED, DECIDED, {Status.WAITING})
    assert sorted(status for sort in sorts for status in sort) == sorted(Status)


@pytest.mark.parametrize("event", READINGS)
def test_only_a_verdict_decides(event: Event) -> None:
    for status, row in TABLE.items():
        assert row[event] not in DECIDED | {Status.DISPUTED}, (status, event)


def test_a_verdict_is_never_overwritten() -> None:
    for status in (Status.CONFIRMED, Status.REJECTED, Status.DISPUTED):
        assert set(TABLE[status].values()) <= {Still.STALE, Status.DISPUTED}, status
    assert TABLE[Status.CONFIRMED][Event.REJECTED] is Status.DISPUTED
    assert TABLE[Status.REJECTED][Event.CONFIRMED] is Status.DISPUTED


def test_a_late_verdict_counts_wherever_the_leg_was_asked() -> None:
    for status in IN_FLIGHT | {Status.SILENT}:
        assert TABLE[status][Event.CONFIRMED] is Status.CONFIRMED
        assert TABLE[status][Event.REJECTED] is Status.REJECTED


def test_what_was_not_asked_cannot_be_answered() -> None:
    replies = [event for event in Event if event not in (Event.TIMED_OUT, Event.EXHAUSTED)]
    assert {TABLE[Status.WAITING][event] for event in replies} == {Still.PREMATURE}


def test_who_is_asked_can_always_be_given_up_on() -> None:
    """From every status in flight, time alone leads to a person."""
    for status in IN_FLIGHT:
        late = TABLE[status][Event.TIMED_OUT]
        assert isinstance(late, Status), status
        assert TABLE[late][Event.EXHAUSTED] is Status.SILENT, status
