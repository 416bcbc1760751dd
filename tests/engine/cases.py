"""Terms, policies and replies that the tests of the engine share."""

from dataclasses import fields, replace
from typing import Any, Final

from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Saga, Terms
from orchestrator.engine.messages import Messages
from orchestrator.engine.policy import LegPolicy, Policies, Rung
from orchestrator.sagas.redemption.intake import first_legs
from orchestrator.sagas.redemption.kind import REDEMPTION
from orchestrator.sagas.redemption.terms import Deducted, Partial, PricedLine, RedemptionTerms
from schemas.ids import key_hash, saga_id
from schemas.replies import LegAnswered

BODY_FIELDS: Final = frozenset(field.name for field in fields(RedemptionTerms))
NOW: Final = 1_800_000_000_000
SAGA: Final = saga_id("wallet", "w-1", "r-1")
LINES: Final = (
    # 2 pieces cost 5 points, so that a part of the line does not come out even.
    PricedLine("hkd50", "CASH_COUPON", 2, 5, 10_000, 5_000),
    PricedLine("hkd20", "CASH_COUPON", 1, 5_000, 2_000, 2_000),
    PricedLine("pass", "THIRD_PARTY", 1, 1, 300, None),
)


def policies(times: int = 1, pending_times: int | None = 1) -> Policies:
    """Ladders that end after a few steps; a return is said again for ever, as in the contract."""
    ladder = LegPolicy(
        response_timeout=5_000,
        expires_after=60_000,
        rungs=(Rung.INQUIRE,),
        every=3_000,
        times=times,
        pending_every=60_000,
        pending_times=pending_times,
    )
    again = replace(ladder, rungs=(Rung.RESEND,), every=15_000, times=None, pending_times=None)
    return Policies(
        {
            ("bank", "deduct"): ladder,
            ("bank", "return"): again,
            ("issuer", "credit"): ladder,
            ("issuer", "reverse"): ladder,
        }
    )


def terms(lines: int = 1, partial: Partial = Partial.KEEP_ISSUED, **changed: Any) -> Terms:
    """A redemption of the first lines of LINES."""
    return changed_terms(
        Terms(
            saga_id=SAGA,
            key_hash=key_hash(b"wallet/w-1"),
            definition="redemption",
            definition_version=1,
            programme="coupons",
            programme_version=1,
            origin="wallet",
            account="w-1",
            request_id="r-1",
            content="digest",
            accepted_at=NOW,
            participants=("wallet", "bank", "issuer"),
            body=RedemptionTerms(
                debtor_account="card-1",
                creditor_account="w-1",
                unit="bank-points",
                currency="HKD",
                partial=partial,
                lines=LINES[:lines],
            ),
        ),
        **changed,
    )


def changed_terms(was: Terms, **changed: Any) -> Terms:
    """The terms with some fields changed, be they of every kind or of a redemption."""
    own = {name for name in changed if name in BODY_FIELDS}
    body = replace(was.body, **{name: changed[name] for name in own})
    return replace(was, body=body, **{name: changed[name] for name in changed.keys() - own})


def started(engine: Engine, agreed: Terms, now: int, deducted: Deducted | None = None) -> Saga:
    """A new redemption; `deducted` is what the origin took before."""
    return engine.start(agreed, first_legs(engine.definition, agreed, deducted), now)


def engine(times: int = 1) -> Engine:
    """The redemption under short ladders."""
    return Engine(REDEMPTION, policies(times))


def words() -> Messages:
    """Its vocabulary."""
    return Messages(REDEMPTION)


def answer(path: str, outcome: str, **fields: Any) -> LegAnswered:
    """A reply about a leg of the saga."""
    if outcome == "CONFIRMED":
        fields.setdefault("reference", "REF-1")
    return LegAnswered.model_validate(
        {"leg_id": f"{SAGA}/{path}", "outcome": outcome, **fields}, strict=False
    )
