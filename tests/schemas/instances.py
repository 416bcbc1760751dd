"""Instances of the published schemas, drawn at random."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

MOMENTS = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - the strategy adds the zone.
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-3.5))]),
).map(datetime.isoformat)
SHAPES: dict[str, st.SearchStrategy[str]] = {
    r"^[\x20-\x7e]+$": st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1),
    r"^[a-z0-9][a-z0-9-]*$": st.from_regex(r"\A[a-z0-9][a-z0-9-]{0,62}\Z"),
    r"^[A-Z]{3}$": st.text(string.ascii_uppercase, min_size=3, max_size=3),
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$": st.dates().map(str),
    r"^[^\x00]*$": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$": st.sampled_from(["en", "zh-Hant-HK", "ja", "th-TH"]),
    r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$": st.uuids().map(str),
    r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/[a-z0-9]+){1,4}$": st.uuids().map(
        lambda found: f"{found}/credit/3/reverse"
    ),
    r"^[a-z0-9]+(/[a-z0-9]+){0,3}$": st.sampled_from(["deduct", "credit/12/reverse"]),
}
"""How to draw each pattern of the contract; a new pattern needs a line here."""


def drawn(part: dict[str, Any], whole: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Instances of a part of a published schema."""
    if "$ref" in part:
        return drawn(whole["$defs"][part["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in part:
        return st.one_of(*(drawn(choice, whole) for choice in part["anyOf"]))
    if "enum" in part:
        return st.sampled_from(part["enum"])
    return _of_type(part, whole)


def _of_type(part: dict[str, Any], whole: dict[str, Any]) -> st.SearchStrategy[Any]:
    found: st.SearchStrategy[Any]
    match part["type"]:
        case "null":
            found = st.none()
        case "boolean":
            found = st.booleans()
        case "integer":
            found = st.integers(part.get("minimum"), part.get("maximum"))
        case "string":
            found = _string(part)
        case "array":
            # What JSON Schema cannot say of the lines: an item stands at most once.
            once = (lambda line: line["item"]) if part.get("maxItems") == 20 else None
            items = drawn(part["items"], whole)
            found = st.lists(items, min_size=part.get("minItems", 0), max_size=3, unique_by=once)
        case _:
            found = _object(part, whole) if "properties" in part else NOTES
    return found


NOTES = st.dictionaries(st.sampled_from(["a", "note"]), st.integers(0, 9) | st.just({"b": [None]}))


def _string(part: dict[str, Any]) -> st.SearchStrategy[str]:
    if part.get("format") == "date-time":
        return MOMENTS
    if part.get("format") == "date":
        return st.dates().map(str)
    low, high = part.get("minLength", 0), part.get("maxLength", 200)
    return (
        SHAPES[part["pattern"]].map(lambda text: text[:high]).filter(lambda text: len(text) >= low)
    )


def _object(part: dict[str, Any], whole: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {name: drawn(field, whole) for name, field in part["properties"].items()}
    required = {name: fields.pop(name) for name in part.get("required", ())}
    return st.fixed_dictionaries(required, optional=fields)
