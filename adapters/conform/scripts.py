"""How each cell of `domain.md` 4.6 is tried: generators that yield what to publish. Pure.

A script gets the answers to what it yields. When it comes to its end, the promise is kept;
`expect` and `require` end it earlier, with a finding. It touches nothing else, so that it runs on
Kafka and on a company in the same process alike. `builder.do` writes a deduct or a credit,
`builder.undo` a return or a reverse, as the participant's role says.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Final

from adapters.conform.exchange import (
    CommandBuilder,
    Finding,
    Pause,
    ReceivedReply,
    SentCommand,
    ask,
)
from adapters.conform.steps import (
    Answered,
    Ended,
    Part,
    expect,
    expect_again,
    require,
    script,
)
from adapters.conform.verdicts import (
    broken,
    done,
    is_a_definite_no,
    is_confirmed_as_asked,
    is_the_same,
    outcome_is,
)
from schemas.replies import Outcome

BURST: Final = 10
EXPIRED_S: Final = -60.0
SOON_S: Final = 2.0
AFTER_S: Final = 0.5


def _expect_as_asked(
    builder: CommandBuilder, command: SentCommand, failing: str = ""
) -> Part[Answered]:
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

    return expect(command, check)


# -- deduct and credit -------------------------------------------------------------------------


@script
def as_asked(builder: CommandBuilder) -> Part[None]:
    """A command is confirmed with what was asked."""
    yield from _expect_as_asked(builder, builder.do())


@script
def refusal(builder: CommandBuilder) -> Part[None]:
    """What cannot be done is refused."""
    yield from expect(builder.do(account=builder.terms.refused_account), is_a_definite_no)


@script
def repeat(builder: CommandBuilder) -> Part[None]:
    """A repeat gets the first answer."""
    first = yield from expect(builder.do(), done)
    yield from expect_again(first, lambda: builder.again(first.command), times=2)


@script
def burst(builder: CommandBuilder) -> Part[None]:
    """So do many repeats at once."""
    first = builder.do()
    reply = yield ask(first, *(builder.again(first) for _ in range(BURST - 1)))
    one = next((one for one in reply if one is not None), None)
    require(done(one))
    for again in reply:
        require(is_the_same(one, again))


@script
def expired(builder: CommandBuilder) -> Part[None]:
    """What comes first after its time is refused."""
    yield from expect(
        builder.do(expires_s=EXPIRED_S), lambda reply: is_a_definite_no(reply, "EXPIRED")
    )


@script
def late_repeat(builder: CommandBuilder) -> Part[None]:
    """A repeat after its time is a repeat."""
    first = yield from expect(builder.do(expires_s=SOON_S), done)
    yield Pause(builder.now + timedelta(seconds=SOON_S + AFTER_S))
    yield from expect_again(first, lambda: builder.again(first.command))


@script
def exact(builder: CommandBuilder) -> Part[None]:
    """Without a balance inquiry: if repeats moved nothing, all is there after the undo."""
    terms = builder.terms
    whole_amount = terms.exact_amount or 0
    account, item = terms.exact_account, terms.exact_item
    part = builder.do(amount=max(1, whole_amount // 4), account=account, item=item)
    first = yield from expect(part, done)
    yield ask(*(builder.again(part) for _ in range(3)))
    undo = builder.undo(part, first.reference)
    yield from _expect_as_asked(builder, undo, "its undo after the repeats")
    everything = builder.do(2, amount=whole_amount, account=account, item=item)
    expected = f"CONFIRMED for all {whole_amount}: nothing is missing after the undo"

    def all_is_there(reply: ReceivedReply | None) -> Finding | None:
        finding = is_confirmed_as_asked(reply, everything, terms)
        return finding and broken(f"{finding.why}: repeats moved more than was told", expected)

    left = (yield from expect(everything, all_is_there)).moved
    if left < whole_amount:
        require(broken(f"only {left} were left: repeats moved more than was told", expected))


# -- inquire and cancel ------------------------------------------------------------------------


@script
def inquire_done(builder: CommandBuilder) -> Part[None]:
    """An inquiry repeats what was done."""
    first = yield from expect(builder.do(), done)
    yield from expect_again(first, lambda: builder.inquire(first.command), times=2)


@script
def inquire_refused(builder: CommandBuilder) -> Part[None]:
    """An inquiry repeats a refusal."""
    first = yield from expect(builder.do(expires_s=EXPIRED_S), _is_refused_first)
    yield from expect_again(first, lambda: builder.inquire(first.command))


def _is_refused_first(reply: ReceivedReply | None) -> Finding | None:
    if is_a_definite_no(reply):
        return Finding("undecided", "an expired command was not refused", "REJECTED")
    return None


@script
def inquire_unknown(builder: CommandBuilder) -> Part[None]:
    """An inquiry about nothing says so."""
    yield from expect(builder.inquire(builder.do()), _is_not_received)


@script
def inquire_decides_nothing(builder: CommandBuilder) -> Part[None]:
    """What was asked about first is done when it comes."""
    do = builder.do()
    yield ask(builder.inquire(do))
    yield from _expect_as_asked(builder, do)


@script
def cancel_unknown(builder: CommandBuilder) -> Part[None]:
    """A cancel of nothing is accepted."""
    yield from expect(builder.cancel(builder.do()), _is_cancelled)


@script
def tombstone(builder: CommandBuilder) -> Part[None]:
    """What was cancelled before it came is never done."""
    do = builder.do()
    yield from expect(builder.cancel(do), _is_cancelled_first)
    yield from expect(do, _is_cancelled)
    yield from expect(builder.again(do), _is_cancelled)


@script
def cancel_repeat(builder: CommandBuilder) -> Part[None]:
    """A repeated cancel gets the same answer."""
    do = builder.do()
    first = yield from expect(builder.cancel(do), _is_cancelled_first)
    yield from expect_again(first, lambda: builder.cancel(do))


@script
def cancel_done(builder: CommandBuilder) -> Part[None]:
    """A cancel of what is done repeats what was done."""
    first = yield from expect(builder.do(), done)
    yield from expect_again(first, lambda: builder.cancel(first.command))


def _is_cancelled(reply: ReceivedReply | None) -> Finding | None:
    return outcome_is(reply, Outcome.CANCELLED)


def _is_not_received(reply: ReceivedReply | None) -> Finding | None:
    return outcome_is(reply, Outcome.NOT_RECEIVED)


def _is_cancelled_first(reply: ReceivedReply | None) -> Finding | None:
    if outcome_is(reply, Outcome.CANCELLED):
        return Finding("undecided", "the cancel of an unknown leg was not accepted", "CANCELLED")
    return None


# -- return and reverse ------------------------------------------------------------------------


@script
def whole(builder: CommandBuilder) -> Part[None]:
    """What was done is undone in whole."""
    first = yield from expect(builder.do(), done)
    undo = builder.undo(first.command, first.reference, amount=first.moved, lots=first.lots)
    yield from _expect_as_asked(builder, undo)


@script
def lots_back(builder: CommandBuilder) -> Part[None]:
    """Points come back into their lots."""
    first = yield from expect(builder.do(), done)
    if not first.lots:
        raise Ended(Finding("not offered", "your deductions name no lots"))
    undo = builder.undo(first.command, first.reference, lots=first.lots)
    undone = yield from expect(undo, done)
    back = {lot.lot: (lot.points, lot.expires_on) for lot in undone.lots or ()}
    out = {lot.lot: (lot.points, lot.expires_on) for lot in first.lots}
    expected = "the lots of the deduction, each with its points and its expires_on"
    if back and back != out:
        require(broken("other lots came back", expected))


def _done_in_pieces(builder: CommandBuilder) -> Part[Answered]:
    """Have something done of which a part can be undone, so two pieces or more."""
    first = yield from expect(builder.do(), done)
    if first.moved < 2:
        why = "fewer than two were issued, so there are no parts"
        raise Ended(Finding("undecided", why, "2"))
    return first


@script
def parts(builder: CommandBuilder) -> Part[None]:
    """What was done is undone in parts."""
    first = yield from _done_in_pieces(builder)
    half = first.moved // 2
    for number, amount in ((1, half), (2, first.moved - half)):
        undo = builder.undo(first.command, first.reference, number, amount=amount)
        yield from _expect_as_asked(builder, undo)


@script
def too_much(builder: CommandBuilder) -> Part[None]:
    """Parts never add up to more than was done."""
    first = yield from _done_in_pieces(builder)
    part = builder.undo(first.command, first.reference, amount=first.moved - 1)
    yield from expect(part, done)
    over = builder.undo(first.command, first.reference, 2, amount=2)
    settle = builder.undo_verb == "reverse"
    yield from expect(over, partial(_is_not_done, builder), settle=settle)


@script
def undo_repeat(builder: CommandBuilder) -> Part[None]:
    """A repeated undo gets the first answer, and leaves the rest to be undone."""
    first = yield from _done_in_pieces(builder)
    part = builder.undo(first.command, first.reference, amount=1)
    undone = yield from expect(part, done)
    yield from expect_again(undone, lambda: builder.again(part), times=2)
    rest = builder.undo(first.command, first.reference, 2, amount=first.moved - 1)
    yield from _expect_as_asked(builder, rest, "the rest cannot be undone any more")


@script
def undo_inquire(builder: CommandBuilder) -> Part[None]:
    """An inquiry repeats the answer to an undo."""
    first = yield from expect(builder.do(), done)
    undone = yield from expect(builder.undo(first.command, first.reference), done)
    yield from expect_again(undone, lambda: builder.inquire(undone.command))


@script
def undo_unknown(builder: CommandBuilder) -> Part[None]:
    """An undo of nothing has no effect."""
    reverse = builder.undo_verb == "reverse"
    check = _is_not_received if reverse else partial(_is_not_done, builder)
    yield from expect(builder.undo(builder.do(), "no-such-reference"), check, settle=False)


def _is_not_done(builder: CommandBuilder, reply: ReceivedReply | None) -> Finding | None:
    """A reverse that cannot be done is refused; a return may not be refused, so it waits."""
    if builder.undo_verb == "reverse":
        return is_a_definite_no(reply)
    return outcome_is(reply, Outcome.PENDING, Outcome.NOT_RECEIVED)
