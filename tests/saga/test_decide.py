"""Each kind of record, new, repeated, misplaced and redelivered, through the real decisions."""

from collections import Counter
from typing import Any, Final

import orjson
import pytest

from orchestrator.consequences import Decision
from orchestrator.saga.instance import Saga
from orchestrator.sagas.words import moment
from schemas import catalogue
from schemas.catalogue import DEAD_LETTER_TOPIC
from schemas.envelope import rfc3339
from schemas.ids import saga_id
from tests.saga.checkers import REQUEST
from tests.saga.memory import START, Platform

SAGA: Final = saga_id("alipayhk", "w-1", "r-1")
KEY: Final = "alipayhk/w-1"
IDS: Final = {"request_id": "r-1", "account": "w-1"}
YES: Final = {"outcome": "CONFIRMED", "reference": "R-1"}


def begun() -> Platform:
    """A platform with one redemption whose deduction was asked for."""
    platform = Platform()
    platform.request(REQUEST)
    platform.batch()
    return platform


def reply(platform: Platform, path: str, owner: str = "citi", **fields: Any) -> Decision:
    """An answer about a leg, decided."""
    data = {"leg_id": f"{SAGA}/{path}"} | fields
    platform.arrive(owner, catalogue.ANSWERED, KEY, data)
    return platform.batch()


def ask(platform: Platform, type_: str) -> Decision:
    """An inquiry or a withdrawal, decided."""
    platform.arrive("alipayhk", type_, KEY, IDS)
    return platform.batch()


def said(decision: Decision) -> list[str]:
    """The topics and event ids, without the saga."""
    names = []
    for record in decision.outgoing:
        event_id = (dict(record.headers)["ce_id"] or b"").decode()
        names.append(f"{record.topic.removeprefix('uprp.')} {event_id.removeprefix(SAGA)}")
    return names


def results(decision: Decision) -> list[dict[str, Any]]:
    """What origins are told."""
    values = (r.value for r in decision.outgoing if r.topic.endswith(".results"))
    return [orjson.loads(found or b"") for found in values]


def only(platform: Platform) -> Any:
    """The one saga."""
    (saga,) = platform.sagas()
    return saga


def assert_unchanged(decision: Decision) -> None:
    """Nothing was written."""
    changes = decision.changes
    assert not changes.sagas
    assert not changes.timeline
    assert not changes.movements
    assert not changes.limits


# -- requests ---------------------------------------------------------------------------------


def test_a_duplicate_is_told_pending_once_and_then_the_same_again() -> None:
    platform = begun()
    for number in range(3):
        platform.request(REQUEST)
        decision = platform.batch()
        assert said(decision) == ["alipayhk.results #r1"]
        assert results(decision)[0]["status"] == "PENDING"
        assert bool(decision.changes.sagas) is (number == 0)
    assert len(platform.sagas()) == 1
    assert sum(platform.used.values()) == 16_000


def test_other_content_under_the_same_id_is_refused_without_effect() -> None:
    """I9."""
    platform = begun()
    platform.request(REQUEST | {"lines": [{"item": "hkd50", "quantity": 3}]})
    decision = platform.batch()
    assert_unchanged(decision)
    (letter,) = decision.changes.dead_letters
    assert (letter.error_class, letter.field) == ("DUPLICATE_MISMATCH", "request_id")
    assert letter.disposition == "refused"
    assert [record.topic for record in decision.outgoing] == [
        DEAD_LETTER_TOPIC,
        "uprp.alipayhk.results",
    ]
    (refused,) = results(decision)
    assert refused["reason"]["code"] == "DUPLICATE_MISMATCH"
    assert refused["request_id"] == "r-1"


def test_a_request_that_may_not_be_ends_when_it_begins() -> None:
    platform = Platform()
    platform.request(REQUEST | {"lines": [{"item": "hkd20", "quantity": 1}]})
    (result,) = results(platform.batch())
    assert (result["status"], result["final"], result["revision"]) == ("REJECTED", True, 1)
    assert result["reason"]["code"] == "BELOW_MINIMUM"
    assert not +platform.used
    assert only(platform).wake_at is None


def test_the_trace_is_carried_through() -> None:
    platform = Platform()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    platform.arrive("alipayhk", catalogue.REQUESTED, KEY, REQUEST, traceparent=trace)
    (command,) = platform.batch().outgoing
    headers = dict(command.headers)
    assert headers["traceparent"] == trace.encode()
    assert headers["ce_causationid"] == b"e-1"
    assert headers["ce_subject"] == SAGA.encode()
    assert command.key == KEY.encode()


# -- replies ----------------------------------------------------------------------------------


def test_a_reply_on_another_companys_topic_does_not_count() -> None:
    platform = begun()
    decision = reply(platform, "deduct", owner="alipayhk", **YES)
    assert_unchanged(decision)
    (letter,) = decision.changes.dead_letters
    assert "'citi'" in letter.message
    assert letter.saga_id == SAGA
    assert said(decision) == ["dead-letters e-2"]


