"""Questions about a balance, through the real decisions, on rows in memory."""

from typing import Any, Final

import orjson
import pytest

from orchestrator.admission.breaker import Breaker, HealthPolicy, State, WhenUnavailable
from orchestrator.admission.gate import Allowance
from orchestrator.batch.effects import BatchResult
from orchestrator.ports import Record
from orchestrator.recovery.published import PublishedLog
from orchestrator.sagas.balance.kind import KEPT_FOR_MS
from schemas import events
from schemas.envelope import PLATFORM_SOURCE
from schemas.ids import partition_key, saga_id
from tests.engine.checkers import REQUEST
from tests.engine.memory import Platform
from tests.engine.one import results, ring, said

ACCOUNT: Final = "w-1"
KEY: Final = partition_key("alipayhk", ACCOUNT)
SAGA: Final = saga_id("alipayhk", ACCOUNT, "b-1", "balance")
QUESTION: Final[dict[str, Any]] = {
    "request_id": "b-1",
    "programme": "citi-alipayhk-coupons",
    "account": ACCOUNT,
    "debtor_account": "card-1",
}
FIGURES: Final[dict[str, Any]] = {
    "available": 60_000,
    "held": 500,
    "as_of": "2027-01-15T16:00:00+08:00",
}
YES: Final[dict[str, Any]] = {"outcome": "CONFIRMED", "reference": "B-1"} | FIGURES
NO: Final[dict[str, Any]] = {"outcome": "REJECTED", "reason": {"code": "MEMBER_UNKNOWN"}}
TIMEOUT_MS: Final = 3_000


def ask(platform: Platform, **changed: Any) -> BatchResult:
    """A question, decided."""
    platform.arrive("alipayhk", events.BALANCE_INQUIRED, KEY, QUESTION | changed)
    return platform.batch()


def asked(**changed: Any) -> Platform:
    """A platform that has put a question to the debtor."""
    platform = Platform()
    decision = ask(platform, **changed)
    assert said(decision) == [f"citi.commands {SAGA}/balance#1.{platform.now}"]
    return platform


def reply(platform: Platform, owner: str = "citi", **fields: Any) -> BatchResult:
    """The debtor's answer, decided."""
    data = {"leg_id": f"{SAGA}/balance"} | fields
    platform.arrive(owner, events.ANSWERED, KEY, data)
    return platform.batch()


def test_it_is_answered_with_figures_and_moves_nothing() -> None:
    platform = asked()
    decision = reply(platform, **YES)
    (told,) = results(decision)
    assert told.items() >= (FIGURES | {"status": "ANSWERED", "unit": "citi-points"}).items()
    assert (told["step"], told["minimum"], told["maximum"]) == (2_500, 25_000, 250_000)
    assert told["daily_remaining"] == {"amount": 100_000, "currency": "HKD"}
    assert told["max_redeemable_now"] == {"amount": 24_000, "currency": "HKD"}
    assert not platform.books
    assert not +platform.used
    assert not platform.timeline


def test_what_redemptions_of_the_day_leave_is_shown() -> None:
    """HK$60 of HK$1,000 are left, and less than HK$100 cannot be redeemed (C11)."""
    platform = Platform()
    platform.request(REQUEST | {"lines": [{"item": "hkd20", "quantity": 47}]})
    platform.batch()
    ask(platform)
    (told,) = results(reply(platform, **YES))
    assert told["daily_remaining"]["amount"] == 6_000
    assert told["max_redeemable_now"]["amount"] == 0


def test_a_definite_no_is_passed_on() -> None:
    (told,) = results(reply(asked(), **NO))
    assert (told["status"], told["reason"]["code"]) == ("UNAVAILABLE", "MEMBER_UNKNOWN")
    assert "available" not in told


@pytest.mark.parametrize(
    ("fields", "code"),
    (
        ({"outcome": "PENDING"}, "NO_ANSWER"),
        ({"outcome": "CANCELLED"}, "NO_ANSWER"),
        ({"outcome": "NOT_RECEIVED"}, "NO_ANSWER"),
        ({"outcome": "MAYBE"}, "MALFORMED_REPLY"),
        ({"outcome": "CONFIRMED", "reference": "B-1"}, "MALFORMED_REPLY"),
        (YES | {"as_of": None}, "MALFORMED_REPLY"),
        (YES | {"points": 5}, "REPLY_AMOUNT_MISMATCH"),
        ({"outcome": "REJECTED", "reason": {"code": "OUT_OF_ORDER"}}, "PARTNER_SYSTEM_ERROR"),
    ),
)
def test_what_cannot_be_used_ends_it_at_once(fields: dict[str, Any], code: str) -> None:
    """There is nothing to be sure of, so nobody is asked again and no person looks at it."""
    platform = asked()
    (told,) = results(reply(platform, **fields))
    assert (told["status"], told["reason"]["code"]) == ("UNAVAILABLE", code)
    assert not platform.cases


