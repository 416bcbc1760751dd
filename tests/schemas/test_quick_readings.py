"""The readings that every record goes through take what the careful ones take, and say the same."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas import envelope
from schemas.envelope import Envelope, Unreadable
from schemas.values import Moment, MomentText, moment_of

NAMES = (
    "ce_specversion",
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_time",
    "ce_subject",
    "ce_causationid",
    "traceparent",
    "content-type",
)
CONTENTS: dict[str, tuple[bytes | None, ...]] = {
    "ce_specversion": (b"1.0", b"1.0", b"1.0", b"0.3"),
    "ce_time": (b"2026-11-22T06:00:00Z", b"2026-11-22t06:00:00.1+08:00", b"2026-11-22", b"now"),
    "traceparent": (f"00-{'a' * 32}-{'b' * 16}-01".encode(), b"broken"),
    "content-type": (b"application/json", b"Application/JSON", b"text/plain"),
}
ODD: tuple[bytes | None, ...] = (b"", None, b"\xff", "\u202e".encode(), b"x" * 129, b"a\nb")
GOOD = (b"e-1", b"/participants/citi", b"x" * 128)


def contents(name: str) -> st.SearchStrategy[bytes | None]:
    usual = st.sampled_from(CONTENTS.get(name, GOOD))
    return st.one_of(usual, usual, usual, usual, st.sampled_from(ODD))


HEADERS = st.lists(
    st.sampled_from((*NAMES, *NAMES, "CE_ID", "x-other")).flatmap(
        lambda name: st.tuples(st.just(name), contents(name.lower()))
    ),
    max_size=4,
).flatmap(
    lambda more: st.tuples(*(st.tuples(st.just(name), contents(name)) for name in NAMES[:5])).map(
        lambda first: [*first, *more]
    )
)


def outcome(read: Any, *given_: Any) -> object:
    try:
        return read(*given_)
    except Unreadable as problem:
        return problem.field, problem.detail, problem.event_id


@given(HEADERS, st.sampled_from((b"{}", None, b" " * 65_537)))
def test_both_read_the_same_from_any_headers(
    headers: list[tuple[str, bytes | None]], value: bytes | None
) -> None:
    careful = {name.lower(): content for name, content in headers if content is not None}
    assert outcome(envelope.read, headers, value) == outcome(envelope._read, careful, value)


def test_what_nearly_everybody_sends_is_read_the_quick_way() -> None:
    usual = Envelope("e-1", "/participants/citi", "t", "2026-11-22T06:00:00Z", "s", "c", None)
    assert envelope._plain(dict(usual.headers())) == usual


MOMENT = TypeAdapter[datetime](Moment)
MOMENT_TEXT = TypeAdapter[str](MomentText)
DIGITS = st.sampled_from(("00", "01", "12", "23", "24", "28", "29", "30", "31", "32", "59", "60"))
TEXTS = st.one_of(
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.tuples(
        st.sampled_from(("2027", "2028", "1900", "0000", "0001", "9999", "27")),
        *(DIGITS,) * 5,
        st.sampled_from(("T", "t", " ", "_", "")),
        st.sampled_from(("", ".", ".1", ".123456", ".1234567", ".123456789012")),
        st.sampled_from(("Z", "z", "", "+00:00", "-23:59", "+24:00", "+05:60", "+0530", "+05")),
    ).map(lambda p: f"{p[0]}-{p[1]}-{p[2]}{p[6]}{p[3]}:{p[4]}:{p[5]}{p[7]}{p[8]}"),
    st.sampled_from(("1800000000", "2027-01-15", "2027-W03-5T08:00:00Z", "20270115T080000Z", "")),
)


@given(TEXTS)
def test_a_moment_is_read_alike_from_json_and_from_text(text: str) -> None:
    try:
        known = moment_of(text)
    except ValueError:
        for adapter in (MOMENT, MOMENT_TEXT):
            with pytest.raises(ValidationError, match="is not an RFC 3339 time with an offset"):
                adapter.validate_json(json.dumps(text))
        return
    read = MOMENT.validate_json(json.dumps(text))
    assert (read, read.isoformat()) == (known, known.isoformat())
    assert MOMENT.validate_python(text) == known
    assert MOMENT_TEXT.validate_json(json.dumps(text)) == text


@pytest.mark.parametrize("year", (*range(1, 60), *range(1890, 2110), 2400, 3000, 9996, 9999))
def test_the_text_of_a_moment_knows_every_calendar_day(year: int) -> None:
    for month in range(14):
        for day in (0, 1, 28, 29, 30, 31, 32):
            text = f"{year:04}-{month:02}-{day:02}T08:00:00Z"
            try:
                moment_of(text)
            except ValueError:
                with pytest.raises(ValidationError):
                    MOMENT_TEXT.validate_python(text)
            else:
                assert MOMENT_TEXT.validate_python(text) == text


@pytest.mark.parametrize("found", (b"1800000000", b"true", b"null", b"[]", b'{"at": 1}'))
def test_what_is_no_text_is_no_moment(found: bytes) -> None:
    for adapter in (MOMENT, MOMENT_TEXT):
        with pytest.raises(ValidationError):
            adapter.validate_json(found)
