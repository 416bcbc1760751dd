"""CloudEvents 1.0 over Kafka: binary mode is written, binary and structured mode are read."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from pydantic_core import from_json, to_json

from schemas.frozen import value
from schemas.reasons import Code
from schemas.values import moment_of

VALUE_BYTES_MAX: Final = 64 * 1024
"""The largest value of a record, in bytes (`contract.md` 1)."""

PLATFORM_SOURCE: Final = "/uprp"
Headers = Sequence[tuple[str, bytes]]


class Unreadable(ValueError):
    """A record that cannot be read as an event, or must not be acted upon.

    Args:
        field: the header or field that is wrong.
        detail: how it is wrong.
        event_id: the `ce_id` of the record; left out unless it is a valid id.
        request_id: the request id of the record; left out unless it is a valid id.
    """

    def __init__(
        self,
        field: str,
        detail: str,
        event_id: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"{field}: {detail}")
        self.code = Code.SCHEMA_INVALID
        self.field = field[:200]
        self.detail = detail
        self.event_id = proper_id(event_id)
        self.request_id = proper_id(request_id)


@value
class Envelope:
    """The CloudEvents attributes of an event."""

    id: str
    source: str
    type: str
    time: str  # RFC 3339.
    subject: str | None = None  # The saga that it is about.
    causation_id: str | None = None  # The event that led to it.
    traceparent: str | None = None  # The W3C trace context.

    def headers(self) -> list[tuple[str, bytes]]:
        """The binary-mode headers."""
        found = [
            ("ce_specversion", b"1.0"),
            ("ce_id", self.id.encode()),
            ("ce_source", self.source.encode()),
            ("ce_type", self.type.encode()),
            ("ce_time", self.time.encode()),
            ("content-type", _JSON),
        ]
        if self.subject is not None:
            found.append(("ce_subject", self.subject.encode()))
        if self.causation_id is not None:
            found.append(("ce_causationid", self.causation_id.encode()))
        if self.traceparent is not None:
            found.append(("traceparent", self.traceparent.encode()))
        return found


def source_of(participant: str) -> str:
    """The `ce_source` of a participant's events."""
    return f"/participants/{participant}"


