"""Commands as a company reads them from the wire, by `contract.md` 1 to 3 alone.

Tuples and plain checks instead of models: a benchmark sends thousands of commands a second through
a process that must cost less than what it measures.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import orjson

Verb: TypeAlias = Literal["deduct", "return", "credit", "reverse", "balance", "inquire", "cancel"]
Headers: TypeAlias = Sequence[tuple[str, bytes | str | None]]

VERB_OF_TYPE: Final[Mapping[str, Verb]] = {
    "uprp.points.deduct.v1": "deduct",
    "uprp.points.return.v1": "return",
    "uprp.value.credit.v1": "credit",
    "uprp.value.reverse.v1": "reverse",
    "uprp.points.balance.v1": "balance",
    "uprp.leg.inquire.v1": "inquire",
    "uprp.leg.cancel.v1": "cancel",
}
_NAMES: Final[Mapping[object, str]] = {name.encode(): name for name in VERB_OF_TYPE}
_JSON: Final = b"application/json"
VALUE_BYTES_MAX: Final = 65_536
ID_CHARS_MAX: Final = 128
AMOUNT_MAX: Final = 2**53  # What every JSON reader carries exactly.


class UnreadableError(ValueError):
    """A record that is no command: the message names the field and what is wrong with it."""


class Money(NamedTuple):
    """An amount in minor units of an ISO 4217 currency."""

    amount: int
    currency: str


class LotPoints(NamedTuple):
    """Points of one lot, as a return names them."""

    lot: str
    points: int


class Command(NamedTuple):
    """One command of the platform; fields that its verb does not have are empty."""

    verb: Verb
    leg_id: str
    attempt: int
    type: str
    key: bytes | None
    body: bytes
    event_id: str = ""
    traceparent: bytes | str | None = None
    account: str = ""
    item: str = ""
    amount: int = 0  # Points, or a quantity.
    face: Money | None = None
    expires_at: datetime | None = None
    original: str = ""  # The leg that a return or a reverse undoes.
    reference: str = ""
    lots: tuple[LotPoints, ...] = ()


def read_command(key: bytes | None, value: bytes | None, headers: Headers | None) -> Command | None:
    """The command in a record, in binary or structured mode, or None when its type is unknown.

    Raises UnreadableError when the record is not a CloudEvent or a known field is wrong.
    """
    if not value or len(value) > VALUE_BYTES_MAX:
        raise UnreadableError(f"value: {len(value or b'')} bytes, expected 1 to {VALUE_BYTES_MAX}")
    by_name = dict(headers or ())
    data = _object(value)
    content = by_name.get("content-type")
    if content != _JSON and _string(content).lower().startswith("application/cloudevents"):
        type_, event_id = data.get("type"), data.get("id")
        body = orjson.dumps(data.get("data"))
        data = _object(body)
    else:
        type_, event_id, body = by_name.get("ce_type"), by_name.get("ce_id"), value
    name = _NAMES.get(type_) if type(type_) is bytes else None
    if name is None:
        name = _string(type_)
        if not name:
            raise UnreadableError("ce_type: missing")
        if name not in VERB_OF_TYPE:
            return None
    return parse_command(
        name, key, body, data, event_id=_string(event_id), traceparent=by_name.get("traceparent")
    )


def parse_command(
    name: str,
    key: bytes | None,
    body: bytes,
    data: Mapping[str, Any] | None = None,
    *,
    event_id: str = "",
    traceparent: bytes | str | None = None,
) -> Command:
    """The command of a known type; `data` is its body when that was read already."""
    if data is None:
        data = _object(body)
    verb = VERB_OF_TYPE[name]
    leg_id, attempt = _id(data, "leg_id"), _count(data, "attempt")
    account = item = original = reference = ""
    amount = 0
    face: Money | None = None
    expires_at: datetime | None = None
    lots: tuple[LotPoints, ...] = ()
    match verb:
        case "deduct":
            account, amount = _id(data, "account"), _count(data, "points")
            expires_at = _time(data, "expires_at")
        case "credit":
            account, item = _id(data, "account"), _id(data, "item")
            amount, face = _count(data, "quantity"), _money(data, "face")
            expires_at = _time(data, "expires_at")
        case "return":
            account, amount = _id(data, "account"), _count(data, "points")
            original, reference = _id(data, "deduction_leg_id"), _id(data, "reference")
            lots = _lots(data)
        case "reverse":
            account, amount = _id(data, "account"), _count(data, "quantity")
            original, reference = _id(data, "credit_leg_id"), _id(data, "reference")
        case "balance":
            account, expires_at = _id(data, "account"), _time(data, "expires_at")
        case "inquire" | "cancel":
            pass
    return Command(
        verb,
        leg_id,
        attempt,
        name,
        key,
        body,
        event_id,
        traceparent,
        account,
        item,
        amount,
        face,
        expires_at,
        original,
        reference,
        lots,
    )


def _object(value: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise UnreadableError(f"value: not JSON ({error})") from error
    if type(data) is not dict:
        raise UnreadableError("value: not a JSON object")
    return data


def _string(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def _id(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if type(value) is str and 0 < len(value) <= ID_CHARS_MAX and value.isascii():
        return value
    raise UnreadableError(f"{name}: expected 1 to {ID_CHARS_MAX} ASCII characters")


def _count(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if type(value) is int and 0 < value <= AMOUNT_MAX:
        return value
    raise UnreadableError(f"{name}: expected an integer from 1 to {AMOUNT_MAX}")


def _time(data: Mapping[str, Any], name: str) -> datetime:
    value = data.get(name)
    moment = _moment(value) if type(value) is str else None
    if moment is None:
        raise UnreadableError(f"{name}: expected an RFC 3339 time with an offset")
    return moment


@lru_cache(maxsize=1_024)
def _moment(text: str) -> datetime | None:
    """The moment, which many commands of a batch share; None when it is none with an offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment


def _money(data: Mapping[str, Any], name: str) -> Money | None:
    value = data.get(name)
    if value is None:
        return None
    if type(value) is not dict or type(value.get("currency")) is not str:
        raise UnreadableError(f"{name}: expected an amount and a currency")
    return Money(_count(value, "amount"), value["currency"])


def _lots(data: Mapping[str, Any]) -> tuple[LotPoints, ...]:
    value = data.get("lots")
    if value is None:
        return ()
    if type(value) is not list or not all(type(lot) is dict for lot in value):
        raise UnreadableError("lots: expected a list of objects")
    return tuple(LotPoints(_id(lot, "lot"), _count(lot, "points")) for lot in value)
