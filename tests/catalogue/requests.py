"""Requests and programmes that the tests of the rules share."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from orchestrator.catalogue import loader
from orchestrator.engine.instance import Terms
from orchestrator.engine.kind import Refusal
from orchestrator.sagas.redemption import acceptance
from orchestrator.sagas.redemption.programme import Programme
from schemas.requests import RedemptionRequested

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
PROGRAMMES: Final = loader.load(DEPLOY).programmes["redemption"]
COUPONS: Final[Programme] = PROGRAMMES["citi-alipayhk-coupons"]
MILES: Final[Programme] = PROGRAMMES["uprp-harbour-miles"]
NOON: Final = int(datetime(2027, 1, 15, 4, tzinfo=UTC).timestamp() * 1_000)
HONG_KONG: Final = ZoneInfo("Asia/Hong_Kong")


def coupons(n20: int, n50: int, **changed: Any) -> RedemptionRequested:
    """A request for that many coupons of each face."""
    lines = [("hkd20", n20), ("hkd50", n50)]
    return asks(COUPONS, *((item, n) for item, n in lines if n), **changed)


def asks(programme: Programme, *lines: tuple[str, int], **changed: Any) -> RedemptionRequested:
    """A request for those lines."""
    data = {
        "request_id": "r-1",
        "account": "w-1",
        "programme": programme.id,
        "debtor_account": "card-1",
        "creditor_account": "m-1",
        "lines": [{"item": item, "quantity": quantity} for item, quantity in lines],
    }
    return RedemptionRequested.model_validate(data | changed, strict=False)


def decide(
    request: RedemptionRequested,
    programme: Programme | None = COUPONS,
    *,
    origin: str = "alipayhk",
    used: int = 0,
    now: int = NOON,
) -> tuple[Terms, Refusal | None]:
    """The terms of a request, and the first reason against it, limits included."""
    terms = acceptance.draft(request, origin, programme, now)
    refusal = next(acceptance.refusals(request, terms, programme, now), None)
    if refusal is None and programme is not None:
        refusal = acceptance.over_limit(terms, programme, used)
    return terms, refusal
