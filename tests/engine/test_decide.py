"""Requests, inquiries, withdrawals and what cannot be read, through the real decisions.

Replies and timers have files of their own.
"""

from typing import Any

from schemas import events
from schemas.events import DEAD_LETTER_TOPIC
from tests.engine.checkers import REQUEST
from tests.engine.memory import Platform
from tests.engine.one import (
    IDS,
    KEY,
    SAGA,
    YES,
    ask,
    assert_unchanged,
    begun,
    only,
    reply,
    results,
    ring,
    said,
)

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
    platform.arrive("alipayhk", events.REQUESTED, KEY, REQUEST, traceparent=trace)
    (command,) = platform.batch().outgoing
    headers = dict(command.headers)
    assert headers["traceparent"] == trace.encode()
    assert headers["ce_causationid"] == b"e-1"
    assert headers["ce_subject"] == SAGA.encode()
    assert command.key == KEY.encode()


# -- inquiries and withdrawals ----------------------------------------------------------------


def test_an_inquiry_about_nothing_decides_nothing() -> None:
    platform = Platform()
    decision = ask(platform, events.INQUIRED)
    assert_unchanged(decision)
    (result,) = results(decision)
    assert (result["status"], result["final"], result["revision"]) == ("NOT_RECEIVED", False, 0)
    assert result["saga_id"] == SAGA
    platform.request(REQUEST)
    assert said(platform.batch()) == ["citi.commands /deduct#1"]


def test_an_inquiry_that_came_before_its_request_is_answered_the_same_when_redelivered() -> None:
    platform = Platform()
    platform.arrive("alipayhk", events.INQUIRED, KEY, IDS)
    platform.request(REQUEST)
    platform.batch(published=0)
    again = platform.batch()
    assert_unchanged(again)
    assert results(again)[0]["status"] == "NOT_RECEIVED"


def test_a_withdrawal_turns_the_redemption_round_before_the_credit() -> None:
    platform = begun()
    assert said(ask(platform, events.WITHDRAWN)) == []
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
    decision = ask(platform, events.WITHDRAWN)
    assert only(platform).withdrawn
    assert results(decision) == shown
    assert (shown[0]["status"], shown[0]["final"]) == ("MANUAL_REVIEW", False)
    reply(platform, "deduct", **YES)
    (result,) = results(reply(platform, "deduct/return", **YES))
    assert (result["status"], result["final"]) == ("CANCELLED", True)


def test_a_withdrawal_after_the_credit_was_asked_for_changes_nothing() -> None:
    platform = begun()
    reply(platform, "deduct", **YES)
    assert results(ask(platform, events.WITHDRAWN))[0]["status"] == "PENDING"
    reply(platform, "credit/1", owner="alipayhk", **YES)
    (result,) = results(reply(platform, "credit/2", owner="alipayhk", **YES))
    assert (result["status"], result["revision"]) == ("SUCCESS", 2)
    decision = ask(platform, events.WITHDRAWN)
    assert results(decision) == [result]
    assert_unchanged(decision)


def test_a_request_that_was_withdrawn_before_it_came_is_refused_for_ever() -> None:
    """I8, towards origins: the tombstone."""
    platform = Platform()
    (told,) = results(ask(platform, events.WITHDRAWN))
    assert (told["status"], told["final"]) == ("CANCELLED", True)
    for content in (REQUEST, REQUEST | {"lines": [{"item": "hkd50", "quantity": 9}]}):
        platform.request(content)
        decision = platform.batch()
        assert results(decision) == [told]
        assert_unchanged(decision)
    assert results(ask(platform, events.INQUIRED)) == [told]
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
