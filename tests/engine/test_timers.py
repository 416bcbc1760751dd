"""Timers: in time, early, late, of another revision, through the real decisions."""

from collections import Counter
from typing import Any

import pytest

from orchestrator.batch.effects import BatchResult
from orchestrator.engine.instance import Saga
from schemas import events
from schemas.envelope import rfc3339
from schemas.times import moment
from tests.engine.memory import START, Platform
from tests.engine.one import (
    KEY,
    SAGA,
    YES,
    assert_unchanged,
    begun,
    only,
    reply,
    results,
    ring,
    said,
)


def test_a_late_answer_is_inquired_about() -> None:
    platform = begun()
    assert said(ring(platform, START + 4_999)) == []
    assert said(ring(platform, START + 5_000)) == ["citi.commands /deduct#inquire1"]
    assert only(platform).wake_at == START + 8_000


def test_a_timer_of_an_earlier_revision_is_stale() -> None:
    platform = begun()
    fired = {"timers": [timer(only(platform))]}
    reply(platform, "deduct", **YES)
    platform.now += 60_000
    platform.arrive("", events.TIMERS, KEY, fired)
    decision = platform.batch()
    assert_unchanged(decision)
    assert decision.counts["stale_timers"] == 1


def test_a_timer_that_stood_for_an_earlier_leg_is_set_right() -> None:
    """The row keeps the earlier time of the deduction; when it rings, the credits are not due."""
    platform = begun()
    platform.now += 3_000
    reply(platform, "deduct", **YES)
    assert only(platform).wake_at == START + 5_000
    decision = ring(platform, START + 5_000)
    assert not decision.outgoing
    assert not decision.changes.timeline
    assert only(platform).wake_at == START + 8_000
    assert len(said(ring(platform, START + 8_000))) == 2


def test_a_timer_for_no_saga_is_set_aside() -> None:
    platform = Platform()
    nobody = {"saga_id": SAGA, "bucket": 1, "revision": 1}
    platform.arrive("", events.TIMERS, KEY, {"timers": [nobody, nobody | {"bucket": 2}]})
    (letter,) = platform.batch().changes.dead_letters
    assert letter.field == "saga_id"


def test_timers_of_one_record_ring_each_for_itself() -> None:
    """Also when one of them is of no saga, and when the record comes again."""
    platform = begun()
    nobody = {"saga_id": "00000000-0000-5000-8000-000000000000", "bucket": 1, "revision": 1}
    platform.now += 5_000
    timers = [nobody, timer(only(platform))]
    platform.arrive("", events.TIMERS, KEY, {"timers": timers})
    decision = platform.batch(published=0)
    assert len(decision.changes.dead_letters) == 1
    assert said(decision) == ["dead-letters e-2", "citi.commands /deduct#inquire1"]
    again = platform.batch()
    assert not again.changes.dead_letters
    assert "citi.commands /deduct#inquire1" in said(again)


def test_a_ladder_runs_out_into_a_person_and_a_late_answer_still_counts() -> None:
    """Inquiries, cancels for as long as their window lasts, a person; and still no conclusion."""
    platform, told, commands = begun(), list[str](), Counter[str]()
    while (due := only(platform).wake_at) is not None:
        decision = ring(platform, due)
        told += [one["status"] for one in results(decision)]
        commands.update(name.rpartition("#")[2].rstrip("0123456789") for name in said(decision))
    assert told == ["PENDING", "MANUAL_REVIEW"]
    assert commands["inquire"] == 2
    assert commands["cancel"] > 12
    assert only(platform).parked
    assert only(platform).told.code == "TIMEOUT"
    assert sum(platform.used.values()) == 16_000, "the limit is kept while nobody knows"
    assert len(said(reply(platform, "deduct", **YES))) == 2


def timer(saga: Saga) -> dict[str, Any]:
    """The timer that it waits for."""
    terms = saga.terms
    return {"saga_id": terms.saga_id, "bucket": terms.key_hash, "revision": saga.revision}


def rings(platform: Platform, fired_at: int) -> BatchResult:
    """The saga's timer, as a sweeper whose clock says `fired_at` publishes it."""
    time = rfc3339(moment(fired_at))
    platform.arrive("", events.TIMERS, KEY, {"timers": [timer(only(platform))]}, time=time)
    return platform.batch()


def test_a_timer_of_a_clock_ahead_of_ours_does_not_ring_in_vain() -> None:
    platform = begun()
    platform.now = START + 2_000
    assert said(rings(platform, START + 5_003)) == ["citi.commands /deduct#inquire1"]
    assert only(platform).wake_at == START + 8_000, "as of when it was due"


@pytest.mark.parametrize("fired_at", (START, START + 4_999))
def test_a_timer_that_rang_too_early_does_nothing(fired_at: int) -> None:
    platform = begun()
    assert_unchanged(rings(platform, fired_at))


@pytest.mark.parametrize("ahead", (60_001, 3_600_000))
def test_a_timer_from_the_far_future_drives_nothing_on(ahead: int) -> None:
    """A pending leg is looked at in an hour: no record makes that now."""
    platform = begun()
    reply(platform, "deduct", outcome="PENDING")
    due = only(platform).leg("deduct").due
    platform.now = due - ahead
    rings(platform, START + 10**12)
    assert only(platform).leg("deduct").inquiries == 0
    platform.now = due - 60_000
    rings(platform, START + 10**12)
    assert only(platform).leg("deduct").inquiries == 1
    platform.now += 1
    rings(platform, START + 10**12)
    assert only(platform).leg("deduct").inquiries == 1, "never beyond what was due"