@pytest.mark.parametrize("path", ("nothing", "credit/3", "deduct/return", "deduct/1"))
def test_a_reply_about_a_leg_that_was_never_asked_for(path: str) -> None:
    decision = reply(begun(), path, **YES)
    assert_unchanged(decision)
    assert [letter.field for letter in decision.changes.dead_letters] == ["leg_id"]


def test_a_reply_about_a_saga_that_nobody_knows() -> None:
    decision = reply(Platform(), "deduct", **YES)
    assert_unchanged(decision)
    assert decision.counts["dead_letters_refused"] == 1
    assert decision.poison == 0, "it can be read: it says nothing about the topic as a whole"


def test_a_reply_that_comes_before_its_command() -> None:
    decision = reply(begun(), "credit/1", owner="alipayhk", **YES)
    assert_unchanged(decision)
    (letter,) = decision.changes.dead_letters
    assert "not been asked for yet" in letter.message


def test_a_reply_that_was_set_aside_before_a_crash_is_published_when_it_comes_again() -> None:
    """As it was set aside then, once in the table, whatever became of the saga meanwhile."""
    platform = begun()
    data = {"leg_id": f"{SAGA}/credit/1"} | YES
    platform.arrive("alipayhk", catalogue.ANSWERED, KEY, data)
    first = platform.batch(published=0)
    decision = reply(platform, "deduct", **YES)
    (letter,) = platform.letters
    again = [one for one in decision.outgoing if one.topic == DEAD_LETTER_TOPIC]
    assert [one.value for one in first.outgoing] == [one.value for one in again]
    heads = dict(again[0].headers)
    assert heads["x-dlq-id"] == letter.id.encode()
    assert heads["__dlq.errors.message"] == f"{letter.field}: {letter.message}".encode()
    assert "not been asked for yet" in letter.message
    assert only(platform).leg("credit/1").status == "sent", "it counts as little as before"


def test_a_reply_without_a_key_is_slower_not_wrong() -> None:
    platform = begun()
    data = {"leg_id": f"{SAGA}/deduct"} | YES
    platform.arrive("citi", catalogue.ANSWERED, None, data)
    assert said(platform.batch()) == [
        "alipayhk.commands /credit/1#1",
        "alipayhk.commands /credit/2#1",
    ]


@pytest.mark.parametrize("fields", (YES, {"outcome": "PENDING"}, {"outcome": "NOT_RECEIVED"}))
def test_a_repeated_reply_changes_nothing(fields: dict[str, Any]) -> None:
    platform = begun()
    reply(platform, "deduct", **fields)
    for _ in range(3):
        decision = reply(platform, "deduct", **fields)
        assert_unchanged(decision)
        assert not decision.outgoing
        assert decision.counts["stale_replies"] == 1


def test_a_contradiction_parks_and_is_never_overwritten() -> None:
    platform = begun()
    reply(platform, "deduct", **YES)
    no: dict[str, Any] = {"outcome": "REJECTED", "reason": {"code": "INSUFFICIENT_POINTS"}}
    decision = reply(platform, "deduct", **no)
    (result,) = results(decision)
    assert (result["status"], result["final"]) == ("MANUAL_REVIEW", False)
    assert result["reason"]["code"] == "REPLY_DISPUTED"
    assert [moved.parked for moved in decision.moved] == [True]
    assert only(platform).leg("deduct").moved == 40_000


def test_redelivered_replies_say_again_what_is_waited_for_and_no_more() -> None:
    platform = begun()
    platform.arrive("citi", catalogue.ANSWERED, KEY, {"leg_id": f"{SAGA}/deduct"} | YES)
    first = platform.batch(published=0)
    again = platform.batch()
    assert said(first) == said(again)
    assert_unchanged(again)
    assert again.counts["said_again"] == 2


# -- timers -----------------------------------------------------------------------------------


def ring(platform: Platform, at: int) -> Decision:
    """Every timer that is due at that time, decided."""
    platform.now = at
    platform.ring()
    return platform.batch()


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
    platform.arrive("", catalogue.TIMERS, KEY, fired)
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
    platform.arrive("", catalogue.TIMERS, KEY, {"timers": [nobody, nobody | {"bucket": 2}]})
    (letter,) = platform.batch().changes.dead_letters
    assert letter.field == "saga_id"


def test_timers_of_one_record_ring_each_for_itself() -> None:
    """Also when one of them is of no saga, and when the record comes again."""
    platform = begun()
    nobody = {"saga_id": "00000000-0000-5000-8000-000000000000", "bucket": 1, "revision": 1}
    platform.now += 5_000
    timers = [nobody, timer(only(platform))]
    platform.arrive("", catalogue.TIMERS, KEY, {"timers": timers})
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


