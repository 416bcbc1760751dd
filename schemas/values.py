"""Constrained types for fields of the contract: numbers, names, ids and times.

The `title` of a type states its unit and shape. What a field means is documented at the field.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from math import isfinite
from typing import Annotated, Any, Final, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import core_schema

from schemas.base import Inbound, Outbound
from schemas.ids import KEY_BUCKETS

INTEGER_MAX: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""

ID_PATTERN: Final = r"^[\x20-\x7e]+$"
SAGA_PATTERN: Final = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
LEG_PATTERN: Final = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/[a-z0-9]+){1,4}$"

_RFC_3339: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-5][0-9])"
)
_is_rfc_3339 = re.compile(_RFC_3339).fullmatch


def moment_of(text: str) -> datetime:
    """The moment that an RFC 3339 time with an offset names.

    Raises:
        ValueError: it has any other form, such as another one of ISO 8601 or a Unix timestamp.
    """
    if not _is_rfc_3339(text):
        raise ValueError("is not an RFC 3339 time with an offset")
    return datetime.fromisoformat(text.upper())


def _moment(found: object) -> object:
    return moment_of(found) if isinstance(found, str) else found


class _FromJson:
    """Has pydantic's core read moments from JSON, for speed, since every reply has four of them.

    It accepts what `moment_of` accepts, which a test verifies. Values in Python are read by
    `moment_of`.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        text = core_schema.str_schema(pattern=f"^{_RFC_3339}$", strict=True)
        read = core_schema.datetime_schema(tz_constraint="aware", strict=False)
        return core_schema.json_or_python_schema(
            core_schema.custom_error_schema(
                core_schema.chain_schema([text, read]),
                custom_error_type="moment",
                custom_error_message="is not an RFC 3339 time with an offset",
            ),
            handler(source),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        given: core_schema.CoreSchema = cast("Any", schema)["python_schema"]
        return handler(given)


_MOMENT_TITLE: Final = "A time, RFC 3339 with an offset"
_YEAR: Final = r"(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})"
_LEAP_YEAR: Final = (
    r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
)
_DAY: Final = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_MOMENT_TEXT: Final = (
    rf"^(?:{_YEAR}-{_DAY}|{_LEAP_YEAR}-02-29)[Tt]{_CLOCK}:[0-5][0-9](?:\.[0-9]+)?"
    rf"(?:[Zz]|[+-]{_CLOCK})$"
)


class _AsSaid:
    """Keeps a moment as the text that it was sent in, since it is only passed on.

    The pattern accepts what `moment_of` accepts, including the days of February; a test verifies
    it.
    """

    def __get_pydantic_core_schema__(
        self, _source: Any, _handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.custom_error_schema(
            core_schema.str_schema(pattern=_MOMENT_TEXT, strict=True),
            custom_error_type="moment",
            custom_error_message="is not an RFC 3339 time with an offset",
        )

    def __get_pydantic_json_schema__(
        self, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "format": "date-time", "title": _MOMENT_TITLE}


def _calendar_date(text: str) -> str:
    date.fromisoformat(text)
    return text


def _storable(part: object) -> bool:
    """Whether PostgreSQL can store a part of a JSON document."""
    match part:
        case str():
            return "\0" not in part
        case float():
            return isfinite(part)
        case list():
            return all(map(_storable, part))
        case dict():
            return all(map(_storable, part.keys())) and all(map(_storable, part.values()))
        case _:
            return True


def _kept(notes: dict[str, Any]) -> dict[str, Any]:
    if not _storable(notes):
        raise ValueError("holds U+0000 or a number beyond all bounds, which cannot be kept")
    return notes


Points = Annotated[
    int, Field(ge=1, le=INTEGER_MAX, title="Points of one programme, a positive integer")
]
PointsOrNone = Annotated[
    int, Field(ge=0, le=INTEGER_MAX, title="Points of one programme, zero or more")
]
Quantity = Annotated[
    int, Field(ge=1, le=1_000_000_000, title="Pieces of an item (coupons, miles), at least one")
]
QuantityOrNone = Annotated[
    int, Field(ge=0, le=1_000_000_000, title="Pieces of an item (coupons, miles), zero or more")
]
Count = Annotated[int, Field(ge=1, le=INTEGER_MAX, title="A count that begins at 1")]
Bucket = Annotated[
    int, Field(ge=0, lt=KEY_BUCKETS, title="The hash of a key of Kafka, modulo 4,096")
]
Position = Annotated[int, Field(ge=0, le=2**63 - 1, title="A Kafka partition or offset")]

Id = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern=ID_PATTERN,
        title="An opaque id, 1 to 128 printable ASCII characters",
    ),
]
Slug = Annotated[
    str,
    Field(
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        title="A name that the platform gave: lower case letters, digits, hyphens",
    ),
]
SagaRef = Annotated[
    str,
    Field(
        min_length=36,
        max_length=36,
        pattern=SAGA_PATTERN,
        title="A saga id, a UUID of version 5 in lower case",
    ),
]
# 112 leaves room for `#<attempt>`, as the event id of a command has at most 128 characters too.
LegRef = Annotated[
    str,
    Field(
        min_length=38,
        max_length=112,
        pattern=LEG_PATTERN,
        title="A leg id: <saga id>/<step>[/<line>][/return|/reverse]",
    ),
]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", title="An ISO 4217 currency code")]
Locale = Annotated[
    str,
    Field(
        max_length=35,
        pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$",
        title="A BCP 47 language tag",
    ),
]
Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_moment),
    _FromJson(),
    Field(title=_MOMENT_TITLE),
]
MomentText = Annotated[str, _AsSaid()]
"""A moment as its text, for what the platform only passes on."""

CalendarDate = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        title="A calendar date, YYYY-MM-DD",
        json_schema_extra={"format": "date"},
    ),
    AfterValidator(_calendar_date),
]
NO_NUL: Final = r"^[^\x00]*$"
"""Text without U+0000, which JSON allows, but databases and terminals do not keep."""

Text = Annotated[str, Field(max_length=2_000, pattern=NO_NUL, title="A sentence for people")]
Word = Annotated[
    str, Field(min_length=1, max_length=64, pattern=NO_NUL, title="A word of a list that may grow")
]
Notes = Annotated[
    dict[str, Any], AfterValidator(_kept), Field(title="Any JSON object, opaque to the platform")
]
MinorUnits = Annotated[int, Field(ge=0, le=INTEGER_MAX, title="Money in minor units")]


class Money(Outbound):
    """An amount in minor units: `{"amount": 5000, "currency": "HKD"}` is HK$50.00."""

    amount: MinorUnits
    """How much, in the currency's minor units (`contract.md` 1)."""

    currency: Currency
    """Of which currency."""


class MoneyHeard(Inbound):
    """An amount in minor units, as a partner states it."""

    amount: MinorUnits
    """How much, in the currency's minor units (`contract.md` 1)."""

    currency: Currency
    """Of which currency."""


class Lot(Inbound):
    """Points that were earned together and expire together (`domain.md` 0, fact 6)."""

    lot: Id
    """The debtor's own name of the lot."""

    points: Points
    """How many points of this lot were moved, or are to be moved."""

    expires_on: CalendarDate | None = None
    """The last day on which these points can be used; absent when they do not expire."""


GivenLot = Annotated[Lot, AfterValidator(Lot.known)]
"""A lot that the platform passes on, without what the partner added to it."""
