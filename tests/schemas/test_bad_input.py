"""Bad input: what is wrong is named by the model and found by the published schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.envelope import Unreadable
from schemas.events import ANSWERED, INQUIRED, REQUESTED, Channel, parse
from tests.schemas.published import errors
from tests.schemas.samples import BAD_ANSWERS, BAD_REQUESTS, REQUEST, without


@pytest.mark.parametrize(
    ("channel", "event", "data", "field"),
    (
        *((Channel.REQUESTS, REQUESTED, data, field) for data, field in BAD_REQUESTS),
        *((Channel.REPLIES, ANSWERED, data, field) for data, field in BAD_ANSWERS),
    ),
)
def test_a_wrong_field_is_named_by_the_model_and_found_by_the_schema(
    channel: Channel, event: str, data: dict[str, Any], field: str
) -> None:
    with pytest.raises(Unreadable) as found:
        parse(channel, event, json.dumps(data).encode())
    assert found.value.field == field
    assert found.value.detail
    assert errors(event, data) != []


@pytest.mark.parametrize(
    ("data", "field"),
    (
        # What JSON Schema cannot say, or reads as the same.
        (REQUEST | {"lines": [{"item": "a", "quantity": 1}] * 2}, "lines"),
        (REQUEST | {"points": 25_000.0}, "points"),
        (REQUEST | {"context": {"note": "\0"}}, "context"),
        (REQUEST | {"context": {"\0": [1]}}, "context"),
    ),
)
def test_the_model_is_stricter_only_here(data: dict[str, Any], field: str) -> None:
    with pytest.raises(Unreadable) as found:
        parse(Channel.REQUESTS, REQUESTED, json.dumps(data).encode())
    assert found.value.field == field
    assert errors(REQUESTED, data) == []


@pytest.mark.parametrize(
    ("value", "detail"),
    (
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[]", "is a JSON array"),
        (b"null", "is a JSON null"),
        (b'"text"', "is a JSON string"),
        (b"7", "is a JSON number"),
        (b"true", "is a JSON boolean"),
        (b'{"request_id": "\xff"}', "is not UTF-8 (byte 16)"),
        (b'{"a": NaN}', "is not JSON"),
        (json.dumps(REQUEST).encode()[:-1] + b', "context": {"a": NaN}}', "is not JSON"),
        (json.dumps(REQUEST).encode()[:-1] + b', "new": Infinity}', "is not JSON"),
        (json.dumps(REQUEST).encode()[:-1] + b', "new": "\\ud800"}', "is not JSON"),
        (b'{"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "is not JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "is not JSON"),
    ),
)
def test_what_is_no_json_object_is_said_plainly(value: bytes, detail: str) -> None:
    with pytest.raises(Unreadable) as found:
        parse(Channel.REQUESTS, REQUESTED, value)
    assert found.value.field == "value"
    assert found.value.detail.startswith(detail)


@pytest.mark.parametrize("event_type", ("uprp.redemption.requested.v2", ANSWERED, "", "'; drop"))
def test_an_unknown_type_is_named(event_type: str) -> None:
    with pytest.raises(Unreadable) as found:
        parse(Channel.REQUESTS, event_type, json.dumps(REQUEST).encode())
    assert found.value.field == "ce_type"


def test_the_request_id_is_told_where_it_can_be_read() -> None:
    with pytest.raises(Unreadable) as found:
        parse(Channel.REQUESTS, REQUESTED, json.dumps(without(REQUEST, "lines")).encode())
    assert found.value.request_id == "r-1"
    with pytest.raises(Unreadable) as found:
        parse(Channel.REQUESTS, INQUIRED, b'{"request_id": "\\u00e9"}')
    assert found.value.request_id is None
