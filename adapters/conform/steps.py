"""What scripts are made of: steps that publish and check, and that end a script early. Pure."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial, wraps
from typing import TypeAlias, TypeVar

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
    ask,
)
from adapters.conform.verdicts import is_the_same, moved_by
from schemas.replies import LegAnswered
from schemas.values import Lot

T = TypeVar("T")

Part: TypeAlias = Generator[Ask | Pause, Answers, T]
"""A part of a script: it yields like one, and returns something that the script goes on with."""

Check: TypeAlias = Callable[[ReceivedReply | None], Finding | None]
"""None when an answer is as it must be, else the finding."""


class Ended(Exception):
    """Ends a script early."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding


def script(steps: Callable[[CommandBuilder], Part[None]]) -> Callable[[CommandBuilder], Steps]:
    """Make a script of steps: they keep the promise unless they end early with a finding."""

    @wraps(steps)
    def script(builder: CommandBuilder) -> Steps:
        try:
            yield from steps(builder)
        except Ended as ended:
            return ended.finding
        return KEPT

    return script


def require(finding: Finding | None) -> None:
    """End the script if there is a finding."""
    if finding is not None:
        raise Ended(finding)


@dataclass(frozen=True, slots=True)
class Answered:
    """A command and the answer to it, which was checked and can be read."""

    command: SentCommand
    reply: ReceivedReply

    @property
    def data(self) -> LegAnswered:
        """What the answer says."""
        assert self.reply.data is not None
        return self.reply.data

    @property
    def reference(self) -> str:
        """The participant's own reference; empty when it gave none."""
        return self.data.reference or ""

    @property
    def moved(self) -> int:
        """How much was moved, by the answer."""
        return moved_by(self.data, self.command)

    @property
    def lots(self) -> tuple[Lot, ...] | None:
        """The lots that the answer names; None when it names none."""
        return self.data.lots


def expect(command: SentCommand, check: Check, *, settle: bool = True) -> Part[Answered]:
    """Publish a command; the script ends unless its answer passes the check."""
    (reply,) = yield ask(command, settle=settle)
    require(check(reply))
    assert reply is not None
    return Answered(command, reply)


def expect_again(first: Answered, write: Callable[[], SentCommand], times: int = 1) -> Part[None]:
    """Publish further commands about a leg; each gets the first answer again."""
    for _ in range(times):
        yield from expect(write(), partial(is_the_same, first.reply))