def rfc3339(moment: datetime) -> str:
    """A moment as RFC 3339 in UTC with milliseconds, the form that the platform writes."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


_ID: Final = re.compile(r"[\x20-\x7e]{1,128}")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_REQUIRED: Final = ("specversion", "id", "source", "type", "time")
_ATTRIBUTES: Final = (*_REQUIRED, "subject", "causationid")
_HEADERS: Final = tuple((name, "ce_" + name) for name in _ATTRIBUTES)
_JSON: Final = b"application/json"
_PLAIN: Final = frozenset({header for _, header in _HEADERS} | {"content-type", "traceparent"})


def proper_id(found: object) -> str | None:
    """The value if it is an id of the contract (1 to 128 printable ASCII characters), else None."""
    return found if isinstance(found, str) and _ID.fullmatch(found) else None


def read(
    headers: Collection[tuple[str, bytes | None]], value: bytes | None
) -> tuple[Envelope, bytes]:
    """The envelope and the JSON data of a record, in binary or structured mode.

    If a header is repeated, the last one counts (`contract.md` 1). A header without a value counts
    as missing.

    Raises:
        Unreadable: a header or field is missing or wrong; it says which.
    """
    found = dict(headers)
    if value is not None and len(value) <= VALUE_BYTES_MAX:
        envelope = _plain(found)
        if envelope is not None:
            return envelope, value
    return _read({n.lower(): c for n, c in headers if c is not None}, value)


def _plain(found: Mapping[str, Any]) -> Envelope | None:
    """The envelope, if the headers have the usual form; None: `_read` must check them one by one.

    This is the fast path for every record. It accepts nothing that `_read` would reject or read in
    another way.
    """
    if not found.keys() <= _PLAIN or None in found.values():
        return None
    if found.get("content-type", _JSON) != _JSON:
        return None
    try:
        fixed = _fixed(found["ce_specversion"], found["ce_source"], found["ce_type"])
        event_id, time = _text(found["ce_id"]), _time(found["ce_time"])
        subject = _text(found["ce_subject"]) if "ce_subject" in found else None
        cause = _text(found["ce_causationid"]) if "ce_causationid" in found else None
    except (KeyError, ValueError):
        return None
    trace = found.get("traceparent")
    parent = _traceparent(trace.decode("ascii", "replace")) if trace else None
    return Envelope(event_id, *fixed, time, subject, cause, parent)


def _text(content: bytes) -> str:
    """The text of an attribute. Raises ValueError."""
    text = content.decode()
    if 0 < len(text) <= 128 and text.isascii() and text.isprintable():
        return text
    raise ValueError


@lru_cache(maxsize=1_024)
def _fixed(specversion: bytes, source: bytes, kind: bytes) -> tuple[str, str]:
    """Source and type, which many records share. Raises ValueError."""
    if specversion != b"1.0":
        raise ValueError
    return _text(source), _text(kind)


@lru_cache(maxsize=4_096)
def _time(content: bytes) -> str:
    """The time, which several records of a batch often share. Raises ValueError."""
    time = _text(content)
    moment_of(time)
    return time


def _read(found: Mapping[str, bytes], value: bytes | None) -> tuple[Envelope, bytes]:
    if value is None:
        raise Unreadable("value", "is null; an event has a JSON object as its value", _id_of(found))
    if len(value) > VALUE_BYTES_MAX:
        detail = f"has {len(value)} bytes; at most {VALUE_BYTES_MAX} are read"
        raise Unreadable("value", detail, _id_of(found))
    parent = found.get("traceparent")
    trace = _traceparent(parent.decode("ascii", "replace")) if parent else None
    if found.get("content-type", b"").lower().startswith(b"application/cloudevents"):
        return _structured(value, trace)
    attributes = {}
    for name, header in _HEADERS:
        content = found.get(header)
        if content is not None:
            try:
                attributes[name] = content.decode("utf-8")
            except UnicodeDecodeError:
                raise Unreadable(header, "is not UTF-8", _id_of(found)) from None
    return _envelope(attributes, "ce_", trace), value


def _structured(value: bytes, trace: str | None) -> tuple[Envelope, bytes]:
    event = json_object(value, "value")
    event_id = proper_id(event.get("id"))
    attributes = {}
    for name in _ATTRIBUTES:
        content = event.get(name)
        if content is not None:
            if not isinstance(content, str):
                raise Unreadable(name, "is not a string", event_id)
            attributes[name] = content
    envelope = _envelope(attributes, "", trace or _traceparent(event.get("traceparent")))
    if not isinstance(event.get("data"), dict):
        raise Unreadable("data", "is missing or not a JSON object", event_id)
    return envelope, to_json(event["data"])


def _envelope(attributes: Mapping[str, str], prefix: str, traceparent: str | None) -> Envelope:
    event_id = attributes.get("id")
    for name in _REQUIRED:
        if not attributes.get(name):
            raise Unreadable(prefix + name, "is missing", event_id)
    if attributes["specversion"] != "1.0":
        raise Unreadable(prefix + "specversion", "is not 1.0", event_id)
    for name, content in attributes.items():
        if not (0 < len(content) <= 128 and content.isascii() and content.isprintable()):
            detail = "is not 1 to 128 printable ASCII characters"
            raise Unreadable(prefix + name, detail, event_id)
    try:
        moment_of(attributes["time"])
    except ValueError:
        detail = "is not an RFC 3339 time with an offset"
        raise Unreadable(prefix + "time", detail, event_id) from None
    return Envelope(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        time=attributes["time"],
        subject=attributes.get("subject"),
        causation_id=attributes.get("causationid"),
        traceparent=traceparent,
    )


def json_object(value: bytes, field: str) -> dict[str, object]:
    """The JSON object that the bytes hold.

    Raises:
        Unreadable: they are not UTF-8, not JSON, or not an object.
    """
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(field, f"is not UTF-8 (byte {error.start})") from None
    try:
        found = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise Unreadable(field, f"is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Unreadable(field, f"is a JSON {_json_name(found)}, not an object")
    return found


def _json_name(found: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(found), "null")


def _id_of(found: Mapping[str, bytes]) -> str | None:
    return proper_id(found.get("ce_id", b"").decode("ascii", "replace"))


def _traceparent(found: object) -> str | None:
    """A valid W3C trace context, else None: its specification asks to drop an invalid one."""
    return found if isinstance(found, str) and _TRACEPARENT.fullmatch(found) else None
