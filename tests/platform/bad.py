"""Every kind of bad input of the contract, and the clear outcome that each must have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from schemas.ids import split_leg_id
from tests.platform.partner import ANSWERED, REQUESTED, Headers, envelope
from tests.wire import Redemption

ORIGIN = "alipayhk"
ACCOUNT = "wallet-bad"
KEY = f"{ORIGIN}/{ACCOUNT}".encode()
TIMERS = "uprp.timers.fired.v1"
DECIDED = "uprp.operator.decided.v1"
SCHEMA_INVALID = "SCHEMA_INVALID"
KIB = 1024

BASE = Redemption("base", ACCOUNT, "card-bad", (("hkd50", 2),))
"""A redemption that has succeeded before the bad input comes."""
OPEN: dict[str, Any] = {
    "request_id": "open",
    "programme": "uprp-harbour-miles",
    "account": "saver-bad",
    "debtor_account": "saver-bad",
    "creditor_account": "flyer-bad",
    "lines": [{"item": "miles", "quantity": 1_000}],
}
"""One whose deduction nobody has answered yet."""


@dataclass(frozen=True)
class Bad:
    """A record that must become a dead letter, and what is said of it."""

    name: str
    field: str
    says: str
    """How the reason begins."""
    value: bytes | None
    who: str = ORIGIN
    channel: str = "requests"
    key: bytes | None = KEY
    headers: Headers | None = None
    code: str = SCHEMA_INVALID
    disposition: Literal["poison", "refused"] = "poison"
    saga: str | None = None
    request_id: str | None = None
    """What the sender is told the record calls itself."""

    @property
    def topic(self) -> str:
        """Where it is published."""
        return f"uprp.{self.who}.{self.channel}" if self.who else "uprp.internal"

    @property
    def event_id(self) -> str:
        """Its `ce_id`, unless it has none."""
        return f"bad {self.name}"

    @cached_property
    def sent_headers(self) -> Headers:
        """Those that make the point; else proper ones, and one that no text encoding knows."""
        if self.headers is not None:
            return self.headers
        kinds = {"requests": REQUESTED, "replies": ANSWERED, "internal": TIMERS}
        proper = envelope(self.who, kinds[self.channel], self.event_id)
        return (*proper, ("x-mine", b"\x00\xff"))


def request(**changes: Any) -> dict[str, Any]:
    """A request that is in order but for what is changed; None takes a field away."""
    found: dict[str, Any] = {
        "request_id": "bad",
        "programme": BASE.programme,
        "account": ACCOUNT,
        "debtor_account": BASE.card,
        "lines": [{"item": "hkd50", "quantity": 2}],
    } | changes
    return {name: content for name, content in found.items() if content is not None}


def padded(size: int, **changes: Any) -> bytes:
    """A request of that many bytes."""
    note = size - len(_json(request(context={"note": ""}, **changes)))
    value = _json(request(context={"note": "x" * note}, **changes))
    assert len(value) == size
    return value


def _json(data: Any) -> bytes:
    return json.dumps(data).encode()


def bad_inputs(base: str, open_saga: str) -> Iterator[Bad]:
    """Each bad input of the contract; the arguments are the ids of `BASE` and `OPEN`."""
    yield from _no_event()
    yield from _bad_envelopes()
    yield from _bad_requests(base)
    yield from _bad_replies(base, open_saga)
    yield Bad("internal not JSON", "value", "is not JSON", b"{", "", "internal")
    yield Bad(
        "decision of nobody",
        "decision",
        "is not a decision that anybody made",
        _json({"decision": 1, "saga_id": base, "leg": "deduct", "action": "reject"}),
        "",
        "internal",
        headers=envelope("", DECIDED, "bad decision of nobody"),
        disposition="refused",
        saga=base,
    )
    yield Bad(
        "timer of no saga",
        "saga_id",
        "is not a saga",
        _json({"timers": [{"saga_id": NOBODY, "bucket": 1, "revision": 1}] * 2}),
        "",
        "internal",
        disposition="refused",
        saga=NOBODY,
    )


NOBODY = "00000000-0000-5000-8000-000000000000"


def _no_event() -> Iterator[Bad]:
    """Values that hold no JSON object, on a topic of each kind, under keys of every kind."""
    yield Bad("not JSON", "value", "is not JSON", b'{"request_id": "bad", "lines": ')
    yield Bad("empty", "value", "is not JSON", b"", key=None)
    yield Bad("array", "value", "is a JSON array", b'[{"request_id": "bad"}]', key=b"")
    yield Bad("null", "value", "is a JSON null", b"null", key=b"\xff\x00")
    yield Bad("tombstone", "value", "is null", None)
    yield Bad("invalid UTF-8", "value", "is not UTF-8 (byte 16)", b'{"request_id": "\xff"}')
    yield Bad("65 KiB", "value", f"has {65 * KIB} bytes", padded(65 * KIB))
    yield Bad("a byte too many", "value", f"has {64 * KIB + 1} bytes", padded(64 * KIB + 1))
    yield Bad("reply not JSON", "value", "is not JSON", b"<reply/>", "citi", "replies")


def _bad_envelopes() -> Iterator[Bad]:
    good = _json(request())
    whole = dict(envelope(ORIGIN, REQUESTED, "bad envelope"))
    for name in ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time"):
        headers = tuple(pair for pair in whole.items() if pair[0] != name)
        yield Bad(f"without {name}", name, "is missing", good, headers=headers)
    yield Bad("without headers", "ce_specversion", "is missing", good, headers=())
    for name, content, says in (
        ("ce_type", b"uprp.redemption.requested.v9", "'uprp.redemption.requested.v9' is not"),
        ("ce_type", ANSWERED.encode(), f"{ANSWERED!r} is not an event of a requests topic"),
        ("ce_source", b"/participants/citi", "is '/participants/citi'; on this topic it must be"),
        ("ce_source", b"/participants/nobody", "is '/participants/nobody'; on this topic"),
        ("ce_source", b"/uprp", "is '/uprp'; on this topic it must be '/participants/alipayhk'"),
        ("ce_specversion", b"0.3", "is not 1.0"),
        ("ce_time", b"yesterday", "is not an RFC 3339 time"),
        ("ce_id", b"\xff", "is not UTF-8"),
    ):
        headers = tuple((whole | {name: content}).items())
        case = f"{name} {content.decode('latin-1')}"
        yield Bad(case, name, says, good, headers=headers)
    structured = (("content-type", b"application/cloudevents+json"),)
    event = {name.removeprefix("ce_"): text.decode() for name, text in whole.items()}
    yield Bad("structured without data", "data", "is missing", _json(event), headers=structured)


def _bad_requests(base: str) -> Iterator[Bad]:
    for name, field, changes in (
        ("negative points", "points", {"points": -1}),
        ("zero points", "points", {"points": 0}),
        ("points of 2^63", "points", {"points": 2**63}),
        ("points as text", "points", {"points": "25000"}),
        ("negative quantity", "lines.0.quantity", {"lines": [{"item": "hkd50", "quantity": -2}]}),
        ("quantity of 2^63", "lines.0.quantity", {"lines": [{"item": "hkd50", "quantity": 2**63}]}),
        ("lines of a wrong type", "lines", {"lines": "hkd50"}),
        ("no account", "account", {"account": None}),
    ):
        yield Bad(name, field, "", _json(request(**changes)), request_id="bad")
    yield Bad("request id of a wrong type", "request_id", "", _json(request(request_id=7)))
    yield Bad(
        "the same id for something else",
        "request_id",
        "was used before for another request",
        _json(request(request_id="base", lines=[{"item": "hkd50", "quantity": 3}])),
        code="DUPLICATE_MISMATCH",
        disposition="refused",
        saga=base,
        request_id="base",
    )


def _bad_replies(base: str, open_saga: str) -> Iterator[Bad]:
    deduct = {"leg_id": f"{base}/deduct", "outcome": "CONFIRMED", "reference": "D"}
    for points in (-1, 0, 2**63):
        value = _json(deduct | {"points": points})
        yield Bad(f"reply of {points} points", "points", "", value, "citi", "replies")
    for name, who, about, says in (
        ("leg of no saga", "citi", f"{NOBODY}/deduct", "is not a leg that was asked for"),
        ("leg of no line", ORIGIN, f"{base}/credit/9", "is not a leg that was asked for"),
        ("leg of another company", ORIGIN, f"{base}/deduct", "belongs to 'citi', not to this"),
        ("leg that waits", "pacificair", f"{open_saga}/credit/1", "has not been asked for yet"),
    ):
        value = _json(deduct | {"leg_id": about})
        saga, _ = split_leg_id(about)
        yield Bad(
            name, "leg_id", says, value, who, "replies", disposition="refused", saga=saga, key=KEY
        )
    yield Bad(
        "leg id that is none",
        "leg_id",
        "",
        _json(deduct | {"leg_id": "nonsense"}),
        "citi",
        "replies",
    )
    yield Bad(
        "reply in another's name",
        "ce_source",
        "is '/participants/alipayhk'; on this topic it must be '/participants/citi'",
        _json(deduct),
        "citi",
        "replies",
        headers=envelope(ORIGIN, ANSWERED, "bad reply in another's name"),
    )


@dataclass(frozen=True)
class Refused:
    """A request that can be read and that the rules refuse: a final result, and a saga row."""

    name: str
    code: str
    field: str
    changes: dict[str, Any]
    origin: str = ORIGIN

    @property
    def body(self) -> dict[str, Any]:
        """What is asked."""
        return request(request_id=f"refused {self.name}", **self.changes)


REFUSALS = (
    Refused("unknown programme", "UNKNOWN_PRODUCT", "programme", {"programme": "nothing"}),
    Refused(
        "unknown item",
        "INVALID_FACE_VALUE",
        "lines.0.item",
        {"lines": [{"item": "hkd70", "quantity": 2}]},
    ),
    Refused("not its origin", "UNKNOWN_CHANNEL", "programme", {}, "harbour"),
    Refused(
        "more than anybody has",
        "ABOVE_MAXIMUM",
        "lines.0.quantity",
        {"lines": [{"item": "hkd50", "quantity": 1_000_000_000}]},
    ),
    Refused("too little", "BELOW_MINIMUM", "lines", {"lines": [{"item": "hkd50", "quantity": 1}]}),
    Refused("another price", "RATE_CHANGED", "points", {"points": 2**53 - 1}),
    Refused("no card", "ACCOUNT_MISSING", "debtor_account", {"debtor_account": None}),
    Refused("too late", "STALE_REQUEST", "expires_at", {"expires_at": "2026-01-01T00:00:00+08:00"}),
)
