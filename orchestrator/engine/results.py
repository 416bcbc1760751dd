"""The results for the origin: interim ones, the one final result, corrections of it. Pure."""

from __future__ import annotations

from functools import lru_cache

from orchestrator.engine.instance import Leg, ResultRevision, Saga
from orchestrator.engine.machine import IN_FLIGHT, Status
from orchestrator.engine.statuses import Statuses
from orchestrator.engine.undo import undo_amount
from schemas.frozen import replaced
from schemas.reasons import Code


def with_superseded(saga: Saga) -> Saga:
    """The saga with the amounts of its final result kept, as a correction is about to follow."""
    told = saga.told
    if told is None or told.superseded or not told.final or told.as_published is not None:
        return saga
    amounts = tuple([reported_amount(leg) for leg in saga.legs])
    return replaced(saga, told=replaced(told, superseded=amounts))


def reported_amount(leg: Leg) -> int:
    """The amount of a leg that a final result reports.

    An undo that is asked for and not decided is reported as if it were done in full.
    """
    return undo_amount(leg) if leg.undoes is not None else leg.moved


def with_review_result(saga: Saga, statuses: Statuses, now: int) -> Saga:
    """The saga with the interim result that a person must decide, if it is parked."""
    review = statuses.review
    if review is None or saga.answered or not saga.parked:
        return saga
    if saga.told is not None and saga.told.status == review:
        return saga
    code = next(leg.code for leg in saga.legs if leg.parked)
    return add_result(saga, statuses, review, Code(code or Code.TIMEOUT), now)


def add_result(saga: Saga, statuses: Statuses, status: str, code: Code | None, now: int) -> Saga:
    """The saga with its next result; after a final one that is a correction (`domain.md` I6).

    Args:
        saga: the saga so far.
        statuses: the result statuses of its kind.
        status: one of them.
        code: the reason, if there is one.
        now: milliseconds since 1970.
    """
    was = saga.told
    final = status not in statuses.interim
    amounts = () if final else tuple([leg.moved for leg in saga.legs])
    revision = was.revision + 1 if was else 1
    corrected = was is not None and was.final
    result = ResultRevision(revision, status, final, code, None, now, corrected, amounts)
    return replaced(saga, told=result)


def phase(saga: Saga) -> str:
    """The state of a saga as one word for operators: its final status, or what it waits for."""
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
    """The phase of a saga while the leg of that path (or verb) is in flight."""
    return f"{Leg(path, 0).verb.upper()}_{status.upper()}"
