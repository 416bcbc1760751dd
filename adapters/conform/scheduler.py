"""Runs many scripts at once over one transport, and gives each reply to its script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from adapters.conform.exchange import (
    KEPT,
    Answers,
    Ask,
    CommandBuilder,
    Finding,
    Pause,
    ReceivedReply,
    SentCommand,
    Steps,
)
from schemas.replies import Outcome

RECEIVE_S: Final = 0.1
_VERDICTS: Final = (Outcome.CONFIRMED, Outcome.REJECTED, Outcome.CANCELLED)


class Transport(Protocol):
    """Takes commands to a participant, and brings replies back."""

    def now(self) -> datetime:
        """The time of day, in UTC, for what is written into commands."""

    def seconds(self) -> float:
        """Seconds of a clock that never goes back, for waiting."""

    def send(self, commands: Sequence[SentCommand]) -> None:
        """Publish commands; returns when the broker has them."""

    def receive(self, wait_s: float) -> list[ReceivedReply]:
        """Replies, as soon as there are any; none when nothing comes within `wait_s` seconds."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds: for an answer, and for a PENDING to become a verdict.

    Meanwhile a PENDING leg is inquired about every `inquire_every_s`.
    """

    answer_s: float = 10.0
    settle_s: float = 30.0
    inquire_every_s: float = 1.0


@dataclass(slots=True)
class ScriptRun:
    """One script while it runs; `log` is what was sent and received, in its order.

    `finding` is None until the script has ended.
    """

    name: str
    builder: CommandBuilder
    steps: Steps
    finding: Finding | None = None
    log: list[SentCommand | ReceivedReply] = field(default_factory=list)
    _ask: Ask | None = None
    _slots: list[ReceivedReply | None] = field(default_factory=list)
    _began: float = 0.0
    _wake: datetime | None = None
    _inquire_at: float = 0.0

    def advance(self, answers: Answers | None, transport: Transport) -> None:
        """Go on with the script until it asks again, pauses or ends."""
        self._ask, self._wake = None, None
        try:
            step = next(self.steps) if answers is None else self.steps.send(answers)
        except StopIteration as end:
            self.finding = end.value
            return
        self._began = transport.seconds()
        self._inquire_at = self._began
        if isinstance(step, Pause):
            self._wake = step.until
            return
        self._ask = step
        self._slots = [None] * len(step.commands)
        self.send(step.commands, transport)

    def send(self, commands: Sequence[SentCommand], transport: Transport) -> None:
        """Publish commands, and add them to the log."""
        self.log.extend(commands)
        transport.send(commands)

    def accept(self, reply: ReceivedReply) -> None:
        """Take a reply as the answer to the command that it names, else to the first of its leg."""
        self.log.append(reply)
        if self._ask is None:
            return
        for at, command in enumerate(self._ask.commands):
            if reply.cause == command.envelope.id and self._slots[at] is None:
                self._slots[at] = reply
                return
        of_leg = [at for at, one in enumerate(self._ask.commands) if one.leg_id == reply.leg_id]
        if not self._answers_another(reply):
            for at in of_leg:
                if self._slots[at] is None:
                    self._slots[at] = reply
                    return
        if reply.outcome in _VERDICTS:
            for at in of_leg:
                if self._is_pending(at):
                    self._slots[at] = reply

    def advance_if_ready(self, timeouts: Timeouts, transport: Transport) -> None:
        """Go on if every answer is there, the pause is over, or the time has run out."""
        if self._wake is not None:
            if transport.now() >= self._wake:
                self.advance((), transport)
            return
        assert self._ask is not None
        waited_s = transport.seconds() - self._began
        if None in self._slots:
            if waited_s >= timeouts.answer_s:
                self.advance(self._slots, transport)
            return
        pending = [at for at in range(len(self._slots)) if self._is_pending(at)]
        if not pending or not self._ask.settle or waited_s >= timeouts.settle_s:
            self.advance(self._slots, transport)
        elif (
            "inquire" not in self.builder.terms.lacking and transport.seconds() >= self._inquire_at
        ):
            self._inquire_at = transport.seconds() + timeouts.inquire_every_s
            legs = {self._ask.commands[at].leg_id: self._ask.commands[at] for at in pending}
            self.send([self.builder.inquire(command) for command in legs.values()], transport)

    def _answers_another(self, reply: ReceivedReply) -> bool:
        """Whether it names a command of this script that was answered before."""
        return any(
            isinstance(one, SentCommand) and one.envelope.id == reply.cause for one in self.log
        )

    def _is_pending(self, at: int) -> bool:
        reply = self._slots[at]
        return reply is not None and reply.outcome is Outcome.PENDING


def run_scripts(
    runs: Sequence[ScriptRun], transport: Transport, timeouts: Timeouts
) -> list[ReceivedReply]:
    """Run all scripts to their end, side by side; returns the replies about their legs."""
    received: list[ReceivedReply] = []
    for run in runs:
        run.advance(None, transport)
    while unfinished := [run for run in runs if run.finding is None]:
        for reply in transport.receive(RECEIVE_S):
            owner = _owner(runs, reply)
            if owner is not None:
                received.append(reply)
                owner.accept(reply)
        for run in unfinished:
            run.advance_if_ready(timeouts, transport)
    return received


def _owner(runs: Sequence[ScriptRun], reply: ReceivedReply) -> ScriptRun | None:
    """The script whose saga a reply is about: by its leg, else by the command that it names."""
    for named in (reply.leg_id, reply.cause):
        for run in runs:
            if named.startswith(run.builder.saga_id):
                return run
    return None


def undo_remaining(remaining: Sequence[tuple[CommandBuilder, SentCommand, str, int]]) -> Steps:
    """Undo what is left of each effect.

    An effect is given by its command builder, its command, the reference in the answer, and how
    much of it is left.
    """
    undos = [
        builder.undo(do, reference, 9, amount=left) for builder, do, reference, left in remaining
    ]
    yield Ask(tuple(undos))
    return KEPT
