"""What a company reads, and what it cannot read."""

import orjson
import pytest

from adapters.sandbox.commands import UnreadableError, read_command
from tests.sandbox.client import TYPES, body


def _read(value: bytes | None, type_: str = "uprp.points.deduct.v1") -> object:
    return read_command(b"k", value, [("ce_type", type_.encode()), ("ce_id", b"1")])


@pytest.mark.parametrize("verb", sorted(TYPES))
def test_binary_and_structured_mode_read_alike(verb: str) -> None:
    data = body(verb, "s/leg")
    event = {"specversion": "1.0", "id": "e1", "type": TYPES[verb], "source": "/uprp", "data": data}
    structured = read_command(
        b"k", orjson.dumps(event), [("content-type", b"Application/CloudEvents+json")]
    )
    headers = [("ce_type", TYPES[verb].encode()), ("ce_id", b"e1")]
    assert structured == read_command(b"k", orjson.dumps(data), headers)
    assert structured is not None
    assert (structured.verb, structured.event_id) == (verb, "e1")


def test_an_unknown_type_is_no_command() -> None:
    assert _read(b"{}", "uprp.points.forecast.v1") is None


@pytest.mark.parametrize(
    ("change", "field"),
    (
        ({"leg_id": ""}, "leg_id"),
        ({"leg_id": "x" * 129}, "leg_id"),
        ({"account": 7}, "account"),
        ({"points": 0}, "points"),
        ({"points": True}, "points"),
        ({"points": 2**63}, "points"),
        ({"points": "5"}, "points"),
        ({"attempt": None}, "attempt"),
        ({"expires_at": "2026-03-01T04:00:00"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
    ),
)
def test_a_wrong_field_is_named(change: dict[str, object], field: str) -> None:
    with pytest.raises(UnreadableError, match=f"^{field}:"):
        _read(orjson.dumps({**body("deduct", "s/d"), **change}))


@pytest.mark.parametrize("value", (None, b"", b"{", b"[]", b"\xff", b"1", b" " * 65_537))
def test_a_record_that_is_no_object_is_unreadable(value: bytes | None) -> None:
    with pytest.raises(UnreadableError, match=r"^value:"):
        _read(value)


def test_a_record_without_a_type_is_unreadable() -> None:
    with pytest.raises(UnreadableError, match=r"^ce_type:"):
        read_command(None, b"{}", None)
