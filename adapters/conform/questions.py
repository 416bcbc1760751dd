"""How the cells of a debtor's balance are tried: scripts, as those of `scripts.py`. Pure."""

from __future__ import annotations

from functools import partial

from adapters.conform.exchange import CommandBuilder, SentCommand
from adapters.conform.steps import Answered, Part, expect, require, script
from adapters.conform.verdicts import broken, done, is_a_balance, is_a_definite_no
from schemas.reasons import Code


def _read(command: SentCommand) -> Part[Answered]:
    """Ask for a balance that must be said at once: nobody asks what became of the question."""
    return expect(command, is_a_balance, settle=False)


@script
def balance_done(builder: CommandBuilder) -> Part[None]:
    """A balance is said."""
    yield from _read(builder.balance())


@script
def balance_unknown(builder: CommandBuilder) -> Part[None]:
    """Every refusal is the neutral one."""
    question = builder.balance(account=builder.terms.refused_account)
    yield from expect(question, partial(is_a_definite_no, code=Code.MEMBER_UNKNOWN))


@script
def balance_repeat(builder: CommandBuilder) -> Part[None]:
    """A question that comes again is answered again."""
    question = builder.balance()
    yield from _read(question)
    yield from _read(builder.again(question))
    yield from _read(builder.again(question))


@script
def balance_unmoved(builder: CommandBuilder) -> Part[None]:
    """Asking changes nothing, a deduction does."""
    account = builder.terms.balance_account
    first = (yield from _read(builder.balance(account=account))).data
    second = (yield from _read(builder.balance(2, account=account))).data
    if (first.available, first.held) != (second.available, second.held):
        why = f"{first.available} and {first.held} held became {second.available} and"
        require(broken(f"{why} {second.held} held by asking", "the same figures again"))
    deduct = yield from expect(builder.do(account=account), done)
    third = (yield from _read(builder.balance(3, account=account))).data
    left = (first.available or 0) - deduct.moved
    if third.available != left:
        why = f"{first.available} less the {deduct.moved} deducted is said to be {third.available}"
        require(broken(why, f"available {left}"))
