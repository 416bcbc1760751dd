"""The books: every leg moves something from one account to another (`design.md` 3).

A movement takes from one account what it gives to another, so the books of every unit are zero-sum
by construction (`domain.md` I10). Nothing is overwritten: where a later verdict is believed, the
difference is booked the other way.
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
"""Points that were deducted and neither consumed nor returned yet (`domain.md` I11)."""


def transfers(definition: Definition, was: Saga | None, now: Saga) -> Iterator[Transfer]:
    """The movements that a move caused: what its legs moved more, or less, than before."""
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
        gave_up = prior is not None and prior.status is Status.WRITTEN_OFF
        if (leg.status is Status.WRITTEN_OFF) is not gave_up:
            debtor, unit = now.terms.participants[DEBTOR], now.terms.body.unit
            forgone = Transfer(SUSPENSE, f"{debtor}/forgone", unit, leg.asked)
            yield _turned(forgone) if gave_up else forgone


def _turned(transfer: Transfer) -> Transfer:
    return Transfer(transfer.credit, transfer.debit, transfer.unit, abs(transfer.amount))


def _of_leg(
    definition: Definition, was: Saga | None, now: Saga, leg: Leg, more: int
) -> Iterator[Transfer]:
    """What the leg moved `more` than before; amounts may be negative."""
    terms = now.terms
    body: RedemptionTerms = terms.body
    if leg.verb == LOSS:
        yield Transfer(f"{body.loss_bearer}/loss", SUSPENSE, body.unit, more)
        return
    step = definition.step_of(leg.verb)
    way = -1 if leg.undoes is not None else 1
    if step.kind is Kind.COMPENSABLE:
        yield Transfer(member(terms, step.to), SUSPENSE, body.unit, way * more)
        return
    line = body.lines[leg.line or 0]
    # By what the member has of the line: parts of it priced one by one would not add up.
    worth = line.points_for(_pieces(step, now, leg))
    if was is not None:
        worth -= line.points_for(_pieces(step, was, leg))
    _, debtor, creditor = terms.participants
    yield Transfer(SUSPENSE, f"{debtor}/redeemed", body.unit, worth)
    unit = f"{creditor}:{line.item}"
    yield Transfer(f"{creditor}/issued", member(terms, step.to), unit, way * more)


def _pieces(step: Step, saga: Saga, of: Leg) -> int:
    """What the member has of the line that a leg serves."""
    pieces = sum([leg.moved for leg in saga.legs_of(step.name) if leg.line == of.line])
    if step.undo is None:
        return pieces
    return pieces - sum([leg.moved for leg in saga.legs_of(step.undo.name) if leg.line == of.line])


def member(terms: Terms, role: int) -> str:
    """The member's account at the participant of that role."""
    body: RedemptionTerms = terms.body
    if role == CREDITOR:
        return f"{terms.participants[CREDITOR]}/member/{body.creditor_account}"
    return f"{terms.participants[DEBTOR]}/member/{body.debtor_account}"
