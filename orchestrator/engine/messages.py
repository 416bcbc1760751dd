"""How sagas speak: a reference to a message becomes the message, the same whenever it is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.engine.definition import participant
from orchestrator.engine.instance import Leg, Saga, Terms
from orchestrator.engine.kind import SagaKind
from orchestrator.engine.outbox import MessageKind, MessageRef
from schemas import events
from schemas.events import Channel
from schemas.frozen import value
from schemas.ids import command_event_id, result_event_id
from schemas.reasons import Code
from schemas.times import text_of


@value
class Message:
    """What to publish about a saga: to whose channel, under which event id and type."""

    participant: str
    channel: Channel
    event_id: str
    type: str
    data: dict[str, Any]  # As of the contract's model of that type, which a test holds it to.


@dataclass(frozen=True, slots=True)
class Messages:
    """The messages of one kind of saga. What every kind says is here, the rest in its wording."""

    kind: SagaKind

    def owner(self, saga: Saga, leg: Leg) -> str:
        """The participant whose leg it is; only its replies count."""
        return participant(saga.terms, self.kind.definition, leg.verb)

    def message(self, saga: Saga, ref: MessageRef) -> Message:
        """The message of a reference; the same whenever it is said."""
        if ref.kind is MessageKind.RESULT:
            return self._result(saga)
        leg = saga.leg(ref.path)
        assert leg is not None, (saga.terms.saga_id, ref)
        leg_id = f"{saga.terms.saga_id}/{leg.path}"
        to = participant(saga.terms, self.kind.definition, leg.verb)
        number = ref.number
        if ref.kind is MessageKind.INQUIRE:
            event_id = command_event_id(leg_id, "inquire", number)
            data = _common(saga, leg_id, number, leg.said_at)
            return Message(to, Channel.COMMANDS, event_id, events.INQUIRE, data)
        if ref.kind is MessageKind.CANCEL:
            event_id = command_event_id(leg_id, "cancel", number)
            data = _common(saga, leg_id, number, leg.said_at) | {"reason": Code.TIMEOUT}
            return Message(to, Channel.COMMANDS, event_id, events.CANCEL, data)
        event_id = self._event_id(saga.terms, command_event_id(leg_id, "do", number))
        data = _common(saga, leg_id, number, leg.sent_at)
        data.update(self.kind.wording.command(saga, leg))
        command = self.kind.definition.verb(leg.verb).command
        assert command is not None, leg  # Else it was asked by a result, without an attempt.
        return Message(to, Channel.COMMANDS, event_id, command, data)

    def _event_id(self, terms: Terms, event_id: str) -> str:
        """The event id, which no other event has.

        What is forgotten may be asked for once more under the same id: that is another event.
        """
        return event_id if self.kind.keep_for is None else f"{event_id}.{terms.accepted_at}"

    def _result(self, latest: Saga) -> Message:
        saga = latest.as_told
        told, terms = saga.told, saga.terms
        assert told is not None, terms.saga_id
        event_id = self._event_id(terms, result_event_id(terms.saga_id, told.revision))
        words = told.as_published
        data = dict(words) if words is not None else self.kind.wording.result(saga)
        answer = self.kind.definition.answer
        return Message(terms.origin, Channel.RESULTS, event_id, answer, data)


def _common(saga: Saga, leg_id: str, attempt: int, at: int) -> dict[str, Any]:
    """The fields that every command has (`contract.md` 3)."""
    return {
        "leg_id": leg_id,
        "saga_id": saga.terms.saga_id,
        # Of a tombstone, the programme is what the request named that came after all.
        "programme": saga.terms.programme or (saga.legs[0].detail or {}).get("programme", ""),
        "attempt": attempt,
        "issued_at": text_of(at),
    }
