"""The redemption as a kind of saga: all its parts, put together."""

from __future__ import annotations

from typing import Final

from orchestrator.engine.kind import SagaKind
from orchestrator.engine.statuses import Statuses
from orchestrator.sagas.redemption import terms
from orchestrator.sagas.redemption.books import RedemptionBooks
from orchestrator.sagas.redemption.definition import DEFINITION
from orchestrator.sagas.redemption.fast_path import RedemptionFastPath
from orchestrator.sagas.redemption.intake import RedemptionIntake
from orchestrator.sagas.redemption.messages import RedemptionWording
from orchestrator.sagas.redemption.plan import RedemptionPlan
from orchestrator.sagas.redemption.programme import Programme
from schemas.results import ResultStatus

REDEMPTION: Final = SagaKind(
    definition=DEFINITION,
    statuses=Statuses(
        of=ResultStatus,
        refused=ResultStatus.REJECTED,
        interim=frozenset({ResultStatus.PENDING, ResultStatus.MANUAL_REVIEW}),
        pending=ResultStatus.PENDING,
        review=ResultStatus.MANUAL_REVIEW,
        withdrawn=ResultStatus.CANCELLED,
    ),
    programme=Programme,
    intake=RedemptionIntake(DEFINITION),
    plan=RedemptionPlan(DEFINITION),
    wording=RedemptionWording(DEFINITION),
    terms=terms.CODEC,
    books=RedemptionBooks(DEFINITION),
    fast_path=RedemptionFastPath,
)
