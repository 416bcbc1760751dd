"""Sagas as compact JSON: the terms are written once, the state at every revision.

Lists in a fixed order, since rows are the hot path. Rows are read for as long as they exist,
whatever version wrote them: a field may only be added at the end. The rows of the first version
(no cancels, no corrections) have another order in their legs, and are told by their length.
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

# By a dict: an Enum is called, which is ten times as dear.
_STATUSES = {status.value: status for status in Status}
_CODES = {code.value: code for code in Code}


Kinds = Mapping[tuple[str, int], SagaKind]
"""Kinds of saga by name and version."""


def encode_terms(terms: Terms, kinds: Kinds) -> str:
    """The terms beyond those that have a column of their own."""
    name, version = terms.definition, terms.definition_version
    header = [name, version, terms.content, terms.locale]
    return orjson.dumps([*header, *kinds[name, version].terms.encode(terms)]).decode()


def decode_terms(text: str, kinds: Kinds, **columns: Any) -> Terms:
    """The terms, from their JSON and the row's columns."""
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
    """Where the saga stands."""
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
    # The rest is as it was at first in nearly every row, and need not be stored then.
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
    """The saga, from its JSON, its terms and the row's columns."""
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


_FIRST_LEG = 14  # The fields of a leg that was asked, in the first version; now they are 13 or 21.


def _decode_leg(found: list[Any]) -> Leg:
    if len(found) == _FIRST_LEG:
        path, asked, status, *rest = found
        attempt, rungs, pending_from, expires_at = *rest[:2], *rest[-2:]
        inquiries = max(0, rungs - (attempt - 1))  # The other rungs were resends.
        known = (path, asked, _STATUSES[status], attempt, inquiries, *rest[2:-2], expires_at)
        return replaced(Leg(*known), rungs=rungs, pending_from=pending_from)
    found[2] = _STATUSES[found[2]]
    return Leg(*found)


def _decode_told(found: list[Any], kind: SagaKind) -> ResultRevision:
    revision, status, final, code, field, at, *rest = found
    reason = _CODES[code] if code else None
    if len(rest) == 1:  # The first version.
        rest = [False, *rest]
    corrected, moved, words = (*rest, None)[:3] if rest else (False, (), None)
    ending = kind.statuses.by_text[status]
    return ResultRevision(
        revision, ending, final, reason, field, at, corrected, tuple(moved), words
    )
