"""The journal of a redemption: every leg moves something between two accounts (`design.md` 3).

A movement takes from one account what it adds to another, so the accounts of every unit sum up to
zero by construction (`domain.md` I10). Movements are never changed: if a later verdict overturns
the first, the difference is booked in the opposite direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from orchestrator.engine.definition import Definition, Kind, Step
from orchestrator.engine.instance import Leg, Saga, Terms
from orchestrator.engine.machine import Status
from orchestrator.engine.postings import Transfer
from orchestrator.engine.undo import LOSS
from orchestrator.sagas.redemption.terms import CREDITOR, DEBTOR, RedemptionTerms

SUSPENSE: Final = "uprp/suspense"
"""The account of points that were deducted and neither consumed nor returned (`domain.md` I11)."""


def transfers(definition: Definition, was: Saga | None, now: Saga) -> Iterator[Transfer]:
    """The movements between two revisions: the difference in what each leg has done.

    `was` is None for a new saga. Points whose return is written off go to the debtor's account of
    forgone points.
    """
    before = {leg.path: leg for leg in was.legs} if was is not None else {}
    for leg in now.legs:
        prior = before.get(leg.path)
        if prior is leg:
            continue
        moved = prior.moved if prior is not None else 0
        if leg.moved != moved:
            for transfer in _of_leg(definition, was, now, leg, leg.moved - moved):
                if transfer.amount:
                    yield transfer if transfer.amount > 0 else _turned(transfer)
        was_written_off = prior is not None and prior.status is Status.WRITTEN_OFF
        if (leg.status is Status.WRITTEN_OFF) is not was_written_off:
            debtor, unit = now.terms.participants[DEBTOR], now.terms.body.unit
            forgone = Transfer(SUSPENSE, f"{debtor}/forgone", unit, leg.asked)
            yield _turned(forgone) if was_written_off else forgone


def _turned(transfer: Transfer) -> Transfer:
    """The movement in the opposite direction, with a positive amount."""
    return Transfer(transfer.credit, transfer.debit, transfer.unit, abs(transfer.amount))


def _of_leg(
    definition: Definition, was: Saga | None, now: Saga, leg: Leg, more: int
) -> Iterator[Transfer]:
    """The movements for a leg that has done `more` than before; the amounts may be negative."""
    terms = now.terms
    body: RedemptionTerms = terms.body
    if leg.verb == LOSS:
        yield Transfer(f"{body.loss_bearer}/loss", SUSPENSE, body.unit, more)
        return
    step = definition.step_of(leg.verb)
    sign = -1 if leg.undoes is not None else 1
    if step.kind is Kind.COMPENSABLE:
        yield Transfer(member(terms, step.to), SUSPENSE, body.unit, sign * more)
        return
    line = body.lines[leg.line or 0]
    # From all pieces of the line, since the rounded prices of its parts would not add up to it.
    price = line.points_for(_pieces(step, now, leg))
    if was is not None:
        price -= line.points_for(_pieces(step, was, leg))
    _, debtor, creditor = terms.participants
    yield Transfer(SUSPENSE, f"{debtor}/redeemed", body.unit, price)
    unit = f"{creditor}:{line.item}"
    yield Transfer(f"{creditor}/issued", member(terms, step.to), unit, sign * more)


def _pieces(step: Step, saga: Saga, of: Leg) -> int:
    """How many pieces the member has of the line that a leg serves."""
    pieces = sum([leg.moved for leg in saga.legs_of(step.name) if leg.line == of.line])
    if step.undo is None:
        return pieces
    return pieces - sum([leg.moved for leg in saga.legs_of(step.undo.name) if leg.line == of.line])


def member(terms: Terms, role: int) -> str:
    """The member's account in the journal, at the participant of that role."""
    body: RedemptionTerms = terms.body
    if role == CREDITOR:
        return f"{terms.participants[CREDITOR]}/member/{body.creditor_account}"
    return f"{terms.participants[DEBTOR]}/member/{body.debtor_account}"
