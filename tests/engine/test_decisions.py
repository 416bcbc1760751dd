"""What people decide about parked sagas: once, as the audited row has it, never against a fact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
import pytest

from orchestrator.batch.decide import Decider
from orchestrator.batch.effects import BatchResult
from orchestrator.catalogue import loader as catalogues
from orchestrator.engine.instance import Saga
from orchestrator.engine.operator import TWO_PERSONS, Action, OperatorDecision
from orchestrator.engine.policy import LegPolicy, Policies
from orchestrator.ports import DecisionRow, DueDecision, Record
from orchestrator.timers.decisions import record_of
from schemas import events
from schemas.ids import saga_id
from tests.engine.memory import DEPLOY, START, Platform

REQUEST: Final = {
    "request_id": "r-1",
    "account": "w-1",
    "programme": "citi-alipayhk-coupons",
    "debtor_account": "card-1",
    "lines": [{"item": "hkd50", "quantity": 2}],
}
SAGA: Final = saga_id("alipayhk", "w-1", "r-1")
KEY: Final = "alipayhk/w-1"
YES: Final[Mapping[str, Any]] = {"outcome": "CONFIRMED", "reference": "R-1"}
NO: Final[Mapping[str, Any]] = {"outcome": "REJECTED", "reason": {"code": "PARTNER_DECLINED"}}


def uncancelled() -> Decider:
    """What is on offer, with ladders that end in a person after two inquiries."""
    found = catalogues.load(DEPLOY)
    ladders = {leg: _uncancelled(policy) for leg, policy in found.policies.by_leg.items()}
    return Decider(replace(found, policies=Policies(ladders)), "uprp")


def _uncancelled(policy: LegPolicy) -> LegPolicy:
    return replace(policy, cancel=False, times=policy.times and 2)


DECIDER: Final = uncancelled()


class Desk:
    """One redemption, and a person who decides about it."""

    def __init__(self) -> None:
        self.platform = Platform(decider=DECIDER)
        self.platform.request(REQUEST)
        self.platform.batch()
        self._number = 0

    @property
    def saga(self) -> Saga:
        """The redemption."""
        return self.platform.saga(SAGA)

    @property
    def told(self) -> tuple[str, bool]:
        """The status that the origin was told last, and whether it is final."""
        assert self.saga.told is not None
        return self.saga.told.status, self.saga.told.final

    def answer(self, path: str, owner: str = "citi", **fields: Any) -> BatchResult:
        """A company's answer."""
        data = {"leg_id": f"{SAGA}/{path}"} | fields
        self.platform.arrive(owner, events.ANSWERED, KEY, data)
        return self.platform.batch()

    def silence(self) -> None:
        """Nobody answers until the ladders have run out."""
        while (due := self.platform.next_due()) is not None:
            self.platform.now = max(self.platform.now, due)
            self.platform.ring()
            self.platform.batch()

    def make(
        self, leg: str, action: Action, *, approved: bool = True, amount: int | None = None
    ) -> DecisionRow:
        """An audited row."""
        self._number += 1
        made = DecisionRow(
            SAGA, leg, OperatorDecision(self._number, action, amount), approved, False
        )
        self.platform.made[self._number] = made
        return made

    def publish(self, made: DecisionRow, **other: Any) -> Record:
        """The record of a row, or of something else than the row."""
        due = DueDecision(made.saga_id, made.leg, made.ruling, "alipayhk", "w-1")
        data = orjson.loads(record_of(due, START).value or b"") | other
        return self.platform.arrive("", events.DECIDED, KEY, data)

    def decide(self, leg: str, action: Action, **more: Any) -> BatchResult:
        """A decision, made, approved and carried out."""
        self.publish(self.make(leg, action, **more))
        return self.platform.batch()


def parked_at_the_credit() -> Desk:
    """The bank deducted 25,000 points; the wallet never said whether it gave the coupons."""
    desk = Desk()
    desk.answer("deduct", **YES)
    desk.silence()
    assert desk.saga.parked
    assert desk.told == ("MANUAL_REVIEW", False)
    return desk


def said(decision: BatchResult) -> list[str]:
    """The ids of the events that a decision published, without the saga."""
    ids = [(dict(one.headers)["ce_id"] or b"").decode() for one in decision.outgoing]
    return [one.removeprefix(SAGA) for one in ids]


def assert_nothing_moved(desk: Desk, decision: BatchResult, was: Saga) -> None:
    assert desk.saga == was
    changes = decision.changes
    found = (changes.sagas, changes.timeline, changes.movements, changes.limits, changes.cases)
    assert not any(found), found


def test_a_no_on_evidence_gives_the_points_back() -> None:
    desk = parked_at_the_credit()
    decision = desk.decide("credit/1", Action.REJECT)
    assert said(decision) == ["/deduct/return#1"]
    assert decision.changes.cases[SAGA].closed
    (entry,) = decision.changes.timeline
    detail = orjson.loads(entry.detail)
    assert entry.event == "decided"
    assert (detail["decision"], detail["leg"], detail["action"]) == (1, "credit/1", "reject")
    assert desk.platform.made[1].settled
    desk.answer("deduct/return", **YES)
    assert desk.told == ("FAILED_POINTS_RETURNED", True)


