"""Sagas with every field in use, and the changes that save them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import UUID

from orchestrator.engine.instance import Leg, ResultRevision, Saga, Terms
from orchestrator.engine.machine import Status
from orchestrator.engine.postings import Transfer
from orchestrator.ports import (
    Case,
    Change,
    Changes,
    LimitChange,
    Movement,
    Partition,
    TimelineEntry,
)
from orchestrator.sagas.redemption.terms import Partial, PricedLine, RedemptionTerms
from schemas.dead_letters import DeadLetter, Disposition
from schemas.ids import key_hash, partition_key, saga_id
from schemas.reasons import Code
from schemas.results import ResultStatus

NOW = 1_790_000_000_000
"""A moment in 2026, in milliseconds."""
DAY = date(2026, 9, 21)
PLACE: Partition = ("uprp.alipayhk.requests", 3)


def terms(request_id: str = "r-1", account: str = "w-1") -> Terms:
    """Terms that leave no field at its default."""
    return Terms(
        saga_id=saga_id("alipayhk", account, request_id),
        key_hash=key_hash(partition_key("alipayhk", account).encode()),
        definition="redemption",
        definition_version=1,
        programme="citi-alipayhk-coupons",
        programme_version=7,
        origin="alipayhk",
        account=account,
        request_id=request_id,
        content="digest",
        accepted_at=NOW,
        locale="zh-Hant-HK",
        participants=("alipayhk", "citi", "alipayhk"),
        body=RedemptionTerms(
            debtor_account="card-1",
            creditor_account=account,
            unit="citi-points",
            currency="HKD",
            partial=Partial.ALL_OR_NOTHING,
            lines=(
                PricedLine("hkd50", "CASH_COUPON", 2, 25_000, 10_000, 5_000),
                PricedLine("miles", "MILES", 3, 9, 3, None),
            ),
            limit=f"alipayhk/{account}/daily",
            business_date=DAY,
        ),
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )


def saga(request_id: str = "r-1", account: str = "w-1", *, due: int | None = NOW + 5_000) -> Saga:
    """A saga in the middle of its life, with every field of a leg and of a result in use."""
    deduct = Leg(
        path="deduct",
        asked=25_009,
        status=Status.CONFIRMED,
        attempt=2,
        inquiries=3,
        sent_at=NOW + 1,
        said_at=NOW + 2,
        moved=25_009,
        reference="D-1",
        detail={"lots": [{"lot": "2024 \u8cc7", "points": 25_009, "expires_on": "2028-12-31"}]},
    )
    credit = Leg(
        path="credit/1",
        asked=2,
        status=Status.PENDING,
        attempt=1,
        inquiries=4,
        sent_at=NOW + 3,
        said_at=NOW + 4,
        due=NOW + 5_000,
        code="TIMEOUT",
        pending_from=2,
    )
    told = ResultRevision(
        3, ResultStatus.PENDING, False, Code.ACCEPTED, "lines.0", NOW + 6, superseded=(25_009, 0, 0)
    )
    legs = (deduct, credit, Leg(path="credit/2", asked=3))
    return Saga(terms(request_id, account), 4, legs, told, withdrawn=True, wake_at=due)


def created(*sagas: Saga) -> Changes:
    """Changes that insert sagas."""
    return Changes(sagas={one.terms.saga_id: Change(None, one) for one in sagas})


def moved(was: Saga) -> Changes:
    """Changes that take a saga to its next revision."""
    now = replace(was, revision=was.revision + 1, withdrawn=False)
    return Changes(sagas={was.terms.saga_id: Change(was, now)})


def everything(one: Saga, *, positions: tuple[int | None, int] = (None, 5)) -> Changes:
    """Changes that write a row into every table."""
    key = (one.terms.key_hash, one.terms.saga_id)
    limit = (one.terms.key_hash, one.terms.body.limit, DAY)
    return Changes(
        sagas={one.terms.saga_id: Change(None, one)},
        timeline=[TimelineEntry(key, one.revision, NOW, "requested", '{"points":25009}')],
        movements=[
            Movement(key, 32, Transfer("citi/member/card-1", "uprp/suspense", "citi-points", 9))
        ],
        limits={limit: LimitChange(10_003, None)},
        dead_letters=[letter()],
        cases={one.terms.saga_id: Case(key, NOW, False, "credit/1", "TIMEOUT", 9, "citi-points")},
        positions={PLACE: positions},
    )


def letter(offset: int = 9) -> DeadLetter:
    """A dead letter whose bytes no encoding knows."""
    return DeadLetter(
        topic="uprp.citi.replies",
        partition=1,
        offset=offset,
        key=b"\x00\xff",
        value=b"\x00\xfe{",
        headers=(("ce_id", b"e-1"), ("x-odd", b"\x00\xff"), ("x-empty", None)),
        group="g",
        error_class="SCHEMA_INVALID",
        field="value\0",
        message="is \0 odd",
        disposition=Disposition.POISON,
        failed_at=datetime(2026, 9, 21, 6, tzinfo=UTC),
        saga_id=str(UUID(int=7)),
    )