def test_silence_ends_it_in_the_debtors_time_and_a_late_answer_changes_nothing() -> None:
    platform = asked()
    begun = platform.now
    assert platform.next_due() == begun + TIMEOUT_MS
    (told,) = results(ring(platform, begun + TIMEOUT_MS))
    assert (told["status"], told["reason"]["code"]) == ("UNAVAILABLE", "TIMEOUT")
    late = reply(platform, **YES)
    assert not late.outgoing
    assert late.counts["stale_replies"] == 1
    assert not platform.cases


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    (
        ({"programme": "nothing"}, "UNKNOWN_PRODUCT", "programme"),
        ({"programme": "uprp-harbour-miles"}, "UNKNOWN_CHANNEL", "programme"),
        ({"debtor_account": None}, "ACCOUNT_MISSING", "debtor_account"),
    ),
)
def test_a_question_that_cannot_be_put_is_refused(
    changed: dict[str, Any], code: str, field: str
) -> None:
    platform = Platform()
    (told,) = results(ask(platform, **changed))
    assert told["status"] == "REJECTED"
    assert (told["reason"]["code"], told["reason"]["field"]) == (code, field)


def test_an_unavailable_debtor_is_not_asked_and_the_question_not_held() -> None:
    policy = HealthPolicy(when_unavailable=WhenUnavailable.HOLD, hold_for=60_000)
    platform = Platform()
    opened = Breaker(1, State.OPEN, platform.now, platform.now + 9_000)
    platform.allowances = {"citi": Allowance(policy, opened, probes=0)}
    decision = ask(platform)
    (told,) = results(decision)
    assert (told["status"], told["reason"]["code"]) == ("REJECTED", "PARTNER_UNAVAILABLE")
    assert [record.topic for record in decision.outgoing] == ["uprp.alipayhk.results"]


def test_a_question_takes_no_probe_from_whoever_may_be_back() -> None:
    platform = Platform()
    half = Breaker(1, State.HALF_OPEN, platform.now, None)
    platform.allowances = {"citi": Allowance(HealthPolicy(), half, probes=1)}
    decision = ask(platform)
    assert decision.taken["citi"].sagas == 0
    assert decision.taken["citi"].legs == 1


def test_a_repeat_gets_the_stored_answer_until_it_is_forgotten() -> None:
    platform = asked()
    first = reply(platform, **YES)
    again = ask(platform)
    assert again.outgoing[0].value == first.outgoing[0].value
    assert said(again) == said(first)
    forgotten = ring(platform, platform.now + KEPT_FOR_MS)
    assert not forgotten.outgoing
    assert not platform.rows
    assert platform.next_due() is None
    stale = reply(platform, **YES)
    assert stale.counts["stale_replies"] == 1
    assert not stale.outgoing
    assert said(ask(platform)) == [f"citi.commands {SAGA}/balance#1.{platform.now}"]
    second = reply(platform, **(YES | {"available": 1}))
    assert said(second) != said(first), "another answer is another event"


@pytest.mark.parametrize("silent", (False, True))
def test_an_answer_is_kept_for_its_whole_time_whatever_timer_the_question_had(
    silent: bool,
) -> None:
    platform = asked()
    if silent:
        due = platform.next_due()
        assert due is not None
        ring(platform, due)
    else:
        reply(platform, **YES)
    assert platform.next_due() == platform.now + KEPT_FOR_MS
    ring(platform, platform.now + KEPT_FOR_MS - 1)
    assert platform.rows
    ring(platform, platform.now + 1)
    assert not platform.rows


def test_a_repeat_in_the_batch_that_forgets_it_keeps_it() -> None:
    platform = asked()
    reply(platform, **YES)
    platform.now += KEPT_FOR_MS
    platform.ring()
    platform.arrive("alipayhk", events.BALANCE_INQUIRED, KEY, QUESTION)
    decision = platform.batch()
    assert len(results(decision)) == 1


