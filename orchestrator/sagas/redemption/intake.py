"""How the events of an origin become a redemption, and how they are answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, ClassVar

from orchestrator.engine.definition import Definition, Kind
from orchestrator.engine.instance import Leg, Saga, Terms
from orchestrator.engine.kind import AccountEvent, Answer, LimitKey, Programmes, Refusal
from orchestrator.engine.machine import NoChange, Status
from orchestrator.engine.published import PublishedSaga
from orchestrator.sagas.redemption import acceptance
from orchestrator.sagas.redemption.programme import Programme
from orchestrator.sagas.redemption.terms import Deducted, RedemptionTerms
from schemas.frozen import replaced
from schemas.ids import SagaId, bucket
from schemas.reasons import Code, reason
from schemas.requests import RedemptionInquired, RedemptionRequested, RedemptionWithdrawn
from schemas.results import PointsTotal, RedemptionResult, ResultStatus


@dataclass(frozen=True, slots=True)
class RedemptionIntake:
    """The intake of redemptions, for one version of the definition."""

    definition: Definition
    requested = RedemptionRequested
    inquired = RedemptionInquired
    withdrawn = RedemptionWithdrawn
    answers: ClassVar[Mapping[type[AccountEvent], Answer]] = MappingProxyType({})

    def limit(
        self,
        request: RedemptionRequested,
        origin: str,
        programmes: Programmes,
        now: int,
        published: PublishedSaga | None,
    ) -> LimitKey | None:
        """The account limit of the programme, on the business date of the redemption."""
        programme = self._programme(request, programmes)
        if programme is None or programme.limit is None:
            return None
        scope = acceptance.limit_scope(programme, origin, request.account)
        began = now if published is None else published.began
        day = acceptance.business_date(began, programme.zone)
        day = day if published is None else published.day(day)
        return bucket(origin, request.account), scope, day

    def draft(
        self,
        request: RedemptionRequested,
        origin: str,
        programmes: Programmes,
        now: int,
        traceparent: str | None = None,
        *,
        key: tuple[int, SagaId] | None = None,
        used: int = 0,  # noqa: ARG002
    ) -> Terms:
        """The terms, priced where that is possible."""
        programme = self._programme(request, programmes)
        return acceptance.draft(request, origin, programme, now, traceparent, key=key)

    def refusal(
        self,
        request: RedemptionRequested,
        terms: Terms,
        programmes: Programmes,
        now: int,
        used: int,
    ) -> Refusal | None:
        """Why the rules refuse the request: the gravest reason first, the account's limit last."""
        programme = self._programme(request, programmes)
        for refusal in acceptance.refusals(request, terms, programme, now):
            return refusal
        return None if programme is None else acceptance.over_limit(terms, programme, used)

    def legs(self, terms: Terms, request: RedemptionRequested) -> tuple[Leg, ...]:
        """The deduction, which the origin may have done itself, and a credit for each line."""
        return first_legs(self.definition, terms, acceptance.deducted(request))

    def refused_legs(self, terms: Terms, request: RedemptionRequested) -> tuple[Leg, ...]:  # noqa: ARG002
        """The deduction that the origin did before it made the request, and must return."""
        deducted = acceptance.deducted(request)
        return () if deducted is None else (given(self.definition.steps[0].name, deducted),)

    def detail(self, terms: Terms) -> Mapping[str, Any]:
        """The price, in points."""
        return {"points": terms.body.points}

    def tombstone(self, withdrawal: RedemptionWithdrawn, origin: str, now: int) -> Saga:
        """A redemption that was withdrawn before its request arrived."""
        return acceptance.tombstone(withdrawal, origin, now)

    def is_other(self, tombstone: Saga, request: RedemptionRequested) -> bool:
        """Whether a request states another deduction than one that met the tombstone before.

        A tombstone matches any request, but only one deduction is returned for it.
        """
        deducted = acceptance.deducted(request)
        taken = tombstone.leg(self.definition.steps[0].name)
        if deducted is None or taken is None:
            return False
        return (deducted.reference, deducted.points) != (taken.reference, taken.moved)

    def revive(self, tombstone: Saga, request: RedemptionRequested) -> Saga | NoChange:
        """The tombstone with the deduction that its late request states (`0009`).

        STALE when the request states none, or one was stated before.
        """
        deducted = acceptance.deducted(request)
        path, told = self.definition.steps[0].name, tombstone.told
        if (
            deducted is None
            or not tombstone.terms.body.prededucted
            or tombstone.leg(path) is not None
        ):
            return NoChange.STALE
        if told is not None and "return_required" not in (told.as_published or {}):
            told = replaced(told, as_published=None, superseded=(0,))  # It reported no deduction.
        leg = given(path, deducted)  # The terms of a tombstone name no programme.
        leg = replaced(leg, detail={**(leg.detail or {}), "programme": request.programme})
        return replaced(tombstone, legs=(leg, *tombstone.legs), told=told, withdrawn=True)

    def not_received(
        self, inquiry: RedemptionInquired, saga_id: SagaId, now: datetime
    ) -> RedemptionResult:
        """The answer to an inquiry about a request that is not known."""
        return RedemptionResult(
            saga_id=saga_id,
            request_id=inquiry.request_id,
            account=inquiry.account,
            revision=0,
            status=ResultStatus.NOT_RECEIVED,
            final=False,
            reason=reason(Code.NOT_RECEIVED),
            points=PointsTotal(charged=0, returned=0),
            at=now,
        )

    def restored(self, terms: Terms, published: PublishedSaga) -> Terms:
        """The terms with the business date that was published in a result."""
        body: RedemptionTerms = terms.body
        if body.business_date is None:
            return terms
        return replace(terms, body=replace(body, business_date=published.day(body.business_date)))

    def _programme(self, request: RedemptionRequested, programmes: Programmes) -> Programme | None:
        programme: Programme | None = programmes[self.definition.name].get(request.programme)
        return programme


def first_legs(
    definition: Definition, terms: Terms, deducted: Deducted | None = None
) -> tuple[Leg, ...]:
    """The legs that a redemption begins with; `deducted` is what the origin deducted before."""
    body: RedemptionTerms = terms.body
    legs: list[Leg] = []
    for step in definition.steps:
        if step.per_line:
            legs.extend(
                Leg(f"{step.name}/{number}", line.quantity)
                for number, line in enumerate(body.lines, 1)
            )
        elif deducted is not None and step.kind is Kind.COMPENSABLE:
            legs.append(given(step.name, deducted))
        else:
            legs.append(Leg(step.name, body.points))
    return tuple(legs)


def given(path: str, deducted: Deducted) -> Leg:
    """The deduction that the origin did itself, as a confirmed leg that was never sent."""
    return Leg(
        path,
        deducted.points,
        Status.CONFIRMED,
        moved=deducted.points,
        reference=deducted.reference,
        detail={"lots": list(deducted.lots)} if deducted.lots else None,
    )
