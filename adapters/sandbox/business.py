"""What the kinds of companies have in common: what a business does, and who its customers are.

A business carries out a command within a unit of work and says what came of it. That a leg is
carried out at most once is the concern of `handler.py`.
"""

import fnmatch
import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from adapters.sandbox.commands import Command, Verb
from adapters.sandbox.companies import Company, Status
from adapters.sandbox.ledger import Leg, Outcome, UnitOfWork


class Verdict(NamedTuple):
    """What came of a command: how much was moved, and the further fields of the reply."""

    outcome: Outcome
    moved: int = 0
    facts: Mapping[str, Any] = MappingProxyType({})


NOT_RECEIVED: Final = Verdict("NOT_RECEIVED")
PENDING: Final = Verdict("PENDING")


def refused(code: str, message: str) -> Verdict:
    """A rejection: nothing was moved, and nothing will be."""
    return Verdict("REJECTED", facts={"reason": {"code": code, "message": message}})


class Business(Protocol):
    """What one kind of company does.

    `keeps_balances`: it keeps its customers' balances; otherwise it issues what they keep.
    """

    keeps_balances: ClassVar[bool]

    def opening_accounts(self) -> Iterator[tuple[str, str, list[list[Any]]]]:
        """Accounts that exist from the start: account, unit, lots."""

    def carry_out(self, command: Command, work: UnitOfWork, now: datetime) -> Verdict:
        """Do what a command that was never done before asks for."""


def reference_of(participant: str, leg_id: str) -> str:
    """The company's own reference for a leg; computed, so that it is the same after a restart."""
    prefix, blank = _letterhead(participant)
    digest = blank.copy()
    digest.update(leg_id.encode())
    return prefix + digest.hexdigest().upper()


@cache
def _letterhead(participant: str) -> tuple[str, "hashlib.blake2b"]:
    """The prefix of a company's references, and the hash that each of them begins with."""
    person = participant[:16].encode()
    return f"{participant.upper()}-", hashlib.blake2b(digest_size=8, person=person)


def not_offered(verb: Verb) -> Verdict:
    """The answer to a verb that is not this company's business."""
    return refused("PARTNER_DECLINED", f"this company does not offer {verb}")


class Members:
    """The customers of a company: who is known, and who may do business."""

    def __init__(self, company: Company) -> None:
        globs = "|".join(fnmatch.translate(glob) for glob in ("@*", *company.unknown))
        self._is_unknown = re.compile(globs).match
        self._status: dict[str, Status] = {one.account: one.status for one in company.members}

    def refusal(self, account: str) -> Verdict | None:
        """Why an account may not do business, or None when it may."""
        match self._status.get(account):
            case "active":
                return None
            case "suspended":
                return refused("MEMBER_SUSPENDED", "the account is suspended")
            case None if self._is_unknown(account):
                return refused("MEMBER_UNKNOWN", "no such account")
            case None:
                return None


def left_of(credit: Leg) -> int:
    """How much of a credit has not been reversed."""
    return credit.moved if credit.remaining is None else int(credit.remaining)


def cannot_reverse(command: Command, credit: Leg | None) -> Verdict | None:
    """Why a credit cannot be reversed (`domain.md` 4.6), or None when it can."""
    if credit is None or credit.outcome is None:
        return NOT_RECEIVED
    if credit.outcome == "PENDING":
        return PENDING
    if credit.outcome != "CONFIRMED" or credit.verb != "credit":
        return refused("PARTNER_DECLINED", "nothing was credited under that leg")
    if credit.account != command.account:
        return refused("PARTNER_DECLINED", "the credit went to another account")
    if command.amount > left_of(credit):
        return refused("PARTNER_DECLINED", "more than is left of the credit")
    return None


def taken_back(participant: str, command: Command, credit: Leg, work: UnitOfWork) -> Verdict:
    """Note on a credit what was reversed of it, and confirm."""
    credit.remaining = str(left_of(credit) - command.amount)
    work.touch(credit.leg_id)
    reference = reference_of(participant, command.leg_id)
    facts = {"reference": reference, "quantity": command.amount}
    return Verdict("CONFIRMED", command.amount, facts)


OWN: Final = "app/"
"""Begins the id of every leg that a company did by itself; the rest is its own reference."""
DENIED: Final = f"{OWN}denied/"
"""Begins the id of the leg by which a company took back what it had confirmed."""


def denial(leg: Leg) -> Command:
    """The command by which a company, by its own act, takes back all that a leg moved."""
    verb: Verb = "return" if leg.verb == "deduct" else "reverse"
    return Command(
        verb,
        DENIED + leg.leg_id,
        1,
        "",
        None,
        b"",
        account=leg.account,
        item=leg.item,
        amount=leg.moved,
        original=leg.leg_id,
    )
