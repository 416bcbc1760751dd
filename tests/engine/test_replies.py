"""Replies: fitting, repeated, misplaced, contradicting, through the real decisions."""

from typing import Any

import pytest

from schemas import events
from schemas.events import DEAD_LETTER_TOPIC
from tests.engine.memory import Platform
from tests.engine.one import KEY, SAGA, YES, assert_unchanged, begun, only, reply, results, said


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
    platform.arrive("alipayhk", events.ANSWERED, KEY, data)
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
    platform.arrive("citi", events.ANSWERED, None, data)
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


LEANS: list[tuple[str, dict[str, Any], bool]] = [
    ("deduct", {"outcome": "NOT_RECEIVED"}, False),
    ("deduct", {"outcome": "PENDING"}, True),
    ("deduct", YES, True),
    ("credit/1", {"outcome": "NOT_RECEIVED"}, True),  # Of what was not asked yet.
    ("credit/9", {"outcome": "NOT_RECEIVED"}, True),  # Of what is no leg.
]


@pytest.mark.parametrize(("path", "fields", "leans"), LEANS)
def test_only_a_reading_says_the_same_of_a_saga_that_moved(
    path: str, fields: dict[str, Any], leans: bool
) -> None:
    """What is concluded from anything else is compared with the row that it was concluded from."""
    owner = "citi" if path == "deduct" else "alipayhk"
    decision = reply(begun(), path, owner=owner, **fields)
    assert (SAGA in decision.revision_sensitive) is leans


def test_a_reading_beside_a_verdict_is_no_excuse() -> None:
    platform = begun()
    reply(platform, "deduct", **YES)
    for fields in (YES, {"outcome": "NOT_RECEIVED"}):
        platform.arrive("citi", events.ANSWERED, KEY, {"leg_id": f"{SAGA}/deduct"} | fields)
    decision = platform.batch()
    assert_unchanged(decision)
    assert decision.revision_sensitive == {SAGA}


def test_a_contradiction_parks_and_is_never_overwritten() -> None:
    platform = begun()
    reply(platform, "deduct", **YES)
    no: dict[str, Any] = {"outcome": "REJECTED", "reason": {"code": "INSUFFICIENT_POINTS"}}
    decision = reply(platform, "deduct", **no)
    (result,) = results(decision)
    assert (result["status"], result["final"]) == ("MANUAL_REVIEW", False)
    assert result["reason"]["code"] == "REPLY_DISPUTED"
    assert [moved.parked for moved in decision.accepted] == [True]
    assert only(platform).leg("deduct").moved == 40_000


def test_redelivered_replies_say_again_what_is_waited_for_and_no_more() -> None:
    platform = begun()
    platform.arrive("citi", events.ANSWERED, KEY, {"leg_id": f"{SAGA}/deduct"} | YES)
    first = platform.batch(published=0)
    again = platform.batch()
    assert said(first) == said(again)
    assert_unchanged(again)
    assert again.counts["said_again"] == 2
