"""What is written to a row is read back as it was."""

from datetime import date
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.saga.codec import decode_state, decode_terms, encode_state, encode_terms
from orchestrator.saga.instance import Leg, Partial, PricedLine, Saga, Terms, Told
from orchestrator.saga.machine import Status
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
    called=NUMBERS,
    first=st.none() | NUMBERS,
    claim=st.none() | NUMBERS,
    decision=COUNTS,
)
TOLD = st.builds(
    Told,
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
    definition=IDS,
    definition_version=COUNTS,
    content=IDS,
    locale=IDS,
    debtor=IDS,
    creditor=IDS,
    debtor_account=IDS,
    creditor_account=IDS,
    unit=IDS,
    currency=IDS,
    partial=st.sampled_from(Partial),
    lines=st.lists(LINES, max_size=4).map(tuple),
    limit=IDS,
    business_date=st.none() | st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    traceparent=st.none() | IDS,
    prededucted=st.booleans(),
    loss_bearer=IDS,
    fresh_until=st.none() | NUMBERS,
)


@given(TERMS)
def test_terms_come_back(terms: Terms) -> None:
    assert decode_terms(encode_terms(terms), **COLUMNS) == terms


@given(
    TERMS,
    st.tuples(st.lists(LEGS, max_size=5).map(tuple), st.none() | TOLD, st.none() | NUMBERS),
    st.booleans(),
    NUMBERS,
)
def test_a_state_comes_back(
    terms: Terms,
    state: tuple[tuple[Leg, ...], Told | None, int | None],
    withdrawn: bool,
    held: int,
) -> None:
    legs, told, wake_at = state
    saga = Saga(terms, 4, legs, told, withdrawn, wake_at, held)
    back = decode_state(encode_state(saga), terms, 4, wake_at)
    assert back == saga
    assert all(isinstance(leg.status, Status) for leg in back.legs)


def test_what_was_written_before_a_field_was_added_can_be_read() -> None:
    terms = Terms(**COLUMNS, definition="redemption", definition_version=1, content="")
    leg = Leg("deduct", 5, Status.SENT, 1, 0, 10, 10, 5_010)
    old = '[[["deduct",5,"sent",1,0,10,10,5010]],[1,"PENDING",false,"ACCEPTED",null,9],false,0]'
    saga = decode_state(old, terms, 2, 5_010)
    told = Told(1, ResultStatus.PENDING, final=False, code=Code.ACCEPTED, field=None, at=9)
    assert saga == Saga(terms, 2, (leg,), told, wake_at=5_010)
