"""What a saga's state implies must have been said: the row is the outbox (`design.md` 2).

What a move newly says is the difference between what two revisions imply; what must perhaps be
said again after a crash is all that the current one implies.
"""

from __future__ import annotations

from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import Status
from schemas.frozen import TextEnum, value


class Kind(TextEnum):
    """The four things that the platform says."""

    DO = "do"
    INQUIRE = "inquire"
    CANCEL = "cancel"
    RESULT = "result"


@value
class Utterance:
    """One record to publish, without its words: those are a projection of the saga."""

    kind: Kind
    path: str  # The leg; empty for a result.
    number: int  # The attempt, the inquiry, the cancel, the result's revision.


def implied(saga: Saga) -> tuple[Utterance, ...]:
    """Everything that this state implies must have been said and may not have been heard."""
    said = [utterance for leg in saga.legs for utterance in _of_leg(leg)]
    if saga.told is not None:
        said.append(Utterance(Kind.RESULT, "", saga.told.revision))
    return tuple(said)


def _of_leg(leg: Leg) -> list[Utterance]:
    said: list[Utterance] = []
    status = leg.status
    anew = status is Status.PENDING and leg.attempt > 1  # Received before, and said again.
    if status is Status.SENT or status is Status.UNKNOWN or anew:
        said.append(Utterance(Kind.DO, leg.path, leg.attempt))
    if (status is Status.UNKNOWN or status is Status.PENDING) and leg.inquiries:
        said.append(Utterance(Kind.INQUIRE, leg.path, leg.inquiries))
    elif status is Status.CANCELLING:
        said.append(Utterance(Kind.CANCEL, leg.path, leg.cancels))
    return said


def _count(leg: Leg, kind: Kind) -> int:
    if kind is Kind.DO:
        return leg.attempt
    return leg.inquiries if kind is Kind.INQUIRE else leg.cancels


def newly(was: Saga | None, now: Saga) -> tuple[Utterance, ...]:
    """What a move says for the first time."""
    if was is None:
        return implied(now)
    said: list[Utterance] = []
    before = {leg.path: leg for leg in was.legs}
    for leg in now.legs:
        prior = before.get(leg.path)
        if prior is None:
            said += _of_leg(leg)
        elif prior is not leg:  # Values: what is the same object has nothing new to say.
            said += [one for one in _of_leg(leg) if one.number > _count(prior, one.kind)]
    if now.told is not None and (was.told is None or was.told.revision != now.told.revision):
        said.append(Utterance(Kind.RESULT, "", now.told.revision))
    return tuple(said)
