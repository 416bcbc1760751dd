"""What is said, as of `contract.md` 3, and what a reply is taken to mean."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from orchestrator.engine.instance import Saga
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import Event
from orchestrator.engine.messages import Message
from orchestrator.engine.outbox import MessageKind, MessageRef, new_messages, outstanding
from orchestrator.sagas.redemption.messages import read_reply
from orchestrator.sagas.redemption.terms import Partial
from schemas import events
from schemas.events import Channel
from schemas.reasons import Code
from tests.engine.cases import NOW, SAGA, answer, engine, started, terms, words

COUPON = {
    "coupon_id": "c-1",
    "face": {"amount": 5_000, "currency": "HKD"},
    "usable_from": "2027-01-15T08:00:00Z",
}
MODELS = {event.name: event.data for event in events.EVENTS}


def after(*replies: tuple[str, dict[str, Any]], lines: int = 2, **changed: Any) -> Saga:
    """A saga after those replies."""
    saga = started(engine(), terms(lines, **changed), NOW)
    for path, fields in replies:
        leg = saga.leg(path)
        assert leg is not None, path
        update = read_reply(saga, leg, answer(path, **fields))
        now = engine().apply_reply(saga, path, update, NOW + 1_000)
        assert isinstance(now, Saga), (path, now)
        saga = now
    return saga


YES: dict[str, Any] = {"outcome": "CONFIRMED"}
NO: dict[str, Any] = {"outcome": "REJECTED", "reason": {"code": "MEMBER_SUSPENDED"}}
LOTS = [
    {"lot": "2025", "points": 5, "expires_on": "2027-12-31"},
    {"lot": "2026", "points": 5_000},
]


def said(saga: Saga, path: str, kind: MessageKind = MessageKind.DO, number: int = 1) -> Message:
    """One message, checked against the contract's own model."""
    message = words().message(saga, MessageRef(kind, path, number))
    MODELS[message.type].model_validate(message.data, strict=False)
    return message


def test_a_deduction() -> None:
    message = said(after(), "deduct")
    assert (message.participant, message.channel) == ("bank", Channel.COMMANDS)
    assert (message.type, message.event_id) == (events.DEDUCT, f"{SAGA}/deduct#1")
    assert message.data == {
        "leg_id": f"{SAGA}/deduct",
        "saga_id": str(SAGA),
        "programme": "coupons",
        "attempt": 1,
        "issued_at": "2027-01-15T08:00:00.000Z",
        "account": "card-1",
        "points": 5_005,
        "expires_at": "2027-01-15T08:01:00.000Z",
    }


def test_a_credit_of_each_line() -> None:
    saga = after(("deduct", YES))
    first, second = said(saga, "credit/1"), said(saga, "credit/2")
    assert first.type == second.type == events.CREDIT
    assert first.participant == "issuer"
    shown = ("account", "item", "kind", "quantity", "face")
    assert [first.data[name] for name in shown] == [
        "w-1",
        "hkd50",
        "CASH_COUPON",
        2,
        {"amount": 5_000, "currency": "HKD"},
    ]
    assert (second.data["leg_id"], second.data["quantity"]) == (f"{SAGA}/credit/2", 1)


def test_an_item_without_a_face_is_credited_without_one() -> None:
    saga = after(("deduct", YES), lines=3)
    assert "face" in said(saga, "credit/2").data
    assert said(saga, "credit/3").data.get("face") is None


def test_a_return_names_what_it_returns() -> None:
    saga = after(
        ("deduct", YES | {"lots": LOTS, "reference": "D-7"}),
        ("credit/1", YES | {"quantity": 1}),
        ("credit/2", NO),
    )
    data = said(saga, "deduct/return").data
    assert data["points"] == 5_005 - 3
    assert data["deduction_leg_id"] == f"{SAGA}/deduct"
    assert data["reference"] == "D-7"
    assert data["reason"] == "PARTNER_DECLINED"
    assert sum(lot["points"] for lot in data["lots"]) == data["points"]
    assert {lot["lot"] for lot in data["lots"]} <= {"2025", "2026"}


