"""Terms, policies and replies that the tests of the engine share."""

from dataclasses import replace
from typing import Any, Final

from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Partial, PricedLine, Terms
from orchestrator.engine.policy import LegPolicy, Policies, Rung
from orchestrator.sagas.redemption.definition import REDEMPTION
from orchestrator.sagas.redemption.messages import Messages
from schemas.ids import key_hash, saga_id
from schemas.replies import LegAnswered

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
    return replace(
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
            debtor="bank",
            creditor="issuer",
            debtor_account="card-1",
            creditor_account="w-1",
            unit="bank-points",
            currency="HKD",
            partial=partial,
            lines=LINES[:lines],
        ),
        **changed,
    )


def engine(times: int = 1) -> Engine:
    """The redemption under short ladders."""
    return Engine(REDEMPTION, policies(times))


def words(times: int = 1) -> Messages:
    """Its vocabulary."""
    return Messages(REDEMPTION, policies(times))


def answer(path: str, outcome: str, **fields: Any) -> LegAnswered:
    """A reply about a leg of the saga."""
    if outcome == "CONFIRMED":
        fields.setdefault("reference", "REF-1")
    return LegAnswered.model_validate(
        {"leg_id": f"{SAGA}/{path}", "outcome": outcome, **fields}, strict=False
    )
