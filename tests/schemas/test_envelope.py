"""CloudEvents over Kafka, both modes, and everything that can be wrong with them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.envelope import (
    VALUE_BYTES_MAX,
    Envelope,
    Unreadable,
    proper_id,
    read,
    rfc3339,
    source_of,
)
from schemas.events import REQUESTED, Channel, parse
from schemas.values import moment_of
from tests.schemas.samples import REQUEST

TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
GIVEN = Envelope(
    id="e-1",
    source=source_of("alipayhk"),
    type=REQUESTED,
    time="2026-11-22T06:00:00.000Z",
    subject="s-1",
    causation_id="c-1",
    traceparent=TRACE,
)
VALUE = json.dumps(REQUEST).encode()
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/participants/alipayhk",
    "type": REQUESTED,
    "time": "2026-11-22T06:00:00.000Z",
    "subject": "s-1",
    "causationid": "c-1",
    "traceparent": TRACE,
    "datacontenttype": "application/json",
    "comesfromelsewhere": 7,
    "data": REQUEST,
}
STRUCTURED = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


def headers(**changed: bytes | None) -> list[tuple[str, bytes | None]]:
    """The headers of GIVEN with some changed; None takes one away."""
    found: dict[str, bytes | None] = dict(GIVEN.headers())
    return [pair for pair in (found | changed).items() if pair[1] is not None]


def refusal(given: Any, value: bytes | None) -> Unreadable:
    with pytest.raises(Unreadable) as found:
        read(given, value)
    return found.value


def test_what_is_written_is_read() -> None:
    assert read(GIVEN.headers(), VALUE) == (GIVEN, VALUE)


def test_structured_mode_says_the_same() -> None:
    envelope, data = read(STRUCTURED, json.dumps(EVENT).encode())
    assert envelope == GIVEN
    assert json.loads(data) == REQUEST
    assert parse(Channel.REQUESTS, envelope.type, data) == parse(Channel.REQUESTS, REQUESTED, VALUE)


def test_structured_mode_is_told_by_its_content_type_in_any_case() -> None:
    given = [("Content-Type", b"Application/CloudEvents+JSON"), ("traceparent", TRACE.encode())]
    value = json.dumps({name: EVENT[name] for name in EVENT if name != "traceparent"}).encode()
    assert read(given, value)[0] == GIVEN


@pytest.mark.parametrize("name", ("specversion", "id", "source", "type", "time"))
def test_a_missing_attribute_is_named(name: str) -> None:
    for content in (None, b""):
        problem = refusal(headers(**{f"ce_{name}": content}), VALUE)
        assert (problem.field, problem.detail) == (f"ce_{name}", "is missing")
        assert problem.event_id == (None if name == "id" else "e-1")
    for event in ({key: EVENT[key] for key in EVENT if key != name}, EVENT | {name: None}):
        problem = refusal(STRUCTURED, json.dumps(event).encode())
        assert (problem.field, problem.detail) == (name, "is missing")


@pytest.mark.parametrize("name", ("content-type", "ce_subject", "ce_causationid", "traceparent"))
def test_the_other_headers_may_be_missing(name: str) -> None:
    envelope, data = read([pair for pair in GIVEN.headers() if pair[0] != name], VALUE)
    assert (envelope.id, data) == ("e-1", VALUE)


@pytest.mark.parametrize(
    ("name", "content"),
    (
        ("specversion", "0.3"),
        ("id", "x" * 129),
        ("id", "caf\xe9"),
        ("id", "a\nb"),
        ("source", "x" * 129),
        ("type", "t\x00"),
        ("subject", "\u202e"),
        ("causationid", ""),
        *(
            ("time", moment)
            for moment in (
                "yesterday",
                "2026-11-22",
                "20261122T060000Z",
                "2026-11-22T06:00:00",
                "2026-13-22T06:00:00Z",
                "2026-11-22T25:00:00Z",
                "1700000000",
            )
        ),
    ),
)
def test_a_wrong_attribute_is_named_in_both_modes(name: str, content: str) -> None:
    assert refusal(headers(**{f"ce_{name}": content.encode()}), VALUE).field == f"ce_{name}"
    assert refusal(STRUCTURED, json.dumps(EVENT | {name: content}).encode()).field == name


@pytest.mark.parametrize("name", ("ce_id", "ce_type", "ce_subject"))
def test_a_header_that_is_not_utf_8_is_named(name: str) -> None:
    problem = refusal(headers(**{name: b"\xff"}), VALUE)
    assert (problem.field, problem.detail) == (name, "is not UTF-8")


def test_headers_that_the_contract_does_not_know_are_not_even_decoded() -> None:
    given = [*GIVEN.headers(), ("ce_extension", b"\xff"), ("x", None), ("ce_", b"")]
    assert read(given, VALUE) == (GIVEN, VALUE)


def test_where_a_header_repeats_the_last_one_counts() -> None:
    given = [("ce_id", b"first"), *GIVEN.headers(), ("ce_id", b"last")]
    assert read(given, VALUE)[0].id == "last"
    # A header without a value is not there.
    assert read([*GIVEN.headers(), ("ce_id", None)], VALUE)[0].id == "e-1"


@pytest.mark.parametrize("trace", (b"", b"00-zz", b"\xff", TRACE.encode() + b"\n", b"x" * 9_999))
def test_a_broken_trace_context_is_left_out(trace: bytes) -> None:
    assert read(headers(traceparent=trace), VALUE)[0].traceparent is None


def test_a_null_value_and_one_of_65_kib() -> None:
    problem = refusal(GIVEN.headers(), None)
    assert (problem.field, problem.event_id) == ("value", "e-1")
    problem = refusal(GIVEN.headers(), b" " * (65 * 1024))
    assert problem.detail == "has 66560 bytes; at most 65536 are read"
    at_most = VALUE + b" " * (VALUE_BYTES_MAX - len(VALUE))
    assert read(GIVEN.headers(), at_most) == (GIVEN, at_most)
    assert refusal(GIVEN.headers(), at_most + b" ").field == "value"


@pytest.mark.parametrize(
    ("value", "field"),
    (
        (b"not json", "value"),
        (b"[]", "value"),
        (b'"\xff"', "value"),
        (json.dumps(EVENT | {"id": 7}).encode(), "id"),
        (json.dumps(EVENT | {"data": None}).encode(), "data"),
        (json.dumps(EVENT | {"data": [1]}).encode(), "data"),
        (json.dumps(EVENT | {"data": "text"}).encode(), "data"),
        (json.dumps({key: EVENT[key] for key in EVENT if key != "data"}).encode(), "data"),
    ),
)
def test_structured_mode_that_cannot_be_read(value: bytes, field: str) -> None:
    assert refusal(STRUCTURED, value).field == field


@pytest.mark.parametrize("number", ("1e999", "NaN", "-Infinity", "9" * 5_000))
def test_numbers_beyond_all_bounds_stop_at_the_door(number: str) -> None:
    event = json.dumps(EVENT | {"data": REQUEST | {"context": "HERE"}})
    value = event.replace('"HERE"', f'{{"n": {number}}}').encode()
    with pytest.raises(Unreadable):
        parse(Channel.REQUESTS, REQUESTED, read(STRUCTURED, value)[1])


@pytest.mark.parametrize("found", ("", "\xe9", "a\n", "x" * 129, None, 7, b"id"))
def test_what_is_no_id_is_never_passed_on(found: object) -> None:
    assert proper_id(found) is None
    problem = Unreadable("f" * 300, "d", event_id=found, request_id=found)  # type: ignore[arg-type]  # Hostile on purpose.
    assert (problem.event_id, problem.request_id, len(problem.field)) == (None, None, 200)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    moment = datetime(2026, 11, 22, 6, 0, 0, 1_999, tzinfo=UTC)
    assert rfc3339(moment) == "2026-11-22T06:00:00.001Z"
    assert moment_of("2026-11-22t14:00:00.001999+08:00") == moment
    assert moment_of("2026-11-22T06:00:00.001999z") == moment
