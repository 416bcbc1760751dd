"""What follows for a saga from where its legs stand: what is asked next, what the origin is told.

Two invariants are kept here (`domain.md` 4.1): nothing is undone because of silence (I7), and the
first final result is said once, what comes later as a correction (I6).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.engine import ladder
from orchestrator.engine.balance import deductions, issued, points, reversible, to_reverse
from orchestrator.engine.definition import Definition, Kind, Role
from orchestrator.engine.instance import Leg, Saga, Terms
from orchestrator.engine.machine import DECIDED, Status
from orchestrator.engine.policy import LegPolicy, Policies, Remedy
from orchestrator.engine.rebuild import still_holds
from orchestrator.engine.results import add_result, final_status, with_review_result
from orchestrator.engine.undo import LOSS, undo_amount, undo_legs
from schemas.frozen import replaced
from schemas.reasons import Code


@dataclass(frozen=True, slots=True)
class Planner:
    """A definition and the policies under which it runs. Pure: the time is an argument."""

    definition: Definition
    policies: Policies

    def _plan(self, saga: Saga, now: int) -> Saga:
        """Ask for whatever can be asked for now, and tell the origin what it must hear."""
        settled = self._forward(saga, now)
        if settled is None:
            return with_review_result(saga, now)
        if settled is not saga:
            return settled
        while True:
            restored = self._rebalance(settled, now)
            if restored is settled:
                break
            settled = restored
        if any(self._awaits(settled, leg) for leg in settled.legs):
            return with_review_result(settled, now)
        return self._with_final_result(settled, now)

    def _forward(self, saga: Saga, now: int) -> Saga | None:
        """The saga with the next step asked; None while it must wait; itself when all were."""
        for step in self.definition.steps:
            legs = saga.legs_of(step.name)
            if not legs:
                return saga  # Refused at once.
            if legs[0].status is Status.WAITING:
                return saga if _abandoned(saga, now) else self._ask(saga, legs, now)
            if step.kind is Kind.COMPENSABLE:
                if legs[0].status not in DECIDED:
                    return None
                if legs[0].moved == 0:
                    return saga  # A definite no before anything was done.
        return saga

    def _awaits(self, saga: Saga, leg: Leg) -> bool:
        """Whether a leg keeps the saga from its end.

        What an origin took itself it must give back as soon as it hears the result: that is
        tracked until it is acknowledged, but not waited for (`domain.md` 4.4).
        """
        if leg.status in DECIDED:
            return leg.status is Status.OVERTURNED and leg.escalated_at > 0
        if leg.status is Status.WAITING:
            return False
        if not saga.terms.prededucted or not self._may_only_be_late(leg):
            return True
        return points(saga, self.definition).owed < 0  # What follows depends on it after all.

    def _rebalance(self, saga: Saga, now: int) -> Saga:
        """The saga with the next thing asked that brings it into balance; itself when it is."""
        pivot = self.definition.pivot
        vain = to_reverse(saga, pivot)
        if vain:
            return self._undo(saga, vain, now)
        now_owed = points(saga, self.definition)
        owed = now_owed.owed
        if owed > 0:
            if now_owed.covered:
                return _reduce_loss(saga, owed)
            asked = self._return(saga, owed, now) if now_owed.certain else saga
            return asked if asked is not saga else _clear_escalation(saga)
        if owed == 0:
            return _clear_escalation(saga)
        if any(leg.status not in DECIDED and leg.status is not Status.WAITING for leg in saga.legs):
            return saga
        return self._apply_remedy(saga, -owed, now)

    def _undo(self, saga: Saga, legs: Iterable[Leg], now: int) -> Saga:
        undo = self.definition.pivot.undo
        assert undo is not None, self.definition.name
        return self._added(saga, [Leg(f"{leg.path}/{undo.name}", leg.moved) for leg in legs], now)

    def _return(self, saga: Saga, owed: int, now: int) -> Saga:
        """Give back what is owed, never more than each deduction took (`domain.md` I1).

        What a dispute says was taken is not given back before a person has decided.
        """
        disputed = False
        for leg in deductions(saga, self.definition):
            if leg.status not in DECIDED:
                disputed = True
                continue
            undo = self.definition.step_of(leg.verb).undo
            assert undo is not None, leg
            earlier = undo_legs(saga, leg)
            left = leg.moved - sum([undo_amount(other) for other in earlier])
            if left > 0:
                number = f"/{len(earlier) + 1}" if earlier else ""
                path = f"{leg.path}/{undo.name}{number}"
                return self._added(saga, [Leg(path, min(owed, left))], now)
        if disputed:
            return saga
        raise AssertionError(f"{owed} points are owed that were never taken: {saga}")

    def _apply_remedy(self, saga: Saga, short: int, now: int) -> Saga:
        """Value was given that is not paid for: take the next remedy of the policy's chain."""
        cause = _cause(saga, self.definition.pivot.name)
        policy = self._policy(saga.terms, cause)
        chain = policy.late_yes if cause.moved > (cause.first or 0) else policy.late_no
        pivot = self.definition.pivot
        for remedy in chain:
            if remedy is Remedy.REVERSE:
                given = [leg for leg in saga.legs_of(pivot.name) if reversible(saga, leg)]
                if cause.verb == pivot.name:
                    given = [g for g in given if g.status is Status.OVERTURNED or g is cause]
                if given:
                    return self._undo(saga, given, now)
            elif remedy is Remedy.CHARGE:
                redo = self.definition.steps[0].redo
                if redo is not None and not saga.terms.prededucted and not saga.leg(redo.name):
                    return self._added(saga, [Leg(redo.name, short)], now)
            elif remedy is Remedy.LOSS:
                return self._with_loss(saga, short, now)
        if cause.escalated_at:
            return saga
        return saga.with_leg(replaced(cause, escalated_at=now, code=Code.REPLY_DISPUTED))

    def _with_loss(self, saga: Saga, short: int, now: int) -> Saga:
        """The saga with a loss booked on whoever bears it; nobody is asked."""
        number = len(saga.legs_of(LOSS)) + 1
        path = LOSS if number == 1 else f"{LOSS}/{number}"
        bearer = saga.terms.loss_bearer
        leg = Leg(path, short, Status.CONFIRMED, sent_at=now, moved=short, reference=bearer)
        return saga.with_leg(leg)

    def _added(self, saga: Saga, legs: list[Leg], now: int) -> Saga:
        return self._ask(replaced(saga, legs=(*saga.legs, *legs)), legs, now)

    def _ask(self, saga: Saga, legs: Iterable[Leg], now: int) -> Saga:
        """The saga with those legs asked, all together."""
        asked = {leg.path: ladder.sent(leg, self._policy(saga.terms, leg), now) for leg in legs}
        return replaced(saga, legs=tuple([asked.get(leg.path, leg) for leg in saga.legs]))

    def _with_final_result(self, saga: Saga, now: int) -> Saga:
        """The saga with its one final result, or with the correction of it (`domain.md` I6)."""
        told = saga.told
        if told is not None and saga.ended and not told.superseded:
            return saga
        pieces = issued(saga, self.definition.pivot)
        status, code = final_status(saga, pieces)
        if told is not None and still_holds(saga, self.definition, status):
            return replaced(saga, told=replaced(told, as_published=None))
        return add_result(saga, status, code, now)

    def _may_only_be_late(self, leg: Leg) -> bool:
        step = self.definition.step_of(leg.verb)
        return step.kind is Kind.RETRIABLE or (
            step.kind is Kind.COMPENSABLE and leg.undoes is not None
        )

    def _policy(self, terms: Terms, leg: Leg) -> LegPolicy:
        verb = leg.verb
        return self.policies.of(participant(terms, self.definition, verb), verb)


