"""Encodes messages as records with envelope, key and topic; a repeat has the same content. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import orjson
from pydantic import BaseModel

from orchestrator.batch.decode import InboundEvent
from orchestrator.engine.instance import Saga
from orchestrator.engine.messages import Message
from orchestrator.ports import Outgoing
from schemas import events
from schemas.dead_letters import DeadLetter, Disposition
from schemas.envelope import PLATFORM_SOURCE, VALUE_BYTES_MAX, Envelope, Unreadable, rfc3339
from schemas.events import DEAD_LETTER_TOPIC, Channel, topic_of
from schemas.ids import SagaId, partition_key, remember
from schemas.reasons import Code, reason
from schemas.results import RequestRefused

_topic = lru_cache(maxsize=4_096)(topic_of)
_SPECVERSION = ("ce_specversion", b"1.0")
_SOURCE = ("ce_source", PLATFORM_SOURCE.encode())
_DEAD_LETTER_BYTES_MAX: Final = 1_200_000
_JSON = ("content-type", b"application/json")
_TIMERS = ("ce_type", events.TIMERS.encode())


@lru_cache(maxsize=1_024)
def _header(name: str, text: str) -> tuple[str, bytes]:
    """A header that many records share, encoded once."""
    return name, text.encode()


def record_of(saga: Saga, message: Message, caused_by: str | None, at: str) -> Outgoing:
    """The record of a message about a saga.

    Args:
        saga: the saga.
        message: the message.
        caused_by: the event id of the record that led to it, if one did.
        at: the time for the envelope, as RFC 3339.
    """
    terms = saga.terms
    # Written out, not built by Envelope, for speed: this runs for every record that is published.
    headers = [
        _SPECVERSION,
        ("ce_id", message.event_id.encode()),
        _SOURCE,
        _header("ce_type", message.type),
        _header("ce_time", at),
        ("ce_subject", message.event_id[:36].encode()),
        _JSON,
    ]
    if caused_by is not None:
        headers.append(("ce_causationid", caused_by.encode()))
    if terms.traceparent is not None:
        headers.append(("traceparent", terms.traceparent.encode()))
    key = partition_key(terms.origin, terms.account).encode()
    remember(key, terms.key_hash)  # The hash is needed to publish the record and to read its reply.
    return Outgoing(
        topic=_topic(message.participant, message.channel),
        key=key,
        value=_fitting(message.data),
        headers=headers,
    )


def timers_record(sagas: Sequence[Saga], at: str) -> Outgoing:
    """The record of the fired timers of these sagas; `at` is RFC 3339.

    All of them are on one partition, which follows from the key of the first. Written out as well,
    since there may be thousands of timers a second.
    """
    first = sagas[0].terms
    timers = [
        {
            "saga_id": saga.terms.saga_id,
            "bucket": saga.terms.key_hash,
            "revision": saga.revision,
        }
        | ({"ended": True} if saga.ended else {})
        for saga in sagas
    ]
    return Outgoing(
        events.INTERNAL_TOPIC,
        partition_key(first.origin, first.account).encode(),
        orjson.dumps({"timers": timers}),
        [
            _SPECVERSION,
            ("ce_id", f"{first.saga_id}#t{sagas[0].revision}+{len(sagas) - 1}".encode()),
            _SOURCE,
            _TIMERS,
            ("ce_time", at.encode()),
            _JSON,
        ],
    )


def _fitting(data: dict[str, Any]) -> bytes:
    """The JSON of the data; if it is larger than the contract allows, without coupons.

    Lines whose coupons are left out say so (`coupons_omitted`).
    """
    value = orjson.dumps(data)
    if len(value) <= VALUE_BYTES_MAX:
        return value
    lines = [line | {"coupons": [], "coupons_omitted": True} for line in data.get("lines", ())]
    return orjson.dumps(data | {"lines": lines})


def _json(data: BaseModel) -> bytes:
    return data.__pydantic_serializer__.to_json(data, exclude_none=True)


def answer(participant: str, key: bytes | None, envelope: Envelope, data: BaseModel) -> Outgoing:
    """A record on an origin's results topic that is about no saga."""
    return Outgoing(_topic(participant, Channel.RESULTS), key, _json(data), envelope.headers())


def dead_letter(
    arrival: InboundEvent,
    problem: Unreadable,
    disposition: Disposition,
    group: str,
    now: datetime,
) -> DeadLetter:
    """The dead letter of a record: why it was set aside, at `now` by the consumer group."""
    record = arrival.record
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=record.headers,
        group=group,
        error_class=problem.code,
        # PostgreSQL keeps no NUL. Replaced here too, so that a repeat after a crash is the same.
        field=problem.field.replace("\0", "?"),
        message=problem.detail.replace("\0", "?"),
        disposition=disposition,
        failed_at=now,
        saga_id=str(arrival.saga) if arrival.saga else None,
    )


def dead_letter_record(letter: DeadLetter) -> Outgoing:
    """The record of a dead letter on the topic of dead letters.

    A compressed batch can carry a record that is larger than any that may be published. Of such a
    record, only the position and the reason are published; the table has all of it, byte for byte.
    """
    headers = letter.wire_headers()
    size = sum(len(name) + len(content or b"") for name, content in headers)
    size += len(letter.key or b"") + len(letter.value or b"")
    if size <= _DEAD_LETTER_BYTES_MAX:
        return Outgoing(DEAD_LETTER_TOPIC, letter.key, letter.value, headers)
    ours = replace(letter, headers=()).wire_headers()
    return Outgoing(
        DEAD_LETTER_TOPIC, None, None, [*ours, ("x-dlq-omitted-bytes", str(size).encode())]
    )


def refused(arrival: InboundEvent, problem: Unreadable, now: datetime) -> Outgoing:
    """The record that tells an origin that its request became a dead letter (`contract.md` 3)."""
    record = arrival.record
    request_id = problem.request_id or getattr(arrival.event, "request_id", None)
    why = reason(problem.code, "en", problem.field)
    if problem.code is Code.SCHEMA_INVALID:
        message = f"{why.message} ({problem.field}: {problem.detail})"[:2_000]
        why = why.model_copy(update={"message": message})
    data = RequestRefused(
        event_id=_printable(problem.event_id),
        request_id=request_id,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=why,
    )
    envelope = Envelope(
        id=f"{record.topic}/{record.partition}/{record.offset}",
        source=PLATFORM_SOURCE,
        type=events.REFUSED,
        time=rfc3339(now),
        causation_id=data.event_id,
    )
    return answer(arrival.route.participant, record.key, envelope, data)


def _printable(text: str | None) -> str | None:
    """The text in ASCII, cut to the length of an id; None if it is empty."""
    if not text:
        return None
    return text.encode("ascii", "replace").decode()[:128]


def result_envelope(
    type_: str, saga_id: SagaId, event_id: str, caused_by: str | None, now: datetime
) -> Envelope:
    """The envelope of a result about a saga that does not exist."""
    return Envelope(
        id=event_id,
        source=PLATFORM_SOURCE,
        type=type_,
        time=rfc3339(now),
        subject=saga_id,
        causation_id=caused_by,
    )
