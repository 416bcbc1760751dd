"""Whether a request may become a redemption, and on which terms. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from orchestrator.engine.instance import ResultRevision, Saga, Terms
from orchestrator.engine.kind import Refusal, content_digest
from orchestrator.sagas.redemption.definition import DEFINITION
from orchestrator.sagas.redemption.programme import Programme
from orchestrator.sagas.redemption.terms import Deducted, PricedLine, RedemptionTerms
from schemas.ids import SagaId, saga_key
from schemas.reasons import Code
from schemas.requests import RedemptionRequested, RedemptionWithdrawn
from schemas.results import ResultStatus
from schemas.values import Lot


def business_date(now: int, zone: str) -> date:
    """The calendar day in the programme's zone at `now`, in milliseconds (`domain.md` C11)."""
    return _date_of_minute(now // 60_000, zone)


@lru_cache(maxsize=256)
def _date_of_minute(minute: int, zone: str) -> date:
    """The date in a zone at a minute since 1970; no day begins within a minute."""
    return datetime.fromtimestamp(minute * 60, UTC).astimezone(ZoneInfo(zone)).date()


def limit_scope(programme: Programme, origin: str, account: str) -> str:
    """The name under which an account's limit is counted: per origin and account, at any debtor."""
    assert programme.limit is not None, programme.id
    return f"{origin}/{account}/{programme.limit.name}"


def draft(
    request: RedemptionRequested,
    origin: str,
    programme: Programme | None,
    now: int,
    traceparent: str | None = None,
    *,
    key: tuple[int, SagaId] | None = None,
) -> Terms:
    """The terms of a request, priced where that is possible; `refusals` decides about it.

    Args:
        request: the request.
        origin: the participant that asks.
        programme: the programme that it names; None: there is no such programme.
        now: milliseconds since 1970.
        traceparent: the trace context of the request.
        key: the key hash and the id of the saga, if they were computed before.
    """
    if key is None:
        key = saga_key(origin, request.account, request.request_id)
    if programme is None:
        return _of_nothing_on_offer(request, origin, now, traceparent, key)
    debtor = programme.debtor if request.deduction is None else None
    fresh = programme.fresh_for
    return Terms(
        saga_id=key[1],
        key_hash=key[0],
        programme=request.programme,
        origin=origin,
        account=request.account,
        request_id=request.request_id,
        content=content_digest(request),
        accepted_at=now,
        definition=programme.saga,
        definition_version=programme.saga_version,
        programme_version=programme.version,
        locale=request.locale,
        participants=(origin, origin if debtor is None else debtor, programme.creditor),
        traceparent=traceparent,
        fresh_until=now + fresh if fresh is not None else None,
        body=_body(request, origin, programme, debtor, now),
    )


def _body(
    request: RedemptionRequested, origin: str, programme: Programme, debtor: str | None, now: int
) -> RedemptionTerms:
    """The redemption's own terms; `debtor` is None if the origin deducted the points itself."""
    account = request.account
    return RedemptionTerms(
        debtor_account=request.debtor_account or (account if debtor is None else ""),
        creditor_account=_creditor_account(request, origin, programme),
        unit=programme.unit,
        currency=programme.currency or "",
        partial=programme.partial,
        lines=tuple([_priced(programme, line.item, line.quantity) for line in request.lines]),
        limit=limit_scope(programme, origin, account) if programme.limit else "",
        business_date=business_date(now, programme.zone),
        # Even if the programme does not allow it: what the origin deducted, it must give back.
        prededucted=request.deduction is not None,
        loss_bearer=programme.loss_bearer,
    )


def _of_nothing_on_offer(
    request: RedemptionRequested,
    origin: str,
    now: int,
    traceparent: str | None,
    key: tuple[int, SagaId],
) -> Terms:
    """The terms of a request for a programme that does not exist: it will be refused."""
    body = RedemptionTerms(
        debtor_account=request.debtor_account or request.account,
        unit=f"{origin}-points",
        lines=tuple([_priced(None, line.item, line.quantity) for line in request.lines]),
        prededucted=request.deduction is not None,
    )
    return Terms(
        saga_id=key[1],
        key_hash=key[0],
        programme=request.programme,
        origin=origin,
        account=request.account,
        request_id=request.request_id,
        content=content_digest(request),
        accepted_at=now,
        definition=DEFINITION.name,
        definition_version=DEFINITION.version,
        locale=request.locale,
        participants=(origin, origin, ""),
        traceparent=traceparent,
        body=body,
    )


def _creditor_account(request: RedemptionRequested, origin: str, programme: Programme) -> str:
    """The account to credit: that of the request, or its origin's if that is the creditor."""
    if request.creditor_account:
        return request.creditor_account
    return request.account if programme.creditor == origin else ""


def _priced(programme: Programme | None, item_id: str, quantity: int) -> PricedLine:
    """The line with its price, which is 0 where the programme does not offer it."""
    item = programme.item(item_id) if programme else None
    if programme is None or item is None or quantity > item.quantity_max:
        return PricedLine(item_id, "UNKNOWN", quantity, 0, 0, None)
    worth = item.worth * quantity
    points = programme.rate.points_for(worth)
    return PricedLine(item.id, item.kind, quantity, points, worth, item.face)


def refusals(
    request: RedemptionRequested, terms: Terms, programme: Programme | None, now: int
) -> Iterator[Refusal]:
    """Every reason why the rules refuse the request, the gravest first."""
    body: RedemptionTerms = terms.body
    if programme is None:
        yield Refusal(Code.UNKNOWN_PRODUCT, "programme")
        return
    if terms.origin not in programme.origins:
        yield Refusal(Code.UNKNOWN_CHANNEL, "programme")
    if request.expires_at is not None and request.expires_at.timestamp() * 1000 <= now:
        yield Refusal(Code.STALE_REQUEST, "expires_at")
    for at, line in enumerate(request.lines):
        item = programme.item(line.item)
        if item is None:
            yield Refusal(programme.unknown_item, f"lines.{at}.item")
        elif line.quantity > item.quantity_max:
            yield Refusal(Code.ABOVE_MAXIMUM, f"lines.{at}.quantity")
    if body.worth < programme.redemption.minimum:
        yield Refusal(Code.BELOW_MINIMUM, "lines")
    if body.worth > programme.redemption.maximum:
        yield Refusal(Code.ABOVE_MAXIMUM, "lines")
    if request.points is not None and request.points != body.points:
        yield Refusal(Code.RATE_CHANGED, "points")
    yield from _deduction_refusals(request, terms, programme)
    if not body.debtor_account:
        yield Refusal(Code.ACCOUNT_MISSING, "debtor_account")
    if not body.creditor_account:
        yield Refusal(Code.ACCOUNT_MISSING, "creditor_account")


def over_limit(terms: Terms, programme: Programme, used: int) -> Refusal | None:
    """The refusal if the request exceeds the account's limit, of which `used` is used already."""
    body: RedemptionTerms = terms.body
    if programme.limit is not None and used + body.worth > programme.limit.worth:
        return Refusal(Code.DAILY_LIMIT_EXCEEDED, "lines")
    return None


def _deduction_refusals(
    request: RedemptionRequested, terms: Terms, programme: Programme
) -> Iterator[Refusal]:
    """Refusals if what the origin says it deducted is not what the programme asks for."""
    stated = request.deduction
    if (stated is None) == (programme.debtor is None):
        yield Refusal(Code.DEDUCTION_MISMATCH, "deduction")
    elif stated is not None and stated.points != terms.body.points:
        yield Refusal(Code.RATE_CHANGED, "deduction.points")
    elif stated is not None and stated.lots is not None and _total(stated.lots) != stated.points:
        yield Refusal(Code.DEDUCTION_MISMATCH, "deduction.lots")


def _total(lots: Iterable[Lot]) -> int:
    return sum(lot.points for lot in lots)


def deducted(request: RedemptionRequested) -> Deducted | None:
    """What the origin deducted before it made the request; None: nothing."""
    stated = request.deduction
    if stated is None:
        return None
    lots = tuple(lot.known().model_dump(exclude_none=True) for lot in stated.lots or ())
    return Deducted(stated.reference, stated.points, lots)


def tombstone(request: RedemptionWithdrawn, origin: str, now: int) -> Saga:
    """A saga for a request that was withdrawn before it arrived; the request will meet it."""
    key = saga_key(origin, request.account, request.request_id)
    body = RedemptionTerms(
        debtor_account=request.account,
        unit=f"{origin}-points",
        prededucted=True,  # If the late request states a deduction, the origin must return it.
    )
    terms = Terms(
        saga_id=key[1],
        key_hash=key[0],
        programme="",
        origin=origin,
        account=request.account,
        request_id=request.request_id,
        content="",
        accepted_at=now,
        definition=DEFINITION.name,
        definition_version=DEFINITION.version,
        participants=(origin, origin, ""),
        body=body,
    )
    result = ResultRevision(1, ResultStatus.CANCELLED, True, Code.WITHDRAWN, None, now)
    return Saga(terms=terms, revision=1, told=result)