def test_a_yes_on_evidence_completes() -> None:
    desk = parked_at_the_credit()
    desk.decide("credit/1", Action.CONFIRM)
    assert desk.told == ("SUCCESS", True)
    credit = desk.saga.leg("credit/1")
    assert credit is not None
    assert (credit.moved, credit.reference) == (2, "decision-1")


def test_a_yes_for_fewer_returns_the_rest() -> None:
    desk = parked_at_the_credit()
    assert said(desk.decide("credit/1", Action.CONFIRM, amount=1)) == ["/deduct/return#1"]
    desk.answer("deduct/return", **YES)
    assert desk.told == ("PARTIAL_SUCCESS", True)


def test_asking_again_needs_no_second_person() -> None:
    desk = parked_at_the_credit()
    assert Action.RETRY not in TWO_PERSONS
    decision = desk.decide("credit/1", Action.RETRY, approved=False)
    assert said(decision) == ["/credit/1#inquire3"]
    assert decision.changes.cases[SAGA].closed
    desk.silence()
    assert desk.saga.parked, "still nobody answers"


def test_a_return_that_is_refused_may_be_written_off() -> None:
    desk = Desk()
    desk.answer("deduct", **YES)
    desk.answer("credit/1", owner="alipayhk", **NO)
    desk.answer("deduct/return", **NO)
    assert desk.told[0] == "MANUAL_REVIEW"
    decision = desk.decide("deduct/return", Action.WRITE_OFF)
    (movement,) = decision.changes.movements
    assert movement.transfer.credit == "citi/forgone"
    assert movement.transfer.amount == 25_000
    assert desk.told == ("FAILED_POINTS_RETURNED", True)
    assert desk.saga.told is not None
    assert desk.saga.told.code == "WRITTEN_OFF"


@pytest.mark.parametrize("action", (Action.REJECT, Action.CONFIRM, Action.RETRY))
def test_what_became_known_meanwhile_is_not_contradicted(action: Action) -> None:
    desk = parked_at_the_credit()
    made = desk.make("credit/1", action)
    desk.answer("credit/1", owner="alipayhk", **YES)
    was = desk.saga
    desk.publish(made)
    decision = desk.platform.batch()
    assert_nothing_moved(desk, decision, was)
    assert not desk.platform.letters, "it is refused, not set aside"
    assert not decision.outgoing
    assert "credit/1 is confirmed by now" in desk.platform.refusals[1]
    assert desk.told == ("SUCCESS", True)


@pytest.mark.parametrize(
    ("leg", "action", "amount", "why"),
    (
        ("credit/1", Action.WRITE_OFF, None, "allowed is confirm or reject or retry"),
        ("credit/1", Action.CONFIRM, 3, "was asked for 2: the amount must be between 1 and 2"),
        ("deduct", Action.REJECT, None, "deduct is confirmed by now"),
        ("credit/2", Action.REJECT, None, "has no leg credit/2; it has deduct, credit/1"),
    ),
)
def test_what_is_not_allowed_is_refused_and_says_why(
    leg: str, action: Action, amount: int | None, why: str
) -> None:
    desk = parked_at_the_credit()
    was = desk.saga
    assert_nothing_moved(desk, desk.decide(leg, action, amount=amount), was)
    assert why in desk.platform.refusals[1]
    assert not desk.platform.letters


def test_the_same_record_twice_is_applied_once() -> None:
    """Within a batch, in the next one, and redelivered."""
    desk = parked_at_the_credit()
    made = desk.make("credit/1", Action.REJECT)
    desk.publish(made)
    desk.publish(made)
    first = desk.platform.batch(published=0)
    assert first.counts["decisions_applied"] == first.counts["stale_decisions"] == 1
    again = desk.platform.batch()
    assert said(first) == ["/deduct/return#1"]
    assert "/deduct/return#1" in said(again), "redelivered: said again"
    was = desk.saga
    desk.publish(made)
    assert_nothing_moved(desk, late := desk.platform.batch(), was)
    assert not late.outgoing
    assert not desk.platform.refusals


def test_a_second_decision_about_a_leg_follows_the_first() -> None:
    desk = parked_at_the_credit()
    desk.decide("credit/1", Action.RETRY)
    desk.silence()
    desk.decide("credit/1", Action.CONFIRM)
    assert desk.told == ("SUCCESS", True)


@pytest.mark.parametrize(
    ("approved", "other", "why"),
    (
        (False, {}, "was not approved by a second person"),
        (True, {"action": "confirm"}, "differs from its audited row"),
        (True, {"leg": "deduct"}, "differs from its audited row"),
        (True, {"amount": 1}, "differs from its audited row"),
        (True, {"decision": 9}, "is not a decision that anybody made"),
    ),
)
def test_a_record_without_its_audited_row_has_no_effect(
    approved: bool, other: dict[str, Any], why: str
) -> None:
    desk = parked_at_the_credit()
    was = desk.saga
    desk.publish(desk.make("credit/1", Action.REJECT, approved=approved), **other)
    decision = desk.platform.batch(published=0)
    assert_nothing_moved(desk, decision, was)
    (letter,) = decision.changes.dead_letters
    assert (letter.field, letter.disposition) == ("decision", "refused")
    assert why in letter.message
    assert not desk.platform.made[1].settled
    desk.platform.batch()
    assert len(desk.platform.letters) == 1, "redelivered: set aside once"
