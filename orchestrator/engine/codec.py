"""Sagas as compact JSON: the terms are written once, the state at every revision.

The JSON consists of lists in a fixed order, as rows are written and read all the time. A row stays
readable for as long as it exists, whichever version wrote it: fields may only be added at the end.
In the rows of the first version, which had no cancels and no corrections, the fields of a leg have
another order; they are recognised by their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from orchestrator.engine.instance import Leg, ResultRevision, Saga, Terms
from orchestrator.engine.kind import SagaKind
from orchestrator.engine.machine import Status
from schemas.frozen import replaced
from schemas.reasons import Code

# Looked up in a dict, since calling an Enum takes ten times as long.
_STATUSES = {status.value: status for status in Status}
_CODES = {code.value: code for code in Code}


Kinds = Mapping[tuple[str, int], SagaKind]
"""The kinds of saga, by name and version."""


def encode_terms(terms: Terms, kinds: Kinds) -> str:
    """The JSON of those terms that have no column of their own."""
    name, version = terms.definition, terms.definition_version
    header = [name, version, terms.content, terms.locale]
    return orjson.dumps([*header, *kinds[name, version].terms.encode(terms)]).decode()


def decode_terms(text: str, kinds: Kinds, **columns: Any) -> Terms:
    """The terms, from their JSON and from the row's columns, whose names are fields of Terms."""
    definition, version, content, locale, *rest = orjson.loads(text)
    return kinds[definition, version].terms.decode(
        rest,
        definition=definition,
        definition_version=version,
        content=content,
        locale=locale,
        **columns,
    )


def encode_state(saga: Saga) -> str:
    """The JSON of a saga's state: everything but the terms, the revision and the timer."""
    told = saga.told
    return orjson.dumps(
        [
            [_leg(leg) for leg in saga.legs],
            _told(told) if told else None,
            saga.withdrawn,
            saga.held,
        ]
    ).decode()


def _told(told: ResultRevision) -> list[Any]:
    fields = [told.revision, told.status, told.final, told.code, told.field, told.at]
    if told.as_published is not None:
        return [*fields, told.corrected, told.superseded, told.as_published]
    return (
        [*fields, told.corrected, told.superseded] if told.superseded or told.corrected else fields
    )


def _leg(leg: Leg) -> list[Any]:
    fields = [
        leg.path,
        leg.asked,
        leg.status,
        leg.attempt,
        leg.inquiries,
        leg.sent_at,
        leg.said_at,
        leg.due,
        leg.moved,
        leg.reference,
        leg.code,
        leg.detail,
        leg.expires_at,
    ]
    # The rest has its initial values in nearly every row, and is not stored then.
    rest = (
        leg.rungs,
        leg.since,
        leg.pending_from,
        leg.cancels,
        leg.escalated_at,
        leg.first,
        leg.claim,
        leg.decision,
    )
    return fields if rest == _UNTOUCHED else [*fields, *rest]


_UNTOUCHED = (0, 0, 0, 0, 0, None, None, 0)


def decode_state(text: str, terms: Terms, kinds: Kinds, revision: int, wake_at: int | None) -> Saga:
    """The saga, from the JSON of its state, its terms, and the row's revision and timer (ms)."""
    legs, told, withdrawn, *added = orjson.loads(text)
    kind = kinds[terms.definition, terms.definition_version]
    return Saga(
        terms=terms,
        revision=revision,
        legs=tuple([_decode_leg(leg) for leg in legs]),
        told=_decode_told(told, kind) if told else None,
        withdrawn=withdrawn,
        wake_at=wake_at,
        held=added[0] if added else 0,
    )


_FIRST_LEG = 14  # How many fields a leg had in the first version; since then it has 13 or 21.


def _decode_leg(found: list[Any]) -> Leg:
    if len(found) == _FIRST_LEG:
        path, asked, status, *rest = found
        attempt, rungs, pending_from, expires_at = *rest[:2], *rest[-2:]
        inquiries = max(0, rungs - (attempt - 1))  # All other rungs were resends.
        known = (path, asked, _STATUSES[status], attempt, inquiries, *rest[2:-2], expires_at)
        return replaced(Leg(*known), rungs=rungs, pending_from=pending_from)
    found[2] = _STATUSES[found[2]]
    return Leg(*found)


def _decode_told(found: list[Any], kind: SagaKind) -> ResultRevision:
    revision, status, final, code, field, at, *rest = found
    reason = _CODES[code] if code else None
    if len(rest) == 1:  # The first version.
        rest = [False, *rest]
    corrected, superseded, data = (*rest, None)[:3] if rest else (False, (), None)
    known = kind.statuses.by_text[status]
    return ResultRevision(
        revision, known, final, reason, field, at, corrected, tuple(superseded), data
    )
