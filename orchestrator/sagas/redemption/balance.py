"""The balance of a redemption: what its legs add up to, what is owed, what is not paid for.

Pure arithmetic. At the end `taken + covered = returned + forgone + the price of what the member
keeps` (`domain.md` I1); until then the plan asks for whatever is missing to that (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.engine.definition import Definition, Kind, Step
from orchestrator.engine.instance import Leg, Saga, Terms
from orchestrator.engine.machine import DECIDED, Status
from orchestrator.engine.undo import LOSS, undo_legs
from orchestrator.sagas.redemption.terms import Partial, RedemptionTerms
from schemas.frozen import value


def issued(saga: Saga, pivot: Step | None) -> tuple[int, ...]:
    """For each line, how many pieces the member has: those issued and not reversed."""
    assert pivot is not None, saga.terms.definition
    body: RedemptionTerms = saga.terms.body
    pieces = [0] * len(body.lines)
    for leg in saga.legs_of(pivot.name):
        pieces[leg.line or 0] += leg.moved
    for leg in _reversals(saga, pivot):
        pieces[leg.line or 0] -= leg.moved
    return tuple(pieces)


def price(terms: Terms, pieces: tuple[int, ...]) -> int:
    """The price of so many pieces of each line, in points."""
    body: RedemptionTerms = terms.body
    return sum([line.points_for(n) for line, n in zip(body.lines, pieces, strict=True)])


def worth(terms: Terms, pieces: tuple[int, ...]) -> int:
    """The worth of so many pieces of each line, in minor units, as account limits count it."""
    body: RedemptionTerms = terms.body
    return sum([line.worth_of(n) for line, n in zip(body.lines, pieces, strict=True)])


def deductions(saga: Saga, definition: Definition) -> Iterator[Leg]:
    """The legs that take points: the deduction, and the charge if there is one."""
    for step in definition.steps:
        if step.kind is Kind.COMPENSABLE:
            yield from saga.legs_of(step.name)
            if step.redo is not None:
                yield from saga.legs_of(step.redo.name)


@value
class Points:
    """The points of a saga, in its programme's unit."""

    taken: int  # Deducted and charged.
    covered: int  # Paid by the loss bearer.
    returned: int  # By returns that are confirmed.
    returning: int  # By returns that are asked for and not decided.
    forgone: int  # By returns that were written off.
    reserved: int  # The price of what the member keeps or may come to keep.
    certain: bool  # Whether no answer that may change `reserved` is expected soon.

    @property
    def owed(self) -> int:
        """What must still be returned; if negative, the price of what is given and not paid for."""
        accounted = self.returned + self.returning + self.forgone + self.reserved
        return self.taken + self.covered - accounted


def points(saga: Saga, definition: Definition) -> Points:
    """The points of a saga, added up over its legs."""
    taken = returned = returning = forgone = covered = 0
    for leg in deductions(saga, definition):
        taken += leg.moved
        for undo in undo_legs(saga, leg):
            if undo.status is Status.WRITTEN_OFF:
                forgone += undo.asked
            if undo.status in DECIDED or undo.status is Status.DISPUTED:
                returned += undo.moved
            else:
                returning += undo.asked
    for leg in saga.legs_of(LOSS):
        covered += leg.moved
    reserved, certain = _reserved(saga, definition.pivot)
    return Points(taken, covered, returned, returning, forgone, reserved, certain)


def in_suspense(saga: Saga, definition: Definition) -> int:
    """The saga's points in suspense, neither consumed nor returned, as in the journal (I11)."""
    now = points(saga, definition)
    spent = price(saga.terms, issued(saga, definition.pivot))
    return now.taken + now.covered - now.returned - now.forgone - spent


def _reserved(saga: Saga, pivot: Step | None) -> tuple[int, bool]:
    """The most that the lines may cost, in points, and whether that is not about to change.

    The whole price of a line that is not decided is reserved, so an unknown line holds back its own
    points and no others. It is about to change while an answer is expected that is not late yet:
    returns wait for it, so that points are returned all at once.
    """
    assert pivot is not None, saga.terms.definition
    body: RedemptionTerms = saga.terms.body
    reserved, certain = 0, True
    for leg in saga.legs_of(pivot.name):
        line = body.lines[leg.line or 0]
        undo = undo_legs(saga, leg)
        if leg.status is Status.WAITING:
            continue
        if leg.status not in DECIDED:
            reserved += line.points
        elif any(other.status not in DECIDED for other in undo):
            reserved += line.points_for(leg.moved)
        else:
            reserved += line.points_for(_left(saga, leg))
        if any(other.status is Status.SENT for other in (leg, *undo)):
            certain = False
    return reserved, certain


def to_reverse(saga: Saga, pivot: Step) -> list[Leg]:
    """The credits that an all-or-nothing redemption must reverse, as a line was not filled."""
    body: RedemptionTerms = saga.terms.body
    if body.partial is Partial.KEEP_ISSUED:
        return []
    legs = saga.legs_of(pivot.name)
    if not any(leg.status in DECIDED and _left(saga, leg) < leg.asked for leg in legs):
        return []
    return [leg for leg in legs if reversible(saga, leg)]


def _left(saga: Saga, leg: Leg) -> int:
    """How many pieces are left of what a credit issued."""
    return leg.moved - sum([undo.moved for undo in undo_legs(saga, leg)])


def reversible(saga: Saga, leg: Leg) -> bool:
    """Whether a credit issued something for which no reversal was asked yet."""
    return leg.status in DECIDED and leg.moved > 0 and not undo_legs(saga, leg)


def _reversals(saga: Saga, pivot: Step) -> tuple[Leg, ...]:
    return saga.legs_of(pivot.undo.name) if pivot.undo is not None else ()
