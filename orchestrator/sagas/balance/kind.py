"""The balance inquiry as a kind of saga: all its parts, put together."""

from __future__ import annotations

from typing import Final

from orchestrator.engine.instance import Saga
from orchestrator.engine.kind import PlainPlan, SagaKind
from orchestrator.engine.statuses import Statuses
from orchestrator.sagas.balance import terms
from orchestrator.sagas.balance.definition import DEFINITION
from orchestrator.sagas.balance.intake import BalanceIntake
from orchestrator.sagas.balance.messages import BalanceWording
from orchestrator.sagas.balance.programme import Programme
from schemas.balance import BalanceStatus
from schemas.reasons import Code

KEPT_FOR_MS: Final = 900_000
"""How long an answer is kept, in milliseconds: a repeated inquiry gets the same answer so long."""


class BalancePlan(PlainPlan):
    """The plan of a balance inquiry: it ends with the one answer of the debtor."""

    def ending(self, saga: Saga) -> tuple[BalanceStatus, Code | None]:
        """ANSWERED, or UNAVAILABLE with the reason."""
        leg = saga.legs[0]
        if leg.moved:
            return BalanceStatus.ANSWERED, None
        return BalanceStatus.UNAVAILABLE, Code(leg.code or Code.TIMEOUT)


BALANCE: Final = SagaKind(
    definition=DEFINITION,
    statuses=Statuses(of=BalanceStatus, refused=BalanceStatus.REJECTED),
    programme=Programme,
    intake=BalanceIntake(),
    plan=BalancePlan(),
    wording=BalanceWording(),
    terms=terms.CODEC,
    keep_for=KEPT_FOR_MS,
    waits=False,
)
