"""Why a decision of a person is refused, as a sentence for the person who made it. Pure."""

from __future__ import annotations

from typing import Final

from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import IN_FLIGHT, Status
from orchestrator.engine.operator import Action, OperatorDecision, update_of
from orchestrator.engine.undo import contradicts


def why_refused(  # noqa: PLR0911  # One reason after the other.
    engine: Engine, saga: Saga, path: str, decision: OperatorDecision
) -> str:
    """The reason why `Engine.apply_decision` refused a decision about the leg of that path."""
    leg = saga.leg(path)
    if leg is None:
        return f"the saga has no leg {path}; it has {', '.join(one.path for one in saga.legs)}"
    allowed = engine.allowed(saga, leg)
    if not allowed:
        return f"{path} {_stands(leg)}: there is nothing to decide about it"
    if decision.action not in allowed:
        if decision.action is Action.REJECT and contradicts(saga, leg, 0):
            return f"{path} was undone, or may be: it cannot be that it was never done"
        if decision.action is Action.REJECT and leg.status is Status.REFUSED:
            return f"{leg.undoes} stands: {path} gives back what it took, so there is something"
        return f"{path} is {leg.status}: allowed is {' or '.join(allowed)}"
    if decision.number <= leg.decision:
        return f"decision {leg.decision} about {path} came later and was applied"
    return _unfit(engine, saga, leg, decision)


def _unfit(engine: Engine, saga: Saga, leg: Leg, decision: OperatorDecision) -> str:
    """Why an action that is allowed does not fit what is known about the leg."""
    if leg.status is Status.OVERTURNED:
        return f"{leg.path} left nothing that is given and not paid for"
    amount = update_of(leg, decision).amount
    if 0 < amount <= leg.asked and contradicts(saga, leg, amount):
        return f"{leg.path}: {amount:,} cannot be true, given what was undone of it"
    fewer = engine.definition.may_give_fewer(leg.verb)
    fits = f"between 1 and {leg.asked:,}" if fewer else f"{leg.asked:,}"
    return f"{leg.path} was asked for {leg.asked:,}: the amount must be {fits}"


def _stands(leg: Leg) -> str:
    if leg.status in IN_FLIGHT:
        return "waits for its participant, whose turn it is"
    return _STANDINGS[leg.status]


_STANDINGS: Final = {
    Status.WAITING: "was not asked yet",
    Status.CONFIRMED: "is confirmed by now",
    Status.REJECTED: "is rejected by now",
    Status.CANCELLED: "is cancelled by now",
    Status.OVERTURNED: "was answered differently later, and that is believed by now",
    Status.WRITTEN_OFF: "is written off by now",
}
