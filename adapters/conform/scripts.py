"""How each cell of `domain.md` 4.6 is tried: generators that yield what to publish. Pure.

A script gets the answers to what it yields, and returns its finding. It touches nothing else, so
that it plays on Kafka and on a company in the same process alike. `pen.do` writes a deduct or a
credit, `pen.undo` a return or a reverse, as the participant's role says.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from adapters.conform.exchange import KEPT, Came, CommandBuilder, Finding, Pause, Sent, Steps, ask
from adapters.conform.verdicts import (
    broken,
    done,
    is_a_definite_no,
    is_confirmed_as_asked,
    is_the_same,
    moved_by,
    outcome_is,
)
from schemas.replies import Outcome
from schemas.values import Lot

BURST: Final = 10
EXPIRED_S: Final = -60.0
SOON_S: Final = 2.0
AFTER_S: Final = 0.5

# -- deduct and credit -------------------------------------------------------------------------


def as_asked(pen: CommandBuilder) -> Steps:
    """A command is confirmed with what was asked."""
    do = pen.do()
    (came,) = yield ask(do)
    return is_confirmed_as_asked(came, do, pen.terms) or KEPT


def refusal(pen: CommandBuilder) -> Steps:
    """What cannot be done is refused."""
    (came,) = yield ask(pen.do(account=pen.terms.refused_account))
    return is_a_definite_no(came) or KEPT


def repeat(pen: CommandBuilder) -> Steps:
    """A repeat gets the first answer."""
    do = pen.do()
    (first,) = yield ask(do)
    if unmet := done(first):
        return unmet
    for _ in range(2):
        (again,) = yield ask(pen.again(do))
        if wrong := is_the_same(first, again):
            return wrong
    return KEPT


def burst(pen: CommandBuilder) -> Steps:
    """So do many repeats at once."""
    first = pen.do()
    came = yield ask(first, *(pen.again(first) for _ in range(BURST - 1)))
    one = next((one for one in came if one is not None), None)
    if unmet := done(one):
        return unmet
    return next((wrong for again in came if (wrong := is_the_same(one, again))), KEPT)


def expired(pen: CommandBuilder) -> Steps:
    """What comes first after its time is refused."""
    (came,) = yield ask(pen.do(expires_s=EXPIRED_S))
    return is_a_definite_no(came, "EXPIRED") or KEPT


def late_repeat(pen: CommandBuilder) -> Steps:
    """A repeat after its time is a repeat."""
    do = pen.do(expires_s=SOON_S)
    (first,) = yield ask(do)
    if unmet := done(first):
        return unmet
    yield Pause(pen.now + timedelta(seconds=SOON_S + AFTER_S))
    (again,) = yield ask(pen.again(do))
    return is_the_same(first, again) or KEPT


def exact(pen: CommandBuilder) -> Steps:
    """Without a balance inquiry: if repeats moved nothing, all is there after the undo."""
    terms = pen.terms
    whole_amount = terms.exact_amount or 0
    account, item = terms.exact_account, terms.exact_item
    part = pen.do(amount=max(1, whole_amount // 4), account=account, item=item)
    (first,) = yield ask(part)
    if unmet := done(first):
        return unmet
    yield ask(*(pen.again(part) for _ in range(3)))
    undo = pen.undo(part, _reference(first))
    (back,) = yield ask(undo)
    if wrong := is_confirmed_as_asked(back, undo, terms):
        return broken(f"its undo after the repeats: {wrong.why}", wrong.expected)
    everything = pen.do(2, amount=whole_amount, account=account, item=item)
    (came,) = yield ask(everything)
    expected = f"CONFIRMED for all {whole_amount}: nothing is missing after the undo"
    if wrong := is_confirmed_as_asked(came, everything, terms):
        return broken(f"{wrong.why}: repeats moved more than was told", expected)
    left = _moved(came, everything)
    if left < whole_amount:
        return broken(f"only {left} were left: repeats moved more than was told", expected)
    return KEPT


# -- inquire and cancel ------------------------------------------------------------------------


def inquire_done(pen: CommandBuilder) -> Steps:
    """An inquiry repeats what was done."""
    do = pen.do()
    (first,) = yield ask(do)
    if unmet := done(first):
        return unmet
    for _ in range(2):
        (again,) = yield ask(pen.inquire(do))
        if wrong := is_the_same(first, again):
            return wrong
    return KEPT


def inquire_refused(pen: CommandBuilder) -> Steps:
    """An inquiry repeats a refusal."""
    do = pen.do(expires_s=EXPIRED_S)
    (first,) = yield ask(do)
    if is_a_definite_no(first):
        return Finding("undecided", "an expired command was not refused", "REJECTED")
    (again,) = yield ask(pen.inquire(do))
    return is_the_same(first, again) or KEPT


def inquire_unknown(pen: CommandBuilder) -> Steps:
    """An inquiry about nothing says so."""
    (came,) = yield ask(pen.inquire(pen.do()))
    return outcome_is(came, Outcome.NOT_RECEIVED) or KEPT


def inquire_decides_nothing(pen: CommandBuilder) -> Steps:
    """What was asked about first is done when it comes."""
    do = pen.do()
    yield ask(pen.inquire(do))
    (came,) = yield ask(do)
    return is_confirmed_as_asked(came, do, pen.terms) or KEPT


def cancel_unknown(pen: CommandBuilder) -> Steps:
    """A cancel of nothing is accepted."""
    (came,) = yield ask(pen.cancel(pen.do()))
    return outcome_is(came, Outcome.CANCELLED) or KEPT


def tombstone(pen: CommandBuilder) -> Steps:
    """What was cancelled before it came is never done."""
    do = pen.do()
    (cancelled,) = yield ask(pen.cancel(do))
    if outcome_is(cancelled, Outcome.CANCELLED):
        return Finding("undecided", "the cancel of an unknown leg was not accepted", "CANCELLED")
    (came,) = yield ask(do)
    if wrong := outcome_is(came, Outcome.CANCELLED):
        return wrong
    (came,) = yield ask(pen.again(do))
    return outcome_is(came, Outcome.CANCELLED) or KEPT


def cancel_repeat(pen: CommandBuilder) -> Steps:
    """A repeated cancel gets the same answer."""
    do = pen.do()
    (first,) = yield ask(pen.cancel(do))
    if outcome_is(first, Outcome.CANCELLED):
        return Finding("undecided", "the cancel of an unknown leg was not accepted", "CANCELLED")
    (again,) = yield ask(pen.cancel(do))
    return is_the_same(first, again) or KEPT


def cancel_done(pen: CommandBuilder) -> Steps:
    """A cancel of what is done repeats what was done."""
    do = pen.do()
    (first,) = yield ask(do)
    if unmet := done(first):
        return unmet
    (came,) = yield ask(pen.cancel(do))
    return is_the_same(first, came) or KEPT


# -- return and reverse ------------------------------------------------------------------------


def whole(pen: CommandBuilder) -> Steps:
    """What was done is undone in whole."""
    do = pen.do()
    (first,) = yield ask(do)
    if unmet := done(first):
        return unmet
    undo = pen.undo(do, _reference(first), amount=_moved(first, do), lots=_lots(first))
    (came,) = yield ask(undo)
    return is_confirmed_as_asked(came, undo, pen.terms) or KEPT


def lots_back(pen: CommandBuilder) -> Steps:
    """Points come back into their lots."""
    do = pen.do()
    (first,) = yield ask(do)
    if unmet := done(first):
        return unmet
    taken = _lots(first)
    if not taken:
        return Finding("not offered", "your deductions name no lots")
    undo = pen.undo(do, _reference(first), lots=taken)
    (came,) = yield ask(undo)
    if unmet := done(came):
        return unmet
    back = {lot.lot: (lot.points, lot.expires_on) for lot in _lots(came) or ()}
    out = {lot.lot: (lot.points, lot.expires_on) for lot in taken}
    expected = "the lots of the deduction, each with its points and its expires_on"
    return KEPT if not back or back == out else broken("other lots came back", expected)


_TOO_FEW: Final = Finding("undecided", "fewer than two were issued, so there are no parts", "2")


def parts(pen: CommandBuilder) -> Steps:
    """What was done is undone in parts."""
    do = pen.do()
    (first,) = yield ask(do)
    if unmet := done(first):
        return unmet
    moved = _moved(first, do)
    if moved < 2:
        return _TOO_FEW
    for number, amount in ((1, moved // 2), (2, moved - moved // 2)):
        undo = pen.undo(do, _reference(first), number, amount=amount)
        (came,) = yield ask(undo)
        if wrong := is_confirmed_as_asked(came, undo, pen.terms):
            return wrong
    return KEPT


def too_much(pen: CommandBuilder) -> Steps:
    """Parts never add up to more than was done."""
    do = pen.do()
    (first,) = yield ask(do)
    if unmet := done(first):
        return unmet
    moved = _moved(first, do)
    if moved < 2:
        return _TOO_FEW
    part = pen.undo(do, _reference(first), amount=moved - 1)
    (came,) = yield ask(part)
    if unmet := done(came):
        return unmet
    over = pen.undo(do, _reference(first), 2, amount=2)
    (came,) = yield ask(over, settle=pen.undo_verb == "reverse")
    return _not_done(pen, came)


def undo_repeat(pen: CommandBuilder) -> Steps:
    """A repeated undo gets the first answer, and leaves the rest to be undone."""
    do = pen.do()
    (first,) = yield ask(do)
    if unmet := done(first):
        return unmet
    moved = _moved(first, do)
    if moved < 2:
        return _TOO_FEW
    undo = pen.undo(do, _reference(first), amount=1)
    (told,) = yield ask(undo)
    if unmet := done(told):
        return unmet
    for _ in range(2):
        (again,) = yield ask(pen.again(undo))
        if wrong := is_the_same(told, again):
            return wrong
    rest = pen.undo(do, _reference(first), 2, amount=moved - 1)
    (came,) = yield ask(rest)
    if wrong := is_confirmed_as_asked(came, rest, pen.terms):
        return broken(f"the rest cannot be undone any more: {wrong.why}", wrong.expected)
    return KEPT


def undo_inquire(pen: CommandBuilder) -> Steps:
    """An inquiry repeats the answer to an undo."""
    do = pen.do()
    (first,) = yield ask(do)
    if unmet := done(first):
        return unmet
    undo = pen.undo(do, _reference(first))
    (told,) = yield ask(undo)
    if unmet := done(told):
        return unmet
    (again,) = yield ask(pen.inquire(undo))
    return is_the_same(told, again) or KEPT


def undo_unknown(pen: CommandBuilder) -> Steps:
    """An undo of nothing has no effect."""
    (came,) = yield ask(pen.undo(pen.do(), "no-such-reference"), settle=False)
    if pen.undo_verb == "reverse":
        return outcome_is(came, Outcome.NOT_RECEIVED) or KEPT
    return _not_done(pen, came)


def _not_done(pen: CommandBuilder, came: Came | None) -> Finding:
    """A reverse that cannot be is refused; a return may not be refused, so it waits."""
    if pen.undo_verb == "reverse":
        return is_a_definite_no(came) or KEPT
    return outcome_is(came, Outcome.PENDING, Outcome.NOT_RECEIVED) or KEPT


def _reference(came: Came | None) -> str:
    assert came is not None
    assert came.data is not None
    return came.data.reference or ""


def _moved(came: Came | None, sent: Sent) -> int:
    assert came is not None
    assert came.data is not None
    return moved_by(came.data, sent)


def _lots(came: Came | None) -> tuple[Lot, ...] | None:
    assert came is not None
    assert came.data is not None
    return came.data.lots
