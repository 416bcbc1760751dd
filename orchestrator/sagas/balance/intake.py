"""How a question about a balance becomes a saga, and what else it needs to be answered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, ClassVar, Never

from orchestrator.engine.instance import Leg, Saga, Terms
from orchestrator.engine.kind import (
    AccountEvent,
    Answer,
    LimitKey,
    Programmes,
    Refusal,
    content_digest,
)
from orchestrator.engine.machine import NoChange
from orchestrator.engine.published import PublishedSaga
from orchestrator.sagas.balance.definition import DEFINITION
from orchestrator.sagas.balance.programme import Programme
from orchestrator.sagas.balance.terms import BalanceTerms
from orchestrator.sagas.redemption import acceptance
from orchestrator.sagas.redemption.programme import Programme as RedemptionProgramme
from schemas.balance import BalanceInquired
from schemas.ids import SagaId, bucket, saga_key
from schemas.reasons import Code


class BalanceIntake:
    """How questions become sagas. There is no inquiry about one, and no withdrawal of one."""

    requested = BalanceInquired
    inquired = None
    withdrawn = None
    answers: ClassVar[Mapping[type[AccountEvent], Answer]] = MappingProxyType({})

    def limit(
        self,
        request: BalanceInquired,
        origin: str,
        programmes: Programmes,
        now: int,
        said: PublishedSaga | None,  # noqa: ARG002
    ) -> LimitKey | None:
        """The limit that redemptions of the account count on today: it is read, not used."""
        shown = _shown(request, programmes)
        if shown is None or shown.limit is None:
            return None
        scope = acceptance.limit_scope(shown, origin, request.account)
        day = acceptance.business_date(now, shown.zone)
        return bucket(origin, request.account), scope, day

    def draft(
        self,
        request: BalanceInquired,
        origin: str,
        programmes: Programmes,
        now: int,
        traceparent: str | None = None,
        *,
        key: tuple[int, SagaId] | None = None,
        used: int = 0,
    ) -> Terms:
        """The terms: whom to ask, and the rules by which the answer is shown."""
        if key is None:
            key = saga_key(origin, request.account, request.request_id)
        programme, shown = _programme(request, programmes), _shown(request, programmes)
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
            programme_version=programme.version if programme is not None else 0,
            locale=request.locale,
            participants=(origin, programme.debtor if programme is not None else ""),
            traceparent=traceparent,
            body=_body(request, shown, used),
        )

    def refusal(
        self,
        request: BalanceInquired,
        terms: Terms,
        programmes: Programmes,
        now: int,  # noqa: ARG002
        used: int,  # noqa: ARG002
    ) -> Refusal | None:
        """Why the rules say no, the gravest first."""
        programme = _programme(request, programmes)
        if programme is None:
            return Refusal(Code.UNKNOWN_PRODUCT, "programme")
        if terms.origin not in programme.origins:
            return Refusal(Code.UNKNOWN_CHANNEL, "programme")
        if not terms.body.debtor_account:
            return Refusal(Code.ACCOUNT_MISSING, "debtor_account")
        return None

    def legs(self, terms: Terms, request: BalanceInquired) -> tuple[Leg, ...]:  # noqa: ARG002
        """The one question to the debtor; it is for no amount, so it asks for one."""
        return (Leg(DEFINITION.steps[0].name, 1),)

    def refused_legs(self, terms: Terms, request: BalanceInquired) -> tuple[Leg, ...]:  # noqa: ARG002
        """Nobody is asked."""
        return ()

    def detail(self, terms: Terms) -> Mapping[str, Any]:  # noqa: ARG002
        """Nothing beside the question."""
        return {}

    def tombstone(self, withdrawal: Any, origin: str, now: int) -> Never:  # noqa: ARG002
        """A question is not withdrawn."""
        raise AssertionError(withdrawal)

    def is_other(self, stone: Saga, request: Any) -> bool:  # noqa: ARG002
        """There are no tombstones."""
        return False

    def revive(self, stone: Saga, request: Any) -> NoChange:  # noqa: ARG002
        """There are no tombstones."""
        return NoChange.STALE

    def not_received(self, inquiry: Any, saga_id: SagaId, now: datetime) -> Never:  # noqa: ARG002
        """A question is not asked about."""
        raise AssertionError(inquiry)

    def restored(self, terms: Terms, said: PublishedSaga) -> Terms:  # noqa: ARG002
        """What was lost is asked again."""
        return terms


def _programme(request: BalanceInquired, programmes: Programmes) -> Programme | None:
    found: Programme | None = programmes[DEFINITION.name].get(request.programme)
    return found


def _shown(request: BalanceInquired, programmes: Programmes) -> RedemptionProgramme | None:
    """The redemption programme whose rules are shown."""
    programme = _programme(request, programmes)
    if programme is None:
        return None
    found: RedemptionProgramme = programmes["redemption"][programme.redemption]
    return found


def _body(request: BalanceInquired, shown: RedemptionProgramme | None, used: int) -> BalanceTerms:
    account = request.debtor_account or ""
    if shown is None:
        return BalanceTerms(debtor_account=account)
    limit, rate = shown.limit, shown.rate
    return BalanceTerms(
        debtor_account=account,
        unit=shown.unit,
        currency=shown.currency or "",
        rate=(rate.points, rate.worth, rate.step),
        items=tuple([(item.worth, item.quantity_max) for item in shown.items]),
        minimum=shown.redemption.minimum,
        maximum=shown.redemption.maximum,
        remaining=None if limit is None else max(0, limit.worth - used),
    )