def test_a_reversal_names_what_it_takes_back() -> None:
    saga = after(
        ("deduct", YES),
        ("credit/1", YES | {"reference": "C-3"}),
        ("credit/2", NO),
        partial=Partial.ALL_OR_NOTHING,
    )
    message = said(saga, "credit/1/reverse")
    assert message.type == events.REVERSE
    shown = ("credit_leg_id", "reference", "quantity", "account", "reason")
    assert [message.data[name] for name in shown] == [
        f"{SAGA}/credit/1",
        "C-3",
        2,
        "w-1",
        "PARTNER_DECLINED",
    ]


def test_an_inquiry_asks_about_the_original_leg() -> None:
    saga = engine().apply_timer(after(), NOW + 5_000)
    assert isinstance(saga, Saga)
    (one,) = [found for found in new_messages(after(), saga) if found.path]
    message = said(saga, "deduct", MessageKind.INQUIRE, one.number)
    assert message.type == events.INQUIRE
    assert message.event_id == f"{SAGA}/deduct#inquire1"
    assert message.data["leg_id"] == f"{SAGA}/deduct"


def test_a_result() -> None:
    coupons = [COUPON, COUPON | {"coupon_id": "c-2", "colour": "red"}]
    saga = after(
        ("deduct", YES),
        ("credit/1", YES | {"coupons": coupons}),
        ("credit/2", NO),
        ("deduct/return", YES),
        business_date=date(2027, 1, 15),
    )
    message = said(saga, "", MessageKind.RESULT)
    assert (message.participant, message.channel) == ("wallet", Channel.RESULTS)
    assert message.event_id == f"{SAGA}#r1"
    data = message.data
    assert (data["status"], data["final"], data["revision"]) == ("PARTIAL_SUCCESS", True, 1)
    assert data["reason"]["code"] == "MEMBER_SUSPENDED"
    assert data["points"] == {"charged": 5, "returned": 5_000}
    assert [line["issued"] for line in data["lines"]] == [2, 0]
    assert [one["coupon_id"] for one in data["lines"][0]["coupons"]] == ["c-1", "c-2"]
    assert "colour" not in data["lines"][0]["coupons"][1], "what one partner adds stays there"
    assert data["business_date"] == "2027-01-15"


def test_a_repeat_has_the_same_words_whatever_happened_meanwhile() -> None:
    """Through time-outs, resends, disputes: the same event id, the same content."""
    saga = after(("deduct", YES), ("credit/1", YES | {"quantity": 1}), ("credit/2", NO))
    heard: dict[str, Message] = {}
    now = NOW
    for step in range(8):
        for one in outstanding(saga):
            message = words().message(saga, one)
            assert heard.setdefault(message.event_id, message) == message
        now += 60_000
        if step == 4:
            moved = engine().apply_reply(
                saga, "credit/2", LegUpdate(event=Event.CONFIRMED, amount=1), now
            )
        else:
            moved = engine().apply_timer(saga, now)
        assert isinstance(moved, Saga)
        saga = moved
    assert len(heard) > 6


def test_an_interim_result_stays_as_it_was_told() -> None:
    begun = engine().status_requested(after(), NOW)
    assert isinstance(begun, Saga)
    first = said(begun, "", MessageKind.RESULT)
    later = engine().apply_reply(
        begun, "deduct", LegUpdate(event=Event.CONFIRMED, amount=5_005), NOW
    )
    assert isinstance(later, Saga)
    assert said(later, "", MessageKind.RESULT) == first


