"""The outbox: the messages that a saga's state implies must have been published (`design.md` 2).

There is no table of messages. Those that a new revision causes are the difference between what the
two revisions imply. Those that may have to be published again after a crash are all that the
current revision implies.
"""

from __future__ import annotations

from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import Status
from schemas.frozen import TextEnum, value


class MessageKind(TextEnum):
    """The four kinds of message that the platform publishes about a saga."""

    DO = "do"
    INQUIRE = "inquire"
    CANCEL = "cancel"
    RESULT = "result"


@value
class MessageRef:
    """A reference to one message; its content follows from the saga (`messages.py`)."""

    kind: MessageKind
    path: str  # Of the leg; empty for a result.
    number: int  # Of the attempt, the inquiry or the cancel; of a result, its revision.


def outstanding(saga: Saga) -> tuple[MessageRef, ...]:
    """All messages that this state implies were published and may not have arrived yet."""
    refs = [ref for leg in saga.legs for ref in _of_leg(leg)]
    if saga.told is not None:
        refs.append(MessageRef(MessageKind.RESULT, "", saga.told.revision))
    return tuple(refs)


def _of_leg(leg: Leg) -> list[MessageRef]:
    refs: list[MessageRef] = []
    status = leg.status
    resent = status is Status.PENDING and leg.attempt > 1  # Received before, and sent once more.
    # A leg without an attempt has no command: a result asks the origin for it.
    if leg.attempt and (status is Status.SENT or status is Status.UNKNOWN or resent):
        refs.append(MessageRef(MessageKind.DO, leg.path, leg.attempt))
    if (status is Status.UNKNOWN or status is Status.PENDING) and leg.inquiries:
        refs.append(MessageRef(MessageKind.INQUIRE, leg.path, leg.inquiries))
    elif status is Status.CANCELLING:
        refs.append(MessageRef(MessageKind.CANCEL, leg.path, leg.cancels))
    return refs


def _count(leg: Leg, kind: MessageKind) -> int:
    if kind is MessageKind.DO:
        return leg.attempt
    return leg.inquiries if kind is MessageKind.INQUIRE else leg.cancels


def new_messages(was: Saga | None, now: Saga) -> tuple[MessageRef, ...]:
    """The messages that a new revision causes; `was` is the one before, None for a new saga."""
    if was is None:
        return outstanding(now)
    refs: list[MessageRef] = []
    before = {leg.path: leg for leg in was.legs}
    for leg in now.legs:
        prior = before.get(leg.path)
        if prior is None:
            refs += _of_leg(leg)
        elif prior is not leg:  # Legs never change, so the same object causes no new message.
            refs += [ref for ref in _of_leg(leg) if ref.number > _count(prior, ref.kind)]
    if now.told is not None and (was.told is None or was.told.revision != now.told.revision):
        refs.append(MessageRef(MessageKind.RESULT, "", now.told.revision))
    return tuple(refs)
