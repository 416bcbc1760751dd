"""The reason codes, their classes, and their sentences for members (`domain.md` 2.7).

The class of a code decides what a saga may conclude from it. A code that is not listed here counts
as unknown, never as a refusal.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Annotated, Final

from pydantic import Field

from schemas.base import Inbound, Outbound
from schemas.frozen import TextEnum
from schemas.values import NO_NUL, Text, Word


class ReasonClass(TextEnum):
    """What may be concluded from a code."""

    INVALID = "INVALID"  # Never accepted; nothing was done.
    DECLINED = "DECLINED"  # A definite no.
    PENDING = "PENDING"  # Accepted, to be settled later.
    UNKNOWN = "UNKNOWN"  # Nothing may be concluded.


class Code(TextEnum):
    """The canonical reason codes of `domain.md` 2.7."""

    SCHEMA_INVALID = "SCHEMA_INVALID"
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    DUPLICATE_MISMATCH = "DUPLICATE_MISMATCH"
    UNKNOWN_CHANNEL = "UNKNOWN_CHANNEL"
    UNKNOWN_PRODUCT = "UNKNOWN_PRODUCT"
    INVALID_FACE_VALUE = "INVALID_FACE_VALUE"
    BELOW_MINIMUM = "BELOW_MINIMUM"
    ABOVE_MAXIMUM = "ABOVE_MAXIMUM"
    QUOTE_EXPIRED = "QUOTE_EXPIRED"
    RATE_CHANGED = "RATE_CHANGED"
    STALE_REQUEST = "STALE_REQUEST"
    DEDUCTION_MISMATCH = "DEDUCTION_MISMATCH"
    ACCOUNT_MISSING = "ACCOUNT_MISSING"
    UNSUPPORTED_LOCALE = "UNSUPPORTED_LOCALE"
    PARTNER_UNAVAILABLE = "PARTNER_UNAVAILABLE"

    EXPIRED = "EXPIRED"
    LINK_NOT_FOUND = "LINK_NOT_FOUND"
    LINK_INACTIVE = "LINK_INACTIVE"
    CARD_NOT_DESIGNATED = "CARD_NOT_DESIGNATED"
    CONSENT_MISSING = "CONSENT_MISSING"
    OTP_REQUIRED = "OTP_REQUIRED"
    OTP_FAILED = "OTP_FAILED"
    OTP_EXPIRED = "OTP_EXPIRED"
    OTP_LOCKED = "OTP_LOCKED"
    INSUFFICIENT_POINTS = "INSUFFICIENT_POINTS"
    DAILY_LIMIT_EXCEEDED = "DAILY_LIMIT_EXCEEDED"
    OFFER_BUDGET_EXHAUSTED = "OFFER_BUDGET_EXHAUSTED"
    USER_LIMIT_EXCEEDED = "USER_LIMIT_EXCEEDED"
    MEMBER_UNKNOWN = "MEMBER_UNKNOWN"
    MEMBER_SUSPENDED = "MEMBER_SUSPENDED"
    NAME_MISMATCH = "NAME_MISMATCH"
    PARTNER_DECLINED = "PARTNER_DECLINED"
    RISK_DECLINED = "RISK_DECLINED"
    TIER_NOT_ELIGIBLE = "TIER_NOT_ELIGIBLE"
    ALREADY_CONSUMED = "ALREADY_CONSUMED"
    NO_ANSWER = "NO_ANSWER"
    WITHDRAWN = "WITHDRAWN"

    ACCEPTED = "ACCEPTED"
    PARTNER_BATCH = "PARTNER_BATCH"
    UNDER_REVIEW = "UNDER_REVIEW"
    WRITTEN_OFF = "WRITTEN_OFF"

    TIMEOUT = "TIMEOUT"
    CONNECTION_LOST = "CONNECTION_LOST"
    PARTNER_SYSTEM_ERROR = "PARTNER_SYSTEM_ERROR"
    MALFORMED_REPLY = "MALFORMED_REPLY"
    REPLY_SIGNATURE_INVALID = "REPLY_SIGNATURE_INVALID"
    REPLY_AMOUNT_MISMATCH = "REPLY_AMOUNT_MISMATCH"
    REPLY_DISPUTED = "REPLY_DISPUTED"
    NOT_RECEIVED = "NOT_RECEIVED"


_FIRST_OF_CLASS: Final = {
    Code.SCHEMA_INVALID: ReasonClass.INVALID,
    Code.EXPIRED: ReasonClass.DECLINED,
    Code.ACCEPTED: ReasonClass.PENDING,
    Code.TIMEOUT: ReasonClass.UNKNOWN,
}


def _classes() -> Mapping[Code, ReasonClass]:
    """The class of each code: the first code of a class begins it, in the order of the enum."""
    classes: dict[Code, ReasonClass] = {}
    current = ReasonClass.INVALID
    for code in Code:
        current = _FIRST_OF_CLASS.get(code, current)
        classes[code] = current
    return classes


CLASS_OF: Final[Mapping[Code, ReasonClass]] = _classes()

RECOVERABLE: Final[frozenset[Code]] = frozenset(
    {
        # The member or the origin can change something, and make a new request that may succeed.
        Code.SCHEMA_INVALID,
        Code.DUPLICATE_MISMATCH,
        Code.INVALID_FACE_VALUE,
        Code.BELOW_MINIMUM,
        Code.ABOVE_MAXIMUM,
        Code.QUOTE_EXPIRED,
        Code.RATE_CHANGED,
        Code.STALE_REQUEST,
        Code.DEDUCTION_MISMATCH,
        Code.ACCOUNT_MISSING,
        Code.UNSUPPORTED_LOCALE,
        Code.PARTNER_UNAVAILABLE,
        Code.LINK_NOT_FOUND,
        Code.LINK_INACTIVE,
        Code.CONSENT_MISSING,
        Code.OTP_REQUIRED,
        Code.OTP_FAILED,
        Code.OTP_EXPIRED,
        Code.INSUFFICIENT_POINTS,
        Code.DAILY_LIMIT_EXCEEDED,
        Code.EXPIRED,
        Code.WITHDRAWN,
    }
)


def is_definite_no(code: str) -> bool:
    """Whether a partner's code decides a leg; an unknown code does not (`domain.md` 2.7)."""
    return code in _DEFINITE