def _cause(saga: Saga, pivot: str) -> Leg:
    """The leg of which a later verdict is believed.

    There is none where points were returned before the database was lost and the answer to what
    led to it is another one now: then it is what was given, or what was taken.
    """
    late = (leg for leg in reversed(saga.legs) if leg.status is Status.OVERTURNED)
    given = (leg for leg in reversed(saga.legs_of(pivot)) if leg.moved)
    return next(late, None) or next(given, saga.legs[0])


def _clear_escalation(saga: Saga) -> Saga:
    """The saga without a call for a person about what is not missing any more."""
    for leg in saga.legs:
        if leg.escalated_at and leg.status is Status.OVERTURNED:
            return saga.with_leg(replaced(leg, escalated_at=0))
    return saga


def _reduce_loss(saga: Saga, owed: int) -> Saga:
    """The saga with a loss taken back as far as it turned out to be none: the bearer comes first.

    What was given for it was paid for otherwise, or was not given.
    """
    leg = next(leg for leg in saga.legs_of(LOSS) if leg.moved)
    return saga.with_leg(replaced(leg, moved=leg.moved - min(owed, leg.moved)))


def _abandoned(saga: Saga, now: int) -> bool:
    """Whether what was not asked yet will never be; not undone by a clock that steps back."""
    if saga.withdrawn or saga.answered or any(leg.undoes is not None for leg in saga.legs):
        return True
    fresh = saga.terms.fresh_until
    return fresh is not None and now >= fresh


def participant(terms: Terms, definition: Definition, verb: str) -> str:
    """Who is asked for a verb in this saga; nobody for a loss."""
    if verb == LOSS:
        return ""
    role = definition.step_of(verb).to
    if role is Role.DEBTOR:
        return terms.debtor
    return terms.creditor if role is Role.CREDITOR else terms.origin
