"""The messages of a saga, made from their references and the saga's state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.engine.definition import participant
from orchestrator.engine.instance import Leg, Saga
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
    """One message to publish: where to, its event id, type and data."""

    participant: str  # Whose topic it goes to.
    channel: Channel
    event_id: str
    type: str
    data: dict[str, Any]  # Keeps to the contract's model of the type, which a test verifies.


@dataclass(frozen=True, slots=True)
class Messages:
    """The messages of one kind of saga: what all kinds share, filled in by the kind's wording."""

    kind: SagaKind

    def owner(self, saga: Saga, leg: Leg) -> str:
        """The participant that the leg is asked of; only its replies about the leg count."""
        return participant(saga.terms, self.kind.definition, leg.verb)

    def message(self, saga: Saga, ref: MessageRef) -> Message:
        """The message that the reference names; the same, with the same id, each time."""
        if ref.kind is MessageKind.RESULT:
            return self._result(saga)
        leg = saga.leg(ref.path)
        assert leg is not None, (saga.terms.saga_id, ref)
        leg_id = f"{saga.terms.saga_id}/{leg.path}"
        to = participant(saga.terms, self.kind.definition, leg.verb)
        number = ref.number
        if ref.kind is MessageKind.INQUIRE:
            event_id = self._event_id(command_event_id(leg_id, "inquire", number), leg.sent_at)
            data = _common(saga, leg_id, number, leg.said_at)
            return Message(to, Channel.COMMANDS, event_id, events.INQUIRE, data)
        if ref.kind is MessageKind.CANCEL:
            event_id = self._event_id(command_event_id(leg_id, "cancel", number), leg.sent_at)
            data = _common(saga, leg_id, number, leg.said_at) | {"reason": Code.TIMEOUT}
            return Message(to, Channel.COMMANDS, event_id, events.CANCEL, data)
        event_id = self._event_id(command_event_id(leg_id, "do", number), leg.sent_at)
        data = _common(saga, leg_id, number, leg.sent_at)
        data.update(self.kind.wording.command(saga, leg))
        command = self.kind.definition.verb(leg.verb).command
        assert command is not None, leg  # A verb without a command never has an attempt to send.
        return Message(to, Channel.COMMANDS, event_id, command, data)

    def _event_id(self, event_id: str, at: int) -> str:
        """The event id, made unique by the time `at` where sagas of the kind are deleted.

        Such a saga may be requested once more under the same id, or once more after its database
        was lost, and then says something else at another time.
        """
        return event_id if self.kind.keep_for is None else f"{event_id}.{at}"

    def _result(self, latest: Saga) -> Message:
        saga = latest.as_told
        told, terms = saga.told, saga.terms
        assert told is not None, terms.saga_id
        event_id = self._event_id(result_event_id(terms.saga_id, told.revision), told.at)
        as_published = told.as_published
        data = dict(as_published) if as_published is not None else self.kind.wording.result(saga)
        answer = self.kind.definition.answer
        return Message(terms.origin, Channel.RESULTS, event_id, answer, data)


def _common(saga: Saga, leg_id: str, attempt: int, at: int) -> dict[str, Any]:
    """The fields that every command has (`contract.md` 3)."""
    return {
        "leg_id": leg_id,
        "saga_id": saga.terms.saga_id,
        # The terms of a tombstone have no programme: it is the one that its late request named.
        "programme": saga.terms.programme or (saga.legs[0].detail or {}).get("programme", ""),
        "attempt": attempt,
        "issued_at": text_of(at),
    }