_DEFINITE: Final = frozenset(
    code.value
    for code, kind in CLASS_OF.items()
    if kind in (ReasonClass.DECLINED, ReasonClass.INVALID)
    # From the platform it means that no participant was asked. From a partner it may mean that one
    # of its own systems did not answer in time, and may have done it all the same.
    and code is not Code.PARTNER_UNAVAILABLE
)

LANGUAGES: Final = ("en", "zh-Hant")
"""The languages that have sentences; any other language falls back to the first."""


@cache
def _sentences(language: str) -> Mapping[str, str]:
    text = resources.files("schemas").joinpath(f"languages/{language}.toml").read_text("utf-8")
    return {str(code): str(sentence) for code, sentence in tomllib.loads(text).items()}


def sentence(code: Code, locale: str = "en") -> str:
    """The sentence for a member about a code, in the nearest language that has one.

    `zh-Hant-HK` falls back to `zh-Hant`, then to English. The case of tags does not matter, as
    BCP 47 says (`domain.md` 2.6).
    """
    return _sentences(_nearest(locale)).get(code) or _sentences(LANGUAGES[0])[code]


# The cache is bounded, since partners choose the tags.
@lru_cache(maxsize=1_024)
def _nearest(locale: str) -> str:
    tag = locale.lower()
    while tag:
        if tag in _TAGS:
            return _TAGS[tag]
        tag = tag.rpartition("-")[0]
    return LANGUAGES[0]


_TAGS: Final = {language.lower(): language for language in LANGUAGES} | {
    # These regions write the traditional script, but their tags do not always state it.
    "zh-hk": "zh-Hant",
    "zh-mo": "zh-Hant",
    "zh-tw": "zh-Hant",
}


class Reason(Outbound):
    """Why, for the origin: a stable code, a sentence in the request's locale, what to do next."""

    code: Code
    """The stable code; the error catalogue lists them all (`domain.md` 2.7)."""

    message: Text
    """What a member may read, in the nearest language to the request's locale."""

    recoverable: bool
    """Whether asking again, changed, can succeed."""

    field: (
        Annotated[
            str, Field(max_length=200, pattern=NO_NUL, title="A header, or a path of field names")
        ]
        | None
    ) = None
    """The header or field that is wrong."""


class ReasonHeard(Inbound):
    """Why a participant refused."""

    code: Word
    """A code of the error catalogue; one that is not listed reads as unknown, not as a refusal."""

    message: Text | None = None
    """What the participant likes to add, for operators."""


def reason(code: Code, locale: str = "en", field: str | None = None) -> Reason:
    """The reason with that code, with its sentence in the nearest language that has one."""
    return Reason(
        code=code, message=sentence(code, locale), recoverable=code in RECOVERABLE, field=field
    )
