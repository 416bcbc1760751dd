"""The books: every confirmed leg moves something from one account to another (`design.md` 3).

A movement takes from one account what it gives to another, so the books of every unit are zero-sum
by construction (`domain.md` I10).
"""

from __future__ import annotations

from collections.abc import Iterator

from schemas.value import value

from .definition import Definition, Kind, Role
from .instance import Leg, Saga, Terms


@value
class Transfer:
    """One movement: `amount` of `unit` out of `debit`, into `credit`. Never updated or deleted."""

    debit: str
    credit: str
    unit: str
    amount: int


SUSPENSE = "uprp/suspense"
"""Points that were deducted and neither consumed nor returned yet (`domain.md` I11)."""


def transfers(definition: Definition, was: Saga | None, now: Saga) -> Iterator[Transfer]:
    """The movements that a move caused: those of the legs that it confirmed."""
    before = {leg.path: leg.moved for leg in was.legs} if was is not None else {}
    for leg in now.legs:
        if leg.moved and not before.get(leg.path):
            yield from _of_leg(definition, now.terms, leg)


def _of_leg(definition: Definition, terms: Terms, leg: Leg) -> Iterator[Transfer]:
    step = definition.step_of(leg.verb)
    is_undo = leg.verb != step.name
    for transfer in _forward(step.kind, step.to, terms, leg):
        if is_undo:
            yield Transfer(transfer.credit, transfer.debit, transfer.unit, transfer.amount)
        else:
            yield transfer


def _forward(kind: Kind, to: Role, terms: Terms, leg: Leg) -> Iterator[Transfer]:
    if kind is Kind.COMPENSABLE:
        yield Transfer(member(terms, to), SUSPENSE, terms.unit, leg.moved)
        return
    line = terms.lines[leg.line or 0]
    yield Transfer(SUSPENSE, f"{terms.debtor}/redeemed", terms.unit, line.points_for(leg.moved))
    unit = f"{terms.creditor}:{line.item}"
    yield Transfer(f"{terms.creditor}/issued", member(terms, to), unit, leg.moved)


def member(terms: Terms, role: Role) -> str:
    """The member's account at the participant of that role."""
    if role is Role.CREDITOR:
        return f"{terms.creditor}/member/{terms.creditor_account}"
    return f"{terms.debtor}/member/{terms.debtor_account}"
