"""Which redemptions are tried in every order, with which faults, and how many things deep."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from orchestrator.engine.policy import Rung, Until
from orchestrator.sagas.redemption.terms import Partial
from tests.engine.cases import LINES, NOW
from tests.engine.search import Explored, Search
from tests.engine.shapes import (
    CALLED,
    FRESH,
    LATE_NO,
    LATE_YES,
    PARTS,
    PENDING_ENDS,
    SHORT,
    Shape,
    shape,
)

EVERYTHING: Final = 99
"""Deeper than anything that ends by itself."""
_CANCEL: Final = replace(SHORT, cancel=True)
_QUICK: Final = replace(_CANCEL, times=0)
_BRIEF: Final = replace(SHORT, times=0)
_LONG: Final = replace(
    _CANCEL,
    rungs=(Rung.INQUIRE, Rung.RESEND),
    times=2,
    call_after=Until(after=CALLED),
    pending_until=Until(after=PENDING_ENDS),
)


class Try(NamedTuple):
    """One search."""

    shape: Shape
    depth: int
    lies: int = 0
    errors: int = 0
    deducted: bool = False
    given: tuple[int, ...] = ()
    told: bool = False

    @property
    def whole(self) -> bool:
        """Whether nothing may be left untried."""
        return self.depth == EVERYTHING

    def search(self, deeper: int = 0) -> Explored:
        """Carry it out, perhaps deeper than it says."""
        found = Search(self.shape, self.lies, self.errors, self.deducted, self.given, self.told)
        return found.explore(self.depth + (0 if self.whole else deeper))


def truthful() -> Iterator[Try]:
    """Companies that never lie and people who know: every order there is."""
    yield Try(shape("no cancel"), EVERYTHING)
    yield Try(shape("cancel", _CANCEL), EVERYTHING)
    yield Try(shape("resend", replace(_CANCEL, rungs=(Rung.RESEND,))), EVERYTHING)
    yield Try(shape("prededucted", _CANCEL, prededucted=True), EVERYTHING)
    yield Try(shape("held", _QUICK, held=True), 14)
    yield Try(shape("held, prededucted", _QUICK, held=True, prededucted=True), EVERYTHING)
    yield Try(shape("long", _LONG), 9)
    for partial in Partial:
        yield Try(shape(f"parts {partial}", _QUICK, PARTS, partial), 9)
        yield Try(shape(f"lines {partial}", _BRIEF, LINES[1:3], partial), 8, deducted=True)


def mistaken() -> Iterator[Try]:
    """People who decide otherwise than is true, against nothing that is known."""
    yield Try(shape("no cancel"), 12, errors=1)
    yield Try(shape("no cancel, twice"), 10, errors=2)
    yield Try(shape("cancel", _CANCEL), 11, errors=1)
    yield Try(shape("prededucted", _CANCEL, prededucted=True), 16, errors=1)
    yield Try(shape("held", _QUICK, held=True), 10, errors=1)
    for partial in Partial:
        yield Try(shape(f"lines {partial}", _BRIEF, LINES[1:3], partial), 6, 0, 1, deducted=True)


def lying() -> Iterator[Try]:
    """A company that says something else than is true, once or twice; and people who err."""
    yield Try(shape("no cancel"), 10, lies=1)
    yield Try(shape("cancel", _CANCEL), 9, lies=1)
    yield Try(shape("cancel, twice", _CANCEL), 8, lies=2)
    yield Try(shape("resend", replace(_CANCEL, rungs=(Rung.RESEND,))), 9, lies=1)
    yield Try(shape("denied", replace(_BRIEF, late_no=LATE_NO[1])), 9, lies=1)
    yield Try(shape("denied, twice", replace(_BRIEF, late_no=LATE_NO[3])), 8, lies=2)
    yield Try(shape("prededucted", _CANCEL, prededucted=True), 11, 1, 1)
    for partial in Partial:
        yield Try(shape(f"parts {partial}", _QUICK, PARTS, partial), 7, lies=1, deducted=True)
    for chain in LATE_YES:
        policy = replace(_QUICK, late_yes=chain)
        yield Try(shape(f"late yes {'-'.join(chain)}", policy), 9, 1, deducted=True)
    for chain in LATE_NO:
        policy = replace(_QUICK, late_no=chain)
        yield Try(shape(f"late no {'-'.join(chain)}", policy), 9, 1, deducted=True)


def chosen() -> Iterator[Try]:
    """A few of all those, small and the smallest first, for what they catch of the planted bugs."""
    yield Try(shape("parts", _QUICK, PARTS), 5, lies=1, deducted=True)
    yield Try(shape("fresh", fresh_until=NOW + FRESH), EVERYTHING)
    yield Try(shape("long", _LONG), 7)
    yield Try(shape("prededucted", _CANCEL, prededucted=True), 9, 1, 1)
    yield Try(shape("denied, twice", replace(_BRIEF, late_no=LATE_NO[3])), 8, lies=2)


def further() -> Iterator[Try]:
    """Deductions that are heard too late to be built upon, interim results, and three lines."""
    until = NOW + FRESH
    yield Try(shape("fresh", fresh_until=until), EVERYTHING)
    yield Try(shape("fresh, cancel", _CANCEL, fresh_until=until), EVERYTHING)
    back = shape("fresh, prededucted", _QUICK, held=True, prededucted=True, fresh_until=until)
    yield Try(back, EVERYTHING)
    yield Try(shape("told", _BRIEF), EVERYTHING, told=True)
    yield Try(shape("told, long", _LONG), 7, told=True)
    yield Try(shape("told, lines", _BRIEF, LINES[1:3]), 7, told=True)
    yield Try(shape("told, held", _QUICK, held=True, fresh_until=until), 10, told=True)
    yield Try(shape("told, mistaken", _QUICK, fresh_until=until), 8, errors=1, told=True)
    yield Try(shape("told, lying", _QUICK, fresh_until=until), 7, lies=1, told=True)
    kept, whole = (shape(f"three {partial}", _BRIEF, LINES, partial) for partial in Partial)
    yield Try(kept, 6, deducted=True, given=(2,))
    yield Try(kept, 7, errors=1, deducted=True, given=(1, 0))
    yield Try(kept, 7, lies=1, deducted=True, given=(2, 1))
    yield Try(whole, 5, deducted=True, given=(2,))
    yield Try(whole, 6, lies=1, deducted=True, given=(2, 1))
