"""The promises of `domain.md` 4.6, one by one, at every kind of company."""

from datetime import timedelta
from typing import Any

import pytest

from tests.sandbox.client import NOW, Client, answer, command
from tests.sandbox.conftest import OpenClient

DO = {"bank": "deduct", "wallet": "credit", "airline": "credit"}
UNDO = {"bank": "return", "wallet": "reverse", "airline": "reverse"}
LEG = {"bank": "s/deduct", "wallet": "s/credit/1", "airline": "s/credit/1"}


@pytest.fixture(params=["bank", "wallet", "airline"])
def any_company(request: pytest.FixtureRequest, client: OpenClient) -> Client:
    return client(request.param)


def _do(client: Client, **fields: object) -> dict[str, Any]:
    return client.ask(DO[client.name], LEG[client.name], **fields)


def _applied(client: Client) -> int:
    leg = client.books().legs.get(LEG[client.name])
    return leg.applied if leg else 0


def test_a_leg_is_done_once_and_answered_with_a_reference(any_company: Client) -> None:
    told = _do(any_company)
    assert told["outcome"] == "CONFIRMED"
    assert told["reference"]
    assert _applied(any_company) == 1
    assert not list(any_company.books().problems())


def test_a_repeat_gets_exactly_the_first_answer_also_after_a_restart(
    any_company: Client,
) -> None:
    first = _do(any_company)
    before = any_company.books().sums
    any_company.restart()
    any_company.now += timedelta(days=400)
    assert _do(any_company) == first
    assert _applied(any_company) == 1
    assert any_company.books().sums == before


def test_a_repeat_in_one_batch_is_a_repeat(any_company: Client) -> None:
    one = command(DO[any_company.name], LEG[any_company.name])
    first, second = any_company.send(one, one)
    assert answer(first) == answer(second)
    leg = any_company.books().legs[LEG[any_company.name]]
    assert (leg.applied, leg.deliveries) == (1, 2)


def test_an_inquiry_repeats_the_answer(any_company: Client) -> None:
    first = _do(any_company)
    assert any_company.ask("inquire", LEG[any_company.name]) == first


def test_an_inquiry_about_nothing_is_not_received_and_decides_nothing(
    any_company: Client,
) -> None:
    leg_id = LEG[any_company.name]
    told = {"leg_id": leg_id, "outcome": "NOT_RECEIVED"}
    assert any_company.ask("inquire", leg_id) == told
    assert _do(any_company)["outcome"] == "CONFIRMED"


def test_a_cancel_that_comes_first_stops_the_original_for_ever(any_company: Client) -> None:
    leg_id = LEG[any_company.name]
    told = {"leg_id": leg_id, "outcome": "CANCELLED"}
    assert any_company.ask("cancel", leg_id) == told
    any_company.restart()
    assert _do(any_company) == told
    assert any_company.ask("inquire", leg_id) == told
    assert _applied(any_company) == 0


def test_a_cancel_of_what_is_done_gets_the_original_answer(any_company: Client) -> None:
    first = _do(any_company)
    assert any_company.ask("cancel", LEG[any_company.name]) == first
    assert _applied(any_company) == 1


def test_a_command_past_its_time_is_rejected_and_never_done(any_company: Client) -> None:
    any_company.now += timedelta(seconds=10)
    told = _do(any_company)
    assert (told["outcome"], told["reason"]["code"]) == ("REJECTED", "EXPIRED")
    any_company.now = NOW
    assert _do(any_company) == told
    assert _applied(any_company) == 0


def test_a_refusal_stands(any_company: Client) -> None:
    told = _do(any_company, account="unknown-1")
    assert (told["outcome"], told["reason"]["code"]) == ("REJECTED", "MEMBER_UNKNOWN")
    assert any_company.ask("cancel", LEG[any_company.name]) == told
    assert _do(any_company, account="unknown-1") == told


def test_a_suspended_member_is_refused(any_company: Client) -> None:
    told = _do(any_company, account="frozen")
    assert told["reason"]["code"] == "MEMBER_SUSPENDED"


def test_an_account_of_the_company_itself_cannot_be_named(any_company: Client) -> None:
    assert _do(any_company, account="@clearing")["reason"]["code"] == "MEMBER_UNKNOWN"


def test_an_undo_is_done_once(any_company: Client) -> None:
    _do(any_company, **{"points": 50} if any_company.name == "bank" else {})
    before = any_company.books()
    undo = UNDO[any_company.name]
    first = any_company.ask(undo, "s/undo")
    assert first["outcome"] == "CONFIRMED"
    after = any_company.books().sums
    assert any_company.ask(undo, "s/undo") == first
    assert any_company.books().sums == after
    assert after != before.sums
    assert sum(after.values()) == 0


def test_another_content_under_the_same_id_changes_nothing_and_is_noticed(
    any_company: Client,
) -> None:
    first = _do(any_company)
    assert _do(any_company, account="m2") == first
    assert any("differing content" in one for one in any_company.books().problems())


def test_a_verb_that_is_not_offered_is_refused(any_company: Client) -> None:
    other = "credit" if any_company.name == "bank" else "deduct"
    assert any_company.ask(other, "s/x")["reason"]["code"] == "PARTNER_DECLINED"


def test_a_reply_names_its_command_and_has_an_id_of_its_own(any_company: Client) -> None:
    one = command(DO[any_company.name], LEG[any_company.name])
    replies = [*any_company.send(one), *any_company.send(one)]
    headers = [dict(reply.headers) for reply in replies]
    assert {reply.key for reply in replies} == {b"origin/m1"}
    assert {one["ce_causationid"] for one in headers} == {one["ce_causationid"] for one in headers}
    assert headers[0]["ce_causationid"] == f"{LEG[any_company.name]}#{DO[any_company.name]}"
    assert headers[0]["ce_type"] == b"uprp.leg.answered.v1"
    assert headers[0]["ce_source"] == f"/participants/{any_company.name}"
    assert len({one["ce_id"] for one in headers}) == 2


def test_a_leg_id_as_long_as_allowed_still_gives_an_event_id_that_is_allowed(
    bank: Client,
) -> None:
    (reply,) = bank.send(command("inquire", "x" * 128))
    assert len(dict(reply.headers)["ce_id"]) <= 128
