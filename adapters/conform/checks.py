"""The cells of `domain.md` 4.6 that `contract.md` 3 has verbs for: a promise and a script each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from adapters.conform import questions, scripts
from adapters.conform.exchange import CommandBuilder, Steps
from adapters.conform.terms import Lacking, Role, Terms

Subject: TypeAlias = Literal["do", "undo", "inquire", "cancel", "balance", "reply"]
"""Whose promise it is; `do` is deduct or credit, `undo` return or reverse, as the role says."""

_DEGRADED: Final[Mapping[Lacking, str]] = {
    "repeat": "not idempotent: the platform never sends you a command twice",
    "inquire": "no inquire: what became of a lost answer is learnt from your daily file alone",
    "cancel": "no cancel: a member whose answer was lost waits for the points",
    "undo": "no undo: what cannot be taken back is a loss of whoever bears it",
    "balance": "no balance: a member is not shown what can be redeemed",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One promise of a participant, and the script that tries it.

    `needs` are the offers without which it is not tried. `asked` and `expected` are for people.
    """

    subject: Subject
    name: str
    promise: str
    asked: str
    expected: str
    script: Callable[[CommandBuilder], Steps]
    needs: tuple[Lacking, ...] = ()
    wants: tuple[str, ...] = ()  # Terms without which it cannot be tried.
    roles: tuple[Role, ...] = ("debtor", "creditor")

    def id(self, terms: Terms) -> str:
        """As it is printed: `deduct.repeat`, `cancel.unknown`."""
        return f"{verb_of(self.subject, terms.role)}.{self.name}"

    def unoffered(self, terms: Terms) -> str:
        """Why it is not tried under these terms; empty when it is."""
        for lacking in self.needs:
            if lacking in terms.lacking:
                return f"you offer {_DEGRADED[lacking]}"
        missing = [name for name in self.wants if getattr(terms, name) is None]
        return f"give {', '.join(missing)} to have it tried" if missing else ""


def verb_of(subject: Subject, role: Role) -> str:
    """The verb of a subject for a role."""
    if subject == "do":
        return "deduct" if role == "debtor" else "credit"
    if subject == "undo":
        return "return" if role == "debtor" else "reverse"
    return subject


