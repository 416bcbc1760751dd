"""How each cell of `domain.md` 4.6 is tried: generators that yield what to publish. Pure.

A script gets the answers to what it yields. When it comes to its end, the promise is kept;
`_expect` and `_require` end it earlier, with a finding. It touches nothing else, so that it runs on
Kafka and on a company in the same process alike. `builder.do` writes a deduct or a credit,
`builder.undo` a return or a reverse, as the participant's role says.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, wraps
from typing import Final, TypeAlias, TypeVar

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
from adapters.conform.verdicts import (
    broken,
    done,
    is_a_definite_no,
    is_confirmed_as_asked,
    is_the_same,
    moved_by,
    outcome_is,
)
from schemas.replies import LegAnswered, Outcome
from schemas.values import Lot

BURST: Final = 10
EXPIRED_S: Final = -60.0
SOON_S: Final = 2.0
AFTER_S: Final = 0.5

T = TypeVar("T")

Part: TypeAlias = Generator[Ask | Pause, Answers, T]
"""A part of a script: it yields like one, and returns something that the script goes on with."""

Check: TypeAlias = Callable[[ReceivedReply | None], Finding | None]
"""None when an answer is as it must be, else the finding."""


class _Ended(Exception):
    """Ends a script early."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding


def _script(steps: Callable[[CommandBuilder], Part[None]]) -> Callable[[CommandBuilder], Steps]:
    """Make a script of steps: they keep the promise unless they end early with a finding."""

    @wraps(steps)
    def script(builder: CommandBuilder) -> Steps:
        try:
            yield from steps(builder)
        except _Ended as ended:
            return ended.finding
        return KEPT

    return script


def _require(finding: Finding | None) -> None:
    """End the script if there is a finding."""
    if finding is not None:
        raise _Ended(finding)


@dataclass(frozen=True, slots=True)
class _Answered:
    """A command and the answer to it, which was checked and can be read."""

    command: SentCommand
    reply: ReceivedReply

    @property
    def data(self) -> LegAnswered:
        assert self.reply.data is not None
        return self.reply.data

    @property
    def reference(self) -> str:
        return self.data.reference or ""

    @property
    def moved(self) -> int:
        return moved_by(self.data, self.command)

    @property
    def lots(self) -> tuple[Lot, ...] | None:
        return self.data.lots


def _expect(command: SentCommand, check: Check, *, settle: bool = True) -> Part[_Answered]:
    """Publish a command; the script ends unless its answer passes the check."""
    (reply,) = yield ask(command, settle=settle)
    _require(check(reply))
    assert reply is not None
    return _Answered(command, reply)


def _expect_again(first: _Answered, write: Callable[[], SentCommand], times: int = 1) -> Part[None]:
    """Publish further commands about a leg; each gets the first answer again."""
    for _ in range(times):
        yield from _expect(write(), partial(is_the_same, first.reply))


def _expect_as_asked(
    builder: CommandBuilder, command: SentCommand, failing: str = ""
) -> Part[_Answered]:
    """Publish a command that must be confirmed with what was asked.

    `failing` says in the finding what it means that it is not.
    """

    def check(reply: ReceivedReply | None) -> Finding | None:
        finding = is_confirmed_as_asked(reply, command, builder.terms)
        return (
            broken(f"{failing}: {finding.why}", finding.expected)
            if finding and failing
            else finding
        )

    return _expect(command, check)


# -- deduct and credit -------------------------------------------------------------------------


@_script
def as_asked(builder: CommandBuilder) -> Part[None]:
    """A command is confirmed with what was asked."""
    yield from _expect_as_asked(builder, builder.do())


@_script
def refusal(builder: CommandBuilder) -> Part[None]:
    """What cannot be done is refused."""
    yield from _expect(builder.do(account=builder.terms.refused_account), is_a_definite_no)


@_script
def repeat(builder: CommandBuilder) -> Part[None]:
    """A repeat gets the first answer."""
    first = yield from _expect(builder.do(), done)
    yield from _expect_again(first, lambda: builder.again(first.command), times=2)


@_script
def burst(builder: CommandBuilder) -> Part[None]:
    """So do many repeats at once."""
    first = builder.do()
    reply = yield ask(first, *(builder.again(first) for _ in range(BURST - 1)))
    one = next((one for one in reply if one is not None), None)
    _require(done(one))
    for again in reply:
        _require(is_the_same(one, again))


