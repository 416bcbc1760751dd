"""Checks of an answer. Pure.

Each returns None when the answer is as it must be, else the finding. `reply` is None when no answer
came in time.
"""

from __future__ import annotations

from typing import Any, Final

from adapters.conform.exchange import Finding, ReceivedReply, SentCommand
from adapters.conform.terms import Terms
from schemas.reasons import is_definite_no
from schemas.replies import LegAnswered, Outcome

_VERDICT: Final = (Outcome.CONFIRMED, Outcome.REJECTED, Outcome.CANCELLED)


def broken(why: str, expected: str) -> Finding:
    """The finding that a promise is not kept."""
    return Finding("broken", why, expected)


def answered(reply: ReceivedReply | None, expected: str) -> Finding | None:
    """An answer came, and it can be read as the contract has it."""
    if reply is None:
        return broken("nothing came back in time", expected)
    if reply.data is None:
        return broken(f"the reply cannot be read: {reply.fault}", expected)
    if reply.outcome is None:
        return broken(f"the outcome {reply.data.outcome!r} is none of the contract", expected)
    return None


def done(reply: ReceivedReply | None) -> Finding | None:
    """The first step of a cell is confirmed; where it is not, the cell is undecided."""
    unread = answered(reply, "CONFIRMED")
    if unread is not None:
        return Finding("undecided", f"the first step failed: {unread.why}", "CONFIRMED")
    assert reply is not None
    if reply.outcome is Outcome.CONFIRMED:
        return None
    why = f"the first step was to be CONFIRMED, but is {named(reply)}"
    if reply.outcome is Outcome.PENDING:
        why = "the first step is PENDING still; --settle waits longer"
    return Finding("undecided", why, "CONFIRMED")


def outcome_is(reply: ReceivedReply | None, *allowed: Outcome) -> Finding | None:
    """The answer states one of these outcomes."""
    expected = " or ".join(allowed)
    unread = answered(reply, expected)
    if unread is not None:
        return unread
    assert reply is not None
    if reply.outcome in allowed:
        return None
    return broken(f"it is {named(reply)}", expected)


def is_confirmed_as_asked(
    reply: ReceivedReply | None, sent: SentCommand, terms: Terms
) -> Finding | None:
    """CONFIRMED, with a reference and exactly what was asked (`contract.md` 3)."""
    expected = f"CONFIRMED with a reference and {_amount_name(sent)} {sent.amount}"
    finding = outcome_is(reply, Outcome.CONFIRMED)
    if finding is not None:
        return broken(finding.why, expected)
    assert reply is not None
    assert reply.data is not None
    why = _misstated(reply.data, sent, terms)
    return broken(why, expected) if why else None


def _amount_name(sent: SentCommand) -> str:
    return "points" if sent.verb in ("deduct", "return") else "quantity"


def moved_by(data: LegAnswered, sent: SentCommand) -> int:
    """How much an answer says was moved; what it does not state is what was asked."""
    stated = data.points if _amount_name(sent) == "points" else data.quantity
    return sent.amount if stated is None else stated


def _misstated(data: LegAnswered, sent: SentCommand, terms: Terms) -> str:
    points = _amount_name(sent) == "points"
    other = data.quantity if points else data.points
    if other is not None:
        return f"it states {'quantity' if points else 'points'}, which is another unit"
    amount = moved_by(data, sent)
    fewer_is_fine = sent.verb == "credit"
    if amount > sent.amount or (amount < sent.amount and not fewer_is_fine):
        return f"it states {amount}, {sent.amount} were asked for"
    if points and data.lots and sum(lot.points for lot in data.lots) != amount:
        return f"its lots add up to {sum(lot.points for lot in data.lots)}, not {amount}"
    return "" if points else _miscounted(data, amount, terms)


def _miscounted(data: LegAnswered, amount: int, terms: Terms) -> str:
    coupons = data.coupons or ()
    if coupons and len(coupons) != amount:
        return f"it lists {len(coupons)} coupons for a quantity of {amount}"
    if len({coupon.coupon_id for coupon in coupons}) != len(coupons):
        return "it lists a coupon_id twice"
    for coupon in coupons:
        if coupon.face is not None and terms.face is not None:
            shown = (coupon.face.amount, coupon.face.currency)
            if shown != (terms.face.amount, terms.face.currency):
                return f"coupon {coupon.coupon_id} shows a face of {shown[0]} {shown[1]}"
    return ""


def is_a_definite_no(reply: ReceivedReply | None, code: str = "") -> Finding | None:
    """REJECTED with a code that means no (`domain.md` 2.7), or with this very code."""
    expected = f"REJECTED with the code {code or 'of a class INVALID or DECLINED'}"
    finding = outcome_is(reply, Outcome.REJECTED)
    if finding is not None:
        return broken(finding.why, expected)
    assert reply is not None
    assert reply.data is not None
    assert reply.data.reason is not None
    found = reply.data.reason.code
    if code and found != code:
        return broken(f"the code is {found}", expected)
    if not is_definite_no(found):
        return broken(f"the code {found} does not mean no: it reads as unknown", expected)
    return None


def is_a_balance(reply: ReceivedReply | None) -> Finding | None:
    """CONFIRMED with a reference and all three figures, and with nothing of another unit."""
    expected = "CONFIRMED with a reference, available, held and as_of, and no other amount"
    finding = outcome_is(reply, Outcome.CONFIRMED)
    if finding is not None:
        return broken(finding.why, expected)
    assert reply is not None
    assert reply.data is not None
    data = reply.data
    missing = [name for name in ("available", "held", "as_of") if getattr(data, name) is None]
    if missing:
        return broken(f"it does not state {', '.join(missing)}", expected)
    other = [name for name in ("points", "lots", "quantity", "coupons") if getattr(data, name)]
    return broken(f"it states {', '.join(other)}: nothing was moved", expected) if other else None


def is_the_same(first: ReceivedReply | None, again: ReceivedReply | None) -> Finding | None:
    """The first answer again, in every field of the contract; a refusal may add to its message."""
    assert first is not None
    assert first.data is not None
    expected = f"the first answer again, {first.value}"
    unread = answered(again, expected)
    if unread is not None:
        return unread
    assert again is not None
    assert again.data is not None
    was, now = _content(first.data), _content(again.data)
    if was == now:
        return None
    differing = sorted(name for name in {*was, *now} if was.get(name) != now.get(name))
    return broken(f"it differs in {', '.join(differing)}", expected)


def contradicts(one: ReceivedReply, other: ReceivedReply) -> bool:
    """Whether two readable replies about a leg give verdicts that cannot both be true."""
    if one.outcome not in _VERDICT or other.outcome not in _VERDICT:
        return False
    if one.outcome is not other.outcome:
        return True
    assert one.data is not None
    assert other.data is not None
    return _content(one.data) != _content(other.data)


def named(reply: ReceivedReply) -> str:
    """The outcome of an answer, with the code of a refusal."""
    if reply.data is None:
        return "unreadable"
    code = f" ({reply.data.reason.code})" if reply.data.reason else ""
    return f"{reply.data.outcome}{code}"


def _content(data: LegAnswered) -> dict[str, Any]:
    content = data.known().model_dump(exclude_none=True)
    if data.reason is not None:
        content["reason"] = data.reason.code
    return content
