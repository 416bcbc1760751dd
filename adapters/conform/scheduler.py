"""Plays many scripts at once on one line: publishes, waits, gives each answer to its script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from adapters.conform.exchange import (
    KEPT,
    Answers,
    Ask,
    Came,
    CommandBuilder,
    Finding,
    Pause,
    Sent,
    Steps,
)
from schemas.replies import Outcome

HEAR_S: Final = 0.1
_VERDICTS: Final = (Outcome.CONFIRMED, Outcome.REJECTED, Outcome.CANCELLED)


class Transport(Protocol):
    """A way to a participant and back."""

    def now(self) -> datetime:
        """The time of day."""

    def seconds(self) -> float:
        """A clock that only goes forward."""

    def say(self, commands: Sequence[Sent]) -> None:
        """Publish; returns when they are on their way."""

    def hear(self, wait_s: float) -> list[Came]:
        """What came within so many seconds, as soon as there is anything."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds: for an answer, and for a PENDING to be settled."""

    answer_s: float = 10.0
    settle_s: float = 30.0
    inquire_every_s: float = 1.0


@dataclass(slots=True)
class Act:
    """One script while it is played: `log` is what was said, in its order."""

    name: str
    pen: CommandBuilder
    steps: Steps
    finding: Finding | None = None
    log: list[Sent | Came] = field(default_factory=list)
    _ask: Ask | None = None
    _slots: list[Came | None] = field(default_factory=list)
    _began: float = 0.0
    _wake: datetime | None = None
    _inquire_at: float = 0.0

    def advance(self, answers: Answers | None, line: Transport) -> None:
        """Go on with the script until it asks, pauses or ends."""
        self._ask, self._wake = None, None
        try:
            step = next(self.steps) if answers is None else self.steps.send(answers)
        except StopIteration as end:
            self.finding = end.value
            return
        self._began = line.seconds()
        self._inquire_at = self._began
        if isinstance(step, Pause):
            self._wake = step.until
            return
        self._ask = step
        self._slots = [None] * len(step.commands)
        self.say(step.commands, line)

    def say(self, commands: Sequence[Sent], line: Transport) -> None:
        """Publish, and write it down."""
        self.log.extend(commands)
        line.say(commands)

    def take(self, came: Came) -> None:
        """Give a reply to the command that it answers, else to the first of its leg without one."""
        self.log.append(came)
        if self._ask is None:
            return
        for at, command in enumerate(self._ask.commands):
            if came.cause == command.envelope.id and self._slots[at] is None:
                self._slots[at] = came
                return
        of_leg = [at for at, one in enumerate(self._ask.commands) if one.leg_id == came.leg_id]
        if not self._answers_another(came):
            for at in of_leg:
                if self._slots[at] is None:
                    self._slots[at] = came
                    return
        if came.outcome in _VERDICTS:
            for at in of_leg:
                if self._is_pending(at):
                    self._slots[at] = came

    def look(self, patience: Patience, line: Transport) -> None:
        """Go on if all is there, the pause is over, or the time has run out."""
        if self._wake is not None:
            if line.now() >= self._wake:
                self.advance((), line)
            return
        assert self._ask is not None
        waited_s = line.seconds() - self._began
        if None in self._slots:
            if waited_s >= patience.answer_s:
                self.advance(self._slots, line)
            return
        pending = [at for at in range(len(self._slots)) if self._is_pending(at)]
        if not pending or not self._ask.settle or waited_s >= patience.settle_s:
            self.advance(self._slots, line)
        elif "inquire" not in self.pen.terms.lacking and line.seconds() >= self._inquire_at:
            self._inquire_at = line.seconds() + patience.inquire_every_s
            legs = {self._ask.commands[at].leg_id: self._ask.commands[at] for at in pending}
            self.say([self.pen.inquire(command) for command in legs.values()], line)

    def _answers_another(self, came: Came) -> bool:
        """Whether it names a command of this script that was answered before."""
        return any(isinstance(one, Sent) and one.envelope.id == came.cause for one in self.log)

    def _is_pending(self, at: int) -> bool:
        came = self._slots[at]
        return came is not None and came.outcome is Outcome.PENDING


def play(acts: Sequence[Act], line: Transport, patience: Patience) -> list[Came]:
    """Play all acts to their end, side by side; what was heard about their legs, in its order."""
    heard: list[Came] = []
    for act in acts:
        act.advance(None, line)
    while open_acts := [act for act in acts if act.finding is None]:
        for came in line.hear(HEAR_S):
            owner = _owner(acts, came)
            if owner is not None:
                heard.append(came)
                owner.take(came)
        for act in open_acts:
            act.look(patience, line)
    return heard


def _owner(acts: Sequence[Act], came: Came) -> Act | None:
    """The act whose saga a reply is about: by its leg, else by the command that it names."""
    for named in (came.leg_id, came.cause):
        for act in acts:
            if named.startswith(act.pen.saga_id):
                return act
    return None


def tidy(owed: Sequence[tuple[CommandBuilder, Sent, str, int]]) -> Steps:
    """Undo what is left of each: the pen, what was done, its reference, how much is left."""
    undos = [pen.undo(do, reference, 9, amount=left) for pen, do, reference, left in owed]
    yield Ask(tuple(undos))
    return KEPT
