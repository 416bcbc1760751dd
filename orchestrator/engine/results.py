"""What the origin is told: interim results, the one final result, corrections of it."""

from __future__ import annotations

from functools import lru_cache

from orchestrator.engine.instance import Leg, ResultRevision, Saga
from orchestrator.engine.machine import IN_FLIGHT, Status
from orchestrator.engine.undo import undo_amount
from schemas.frozen import replaced
from schemas.reasons import Code
from schemas.results import ResultStatus


def with_superseded(saga: Saga) -> Saga:
    """The saga, with what its latest result spoke of kept: it is about to be corrected."""
    told = saga.told
    if told is None or told.superseded or not told.final or told.as_published is not None:
        return saga
    moved = tuple([reported_amount(leg) for leg in saga.legs])
    return replaced(saga, told=replaced(told, superseded=moved))


def reported_amount(leg: Leg) -> int:
    """What a final result counts of a leg: what a channel was told to give back, it will."""
    return undo_amount(leg) if leg.undoes is not None else leg.moved


def with_review_result(saga: Saga, now: int) -> Saga:
    """The saga, with the origin told that a person looks at it, if one must."""
    if saga.answered or not saga.parked:
        return saga
    if saga.told is not None and saga.told.status is ResultStatus.MANUAL_REVIEW:
        return saga
    code = next(leg.code for leg in saga.legs if leg.parked)
    return add_result(saga, ResultStatus.MANUAL_REVIEW, Code(code or Code.TIMEOUT), now)


def add_result(saga: Saga, status: ResultStatus, code: Code | None, now: int) -> Saga:
    """The saga with its next result told; after a final one it is a correction (I6)."""
    was = saga.told
    final = status not in (ResultStatus.MANUAL_REVIEW, ResultStatus.PENDING)
    moved = () if final else tuple([leg.moved for leg in saga.legs])
    revision = was.revision + 1 if was else 1
    corrected = was is not None and was.final
    return replaced(
        saga, told=ResultRevision(revision, status, final, code, None, now, corrected, moved)
    )


def final_status(  # noqa: PLR0911  # The ways to end, one after the other.
    saga: Saga, pieces: tuple[int, ...]
) -> tuple[ResultStatus, Code | None]:
    """How it ended, and why if not as was asked for."""
    if pieces and all(n == line.quantity for line, n in zip(saga.terms.lines, pieces, strict=True)):
        return ResultStatus.SUCCESS, None
    refusal = next((leg.code for leg in saga.legs if leg.status in _NO and leg.code), None)
    code = Code(refusal) if refusal else None
    if any(pieces):
        return ResultStatus.PARTIAL_SUCCESS, code or Code.PARTNER_DECLINED
    if saga.told is not None and saga.told.status is ResultStatus.REJECTED:
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


def phase(saga: Saga) -> str:
    """Where a saga stands, in one word for operators: its final status, or what it waits for."""
    if saga.parked:
        return "PARKED"
    told = saga.told
    if told is not None and saga.ended:
        return "CORRECTING" if told.superseded else told.status
    if saga.held:
        return "HELD"
    for leg in reversed(saga.legs):
        if leg.status in IN_FLIGHT:
            return phase_of(leg.path, leg.status)
    return "OPEN"


@lru_cache(maxsize=1_024)
def phase_of(path: str, status: Status) -> str:
    """What a saga waits for while the leg of that path, or verb, is in flight."""
    return f"{Leg(path, 0).verb.upper()}_{status.upper()}"