@_script
def expired(builder: CommandBuilder) -> Part[None]:
    """What comes first after its time is refused."""
    yield from _expect(
        builder.do(expires_s=EXPIRED_S), lambda reply: is_a_definite_no(reply, "EXPIRED")
    )


@_script
def late_repeat(builder: CommandBuilder) -> Part[None]:
    """A repeat after its time is a repeat."""
    first = yield from _expect(builder.do(expires_s=SOON_S), done)
    yield Pause(builder.now + timedelta(seconds=SOON_S + AFTER_S))
    yield from _expect_again(first, lambda: builder.again(first.command))


@_script
def exact(builder: CommandBuilder) -> Part[None]:
    """Without a balance inquiry: if repeats moved nothing, all is there after the undo."""
    terms = builder.terms
    whole_amount = terms.exact_amount or 0
    account, item = terms.exact_account, terms.exact_item
    part = builder.do(amount=max(1, whole_amount // 4), account=account, item=item)
    first = yield from _expect(part, done)
    yield ask(*(builder.again(part) for _ in range(3)))
    undo = builder.undo(part, first.reference)
    yield from _expect_as_asked(builder, undo, "its undo after the repeats")
    everything = builder.do(2, amount=whole_amount, account=account, item=item)
    expected = f"CONFIRMED for all {whole_amount}: nothing is missing after the undo"

    def all_is_there(reply: ReceivedReply | None) -> Finding | None:
        finding = is_confirmed_as_asked(reply, everything, terms)
        return finding and broken(f"{finding.why}: repeats moved more than was told", expected)

    left = (yield from _expect(everything, all_is_there)).moved
    if left < whole_amount:
        _require(broken(f"only {left} were left: repeats moved more than was told", expected))


# -- inquire and cancel ------------------------------------------------------------------------


@_script
def inquire_done(builder: CommandBuilder) -> Part[None]:
    """An inquiry repeats what was done."""
    first = yield from _expect(builder.do(), done)
    yield from _expect_again(first, lambda: builder.inquire(first.command), times=2)


@_script
def inquire_refused(builder: CommandBuilder) -> Part[None]:
    """An inquiry repeats a refusal."""
    first = yield from _expect(builder.do(expires_s=EXPIRED_S), _is_refused_first)
    yield from _expect_again(first, lambda: builder.inquire(first.command))


def _is_refused_first(reply: ReceivedReply | None) -> Finding | None:
    if is_a_definite_no(reply):
        return Finding("undecided", "an expired command was not refused", "REJECTED")
    return None


@_script
def inquire_unknown(builder: CommandBuilder) -> Part[None]:
    """An inquiry about nothing says so."""
    yield from _expect(builder.inquire(builder.do()), _is_not_received)


@_script
def inquire_decides_nothing(builder: CommandBuilder) -> Part[None]:
    """What was asked about first is done when it comes."""
    do = builder.do()
    yield ask(builder.inquire(do))
    yield from _expect_as_asked(builder, do)


@_script
def cancel_unknown(builder: CommandBuilder) -> Part[None]:
    """A cancel of nothing is accepted."""
    yield from _expect(builder.cancel(builder.do()), _is_cancelled)


@_script
def tombstone(builder: CommandBuilder) -> Part[None]:
    """What was cancelled before it came is never done."""
    do = builder.do()
    yield from _expect(builder.cancel(do), _is_cancelled_first)
    yield from _expect(do, _is_cancelled)
    yield from _expect(builder.again(do), _is_cancelled)


@_script
def cancel_repeat(builder: CommandBuilder) -> Part[None]:
    """A repeated cancel gets the same answer."""
    do = builder.do()
    first = yield from _expect(builder.cancel(do), _is_cancelled_first)
    yield from _expect_again(first, lambda: builder.cancel(do))


@_script
def cancel_done(builder: CommandBuilder) -> Part[None]:
    """A cancel of what is done repeats what was done."""
    first = yield from _expect(builder.do(), done)
    yield from _expect_again(first, lambda: builder.cancel(first.command))


def _is_cancelled(reply: ReceivedReply | None) -> Finding | None:
    return outcome_is(reply, Outcome.CANCELLED)


def _is_not_received(reply: ReceivedReply | None) -> Finding | None:
    return outcome_is(reply, Outcome.NOT_RECEIVED)


def _is_cancelled_first(reply: ReceivedReply | None) -> Finding | None:
    if outcome_is(reply, Outcome.CANCELLED):
        return Finding("undecided", "the cancel of an unknown leg was not accepted", "CANCELLED")
    return None


# -- return and reverse ------------------------------------------------------------------------


@_script
def whole(builder: CommandBuilder) -> Part[None]:
    """What was done is undone in whole."""
    first = yield from _expect(builder.do(), done)
    undo = builder.undo(first.command, first.reference, amount=first.moved, lots=first.lots)
    yield from _expect_as_asked(builder, undo)


@_script
def lots_back(builder: CommandBuilder) -> Part[None]:
    """Points come back into their lots."""
    first = yield from _expect(builder.do(), done)
    if not first.lots:
        raise _Ended(Finding("not offered", "your deductions name no lots"))
    undo = builder.undo(first.command, first.reference, lots=first.lots)
    undone = yield from _expect(undo, done)
    back = {lot.lot: (lot.points, lot.expires_on) for lot in undone.lots or ()}
    out = {lot.lot: (lot.points, lot.expires_on) for lot in first.lots}
    expected = "the lots of the deduction, each with its points and its expires_on"
    if back and back != out:
        _require(broken("other lots came back", expected))


def _done_in_pieces(builder: CommandBuilder) -> Part[_Answered]:
    """Have something done of which a part can be undone, so two pieces or more."""
    first = yield from _expect(builder.do(), done)
    if first.moved < 2:
        why = "fewer than two were issued, so there are no parts"
        raise _Ended(Finding("undecided", why, "2"))
    return first


@_script
def parts(builder: CommandBuilder) -> Part[None]:
    """What was done is undone in parts."""
    first = yield from _done_in_pieces(builder)
    half = first.moved // 2
    for number, amount in ((1, half), (2, first.moved - half)):
        undo = builder.undo(first.command, first.reference, number, amount=amount)
        yield from _expect_as_asked(builder, undo)


@_script
def too_much(builder: CommandBuilder) -> Part[None]:
    """Parts never add up to more than was done."""
    first = yield from _done_in_pieces(builder)
    part = builder.undo(first.command, first.reference, amount=first.moved - 1)
    yield from _expect(part, done)
    over = builder.undo(first.command, first.reference, 2, amount=2)
    settle = builder.undo_verb == "reverse"
    yield from _expect(over, partial(_is_not_done, builder), settle=settle)


@_script
def undo_repeat(builder: CommandBuilder) -> Part[None]:
    """A repeated undo gets the first answer, and leaves the rest to be undone."""
    first = yield from _done_in_pieces(builder)
    part = builder.undo(first.command, first.reference, amount=1)
    undone = yield from _expect(part, done)
    yield from _expect_again(undone, lambda: builder.again(part), times=2)
    rest = builder.undo(first.command, first.reference, 2, amount=first.moved - 1)
    yield from _expect_as_asked(builder, rest, "the rest cannot be undone any more")


@_script
def undo_inquire(builder: CommandBuilder) -> Part[None]:
    """An inquiry repeats the answer to an undo."""
    first = yield from _expect(builder.do(), done)
    undone = yield from _expect(builder.undo(first.command, first.reference), done)
    yield from _expect_again(undone, lambda: builder.inquire(undone.command))


@_script
def undo_unknown(builder: CommandBuilder) -> Part[None]:
    """An undo of nothing has no effect."""
    reverse = builder.undo_verb == "reverse"
    check = _is_not_received if reverse else partial(_is_not_done, builder)
    yield from _expect(builder.undo(builder.do(), "no-such-reference"), check, settle=False)


def _is_not_done(builder: CommandBuilder, reply: ReceivedReply | None) -> Finding | None:
    """A reverse that cannot be done is refused; a return may not be refused, so it waits."""
    if builder.undo_verb == "reverse":
        return is_a_definite_no(reply)
    return outcome_is(reply, Outcome.PENDING, Outcome.NOT_RECEIVED)