CELLS: Final = (
    Cell(
        "do",
        "done",
        "What is asked for is done, and confirmed with your reference and the very amount.",
        "a command",
        "`CONFIRMED`, `reference`, the amount that was asked for; fewer pieces may be credited",
        scripts.as_asked,
    ),
    Cell(
        "do",
        "refusal",
        "What cannot be done is refused with a code that means no.",
        "a command for an account that you must refuse",
        "`REJECTED` with a code of class INVALID or DECLINED",
        scripts.refusal,
        wants=("refused_account",),
    ),
    Cell(
        "do",
        "repeat",
        "A command that comes again has no effect and gets the first answer.",
        "a command, and twice the same again",
        "the first answer each time: same reference, same lots, same coupons",
        scripts.repeat,
        needs=("repeat",),
    ),
    Cell(
        "do",
        "burst",
        "The same holds when repeats come all at once.",
        f"a command {scripts.BURST} times, without waiting",
        f"{scripts.BURST} times the same answer",
        scripts.burst,
        needs=("repeat",),
    ),
    Cell(
        "do",
        "late-repeat",
        "A repeat that comes after `expires_at` gets the first answer too: it was seen before.",
        "a command, and the same again past its `expires_at`",
        "the first answer",
        scripts.late_repeat,
        needs=("repeat",),
    ),
    Cell(
        "do",
        "expired",
        "A command that comes first after its `expires_at` is not done.",
        "a command that expired a minute ago",
        "`REJECTED` with `EXPIRED`",
        scripts.expired,
    ),
    Cell(
        "do",
        "exact",
        "Repeats move nothing in secret: after an undo all is there again.",
        "a quarter of all there is, three repeats, its undo, then all there is",
        "`CONFIRMED` for all there is",
        scripts.exact,
        needs=("repeat", "undo"),
        wants=("exact_amount",),
    ),
    Cell(
        "inquire",
        "done",
        "An inquiry about what is done gets the original answer, word for word.",
        "a command, and two inquiries",
        "the first answer each time: no new reference, no new coupon",
        scripts.inquire_done,
        needs=("inquire",),
    ),
    Cell(
        "inquire",
        "refused",
        "An inquiry about what was refused gets the refusal.",
        "a command that is refused as expired, and an inquiry",
        "`REJECTED` with the same code",
        scripts.inquire_refused,
        needs=("inquire",),
    ),
    Cell(
        "inquire",
        "unknown",
        "An inquiry about what you never saw says so, and is no refusal.",
        "an inquiry about an unknown leg",
        "`NOT_RECEIVED`",
        scripts.inquire_unknown,
        needs=("inquire",),
    ),
    Cell(
        "inquire",
        "decides-nothing",
        "What was asked about before it came is done when it comes.",
        "an inquiry about an unknown leg, then the command",
        "`CONFIRMED`",
        scripts.inquire_decides_nothing,
        needs=("inquire",),
    ),
    Cell(
        "cancel",
        "unknown",
        "A cancel of what you never saw is accepted.",
        "a cancel of an unknown leg",
        "`CANCELLED`",
        scripts.cancel_unknown,
        needs=("cancel",),
    ),
    Cell(
        "cancel",
        "tombstone",
        "What was cancelled before it came is never done.",
        "a cancel of an unknown leg, then the command, twice",
        "`CANCELLED` each time",
        scripts.tombstone,
        needs=("cancel",),
    ),
    Cell(
        "cancel",
        "repeat",
        "A cancel that comes again gets the same answer.",
        "a cancel of an unknown leg, twice",
        "`CANCELLED` each time",
        scripts.cancel_repeat,
        needs=("cancel",),
    ),
    Cell(
        "cancel",
        "done",
        "A cancel of what is done is answered with what was done.",
        "a command, then its cancel",
        "the first answer, `CONFIRMED`",
        scripts.cancel_done,
        needs=("cancel",),
    ),
    Cell(
        "undo",
        "whole",
        "What was done is undone in whole.",
        "a command, then its undo",
        "`CONFIRMED` with the amount; a return may be `PENDING` first, never `REJECTED`",
        scripts.whole,
        needs=("undo",),
    ),
    Cell(
        "undo",
        "parts",
        "It may be undone in parts.",
        "a command, then its undo in two parts",
        "`CONFIRMED` for each part",
        scripts.parts,
        needs=("undo",),
    ),
    Cell(
        "undo",
        "too-much",
        "Parts never add up to more than was done.",
        "a command, its undo but for one, then an undo of two",
        "a reverse: `REJECTED`; a return: `PENDING` or `NOT_RECEIVED`, since it is never refused",
        scripts.too_much,
        needs=("undo",),
    ),
    Cell(
        "undo",
        "repeat",
        "An undo that comes again has no effect and gets its first answer.",
        "a command, an undo of one, twice the same again, and an undo of the rest",
        "the first answer each time, then `CONFIRMED` for the rest",
        scripts.undo_repeat,
        needs=("undo", "repeat"),
    ),
    Cell(
        "undo",
        "inquire",
        "An undo can be inquired about as well.",
        "a command, its undo, and an inquiry about the undo",
        "the answer to the undo",
        scripts.undo_inquire,
        needs=("undo", "inquire"),
    ),
    Cell(
        "undo",
        "unknown",
        "An undo of what you never did has no effect.",
        "an undo of an unknown leg",
        "a reverse: `NOT_RECEIVED`; a return: `PENDING` or `NOT_RECEIVED`",
        scripts.undo_unknown,
        needs=("undo",),
    ),
    Cell(
        "undo",
        "lots",
        "Points come back into the lots they came from, with the same expiry (debtors).",
        "a deduction, then its return with the lots that you named",
        "`CONFIRMED` with those lots",
        scripts.lots_back,
        needs=("undo",),
        roles=("debtor",),
    ),
    Cell(
        "balance",
        "done",
        "A balance is said: what may be redeemed, what is held, and when that was so (debtors).",
        "a question for a balance",
        "`CONFIRMED`, `reference`, `available`, `held`, `as_of`; no amount that was moved",
        questions.balance_done,
        needs=("balance",),
        roles=("debtor",),
    ),
    Cell(
        "balance",
        "unknown",
        "No refusal tells whether there is such an account (debtors).",
        "a question for the balance of an account that you must refuse",
        "`REJECTED` with `MEMBER_UNKNOWN`, whatever the reason is",
        questions.balance_unknown,
        needs=("balance",),
        wants=("refused_account",),
        roles=("debtor",),
    ),
    Cell(
        "balance",
        "repeat",
        "A question that comes again is answered again, with the same or with newer figures"
        " (debtors).",
        "a question for a balance, and twice the same again",
        "`CONFIRMED` each time",
        questions.balance_repeat,
        needs=("balance", "repeat"),
        roles=("debtor",),
    ),
    Cell(
        "balance",
        "unmoved",
        "Asking moves and holds nothing; a deduction shows in the next balance (debtors).",
        "two questions for a balance, a deduction, and a third question",
        "the same figures twice, then `available` less the points that were deducted",
        questions.balance_unmoved,
        needs=("balance",),
        wants=("balance_account",),
        roles=("debtor",),
    ),
)
"""Every cell with commands of its own, in the order in which they are printed."""