@pytest.mark.parametrize(
    ("path", "fields", "event", "amount"),
    (
        ("deduct", YES | {"points": 5_005}, Event.CONFIRMED, 5_005),
        ("deduct", YES, Event.CONFIRMED, 5_005),
        ("deduct", YES | {"points": 5_004}, Event.UNUSABLE, 0),
        ("deduct", YES | {"points": 5_006}, Event.UNUSABLE, 0),
        ("deduct", YES | {"lots": LOTS}, Event.CONFIRMED, 5_005),
        ("deduct", YES | {"lots": LOTS[:1]}, Event.UNUSABLE, 0),
        ("credit/1", YES | {"quantity": 1}, Event.CONFIRMED, 1),
        ("credit/1", YES | {"quantity": 2}, Event.CONFIRMED, 2),
        ("credit/1", YES | {"quantity": 3}, Event.UNUSABLE, 0),
        ("credit/1", YES | {"points": 2}, Event.UNUSABLE, 0),
        ("credit/1", YES | {"lots": [{"lot": "2025", "points": 2}]}, Event.UNUSABLE, 0),
        ("deduct", YES | {"quantity": 5}, Event.UNUSABLE, 0),
        ("credit/1", YES | {"quantity": 1, "coupons": [COUPON]}, Event.CONFIRMED, 1),
        ("credit/1", YES | {"coupons": [COUPON]}, Event.UNUSABLE, 0),
        ("credit/1", YES | {"quantity": 2, "coupons": [COUPON] * 3}, Event.UNUSABLE, 0),
        ("credit/2", YES | {"coupons": [COUPON]}, Event.UNUSABLE, 0),  # HK$50 instead of 20.
        ("credit/3", YES | {"coupons": [COUPON]}, Event.CONFIRMED, 1),  # No face was asked for.
        ("deduct", {"outcome": "MAYBE"}, Event.UNUSABLE, 0),
        ("deduct", {"outcome": "confirmed"}, Event.UNUSABLE, 0),
        ("deduct", {"outcome": "REJECTED", "reason": {"code": "E-51"}}, Event.UNUSABLE, 0),
        ("deduct", {"outcome": "REJECTED", "reason": {"code": "TIMEOUT"}}, Event.UNUSABLE, 0),
        ("deduct", {"outcome": "REJECTED", "reason": {"code": "ACCEPTED"}}, Event.UNUSABLE, 0),
        ("deduct", NO, Event.REJECTED, 0),
        ("deduct", {"outcome": "CANCELLED"}, Event.CANCELLED, 0),
        ("deduct", {"outcome": "PENDING"}, Event.PENDING, 0),
        ("deduct", {"outcome": "NOT_RECEIVED"}, Event.NOT_RECEIVED, 0),
    ),
)
def test_what_a_reply_means(path: str, fields: dict[str, Any], event: Event, amount: int) -> None:
    saga = started(engine(), terms(3 if path == "credit/3" else 2), NOW)
    leg = saga.leg(path)
    assert leg is not None
    update = read_reply(saga, leg, answer(path, **fields))
    assert (update.event, update.amount) == (event, amount)


def test_a_reversal_and_a_return_must_be_whole() -> None:
    saga = after(
        ("deduct", YES), ("credit/1", YES), ("credit/2", NO), partial=Partial.ALL_OR_NOTHING
    )
    leg = saga.leg("credit/1/reverse")
    assert leg is not None
    part = answer(leg.path, "CONFIRMED", quantity=1)
    assert read_reply(saga, leg, part).event is Event.UNUSABLE


def test_why_is_kept_with_the_leg() -> None:
    for outcome, code in (("MAYBE", "MALFORMED_REPLY"), ("CANCELLED", "NO_ANSWER")):
        saga = after(("deduct", {"outcome": outcome}))
        assert saga.legs[0].code == Code(code)


def test_a_partner_cannot_make_a_row_that_cannot_be_written() -> None:
    """Unknown fields are not kept: an integer of 71 bits would stop the coordinator for ever."""
    huge = {"lot": "2025", "points": 5_005, "serial": 2**70}
    saga = after(("deduct", YES | {"lots": [huge]}))
    assert saga.legs[0].detail == {"lots": [{"lot": "2025", "points": 5_005}]}


def test_withdrawn_is_said_as_the_reason() -> None:
    begun = engine().withdraw(after(), NOW)
    assert isinstance(begun, Saga)
    update = LegUpdate(event=Event.CONFIRMED, amount=5_005, reference="D")
    back = engine().apply_reply(begun, "deduct", update, NOW)
    assert isinstance(back, Saga)
    assert said(back, "deduct/return").data["reason"] == "WITHDRAWN"
    assert replace(back, revision=0).leg("credit/1") is not None
