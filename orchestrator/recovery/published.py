"""What the platform said, read back from its own topics and put together saga by saga. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

from orchestrator.engine.rebuild import PublishedLeg, PublishedSaga
from orchestrator.ports import Record, SagaKey
from schemas import events
from schemas.envelope import PLATFORM_SOURCE
from schemas.events import Channel, topic_of
from schemas.frozen import replaced
from schemas.ids import SagaId, key_hash
from schemas.reasons import Code

_LEG_CHARS: Final = 37
"""A saga's id and the slash after it, with which every leg id begins."""


def published_topics(participants: Iterable[str]) -> list[str]:
    """Every topic on which the platform speaks about its sagas."""
    channels = (Channel.COMMANDS, Channel.RESULTS)
    return [topic_of(one, channel) for one in participants for channel in channels]


@dataclass(slots=True)
class PublishedLog:
    """Everything that was said, by saga."""

    _legs: dict[SagaKey, dict[str, PublishedLeg]] = field(default_factory=dict)
    _results: dict[SagaKey, Mapping[str, Any]] = field(default_factory=dict)
    _first: dict[SagaKey, Mapping[str, Any]] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Take one record of a topic of commands or results; what is not ours is passed over."""
        headers = dict(record.headers)
        ours = headers.get("ce_source") == PLATFORM_SOURCE.encode()
        if not ours or not record.key or not record.value:
            return
        kind = (headers.get("ce_type") or b"").decode()
        data = orjson.loads(record.value)
        if kind == events.RESULT and data["revision"]:
            key = (key_hash(record.key), data["saga_id"])
            known = self._results.get(key)
            if known is None or known["revision"] < data["revision"]:
                self._results[key] = data
            first = self._first.get(key)
            if first is None or first["revision"] > data["revision"]:
                self._first[key] = data
        elif kind in _LEG_TYPES:
            key = (key_hash(record.key), data["saga_id"])
            legs = self._legs.setdefault(key, {})
            path = data["leg_id"][_LEG_CHARS:]
            legs[path] = _more(legs.get(path) or PublishedLeg(path), kind, data)

    def keys(self) -> list[SagaKey]:
        """The sagas about which something was said."""
        return sorted(self._legs.keys() | self._results.keys())

    def said(self) -> dict[SagaId, PublishedSaga]:
        """What was said, by saga id."""
        return {key[1]: self._of(key) for key in self.keys()}

    def _of(self, key: SagaKey) -> PublishedSaga:
        legs = self._legs.get(key, {}).values()
        ordered = sorted(legs, key=lambda leg: (leg.sent_at or leg.said_at, leg.path))
        result = self._results.get(key)
        if result is None:
            return PublishedSaga(tuple(ordered))
        return PublishedSaga(tuple(ordered), result, _ms(result["at"]), _ms(self._first[key]["at"]))


def _more(leg: PublishedLeg, kind: str, data: Mapping[str, Any]) -> PublishedLeg:
    """What is known of a leg with one more record; those of a leg may come in any order."""
    number, at = data["attempt"], _ms(data["issued_at"])
    if kind == events.INQUIRE:
        newer = number > leg.inquiries
        leg = replaced(leg, inquiries=number) if newer else leg
        return replaced(leg, said_at=at) if newer and not leg.cancels else leg
    if kind == events.CANCEL:
        return replaced(leg, cancels=number, said_at=at) if number > leg.cancels else leg
    if number < leg.attempt:
        return leg
    expires = data.get("expires_at")
    return replaced(
        leg,
        asked=data.get("points") or data["quantity"],
        attempt=number,
        sent_at=at,
        expires_at=_ms(expires) if expires else 0,
        reference=data.get("reference"),
        withdrawn=data.get("reason") == Code.WITHDRAWN,
        lots=tuple(data.get("lots", ())),
    )


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


_LEG_TYPES: Final = frozenset(
    event.name for event in events.EVENTS if event.channel is Channel.COMMANDS
)
