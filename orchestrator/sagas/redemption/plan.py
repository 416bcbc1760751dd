"""What follows for a redemption: what is taken back, charged again or booked as a loss; its end.

What the legs add up to must balance (`balance.py`); the next thing that brings it into balance is
asked for, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.engine.definition import Definition, Step
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.kind import Asking
from orchestrator.engine.machine import DECIDED, Status
from orchestrator.engine.policy import Remedy
from orchestrator.engine.undo import LOSS, undo_amount, undo_legs
from orchestrator.sagas.redemption.balance import (
    deductions,
    issued,
    points,
    reversible,
    to_reverse,
)
from orchestrator.sagas.redemption.terms import RedemptionTerms
from schemas.frozen import replaced
from schemas.reasons import Code
from schemas.results import ResultStatus


@dataclass(frozen=True, slots=True)
class RedemptionPlan:
    """The plan of a redemption, for one version of its definition."""

    definition: Definition

    @property
    def pivot(self) -> Step:
        """The credit."""
        assert self.definition.pivot is not None, self.definition.name
        return self.definition.pivot

    def interim(self, saga: Saga) -> None:  # noqa: ARG002
        """Nothing but PENDING and MANUAL_REVIEW, which the engine tells."""
        return

    def holds_up(self, saga: Saga, leg: Leg) -> bool:
        """Whether a leg that is not decided keeps the redemption from its end.

        What an origin took itself it must give back as soon as it hears the result: that is
        tracked until it is acknowledged, but not waited for (`domain.md` 4.4).
        """
        body: RedemptionTerms = saga.terms.body
        if not body.prededucted or not self.definition.only_late(leg.verb):
            return True
        return points(saga, self.definition).owed < 0  # What follows depends on it after all.

    def rebalance(self, saga: Saga, asking: Asking, now: int) -> Saga:
        """The saga with the next thing asked that brings it into balance; itself when it is."""
        vain = to_reverse(saga, self.pivot)
        if vain:
            return self._undo(saga, vain, asking, now)
        now_owed = points(saga, self.definition)
        owed = now_owed.owed
        if owed > 0:
            if now_owed.covered:
                return _reduce_loss(saga, owed)
            asked = self._return(saga, owed, asking, now) if now_owed.certain else saga
            return asked if asked is not saga else _clear_escalation(saga)
        if owed == 0:
            return _clear_escalation(saga)
        if any(leg.status not in DECIDED and leg.status is not Status.WAITING for leg in saga.legs):
            return saga
        return self._apply_remedy(saga, -owed, asking, now)

    def _undo(self, saga: Saga, legs: Iterable[Leg], asking: Asking, now: int) -> Saga:
        undo = self.pivot.undo
        assert undo is not None, self.definition.name
        return asking.ask(saga, [Leg(f"{leg.path}/{undo.name}", leg.moved) for leg in legs], now)

    def _return(self, saga: Saga, owed: int, asking: Asking, now: int) -> Saga:
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
                return asking.ask(saga, [Leg(path, min(owed, left))], now)
        if disputed:
            return saga
        raise AssertionError(f"{owed} points are owed that were never taken: {saga}")

    def _apply_remedy(self, saga: Saga, short: int, asking: Asking, now: int) -> Saga:
        """Value was given that is not paid for: take the next remedy of the policy's chain."""
        pivot, body = self.pivot, saga.terms.body
        cause = _cause(saga, pivot.name)
        policy = asking.policy(saga.terms, cause)
        chain = policy.late_yes if cause.moved > (cause.first or 0) else policy.late_no
        for remedy in chain:
            if remedy is Remedy.REVERSE:
                given = [leg for leg in saga.legs_of(pivot.name) if reversible(saga, leg)]
                if cause.verb == pivot.name:
                    given = [g for g in given if g.status is Status.OVERTURNED or g is cause]
                if given:
                    return self._undo(saga, given, asking, now)
            elif remedy is Remedy.CHARGE:
                redo = self.definition.steps[0].redo
                if redo is not None and not body.prededucted and not saga.leg(redo.name):
                    return asking.ask(saga, [Leg(redo.name, short)], now)
            elif remedy is Remedy.LOSS:
                return _with_loss(saga, short, now)
        if cause.escalated_at:
            return saga
        return saga.with_leg(replaced(cause, escalated_at=now, code=Code.REPLY_DISPUTED))

    def write_off(self, saga: Saga, leg: Leg, asking: Asking, now: int) -> Saga | None:  # noqa: ARG002
        """The saga with what was given and is not paid for booked as a loss."""
        short = -points(saga, self.definition).owed
        return _with_loss(saga, short, now) if short > 0 else None

    def still_holds(self, saga: Saga, status: str) -> bool:
        """Whether what the origin was told before is what it would be told now."""
        words = saga.told.as_published if saga.told is not None else None
        if words is None or not words["final"]:
            return False
        body: RedemptionTerms = saga.terms.body
        pieces = issued(saga, self.pivot)
        now = points(saga, self.definition)
        returning = now.returning if body.prededucted else 0
        charged = now.taken - now.returned - returning
        return (
            words["status"] == status
            and words["points"]["charged"] == charged
            and [line["issued"] for line in words["lines"]] == list(pieces)
        )

    def ending(self, saga: Saga) -> tuple[ResultStatus, Code | None]:
        """How it ended, and why if not as was asked for."""
        return final_status(saga, issued(saga, self.pivot))


def final_status(  # noqa: PLR0911  # The ways to end, one after the other.
    saga: Saga, pieces: tuple[int, ...]
) -> tuple[ResultStatus, Code | None]:
    """How it ended with so many pieces of each line issued, and why if not as was asked for."""
    body: RedemptionTerms = saga.terms.body
    if pieces and all(n == line.quantity for line, n in zip(body.lines, pieces, strict=True)):
        return ResultStatus.SUCCESS, None
    refusal = next((leg.code for leg in saga.legs if leg.status in _NO and leg.code), None)
    code = Code(refusal) if refusal else None
    if any(pieces):
        return ResultStatus.PARTIAL_SUCCESS, code or Code.PARTNER_DECLINED
    if saga.told is not None and saga.told.status == ResultStatus.REJECTED:
        return ResultStatus.REJECTED, saga.told.code
    if any(leg.status is Status.WRITTEN_OFF for leg in saga.legs):
        return ResultStatus.FAILED_POINTS_RETURNED, Code.WRITTEN_OFF
    if saga.withdrawn:
        return ResultStatus.CANCELLED, Code.WITHDRAWN
    if code is None:  # Nobody refused: it came too late to be built upon.
        asked = any(leg.attempt for leg in saga.legs if leg.line is not None)
        code = Code.PARTNER_DECLINED if asked else Code.NO_ANSWER
    if any(leg.moved for leg in saga.legs if leg.line is None and leg.undoes is None):
        return ResultStatus.FAILED_POINTS_RETURNED, code
    return ResultStatus.FAILED_NOTHING_DEDUCTED, code


_NO = frozenset({Status.REJECTED, Status.CANCELLED, Status.OVERTURNED})


def _with_loss(saga: Saga, short: int, now: int) -> Saga:
    """The saga with a loss booked on whoever bears it; nobody is asked."""
    number = len(saga.legs_of(LOSS)) + 1
    path = LOSS if number == 1 else f"{LOSS}/{number}"
    bearer = saga.terms.body.loss_bearer
    leg = Leg(path, short, Status.CONFIRMED, sent_at=now, moved=short, reference=bearer)
    return saga.with_leg(leg)


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
