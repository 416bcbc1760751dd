"""How a balance inquiry becomes a saga, and which rules and limits its answer needs."""

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
    """The intake of balance inquiries, which can neither be inquired about nor withdrawn."""

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
        published: PublishedSaga | None,  # noqa: ARG002
    ) -> LimitKey | None:
        """The limit that counts the account's redemptions today: it is read, but not used."""
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
        """The terms: the debtor to ask, and the rules and limit from which the answer is made."""
        if key is None:
            key = saga_key(origin, request.account, request.request_id, request.saga_kind)
        programme, shown = _programme(request, programmes), _shown(request, programmes)
        version = programme.saga_version if programme is not None else DEFINITION.version
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
            definition_version=version,
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
        """Why the rules refuse the inquiry, the gravest reason first; None: they accept it."""
        programme = _programme(request, programmes)
        if programme is None:
            return Refusal(Code.UNKNOWN_PRODUCT, "programme")
        if terms.origin not in programme.origins:
            return Refusal(Code.UNKNOWN_CHANNEL, "programme")
        if not terms.body.debtor_account:
            return Refusal(Code.ACCOUNT_MISSING, "debtor_account")
        return None

    def legs(self, terms: Terms, request: BalanceInquired) -> tuple[Leg, ...]:  # noqa: ARG002
        """The one leg, at the debtor. A reading has no amount, so it stands for one piece."""
        return (Leg(DEFINITION.steps[0].name, 1),)

    def refused_legs(self, terms: Terms, request: BalanceInquired) -> tuple[Leg, ...]:  # noqa: ARG002
        """A refused inquiry has no leg."""
        return ()

    def detail(self, terms: Terms) -> Mapping[str, Any]:  # noqa: ARG002
        """The timeline shows nothing more."""
        return {}

    def tombstone(self, withdrawal: Any, origin: str, now: int) -> Never:  # noqa: ARG002
        """Never called: a balance inquiry cannot be withdrawn."""
        raise AssertionError(withdrawal)

    def is_other(self, tombstone: Saga, request: Any) -> bool:  # noqa: ARG002
        """Never true, since there are no tombstones."""
        return False

    def revive(self, tombstone: Saga, request: Any) -> NoChange:  # noqa: ARG002
        """Nothing to revive, since there are no tombstones."""
        return NoChange.STALE

    def not_received(self, inquiry: Any, saga_id: SagaId, now: datetime) -> Never:  # noqa: ARG002
        """Never called: a balance inquiry cannot be inquired about."""
        raise AssertionError(inquiry)

    def restored(self, terms: Terms, published: PublishedSaga) -> Terms:  # noqa: ARG002
        """The terms as they are: an inquiry that was lost with its database begins anew."""
        return terms


def _programme(request: BalanceInquired, programmes: Programmes) -> Programme | None:
    programme: Programme | None = programmes[DEFINITION.name].get(request.programme)
    return programme


def _shown(request: BalanceInquired, programmes: Programmes) -> RedemptionProgramme | None:
    """The redemption programme whose rules the answer shows; None: there is no such programme."""
    programme = _programme(request, programmes)
    if programme is None:
        return None
    shown: RedemptionProgramme = programmes["redemption"][programme.redemption]
    return shown


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
