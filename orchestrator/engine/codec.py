"""Sagas as compact JSON: the terms are written once, the state at every revision.

Lists in a fixed order, since rows are the hot path. Rows are read for as long as they exist,
whatever version wrote them: a field may only be added at the end. The rows of the first version
(no cancels, no corrections) have another order in their legs, and are told by their length.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import orjson

from orchestrator.engine.instance import Leg, Partial, PricedLine, ResultRevision, Saga, Terms
from orchestrator.engine.machine import Status
from schemas.frozen import replaced
from schemas.ids import SagaId
from schemas.reasons import Code
from schemas.results import ResultStatus

# By a dict: an Enum is called, which is ten times as dear.
_STATUSES = {status.value: status for status in Status}
_RESULTS = {status.value: status for status in ResultStatus}
_CODES = {code.value: code for code in Code}
_PARTIALS = {partial.value: partial for partial in Partial}


def encode_terms(terms: Terms) -> str:
    """The terms beyond those that have a column of their own."""
    return orjson.dumps(
        [
            terms.definition,
            terms.definition_version,
            terms.content,
            terms.locale,
            terms.debtor,
            terms.creditor,
            terms.debtor_account,
            terms.creditor_account,
            terms.unit,
            terms.currency,
            terms.partial,
            [
                [line.item, line.kind, line.quantity, line.points, line.worth, line.face]
                for line in terms.lines
            ],
            terms.limit,
            terms.business_date.isoformat() if terms.business_date else None,
            terms.traceparent,
            terms.prededucted,
            terms.loss_bearer,
            terms.fresh_until,
        ]
    ).decode()


def decode_terms(
    text: str,
    *,
    saga_id: SagaId,
    key_hash: int,
    origin: str,
    account: str,
    request_id: str,
    programme: str,
    programme_version: int,
    accepted_at: int,
) -> Terms:
    """The terms, from their JSON and the row's columns."""
    found = orjson.loads(text)
    prededucted, loss_bearer, fresh_until = found[15:] or _ADDED
    return Terms(
        saga_id=saga_id,
        key_hash=key_hash,
        origin=origin,
        account=account,
        request_id=request_id,
        programme=programme,
        programme_version=programme_version,
        accepted_at=accepted_at,
        definition=found[0],
        definition_version=found[1],
        content=found[2],
        locale=found[3],
        debtor=found[4],
        creditor=found[5],
        debtor_account=found[6],
        creditor_account=found[7],
        unit=found[8],
        currency=found[9],
        partial=_PARTIALS[found[10]],
        lines=tuple([PricedLine(*line) for line in found[11]]),
        limit=found[12],
        business_date=date.fromisoformat(found[13]) if found[13] else None,
        traceparent=found[14],
        prededucted=prededucted,
        loss_bearer=loss_bearer,
        fresh_until=fresh_until,
    )


_ADDED = (False, "platform", None)


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


def decode_state(text: str, terms: Terms, revision: int, wake_at: int | None) -> Saga:
    """The saga, from its JSON, its terms and the row's columns."""
    legs, told, withdrawn, *added = orjson.loads(text)
    return Saga(
        terms=terms,
        revision=revision,
        legs=tuple([_decode_leg(leg) for leg in legs]),
        told=_decode_told(told) if told else None,
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


def _decode_told(found: list[Any]) -> ResultRevision:
    revision, status, final, code, field, at, *rest = found
    reason = _CODES[code] if code else None
    if len(rest) == 1:  # The first version.
        rest = [False, *rest]
    corrected, moved, words = (*rest, None)[:3] if rest else (False, (), None)
    ending = _RESULTS[status]
    return ResultRevision(
        revision, ending, final, reason, field, at, corrected, tuple(moved), words
    )
