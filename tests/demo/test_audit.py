"""The audit finds every lie: a company's, the journal's, an answer's."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.demo.audit import Audit, audit
from adapters.postgres.views import AccountBalance, SagaStory, TransferLine
from adapters.sandbox.books import AccountBook, Books, CompanyBooks, CouponBook, LegBook
from orchestrator.engine.instance import Leg, ResultRevision, Saga, Terms
from orchestrator.engine.machine import Status
from orchestrator.sagas.balance.terms import BalanceTerms
from orchestrator.sagas.redemption.journal import SUSPENSE
from orchestrator.sagas.redemption.terms import PricedLine, RedemptionTerms
from schemas.balance import BalanceStatus
from schemas.results import ResultStatus

SAGA = "85b8050f-0322-5d0f-a696-f119a3945b46"
OTHER = "85b8050f-0322-5d0f-a696-f119a3945b47"
TERMS = Terms(
    saga_id=SAGA,
    key_hash=1,
    definition="redemption",
    definition_version=1,
    programme="citi-alipayhk-coupons",
    programme_version=1,
    origin="alipayhk",
    account="wallet",
    request_id="r",
    content="",
    accepted_at=0,
    participants=("alipayhk", "citi", "alipayhk"),
    body=RedemptionTerms(
        debtor_account="card",
        creditor_account="wallet",
        unit="citi-points",
        lines=(PricedLine("hkd50", "CASH_COUPON", 2, 25_000, 10_000, 5_000),),
    ),
)
TOLD = ResultRevision(1, ResultStatus.SUCCESS, final=True, code=None, field=None, at=0)
STORY = SagaStory(
    Saga(
        terms=TERMS,
        revision=3,
        legs=(
            Leg("deduct", 25_000, Status.CONFIRMED, moved=25_000),
            Leg("credit/1", 2, Status.CONFIRMED, moved=2),
        ),
        told=TOLD,
    ),
    (),
    (),
)
JOURNAL = (
    AccountBalance("citi/member/card", "citi-points", -25_000),
    AccountBalance("citi/redeemed", "citi-points", 25_000),
    AccountBalance(SUSPENSE, "citi-points", 0),
    AccountBalance("alipayhk/issued", "alipayhk:hkd50", -2),
    AccountBalance("alipayhk/member/wallet", "alipayhk:hkd50", 2),
)
RESULT: dict[str, Any] = {
    "saga_id": str(SAGA),
    "points": {"charged": 25_000, "returned": 0},
    "lines": [{"item": "hkd50", "quantity": 2, "issued": 2}],
    "at": datetime(2026, 1, 1, tzinfo=UTC),
}
DEDUCTED = LegBook(
    f"{SAGA}/deduct", "deduct", "card", "", 25_000, "CONFIRMED", 25_000, 1, None, 1, 0, 0, 0
)
ISSUED = LegBook(
    f"{SAGA}/credit/1", "credit", "wallet", "hkd50", 2, "CONFIRMED", 2, 1, None, 1, 0, 0, 0
)
CITI = CompanyBooks(
    "citi",
    legs={DEDUCTED.leg_id: DEDUCTED},
    accounts={"card": AccountBook("card", 80_000, 55_000, {"lot": 55_000})},
    sums={("card", "points"): 55_000, ("@rest", "points"): -55_000},
)
WALLET = CompanyBooks(
    "alipayhk",
    legs={ISSUED.leg_id: ISSUED},
    coupons={
        ISSUED.leg_id: tuple(
            CouponBook(n, ISSUED.leg_id, "wallet", "hkd50", "ISSUED") for n in (1, 2)
        )
    },
    sums={("wallet", "hkd50"): 2, ("@rest", "hkd50"): -2},
)
BEFORE = Books(
    {
        "citi": CompanyBooks("citi", accounts={"card": AccountBook("card", 80_000, 80_000, {})}),
        "alipayhk": CompanyBooks("alipayhk"),
    }
)


QUESTION = SagaStory(
    Saga(
        terms=replace(
            TERMS,
            saga_id=OTHER,
            definition="balance",
            participants=("alipayhk", "citi"),
            body=BalanceTerms(debtor_account="card", unit="citi-points"),
        ),
        revision=2,
        legs=(Leg("balance", 1, Status.CONFIRMED, moved=1),),
        told=ResultRevision(1, BalanceStatus.ANSWERED, final=True, code=None, field=None, at=0),
    ),
    (),
    (),
)
"""Somebody asked for the balance of the same card."""


def audited(
    story: SagaStory = STORY,
    journal: tuple[AccountBalance, ...] = JOURNAL,
    citi: CompanyBooks = CITI,
    wallet: CompanyBooks = WALLET,
    result: dict[str, Any] = RESULT,
) -> Audit:
    after = Books({"citi": citi, "alipayhk": wallet})
    return audit([story], journal, BEFORE, after, {str(result["saga_id"]): result})


def test_books_that_balance_have_no_problems() -> None:
    found = audited()
    assert found.problems == ()
    assert [(one.account, one.before, one.after) for one in found.balances] == [
        ("wallet", 0, 2),
        ("card", 80_000, 55_000),
    ]


def legs_of(company: CompanyBooks, leg: LegBook) -> CompanyBooks:
    return replace(company, legs={leg.leg_id: leg})


def one_leg(leg: Leg) -> SagaStory:
    return replace(STORY, saga=STORY.saga.with_leg(leg))


def prededucted(**changed: Any) -> dict[str, Any]:
    """The same redemption of points that the channel's own app took, as audit arguments."""
    terms = replace(TERMS, body=replace(TERMS.body, prededucted=True))
    legs = (replace(STORY.saga.legs[0], reference="APP-1"), *STORY.saga.legs[1:])
    own = replace(DEDUCTED, leg_id="app/APP-1", **changed)
    return {
        "story": replace(STORY, saga=replace(STORY.saga, terms=terms, legs=legs)),
        "citi": legs_of(CITI, own),
    }


