"""What follows for a redemption: what is undone, charged again or booked as a loss, and its end.

The legs must balance (`balance.py`). Where they do not, the next leg that brings them closer to
balance is asked for, one after the other.
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
    """The plan of redemptions, for one version of the definition."""

    definition: Definition

    @property
    def pivot(self) -> Step:
        """The credit."""
        assert self.definition.pivot is not None, self.definition.name
        return self.definition.pivot

    def interim(self, saga: Saga) -> None:  # noqa: ARG002
        """None: PENDING and MANUAL_REVIEW, the interim results, are added by the engine."""
        return

    def holds_up(self, saga: Saga, leg: Leg) -> bool:
        """Whether the redemption cannot end while that leg is not decided.

        An origin that deducted the points itself must return them when it gets the result. The
        platform tracks that return until it is acknowledged, but does not wait for it
        (`domain.md` 4.4).
        """
        body: RedemptionTerms = saga.terms.body
        if not body.prededucted or not self.definition.only_late(leg.verb):
            return True
        return points(saga, self.definition).owed < 0  # Then the remedy depends on that return.

    def rebalance(self, saga: Saga, asking: Asking, now: int) -> Saga:
        """The saga with the next leg asked that it needs to balance; the same object if none."""
        to_undo = to_reverse(saga, self.pivot)
        if to_undo:
            return self._undo(saga, to_undo, asking, now)
        total = points(saga, self.definition)
        owed = total.owed
        if owed > 0:
            if total.covered:
                return _reduce_loss(saga, owed)
            returning = self._return(saga, owed, asking, now) if total.certain else saga
            return returning if returning is not saga else _clear_escalation(saga)
        if owed == 0:
            return _clear_escalation(saga)
        if any(leg.status not in DECIDED and leg.status is not Status.WAITING for leg in saga.legs):
            return saga
        return self._apply_remedy(saga, -owed, asking, now)

    def _undo(self, saga: Saga, legs: Iterable[Leg], asking: Asking, now: int) -> Saga:
        """The saga with the reversal of those credits asked."""
        undo = self.pivot.undo
        assert undo is not None, self.definition.name
        return asking.ask(saga, [Leg(f"{leg.path}/{undo.name}", leg.moved) for leg in legs], now)

    def _return(self, saga: Saga, owed: int, asking: Asking, now: int) -> Saga:
        """The saga with a return of the points that are owed (`domain.md` I1).

        A return never exceeds what its deduction took. A deduction in dispute is not returned
        before a person has decided.
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
        """The saga with the next remedy of the policy applied, as `short` points are not paid."""
        pivot, body = self.pivot, saga.terms.body
        cause = _cause(saga, pivot.name)
        policy = asking.policy(saga.terms, cause)
        chain = policy.late_yes if cause.moved > (cause.first or 0) else policy.late_no
        for remedy in chain:
            if remedy is Remedy.REVERSE:
                issuing = [leg for leg in saga.legs_of(pivot.name) if reversible(saga, leg)]
                if cause.verb == pivot.name:
                    issuing = [
                        leg for leg in issuing if leg.status is Status.OVERTURNED or leg is cause
                    ]
                if issuing:
                    return self._undo(saga, issuing, asking, now)
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
        """The saga with the points that are not paid booked as a loss; None: all are paid."""
        short = -points(saga, self.definition).owed
        return _with_loss(saga, short, now) if short > 0 else None

    def still_holds(self, saga: Saga, status: str) -> bool:
        """Whether the published final result has the status and amounts that it would have now."""
        data = saga.told.as_published if saga.told is not None else None
        if data is None or not data["final"]:
            return False
        body: RedemptionTerms = saga.terms.body
        pieces = issued(saga, self.pivot)
        total = points(saga, self.definition)
        returning = total.returning if body.prededucted else 0
        charged = total.taken - total.returned - returning
        return (
            data["status"] == status
            and data["points"]["charged"] == charged
            and [line["issued"] for line in data["lines"]] == list(pieces)
        )

    def ending(self, saga: Saga) -> tuple[ResultStatus, Code | None]:
        """The final status of the redemption, and the reason if it is not what was asked for."""
        return final_status(saga, issued(saga, self.pivot))


def final_status(  # noqa: PLR0911  # One final status after the other.
    saga: Saga, pieces: tuple[int, ...]
) -> tuple[ResultStatus, Code | None]:
    """The final status with so many pieces of each line issued, and the reason if it is not full.

    Args:
        saga: the redemption, of which every leg is decided that it waits for.
        pieces: for each line, how many pieces the member has.
    """
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
    if code is None:  # No leg was rejected: the deduction was confirmed too late to go on.
        sent = any(leg.attempt for leg in saga.legs if leg.line is not None)
        code = Code.PARTNER_DECLINED if sent else Code.NO_ANSWER
    if any(leg.moved for leg in saga.legs if leg.line is None and leg.undoes is None):
        return ResultStatus.FAILED_POINTS_RETURNED, code
    return ResultStatus.FAILED_NOTHING_DEDUCTED, code


_NO = frozenset({Status.REJECTED, Status.CANCELLED, Status.OVERTURNED})


def _with_loss(saga: Saga, short: int, now: int) -> Saga:
    """The saga with a loss of `short` points for the loss bearer; no participant is asked."""
    number = len(saga.legs_of(LOSS)) + 1
    path = LOSS if number == 1 else f"{LOSS}/{number}"
    bearer = saga.terms.body.loss_bearer
    leg = Leg(path, short, Status.CONFIRMED, sent_at=now, moved=short, reference=bearer)
    return saga.with_leg(leg)


def _cause(saga: Saga, pivot: str) -> Leg:
    """The leg that left value unpaid: the latest one that was overturned.

    There may be none after a database was restored: points were returned before the loss, and the
    leg that led to it was answered differently since. Then it is the latest credit that issued
    something, or the deduction.
    """
    overturned = (leg for leg in reversed(saga.legs) if leg.status is Status.OVERTURNED)
    issuing = (leg for leg in reversed(saga.legs_of(pivot)) if leg.moved)
    return next(overturned, None) or next(issuing, saga.legs[0])


def _clear_escalation(saga: Saga) -> Saga:
    """The saga without its call for a person, once nothing is unpaid any more."""
    for leg in saga.legs:
        if leg.escalated_at and leg.status is Status.OVERTURNED:
            return saga.with_leg(replaced(leg, escalated_at=0))
    return saga


def _reduce_loss(saga: Saga, owed: int) -> Saga:
    """The saga with a loss reduced by the points that are owed, but not below 0.

    Those points were paid otherwise after all, or their value was not given. The loss bearer gets
    them before the member gets a return.
    """
    leg = next(leg for leg in saga.legs_of(LOSS) if leg.moved)
    return saga.with_leg(replaced(leg, moved=leg.moved - min(owed, leg.moved)))
