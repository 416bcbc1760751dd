"""The kinds of fault (`domain.md` 4.7): which commands each is for, what it needs, what it does.

The wire carries no signatures yet, so that none can be wrong; all else that a company can do to a
leg is here. `docs/partners/sandbox.md` shows this table.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from adapters.sandbox.commands import Verb

Kind: TypeAlias = Literal[
    "refuse",
    "silence",
    "apply_silent",
    "delay",
    "repeat",
    "pending",
    "pending_refuse",
    "apply_late",
    "reply_after_cancel",
    "done_after_cancel",
    "yes_after_no",
    "no_after_yes",
    "wrong_amount",
    "wrong_unit",
    "wrong_item",
    "refuse_undo",
    "down",
    "down_after",
    "garbled",
]
Need: TypeAlias = Literal["code", "ms", "times"]

FORWARD_VERBS: Final[tuple[Verb, ...]] = ("deduct", "credit")
UNDO_VERBS: Final[tuple[Verb, ...]] = ("return", "reverse")
EFFECT_VERBS: Final[tuple[Verb, ...]] = (*FORWARD_VERBS, *UNDO_VERBS)
ANSWERED_VERBS: Final[tuple[Verb, ...]] = (*EFFECT_VERBS, "balance")
ALL_VERBS: Final[tuple[Verb, ...]] = (*ANSWERED_VERBS, "inquire", "cancel")


class FaultSpec(NamedTuple):
    """One kind of fault: for which verbs it is, what a rule must state, and what happens."""

    verbs: tuple[Verb, ...]
    needs: tuple[Need, ...]
    description: str


# The order decides which number of a seed's hash means which fault: new kinds go to the end.
KINDS: Final[Mapping[Kind, FaultSpec]] = {
    "silence": FaultSpec(
        ALL_VERBS, (), "The command is lost on its way: nothing is done, nothing is said."
    ),
    "apply_silent": FaultSpec(ALL_VERBS, (), "It is done; the answer is lost."),
    "repeat": FaultSpec(ALL_VERBS, ("times",), "It is done once and answered `times` times."),
    "delay": FaultSpec(ALL_VERBS, ("ms",), "It is done at once; the answer comes `ms` later."),
    "refuse": FaultSpec(ANSWERED_VERBS, ("code",), "`REJECTED` with `code`, for good."),
    "pending": FaultSpec(
        ANSWERED_VERBS, ("ms",), "`PENDING`; carried out `ms` later, and said unasked."
    ),
    "pending_refuse": FaultSpec(
        EFFECT_VERBS, ("ms", "code"), "`PENDING`; `REJECTED` with `code` `ms` later, said unasked."
    ),
    "apply_late": FaultSpec(
        EFFECT_VERBS,
        ("ms",),
        "The command is held up for `ms`: until then an inquiry gets `NOT_RECEIVED`, and a cancel"
        " stops it.",
    ),
    "reply_after_cancel": FaultSpec(
        EFFECT_VERBS,
        (),
        "It is done; the answer comes only after the answer to a cancel of the leg.",
    ),
    "done_after_cancel": FaultSpec(
        EFFECT_VERBS,
        ("ms",),
        "A lie: `NOT_RECEIVED` until cancelled, the cancel is accepted, and `ms` later it is done"
        " after all.",
    ),
    "yes_after_no": FaultSpec(
        EFFECT_VERBS, ("ms", "code"), "A lie: `REJECTED` with `code`, and `ms` later it is done."
    ),
    "no_after_yes": FaultSpec(
        FORWARD_VERBS,
        ("ms", "code"),
        "A lie: done and `CONFIRMED`; `ms` later the company takes it back by itself, unless it was"
        " returned or reversed by then, and says `REJECTED` with `code`.",
    ),
    "wrong_amount": FaultSpec(
        EFFECT_VERBS, (), "Done as asked; the answer states one more than that."
    ),
    "wrong_unit": FaultSpec(
        ANSWERED_VERBS,
        (),
        "Done as asked; the answer has `quantity` in place of `points` or the other way round, and"
        " faces in another currency. A balance has a `quantity` beside its figures.",
    ),
    "wrong_item": FaultSpec(
        ("credit",),
        (),
        "Done as asked; the answer shows coupons of another face value, or one where none was"
        " asked for. (A reply names no item: the face is what tells.)",
    ),
    "refuse_undo": FaultSpec(
        UNDO_VERBS, ("code",), "What may not be: a return or a reverse is refused."
    ),
    "down": FaultSpec(
        ALL_VERBS,
        ("ms",),
        "The company is down before it does anything: this command and all that come within `ms`"
        " are heard when it is up again.",
    ),
    "down_after": FaultSpec(
        ALL_VERBS,
        ("ms",),
        "It is done, then the company is down for `ms`, before it could answer.",
    ),
    "garbled": FaultSpec(
        ANSWERED_VERBS, (), "Done as asked; half of the answer is missing, nobody can read it."
    ),
}
