"""Every reason code has a class and a sentence in every language, and nothing more."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import schemas
from schemas.reasons import (
    CLASS_OF,
    LANGUAGES,
    RECOVERABLE,
    Code,
    ReasonClass,
    is_definite_no,
    reason,
    sentence,
)

FOLDER = Path(schemas.__file__).parent / "languages"


def test_every_language_file_ships() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_has_a_sentence_and_every_sentence_a_code(language: str) -> None:
    found = tomllib.loads((FOLDER / f"{language}.toml").read_text("utf-8"))
    assert list(found) == [code.value for code in Code]
    for text in found.values():
        assert text.strip() == text
        assert text.endswith((".", "。"))


def test_what_may_be_concluded_from_a_code() -> None:
    assert set(CLASS_OF) == set(Code)
    assert CLASS_OF[Code.SCHEMA_INVALID] is ReasonClass.INVALID
    assert CLASS_OF[Code.ACCOUNT_MISSING] is ReasonClass.INVALID
    assert CLASS_OF[Code.EXPIRED] is ReasonClass.DECLINED
    assert CLASS_OF[Code.WITHDRAWN] is ReasonClass.DECLINED
    assert CLASS_OF[Code.UNDER_REVIEW] is ReasonClass.PENDING
    assert CLASS_OF[Code.TIMEOUT] is ReasonClass.UNKNOWN
    assert CLASS_OF[Code.NOT_RECEIVED] is ReasonClass.UNKNOWN
    definite = {code for code in Code if is_definite_no(code)}
    verdicts = {
        code for code in Code if CLASS_OF[code] in (ReasonClass.INVALID, ReasonClass.DECLINED)
    }
    assert definite == verdicts - {Code.PARTNER_UNAVAILABLE}
    for code in ("", "insufficient_points", "DECLINED", "SUCCESS", "51"):
        assert not is_definite_no(code)
    assert all(is_definite_no(code) for code in RECOVERABLE - {Code.PARTNER_UNAVAILABLE})


@pytest.mark.parametrize(
    ("locale", "language"),
    (
        ("en", "en"),
        ("en-HK", "en"),
        ("EN-hk", "en"),
        ("zh-Hant", "zh-Hant"),
        ("zh-Hant-HK", "zh-Hant"),
        ("ZH-HANT-hk", "zh-Hant"),
        ("zh-HK", "zh-Hant"),
        ("zh-TW", "zh-Hant"),
        ("zh-Hans-CN", "en"),
        ("zh", "en"),
        ("ja", "en"),
        ("", "en"),
    ),
)
def test_the_nearest_language_is_used(locale: str, language: str) -> None:
    for code in Code:
        assert sentence(code, locale) == sentence(code, language)


def test_the_languages_differ() -> None:
    for code in Code:
        assert sentence(code, "en") != sentence(code, "zh-Hant")


def test_a_reason_says_what_to_do_next() -> None:
    found = reason(Code.BELOW_MINIMUM, "zh-Hant-HK", "lines")
    assert found.message == sentence(Code.BELOW_MINIMUM, "zh-Hant")
    assert (found.code, found.recoverable, found.field) == (Code.BELOW_MINIMUM, True, "lines")
    assert not reason(Code.OFFER_BUDGET_EXHAUSTED).recoverable