def rings(platform: Platform, fired_at: int) -> Decision:
    """The saga's timer, as a sweeper whose clock says `fired_at` publishes it."""
    time = rfc3339(moment(fired_at))
    platform.arrive("", catalogue.TIMERS, KEY, {"timers": [timer(only(platform))]}, time=time)
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


# -- inquiries and withdrawals ----------------------------------------------------------------


def test_an_inquiry_about_nothing_decides_nothing() -> None:
    platform = Platform()
    decision = ask(platform, catalogue.INQUIRED)
    assert_unchanged(decision)
    (result,) = results(decision)
    assert (result["status"], result["final"], result["revision"]) == ("NOT_RECEIVED", False, 0)
    assert result["saga_id"] == SAGA
    platform.request(REQUEST)
    assert said(platform.batch()) == ["citi.commands /deduct#1"]


def test_an_inquiry_that_came_before_its_request_is_answered_the_same_when_redelivered() -> None:
    platform = Platform()
    platform.arrive("alipayhk", catalogue.INQUIRED, KEY, IDS)
    platform.request(REQUEST)
    platform.batch(published=0)
    again = platform.batch()
    assert_unchanged(again)
    assert results(again)[0]["status"] == "NOT_RECEIVED"


def test_a_withdrawal_turns_the_redemption_round_before_the_credit() -> None:
    platform = begun()
    assert said(ask(platform, catalogue.WITHDRAWN)) == []
    assert said(reply(platform, "deduct", **YES)) == ["citi.commands /deduct/return#1"]
    (result,) = results(reply(platform, "deduct/return", **YES))
    assert (result["status"], result["reason"]["code"]) == ("CANCELLED", "WITHDRAWN")
    assert result["points"] == {"charged": 0, "returned": 40_000}
    assert not +platform.used


def test_who_withdraws_what_a_person_looks_at_hears_so_at_once() -> None:
    """The interim answer again, unchanged (`contract.md` 3); the final one when it is decided."""
    platform = begun()
    shown: list[dict[str, Any]] = []
    while (due := only(platform).wake_at) is not None:
        shown = results(ring(platform, due)) or shown
    decision = ask(platform, catalogue.WITHDRAWN)
    assert only(platform).withdrawn
    assert results(decision) == shown
    assert (shown[0]["status"], shown[0]["final"]) == ("MANUAL_REVIEW", False)
    reply(platform, "deduct", **YES)
    (result,) = results(reply(platform, "deduct/return", **YES))
    assert (result["status"], result["final"]) == ("CANCELLED", True)


def test_a_withdrawal_after_the_credit_was_asked_for_changes_nothing() -> None:
    platform = begun()
    reply(platform, "deduct", **YES)
    assert results(ask(platform, catalogue.WITHDRAWN))[0]["status"] == "PENDING"
    reply(platform, "credit/1", owner="alipayhk", **YES)
    (result,) = results(reply(platform, "credit/2", owner="alipayhk", **YES))
    assert (result["status"], result["revision"]) == ("SUCCESS", 2)
    decision = ask(platform, catalogue.WITHDRAWN)
    assert results(decision) == [result]
    assert_unchanged(decision)


def test_a_request_that_was_withdrawn_before_it_came_is_refused_for_ever() -> None:
    """I8, towards origins: the tombstone."""
    platform = Platform()
    (told,) = results(ask(platform, catalogue.WITHDRAWN))
    assert (told["status"], told["final"]) == ("CANCELLED", True)
    for content in (REQUEST, REQUEST | {"lines": [{"item": "hkd50", "quantity": 9}]}):
        platform.request(content)
        decision = platform.batch()
        assert results(decision) == [told]
        assert_unchanged(decision)
    assert results(ask(platform, catalogue.INQUIRED)) == [told]
    assert not +platform.used


# -- what cannot be read ----------------------------------------------------------------------


def test_poison_is_set_aside_once_and_said_again_when_redelivered() -> None:
    platform = Platform()
    platform.request(REQUEST | {"points": -5})
    first = platform.batch(published=0)
    again = platform.batch()
    assert first.poison == 1
    assert (again.poison, again.new_records) == (0, 0)
    assert not again.changes.dead_letters
    assert [r.topic for r in first.outgoing] == [r.topic for r in again.outgoing]
    (refused,) = results(again)
    assert (refused["reason"]["code"], refused["reason"]["field"]) == ("SCHEMA_INVALID", "points")
    platform.request(REQUEST)
    assert said(platform.batch()) == ["citi.commands /deduct#1"], "the id was not used up"


def test_nobody_speaks_for_another() -> None:
    platform = Platform()
    record = platform.request(REQUEST)
    forged = tuple(
        (name, b"/participants/citi" if name == "ce_source" else content)
        for name, content in record.headers
    )
    platform.log["uprp.alipayhk.requests", 0][0] = type(record)(
        record.topic, 0, 0, record.key, record.value, forged
    )
    (letter,) = platform.batch().changes.dead_letters
    assert letter.field == "ce_source"
