"""What the platform said, read back from its own topics and put together saga by saga. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import orjson

from orchestrator.engine.instance import verb_of
from orchestrator.engine.kind import Wording
from orchestrator.engine.published import PublishedLeg, PublishedSaga
from orchestrator.ports import Record, SagaKey
from orchestrator.sagas import KINDS, Kinds
from schemas import events
from schemas.envelope import PLATFORM_SOURCE
from schemas.events import Channel, topic_of
from schemas.frozen import replaced
from schemas.ids import SagaId, key_hash, split_leg_id
from schemas.reasons import Code


def published_topics(participants: Iterable[str]) -> list[str]:
    """Every topic on which the platform speaks about its sagas."""
    channels = (Channel.COMMANDS, Channel.RESULTS)
    return [topic_of(one, channel) for one in participants for channel in channels]


class PublishedLog:
    """Everything that was said about sagas that are kept for ever, by saga."""

    def __init__(self, kinds: Kinds = KINDS) -> None:
        # What was said about sagas that are deleted is passed over: their requests begin anew.
        kept = [kind for kind in kinds.values() if kind.keep_for is None]
        self._answers = frozenset(kind.definition.answer for kind in kept)
        self._wording: dict[str, Wording | None] = {events.INQUIRE: None, events.CANCEL: None}
        self._kept_verbs: set[str] = set()
        for kind in kept:
            for verb in kind.definition.verbs():
                self._kept_verbs.add(verb.name)
                if verb.command is not None:
                    self._wording[verb.command] = kind.wording
        self._legs: dict[SagaKey, dict[str, PublishedLeg]] = {}
        self._results: dict[SagaKey, Mapping[str, Any]] = {}
        self._first: dict[SagaKey, Mapping[str, Any]] = {}

    def add(self, record: Record) -> None:
        """Take one record of a topic of commands or results; what is not ours is passed over."""
        headers = dict(record.headers)
        ours = headers.get("ce_source") == PLATFORM_SOURCE.encode()
        if not ours or not record.key or not record.value:
            return
        type_ = (headers.get("ce_type") or b"").decode()
        if type_ not in self._answers and type_ not in self._wording:
            return
        data = orjson.loads(record.value)
        key = (key_hash(record.key), data["saga_id"])
        if type_ in self._answers:
            if not data["revision"]:
                return  # An answer about what nobody knows.
            known = self._results.get(key)
            if known is None or known["revision"] < data["revision"]:
                self._results[key] = data
            first = self._first.get(key)
            if first is None or first["revision"] > data["revision"]:
                self._first[key] = data
        else:
            _, path = split_leg_id(data["leg_id"])
            if verb_of(path) not in self._kept_verbs:
                return
            legs = self._legs.setdefault(key, {})
            leg = legs.get(path) or PublishedLeg(path)
            legs[path] = _more(leg, type_, data, self._wording[type_])

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


def _more(
    leg: PublishedLeg, type_: str, data: Mapping[str, Any], wording: Wording | None
) -> PublishedLeg:
    """What is known of a leg with one more record; those of a leg may come in any order."""
    number, at = data["attempt"], _ms(data["issued_at"])
    if type_ == events.INQUIRE:
        newer = number > leg.inquiries
        leg = replaced(leg, inquiries=number) if newer else leg
        return replaced(leg, said_at=at) if newer and not leg.cancels else leg
    if type_ == events.CANCEL:
        return replaced(leg, cancels=number, said_at=at) if number > leg.cancels else leg
    if number < leg.attempt or wording is None:
        return leg
    expires = data.get("expires_at")
    asked, detail = wording.read_command(data)
    return replaced(
        leg,
        asked=asked,
        attempt=number,
        sent_at=at,
        expires_at=_ms(expires) if expires else 0,
        reference=data.get("reference"),
        withdrawn=data.get("reason") == Code.WITHDRAWN,
        detail=detail,
    )


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
