"""What is written to a row is read back as it was."""

from datetime import date
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.codec import decode_state, decode_terms, encode_state, encode_terms
from orchestrator.engine.instance import Leg, ResultRevision, Saga, Terms
from orchestrator.engine.machine import Status
from orchestrator.sagas import KINDS
from orchestrator.sagas.redemption.terms import Partial, PricedLine, RedemptionTerms
from schemas.ids import saga_id
from schemas.reasons import Code
from schemas.results import ResultStatus
from schemas.values import INTEGER_MAX

# Text of the contract: no U+0000, no lone surrogates, otherwise anything.
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
IDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)
NUMBERS = st.integers(0, INTEGER_MAX)
COUNTS = st.integers(0, 100_000)
DETAILS = st.dictionaries(
    st.sampled_from(["lots", "coupons"]),
    st.lists(st.dictionaries(IDS, WORDS | NUMBERS, max_size=3), min_size=1, max_size=3),
    min_size=1,
)
LINES = st.builds(PricedLine, IDS, IDS, NUMBERS, NUMBERS, NUMBERS, st.none() | NUMBERS)
LEGS = st.builds(
    Leg,
    path=st.sampled_from(["deduct", "credit/1", "credit/20", "credit/2/reverse", "deduct/return"]),
    asked=NUMBERS,
    status=st.sampled_from(Status),
    attempt=COUNTS,
    inquiries=COUNTS,
    sent_at=NUMBERS,
    said_at=NUMBERS,
    due=st.none() | NUMBERS,
    moved=NUMBERS,
    reference=st.none() | IDS,
    code=st.none() | st.sampled_from([code.value for code in Code]),
    detail=st.none() | DETAILS,
    expires_at=NUMBERS,
    rungs=COUNTS,
    since=NUMBERS,
    pending_from=COUNTS,
    cancels=COUNTS,
    escalated_at=NUMBERS,
    first=st.none() | NUMBERS,
    claim=st.none() | NUMBERS,
    decision=COUNTS,
)
TOLD = st.builds(
    ResultRevision,
    COUNTS,
    st.sampled_from(ResultStatus),
    st.booleans(),
    st.none() | st.sampled_from(Code),
    st.none() | IDS,
    NUMBERS,
    st.booleans(),
    st.lists(NUMBERS, max_size=4).map(tuple),
)
COLUMNS: dict[str, Any] = {
    "saga_id": saga_id("o", "a", "r"),
    "key_hash": 7,
    "origin": "o",
    "account": "a",
    "request_id": "r",
    "programme": "p",
    "programme_version": 3,
    "accepted_at": 1,
}
TERMS = st.builds(
    Terms,
    **{name: st.just(column) for name, column in COLUMNS.items()},
    definition=st.just("redemption"),
    definition_version=st.just(1),
    content=IDS,
    locale=IDS,
    participants=st.tuples(st.just("o"), IDS, IDS),
    traceparent=st.none() | IDS,
    fresh_until=st.none() | NUMBERS,
    body=st.builds(
        RedemptionTerms,
        debtor_account=IDS,
        creditor_account=IDS,
        unit=IDS,
        currency=IDS,
        partial=st.sampled_from(Partial),
        lines=st.lists(LINES, max_size=4).map(tuple),
        limit=IDS,
        business_date=st.none() | st.dates(date(2000, 1, 1), date(2100, 1, 1)),
        prededucted=st.booleans(),
        loss_bearer=IDS,
    ),
)


@given(TERMS)
def test_terms_come_back(terms: Terms) -> None:
    assert decode_terms(encode_terms(terms, KINDS), KINDS, **COLUMNS) == terms


@given(
    TERMS,
    st.tuples(st.lists(LEGS, max_size=5).map(tuple), st.none() | TOLD, st.none() | NUMBERS),
    st.booleans(),
    NUMBERS,
)
def test_a_state_comes_back(
    terms: Terms,
    state: tuple[tuple[Leg, ...], ResultRevision | None, int | None],
    withdrawn: bool,
    held: int,
) -> None:
    legs, told, wake_at = state
    saga = Saga(terms, 4, legs, told, withdrawn, wake_at, held)
    back = decode_state(encode_state(saga), terms, KINDS, 4, wake_at)
    assert back == saga
    assert all(isinstance(leg.status, Status) for leg in back.legs)


def test_what_was_written_before_a_field_was_added_can_be_read() -> None:
    terms = Terms(
        **COLUMNS,
        definition="redemption",
        definition_version=1,
        content="",
        participants=("o", "", ""),
    )
    leg = Leg("deduct", 5, Status.SENT, 1, 0, 10, 10, 5_010)
    old = '[[["deduct",5,"sent",1,0,10,10,5010]],[1,"PENDING",false,"ACCEPTED",null,9],false,0]'
    saga = decode_state(old, terms, KINDS, 2, 5_010)
    told = ResultRevision(
        1, ResultStatus.PENDING, final=False, code=Code.ACCEPTED, field=None, at=9
    )
    assert saga == Saga(terms, 2, (leg,), told, wake_at=5_010)


FIRST_TERMS = (
    '["redemption",1,"d1","en","citi","alipayhk","load-1","w-1","citi-points","HKD","keep_issued",'
    '[["hkd50","CASH_COUPON",2,25000,10000,5000]],"alipayhk/w-1/daily","2026-11-22",null]'
)
FIRST_PENDING = (
    '[[["deduct",25000,"confirmed",1,0,1000,1000,null,25000,"C-1",null,null,0,91000],'
    '["credit/1",2,"pending",2,4,2000,9000,12000,0,null,null,null,3,92000]],'
    '[1,"PENDING",false,null,null,8000,[25000,0]],false]'
)
FIRST_WAITING = (
    '[[["deduct",25000,"sent",1,0,1000,1000,4000,0,null,null,null,0,91000],'
    '["credit/1",2,"waiting"]],null,false]'
)


def test_rows_of_the_first_version_are_read_for_as_long_as_they_exist() -> None:
    """Written down as that version wrote them: what is read is compared with what it meant."""
    terms = decode_terms(
        FIRST_TERMS,
        KINDS,
        saga_id=saga_id("alipayhk", "w-1", "r-1"),
        key_hash=7,
        origin="alipayhk",
        account="w-1",
        request_id="r-1",
        programme="citi-alipayhk-coupons",
        programme_version=1,
        accepted_at=1_000,
    )
    assert (terms.body.points, terms.body.prededucted, terms.body.loss_bearer) == (
        25_000,
        False,
        "platform",
    )
    assert terms.body.business_date == date(2026, 11, 22)
    pending = decode_state(FIRST_PENDING, terms, KINDS, 5, 12_000)
    deduct, credit = pending.legs
    assert (deduct.status, deduct.moved, deduct.reference) == (Status.CONFIRMED, 25_000, "C-1")
    assert (deduct.expires_at, deduct.rungs, deduct.inquiries) == (91_000, 0, 0)
    assert (credit.status, credit.due, credit.expires_at) == (Status.PENDING, 12_000, 92_000)
    assert (credit.attempt, credit.inquiries, credit.rungs) == (2, 3, 4)
    assert credit.pending_from == 3
    assert pending.told is not None
    assert pending.told.superseded == (25_000, 0)
    assert not pending.told.corrected
    waiting = decode_state(FIRST_WAITING, terms, KINDS, 1, 4_000)
    assert [leg.status for leg in waiting.legs] == [Status.SENT, Status.WAITING]
    for saga in (pending, waiting):
        again = decode_state(encode_state(saga), terms, KINDS, saga.revision, saga.wake_at)
        assert again == saga
