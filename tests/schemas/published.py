"""The published JSON Schemas as a partner's validator reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators

from schemas.publish import ROOT

_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
_formats = FormatChecker(formats=())


@_formats.checks("date-time")
def _is_moment(found: object) -> bool:
    return not isinstance(found, str) or _MOMENT.fullmatch(found) is not None


@_formats.checks("date", raises=ValueError)
def _is_date(found: object) -> bool:
    return not isinstance(found, str) or bool(date.fromisoformat(found))


def _pattern(
    _validator: object, pattern: str, instance: object, _schema: object
) -> Iterator[ValidationError]:
    """ECMA 262, as JSON Schema asks: `$` is the end, where Python's also allows a line feed."""
    if isinstance(instance, str) and not re.search(pattern.removesuffix("$") + r"\Z", instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = validators.extend(  # type: ignore[no-untyped-call]  # Its stubs have no types.
    Draft202012Validator, {"pattern": _pattern}
)


@cache
def schema(event: str) -> dict[str, Any]:
    """The published schema of an event."""
    text = (ROOT / f"schemas/json/{event}.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def _validator(event: str) -> Any:
    return _Validator(schema(event), format_checker=_formats)


def errors(event: str, data: object) -> list[str]:
    """What the published schema holds against the data."""
    return [error.message for error in _validator(event).iter_errors(data)]


def examples() -> list[dict[str, Any]]:
    """The records in the partner guide, in order."""
    guide = Path(ROOT / "docs/partners/README.md").read_text("utf-8")
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", guide, re.DOTALL)]
