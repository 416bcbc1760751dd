"""Bytes to events, once, at the edge: what cannot be read becomes a problem with a field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.ports import Record, SagaKey
from schemas import events
from schemas.envelope import PLATFORM_SOURCE, Envelope, Unreadable, read, source_of
from schemas.events import Channel
from schemas.frozen import value
from schemas.ids import SagaId, key_hash, saga_key, split_leg_id
from schemas.results import TimerFired, TimersFired


@dataclass(frozen=True, slots=True)
class Route:
    """What a topic's name says: which channel it is, of whom ("" for the platform's own)."""

    channel: Channel
    participant: str
    source: str  # Whose events it carries.


@value
class InboundEvent:
    """What a record says of one saga: an event, or a problem."""

    record: Record
    route: Route
    redelivered: bool  # Below the stored position: committed before, perhaps not published.
    envelope: Envelope | None = None
    event: events.Event | TimerFired | None = None
    saga: SagaId | None = None
    key: SagaKey | None = None  # None when the record's key does not say where the saga lives.
    problem: Unreadable | None = None
    restored: bool = False  # It came before the database was restored, and is read once more.


def routes(participants: Mapping[str, object]) -> dict[str, Route]:
    """Every inbound topic and what it carries."""
    found = {events.INTERNAL_TOPIC: Route(Channel.INTERNAL, "", PLATFORM_SOURCE)}
    for participant in participants:
        for channel in (Channel.REQUESTS, Channel.REPLIES):
            found[events.topic_of(participant, channel)] = Route(
                channel, participant, source_of(participant)
            )
    return found


def decode(
    record: Record, route: Route, *, redelivered: bool, inbound: events.Models = events.INBOUND
) -> list[InboundEvent]:
    """Read one record, which may say something of several sagas; never raises.

    `inbound` are the models of all that may be read, by channel and type.
    """
    found = _read(record, route, inbound, redelivered=redelivered)
    event = found.event
    if type(event) is not TimersFired:
        return [found]
    envelope = found.envelope
    return [
        InboundEvent(
            record,
            route,
            redelivered,
            envelope,
            timer,
            timer.saga_id,
            (timer.bucket, timer.saga_id),
        )
        for timer in event.timers
    ]


def _read(
    record: Record, route: Route, inbound: events.Models, *, redelivered: bool
) -> InboundEvent:
    try:
        envelope, data = read(record.headers, record.value)
    except Unreadable as problem:
        return InboundEvent(record, route, redelivered, problem=problem)
    try:
        if envelope.source != route.source:
            raise _another(envelope, route)
        event: Any = events.parse(route.channel, envelope.type, data, inbound)
    except Unreadable as problem:
        problem.event_id = envelope.id
        return InboundEvent(record, route, redelivered, envelope, problem=problem)
    if route.channel is Channel.REQUESTS:  # isinstance is dear on pydantic's metaclass.
        key = saga_key(route.participant, event.account, event.request_id)
        return InboundEvent(record, route, redelivered, envelope, event, key[1], key)
    if type(event) is TimersFired:
        return InboundEvent(record, route, redelivered, envelope, event)
    saga = split_leg_id(event.leg_id)[0] if route.participant else event.saga_id
    # A reply carries the key of its command. Whoever forgets it is slower, not wrong.
    hint = (key_hash(record.key), saga) if record.key else None
    return InboundEvent(record, route, redelivered, envelope, event, saga, hint)


def _another(envelope: Envelope, route: Route) -> Unreadable:
    """The source must be the topic's owner: one company cannot speak for another."""
    detail = f"is {envelope.source!r}; on this topic it must be {route.source!r}"
    return Unreadable("ce_source", detail)
