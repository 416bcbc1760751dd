"""What a saga's state implies must have been said: the row is the outbox (`design.md` 2).

What a move newly says is the difference between what two revisions imply; what must perhaps be
said again after a crash is all that the current one implies.
"""

from __future__ import annotations

from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import Status
from schemas.frozen import TextEnum, value


class MessageKind(TextEnum):
    """The four things that the platform says."""

    DO = "do"
    INQUIRE = "inquire"
    CANCEL = "cancel"
    RESULT = "result"


@value
class MessageRef:
    """One record to publish, without its words: those are a projection of the saga."""

    kind: MessageKind
    path: str  # The leg; empty for a result.
    number: int  # The attempt, the inquiry, the cancel, the result's revision.


def outstanding(saga: Saga) -> tuple[MessageRef, ...]:
    """Everything that this state implies must have been said and may not have been heard."""
    said = [utterance for leg in saga.legs for utterance in _of_leg(leg)]
    if saga.told is not None:
        said.append(MessageRef(MessageKind.RESULT, "", saga.told.revision))
    return tuple(said)


def _of_leg(leg: Leg) -> list[MessageRef]:
    said: list[MessageRef] = []
    status = leg.status
    anew = status is Status.PENDING and leg.attempt > 1  # Received before, and said again.
    # Without an attempt nobody was commanded: a result asks it of the origin.
    if leg.attempt and (status is Status.SENT or status is Status.UNKNOWN or anew):
        said.append(MessageRef(MessageKind.DO, leg.path, leg.attempt))
    if (status is Status.UNKNOWN or status is Status.PENDING) and leg.inquiries:
        said.append(MessageRef(MessageKind.INQUIRE, leg.path, leg.inquiries))
    elif status is Status.CANCELLING:
        said.append(MessageRef(MessageKind.CANCEL, leg.path, leg.cancels))
    return said


def _count(leg: Leg, kind: MessageKind) -> int:
    if kind is MessageKind.DO:
        return leg.attempt
    return leg.inquiries if kind is MessageKind.INQUIRE else leg.cancels


def new_messages(was: Saga | None, now: Saga) -> tuple[MessageRef, ...]:
    """What a move says for the first time."""
    if was is None:
        return outstanding(now)
    said: list[MessageRef] = []
    before = {leg.path: leg for leg in was.legs}
    for leg in now.legs:
        prior = before.get(leg.path)
        if prior is None:
            said += _of_leg(leg)
        elif prior is not leg:  # Values: what is the same object has nothing new to say.
            said += [one for one in _of_leg(leg) if one.number > _count(prior, one.kind)]
    if now.told is not None and (was.told is None or was.told.revision != now.told.revision):
        said.append(MessageRef(MessageKind.RESULT, "", now.told.revision))
    return tuple(said)
