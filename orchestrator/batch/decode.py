"""Decodes records: bytes to events; a record that cannot be read becomes a problem. Pure."""

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
    """What an inbound topic carries."""

    channel: Channel
    participant: str  # Whose topic it is; empty for the platform's own.
    source: str  # The only `ce_source` that its events may have.


@value
class InboundEvent:
    """What a record says about one saga: an event, or a problem."""

    record: Record
    route: Route
    redelivered: bool  # Below the stored position: committed before, but perhaps not published.
    envelope: Envelope | None = None
    event: events.Event | TimerFired | None = None
    saga: SagaId | None = None
    key: SagaKey | None = None  # Where the saga's row is; None: the record's key does not say it.
    problem: Unreadable | None = None  # Why the record cannot be read.
    restored: bool = False  # It was read before the database was lost, and is read once more.


def routes(participants: Mapping[str, object]) -> dict[str, Route]:
    """The route of every inbound topic, by the name of the topic."""
    by_topic = {events.INTERNAL_TOPIC: Route(Channel.INTERNAL, "", PLATFORM_SOURCE)}
    for participant in participants:
        for channel in (Channel.REQUESTS, Channel.REPLIES):
            by_topic[events.topic_of(participant, channel)] = Route(
                channel, participant, source_of(participant)
            )
    return by_topic


def decode(
    record: Record, route: Route, *, redelivered: bool, inbound: events.Models = events.INBOUND
) -> list[InboundEvent]:
    """The events of a record: one, or one for each timer of a record of timers. Never raises.

    Args:
        record: the record.
        route: what its topic carries.
        redelivered: whether it is below the stored position of its partition.
        inbound: the models of all events that may be read.
    """
    arrival = _read(record, route, inbound, redelivered=redelivered)
    event = arrival.event
    if type(event) is not TimersFired:
        return [arrival]
    envelope = arrival.envelope
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
    if route.channel is Channel.REQUESTS:  # Not isinstance: it is slow on pydantic's classes.
        key = saga_key(route.participant, event.account, event.request_id, event.saga_kind)
        return InboundEvent(record, route, redelivered, envelope, event, key[1], key)
    if type(event) is TimersFired:
        return InboundEvent(record, route, redelivered, envelope, event)
    saga = split_leg_id(event.leg_id)[0] if route.participant else event.saga_id
    # A reply should carry the key of its command. Without it the saga is found more slowly.
    key_of_reply = (key_hash(record.key), saga) if record.key else None
    return InboundEvent(record, route, redelivered, envelope, event, saga, key_of_reply)


def _another(envelope: Envelope, route: Route) -> Unreadable:
    """The problem that the source is not the topic's owner, as no company may act for another."""
    detail = f"is {envelope.source!r}; on this topic it must be {route.source!r}"
    return Unreadable("ce_source", detail)
