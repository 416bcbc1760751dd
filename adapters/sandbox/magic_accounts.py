"""Magic accounts: names by which a partner provokes each fault without a script.

Both demo programmes fix their amounts, so names stand for what Points.com does with amounts
(`domain.md` 2.1). The same names work as a debtor's and as a creditor's account, each leg for
itself; anything may follow after a hyphen (`magic-lost-2`). `docs/partners/sandbox.md` lists them.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from adapters.sandbox.fault_kinds import FORWARD_VERBS, KINDS, UNDO_VERBS, Kind
from adapters.sandbox.faults import MAGIC_PREFIX, Match, Rule

LATE_MS: Final = 8_000  # Later than the 5 s after which the platform asks (`domain.md` 4.3).
SOON_MS: Final = 3_000
CANCELS_UNANSWERED: Final = 3


class MagicAccount(NamedTuple):
    """What a magic account does, described for partners, and the rules that do it."""

    description: str
    rules: tuple[Rule, ...]


def _rule(action: Kind, verb: Any = None, first_n: int | None = None, **more: Any) -> Rule:
    return Rule(match=Match(verb=verb, first_n=first_n), action=action, **more)


def _first(action: Kind, first_n: int | None = 1, **more: Any) -> tuple[Rule, ...]:
    """The fault at the first delivery of a deduct or a credit; asking again learns the truth.

    At that of a balance too, where the fault is for one.
    """
    verbs = (*FORWARD_VERBS, "balance")
    fitting = (verb for verb in verbs if verb in KINDS[action].verbs)
    return tuple(_rule(action, verb, first_n, **more) for verb in fitting)


_NO: Final = "PARTNER_DECLINED"
_UNASKABLE: Final = _rule("silence", "inquire")

_NAMES: Final[Mapping[str, MagicAccount]] = {
    "lost": MagicAccount("The first command is lost; a repeat of it is done.", _first("silence")),
    "never": MagicAccount(
        "No command is ever heard; an inquiry gets `NOT_RECEIVED`, a cancel `CANCELLED`.",
        _first("silence", None),
    ),
    "reply-lost": MagicAccount(
        "Done; the answer is lost, an inquiry gets it.", _first("apply_silent")
    ),
    "reply-late": MagicAccount("Done; the answer comes late.", _first("delay", ms=LATE_MS)),
    "reply-twice": MagicAccount("Done once, answered three times.", _first("repeat", times=3)),
    "reply-after-cancel": MagicAccount(
        "Done; inquiries are not answered; the answer comes after that to a cancel.",
        (*_first("reply_after_cancel", None), _UNASKABLE),
    ),
    "wrong-amount": MagicAccount(
        "Done; the first answer states one too many, an inquiry the truth.", _first("wrong_amount")
    ),
    "wrong-unit": MagicAccount(
        "Done; the first answer has another unit, an inquiry the truth.", _first("wrong_unit")
    ),
    "garbled": MagicAccount(
        "Done; the first answer cannot be read, an inquiry gets the truth.", _first("garbled")
    ),
    "wrong-item": MagicAccount(
        "Issued; the first answer shows another face value, an inquiry the truth (creditors).",
        (_rule("wrong_item", "credit", 1),),
    ),
    "pending-yes": MagicAccount("`PENDING`, then done.", _first("pending", ms=SOON_MS)),
    "pending-no": MagicAccount(
        "`PENDING`, then `REJECTED`.", _first("pending_refuse", ms=SOON_MS, code=_NO)
    ),
    "late-done": MagicAccount(
        "An inquiry gets `NOT_RECEIVED`, then it is done after all; a cancel stops it.",
        _first("apply_late", None, ms=LATE_MS),
    ),
    "cancel-refused": MagicAccount(
        "Done; nothing is answered but a cancel, with `CONFIRMED`.",
        (*_first("apply_silent", None), _UNASKABLE),
    ),
    "cancel-unanswered": MagicAccount(
        f"No command is ever heard, nor the first {CANCELS_UNANSWERED} cancels; the next is"
        " accepted.",
        (*_first("silence", None), _rule("silence", "cancel", CANCELS_UNANSWERED)),
    ),
    "cancelled-then-done": MagicAccount(
        "The liar: the cancel is accepted, then it is done after all.",
        _first("done_after_cancel", None, ms=SOON_MS),
    ),
    "no-then-yes": MagicAccount(
        "`REJECTED`, then `CONFIRMED`.", _first("yes_after_no", ms=SOON_MS, code=_NO)
    ),
    "yes-then-no": MagicAccount(
        "`CONFIRMED`, then `REJECTED`: the company took it back by itself.",
        _first("no_after_yes", ms=SOON_MS, code=_NO),
    ),
    "down-before": MagicAccount(
        "Nobody is there for this leg: all about it is heard late.",
        _first("down", ms=LATE_MS, scope="leg"),
    ),
    "down-after": MagicAccount(
        "Done, then nobody is there for this leg; all about it is answered late.",
        _first("down_after", ms=LATE_MS, scope="leg"),
    ),
    "refused": MagicAccount("`REJECTED`.", _first("refuse", None, code=_NO)),
    "system-error": MagicAccount(
        "A balance is `REJECTED` with `PARTNER_SYSTEM_ERROR`, which is no no; all else is done.",
        (_rule("refuse", "balance", code="PARTNER_SYSTEM_ERROR"),),
    ),
    "undo-refused": MagicAccount(
        "Done; a return or a reverse of it is refused, which a return may not be.",
        tuple(_rule("refuse_undo", verb, code="ALREADY_CONSUMED") for verb in UNDO_VERBS),
    ),
    "undo-lost": MagicAccount(
        "Done; the first return or reverse is lost.",
        tuple(_rule("silence", verb, 1) for verb in UNDO_VERBS),
    ),
    "undo-reply-lost": MagicAccount(
        "Done; the answer to the first return or reverse is lost.",
        tuple(_rule("apply_silent", verb, 1) for verb in UNDO_VERBS),
    ),
    "undo-pending": MagicAccount(
        "Done; a return or a reverse is `PENDING`, then done.",
        tuple(_rule("pending", verb, 1, ms=SOON_MS) for verb in UNDO_VERBS),
    ),
}

DESCRIPTIONS: Final[Mapping[str, str]] = {
    MAGIC_PREFIX + name: magic.description for name, magic in _NAMES.items()
}
"""What each magic account does, described for partners."""

MAGIC: Final[Mapping[str, tuple[Rule, ...]]] = {
    MAGIC_PREFIX + name: magic.rules for name, magic in _NAMES.items()
}
"""The rules of each magic account, as `Faults` takes them."""
