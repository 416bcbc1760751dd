"""What a saga's state implies must have been said: the row is the outbox (`design.md` 2).

What a move newly says is the difference between what two revisions imply; what must perhaps be
said again after a crash is all that the current one implies.
"""

from __future__ import annotations

from schemas.value import TextEnum, but, value

from .instance import Saga
from .machine import Status


class Kind(TextEnum):
    """The three things that the platform says."""

    DO = "do"
    INQUIRE = "inquire"
    RESULT = "result"


@value
class Utterance:
    """One record to publish, without its words: those are a projection of the saga."""

    kind: Kind
    path: str  # The leg; empty for a result.
    number: int  # The attempt, the inquiry, the result's revision.


def implied(saga: Saga) -> tuple[Utterance, ...]:
    """Everything that this state implies must have been said and may not have been heard."""
    said: list[Utterance] = []
    for leg in saga.legs:
        if leg.status in (Status.SENT, Status.UNKNOWN):
            said.append(Utterance(Kind.DO, leg.path, leg.attempt))
        if leg.inquired and leg.status in (Status.UNKNOWN, Status.PENDING):
            said.append(Utterance(Kind.INQUIRE, leg.path, leg.inquired))
    if saga.told is not None:
        said.append(Utterance(Kind.RESULT, "", saga.told.revision))
    return tuple(said)


def newly(was: Saga | None, now: Saga) -> tuple[Utterance, ...]:
    """What a move says for the first time."""
    if was is None:
        return implied(now)
    # What did not change says nothing new; legs and answers are values, so identity will do.
    moved = tuple([leg for leg in now.legs if leg not in was.legs])
    told = now.told if now.told is not was.told else None
    before = implied(was)
    found = implied(but(now, legs=moved, told=told))
    return tuple([utterance for utterance in found if utterance not in before])