def test_what_a_channel_took_itself_stands_under_its_own_reference() -> None:
    assert audited(**prededucted()).problems == ()


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a company did it twice": (
        {"citi": legs_of(CITI, replace(DEDUCTED, applied=2))},
        "applied 2 times",
    ),
    "a company did another amount": (
        {"citi": legs_of(CITI, replace(DEDUCTED, moved=20_000))},
        "deduct is confirmed 25,000 to us, to them CONFIRMED 20,000 x1",
    ),
    "a company does not know of it": ({"wallet": replace(WALLET, legs={})}, "to them unknown"),
    "a company did what nobody asked for": (
        {
            "citi": replace(
                CITI, legs={**CITI.legs, "x/deduct": replace(DEDUCTED, leg_id="x/deduct")}
            )
        },
        "x/deduct is known to a company, not to us",
    ),
    "a company did what we believe was refused": (
        {"story": one_leg(Leg("credit/1", 2, Status.REJECTED))},
        "credit/1 is rejected 0 to us",
    ),
    "a company took more than the journal says": (
        {"citi": replace(CITI, accounts={"card": AccountBook("card", 80_000, 54_999, {})})},
        "the origins were told of -25,000",
    ),
    "the journal is not zero-sum": (
        {"journal": (*JOURNAL, AccountBalance("citi/redeemed", "citi-points", 1))},
        "citi-points add up to 1, not 0",
    ),
    "something is left in suspense": (
        {
            "journal": (
                *(one for one in JOURNAL if one.account not in (SUSPENSE, "citi/redeemed")),
                AccountBalance(SUSPENSE, "citi-points", 25_000),
            )
        },
        "25,000 citi-points are left in suspense",
    ),
    "the origin was told another charge": (
        {"result": {**RESULT, "points": {"charged": 0, "returned": 0}}},
        "went from 80,000 to 55,000 citi-points, the origins were told of +0",
    ),
    "the origin was told of a saga that is none": (
        {"result": {**RESULT, "saga_id": "another"}},
        "another was answered and is no saga",
    ),
    "a channel took less than it says": (
        prededucted(moved=24_000),
        "app/APP-1 is confirmed 25,000 to us, to them CONFIRMED 24,000 x1",
    ),
    "a channel took nothing": (
        prededucted() | {"citi": replace(CITI, legs={})},
        "app/APP-1 is confirmed 25,000 to us, to them unknown",
    ),
    "a channel took something and asked for nothing": (
        {
            "citi": replace(
                CITI, legs={**CITI.legs, "app/APP-2": replace(DEDUCTED, leg_id="app/APP-2")}
            )
        },
        "app/APP-2 is known to a company, not to us",
    ),
    "a saga has not ended": (
        {"story": replace(STORY, saga=replace(STORY.saga, told=None))},
        "has not ended",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found(lie: str) -> None:
    changes, words = LIES[lie]
    problems = audited(**changes).problems
    assert any(words in problem for problem in problems), problems


def with_question(question: SagaStory, citi: CompanyBooks = CITI) -> Audit:
    """The audit of the redemption and of a question beside it."""
    results = {SAGA: RESULT, OTHER: {"saga_id": OTHER, "status": "ANSWERED", "available": 5}}
    after = Books({"citi": citi, "alipayhk": WALLET})
    return audit([STORY, question], JOURNAL, BEFORE, after, results)


def test_a_question_takes_no_part_in_the_books() -> None:
    found = with_question(QUESTION)
    assert found.problems == ()
    assert (found.questions, found.legs, found.balances) == (1, 2, audited().balances)


def test_a_question_that_is_in_the_journal_is_found() -> None:
    line = TransferLine(8, "citi/member/card", "citi/redeemed", "citi-points", 5)
    (problem,) = with_question(replace(QUESTION, transfers=(line,))).problems
    assert problem == (
        f"question {OTHER} (r) moved 5 citi-points from citi/member/card to citi/redeemed"
    )


def test_a_question_that_waits_or_that_a_company_wrote_down_is_found() -> None:
    waits = replace(QUESTION, saga=replace(QUESTION.saga, told=None))
    assert f"question {OTHER} (r) has not ended" in with_question(waits).problems
    fact = replace(DEDUCTED, leg_id=f"{OTHER}/balance", moved=0, applied=0)
    citi = replace(CITI, legs={**CITI.legs, fact.leg_id: fact})
    (problem,) = with_question(QUESTION, citi).problems
    assert problem == f"{OTHER}/balance is known to a company, not to us"


def test_one_deduction_cannot_pay_twice() -> None:
    given = prededucted()
    first = given["story"]
    second = replace(
        first, saga=replace(first.saga, terms=replace(first.saga.terms, saga_id=OTHER))
    )
    after = Books({"citi": given["citi"], "alipayhk": WALLET})
    problems = audit([first, second], JOURNAL, BEFORE, after, {}).problems
    assert "citi: two sagas build upon app/APP-1" in problems