def test_a_timer_of_what_is_forgotten_already_is_stale() -> None:
    platform = asked()
    reply(platform, **YES)
    platform.now += KEPT_FOR_MS
    platform.ring()
    ended = {"saga_id": SAGA, "bucket": platform.sagas()[0].terms.key_hash, "revision": 2}
    platform.arrive("", events.TIMERS, KEY, {"timers": [ended | {"ended": True}]})
    assert platform.batch(count=1).changes.forgotten
    assert platform.batch().counts["stale_timers"] == 1
    assert not platform.letters


def test_other_content_under_one_id_is_refused() -> None:
    platform = asked()
    decision = ask(platform, debtor_account="card-2")
    (letter,) = decision.changes.dead_letters
    assert letter.error_class == "DUPLICATE_MISMATCH"


def test_a_redemption_under_the_same_id_is_another_saga() -> None:
    """Whoever counts request ids per product may use one twice: neither hinders the other."""
    platform = asked()
    platform.request(REQUEST | {"request_id": "b-1"})
    platform.batch()
    reply(platform, **YES)
    assert not platform.letters
    kinds = [saga.terms.definition for saga in platform.sagas()]
    assert sorted(kinds) == ["balance", "redemption"]
    platform.arrive("alipayhk", events.WITHDRAWN, KEY, {"request_id": "b-1", "account": ACCOUNT})
    platform.batch()
    withdrawn = [saga.terms.definition for saga in platform.sagas() if saga.withdrawn]
    assert withdrawn == ["redemption"]


def test_an_answer_to_a_leg_that_is_none_is_refused() -> None:
    """Whatever a debtor makes up: one of its records is set aside, and the batch goes on."""
    platform = Platform()
    for path in ("1", "1/2", "", "/", "balance/x"):
        data = {"leg_id": f"{SAGA}/{path}"} | YES
        platform.arrive("citi", events.ANSWERED, KEY, data)
    decision = platform.batch()
    assert [letter.field for letter in decision.changes.dead_letters] == ["leg_id"] * 5


def test_a_question_that_comes_again_after_its_answer_is_deleted_is_not_put_again() -> None:
    """The position was stored, so the record was dealt with; only its offset was not committed."""
    platform = asked()
    reply(platform, **YES)
    ring(platform, platform.now + KEPT_FOR_MS)
    for partition in platform.offsets:
        platform.offsets[partition] = 0
    decision = platform.batch()
    assert decision.counts["stale_requests"] == 1
    assert not results(decision)
    assert not platform.rows


def test_what_was_said_about_a_question_is_not_read_back() -> None:
    """After a restore its request begins anew; an inquiry about its leg would be of no use."""
    platform = asked()
    reply(platform, **YES)
    inquiry = orjson.dumps({"saga_id": SAGA, "leg_id": f"{SAGA}/balance", "attempt": 1})
    heads = (("ce_source", PLATFORM_SOURCE.encode()), ("ce_type", events.INQUIRE.encode()))
    log = PublishedLog()
    log.add(Record("uprp.citi.commands", 0, 0, KEY.encode(), inquiry, heads))
    for at, out in enumerate(platform.outgoing):
        log.add(Record(out.topic, 0, at, out.key, out.value, tuple(out.headers)))
    assert len(platform.outgoing) == 2
    assert not log.said()


def test_a_question_that_is_put_again_after_a_restore_is_told_apart() -> None:
    """Its request says when it was accepted; its answers were decided at different times."""
    first, second = asked(), asked()
    second.now += 5
    told = [said(reply(platform, **YES)) for platform in (first, second)]
    assert told[0] != told[1]


def test_nobody_else_answers_for_the_debtor() -> None:
    platform = asked()
    decision = reply(platform, owner="harbour", **YES)
    assert [letter.field for letter in decision.changes.dead_letters] == ["leg_id"]


@pytest.mark.parametrize("published", (0, 1))
def test_a_crash_on_the_way_says_the_same_again(published: int) -> None:
    platform = asked()
    platform.arrive("citi", events.ANSWERED, KEY, {"leg_id": f"{SAGA}/balance"} | YES)
    platform.batch(published=published)
    platform.batch()
    told = [record for record in platform.outgoing if record.topic.endswith(".results")]
    assert {record.value for record in told} == {told[0].value}
