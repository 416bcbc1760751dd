"""Every shape that a policy can have, small: a few rungs, short windows, all that may differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final

from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Saga, Terms
from orchestrator.engine.policy import LegPolicy, Policies, Remedy, Rung, Until
from orchestrator.sagas.redemption.intake import first_legs
from orchestrator.sagas.redemption.kind import REDEMPTION
from orchestrator.sagas.redemption.terms import Deducted, Partial, PricedLine
from tests.engine.cases import LINES, NOW, changed_terms, started, terms

HOUR: Final = 3_600_000
TOLD: Final = 60_000  # When an origin is told PENDING.
FRESH: Final = HOUR  # How long a confirmed deduction is built upon, where that is bounded.
CALLED: Final = 2 * HOUR
PENDING_ENDS: Final = 3 * HOUR
CANCEL_ENDS: Final = 4 * HOUR

WHOLE: Final = LINES[1:2]
"""One line of one piece: it is issued or not."""
PARTS: Final = LINES[:1]
"""One line of two pieces, of which one may be issued."""
SHORT: Final = LegPolicy(
    rungs=(Rung.INQUIRE,), times=1, cancel_until=Until(after=CANCEL_ENDS), tell_after=TOLD
)
VERBS: Final[Mapping[str, tuple[Rung, ...]]] = {
    "mute": (),
    "inquire": (Rung.INQUIRE,),
    "resend": (Rung.RESEND,),
    "both": (Rung.INQUIRE, Rung.RESEND),
}
REVERSE, CHARGE, LOSS, PARK = Remedy.REVERSE, Remedy.CHARGE, Remedy.LOSS, Remedy.PARK
LATE_YES: Final = (
    (REVERSE, CHARGE, LOSS),
    (REVERSE, CHARGE, PARK),
    (REVERSE, LOSS),
    (CHARGE, LOSS),
    (CHARGE, PARK),
    (LOSS,),
    (PARK,),
)
LATE_NO: Final = ((PARK,), (CHARGE, LOSS), (CHARGE, PARK), (LOSS,))


@dataclass(frozen=True, slots=True)
class Shape:
    """One engine under one kind of policy, and the terms of a redemption."""

    name: str
    engine: Engine
    terms: Terms
    held: bool = False

    @property
    def deducted(self) -> Deducted | None:
        """What the origin took before it asked."""
        if not self.terms.body.prededucted:
            return None
        return Deducted(
            "D-1", self.terms.body.points, ({"lot": "2026", "points": self.terms.body.points},)
        )

    def begun(self) -> Saga:
        """The saga when its request was accepted."""
        if self.held:
            legs = first_legs(self.engine.definition, self.terms, self.deducted)
            return self.engine.hold(self.terms, legs, NOW, NOW + HOUR)
        return started(self.engine, self.terms, NOW, self.deducted)


def policies(policy: LegPolicy) -> Policies:
    """The policy for every verb; what undoes is never cancelled, a return is said for ever."""
    undo = replace(policy, cancel=False)
    back = replace(undo, times=None, rungs=policy.rungs or (Rung.RESEND,))
    by_leg = {
        ("bank", "deduct"): policy,
        ("bank", "return"): back,
        ("wallet", "return"): back,
        ("issuer", "credit"): policy,
        ("issuer", "reverse"): undo,
    }
    return Policies(by_leg)


def shape(
    name: str,
    policy: LegPolicy = SHORT,
    lines: tuple[PricedLine, ...] = WHOLE,
    partial: Partial = Partial.KEEP_ISSUED,
    *,
    held: bool = False,
    **changed: Any,
) -> Shape:
    """A redemption of so many lines under that policy."""
    if changed.get("prededucted"):
        changed |= {"participants": ("wallet", "wallet", "issuer"), "debtor_account": "w-1"}
    agreed = changed_terms(terms(1, partial, **changed), lines=lines)
    return Shape(name, Engine(REDEMPTION, policies(policy)), agreed, held)


def ladders() -> Iterator[Shape]:
    """Verbs present or absent, cancel or not, deadlines or none: how long a leg may take."""
    for (verbs, rungs), cancel in product(VERBS.items(), (False, True)):
        name = f"{verbs}{'+cancel' if cancel else ''}"
        policy = replace(SHORT, rungs=rungs, cancel=cancel, times=len(rungs))
        yield shape(name, policy)
        called = replace(
            policy,
            call_after=Until(after=CALLED),
            pending_until=Until(after=PENDING_ENDS),
            pending_times=None if cancel else 1,
        )
        yield shape(f"{name}, called", called)
        yield shape(f"{name}, prededucted", called, prededucted=True)
    yield shape("asked for ever", replace(SHORT, times=None, pending_times=1))
    yield shape("fresh", replace(SHORT, cancel=True), fresh_until=NOW + FRESH)
    for mode in (False, True):
        yield shape("held", SHORT, held=True, prededucted=mode)


def chains() -> Iterator[Shape]:
    """Every chain of remedies, under both line policies and both deduction modes."""
    for late_yes, partial in product(LATE_YES, Partial):
        policy = replace(SHORT, cancel=True, times=0, late_yes=late_yes)
        yield shape(f"yes {'-'.join(late_yes)} {partial}", policy, PARTS, partial)
    for late_no, partial in product(LATE_NO, Partial):
        policy = replace(SHORT, rungs=(), times=0, late_no=late_no)
        yield shape(f"no {'-'.join(late_no)} {partial}", policy, PARTS, partial)
    for late_yes, late_no in ((LATE_YES[0], LATE_NO[1]), ((LOSS,), (LOSS,))):
        policy = replace(SHORT, cancel=True, times=0, late_yes=late_yes, late_no=late_no)
        yield shape(f"prededucted {'-'.join(late_yes)}", policy, prededucted=True)


def corrected() -> Iterator[Shape]:
    """The chains whose corrections are followed to their end."""
    for late_yes, late_no in ((LATE_YES[0], LATE_NO[0]), (LATE_YES[6], LATE_NO[1])):
        policy = replace(SHORT, rungs=(), times=0, late_yes=late_yes, late_no=late_no)
        for mode in (False, True):
            yield shape(f"{'-'.join(late_yes)} {mode}", policy, prededucted=mode)


def several(lines: tuple[PricedLine, ...]) -> Iterator[Shape]:
    """Several lines, of which some are unknown while others are refused."""
    for partial in Partial:
        policy = replace(SHORT, cancel=True, times=0)
        yield shape(f"lines {partial}", policy, lines, partial)
        yield shape(f"lines prededucted {partial}", policy, lines, partial, prededucted=True)
