"""The content of the messages of a balance inquiry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import Event
from orchestrator.sagas.balance.redeemable import largest, points_for, redeemable, step
from orchestrator.sagas.balance.terms import BalanceTerms
from schemas.balance import BalanceStatus
from schemas.reasons import Code, is_definite_no, reason
from schemas.replies import LegAnswered, Outcome
from schemas.times import text_of


class BalanceWording:
    """The command to the debtor, the meaning of its reply, and the result for the origin."""

    def command(self, saga: Saga, leg: Leg) -> dict[str, Any]:
        """The account, and the time after which nobody waits for the answer."""
        body: BalanceTerms = saga.terms.body
        return {"account": body.debtor_account, "expires_at": text_of(leg.expires_at)}

    def read_reply(self, saga: Saga, leg: Leg, reply: LegAnswered) -> LegUpdate:  # noqa: ARG002
        """The balance, or a rejection with a reason.

        Every reply without a balance is a rejection: a query has no effect whose outcome could
        stay unknown.
        """
        if reply.stated is Outcome.REJECTED and reply.reason is not None:
            code = reply.reason.code
            known = code if is_definite_no(code) else Code.PARTNER_SYSTEM_ERROR
            return LegUpdate(event=Event.REJECTED, code=known)
        if reply.stated in (Outcome.CANCELLED, Outcome.PENDING, Outcome.NOT_RECEIVED):
            return LegUpdate(event=Event.REJECTED, code=Code.NO_ANSWER)
        if reply.stated is None or None in (reply.available, reply.held, reply.as_of):
            return LegUpdate(event=Event.REJECTED, code=Code.MALFORMED_REPLY)
        if reply.points or reply.lots or reply.quantity or reply.coupons:
            return LegUpdate(event=Event.REJECTED, code=Code.REPLY_AMOUNT_MISMATCH)
        detail = {"available": reply.available, "held": reply.held, "as_of": reply.as_of}
        return LegUpdate(event=Event.CONFIRMED, amount=1, reference=reply.reference, detail=detail)

    def read_command(self, data: Mapping[str, Any]) -> tuple[int, Mapping[str, Any] | None]:  # noqa: ARG002
        """One piece and no detail, as a query has no amount."""
        return 1, None

    def result(self, saga: Saga) -> dict[str, Any]:
        """The data of the one answer: the balance and the limits, or why there are none."""
        told, terms = saga.told, saga.terms
        assert told is not None, terms.saga_id
        result: dict[str, Any] = {
            "saga_id": terms.saga_id,
            "request_id": terms.request_id,
            "account": terms.account,
            "programme": terms.programme,
            "revision": told.revision,
            "status": told.status,
            "final": told.final,
            "corrected": told.corrected,
            "at": text_of(told.at),
        }
        if told.code:
            why = reason(told.code, terms.locale, told.field)
            result["reason"] = why.model_dump(exclude_none=True)
        if told.status == BalanceStatus.ANSWERED:
            result |= _figures(terms.body, saga.legs[0].detail or _NOTHING)
        return result


_NOTHING: Final[Mapping[str, Any]] = {}


def _figures(body: BalanceTerms, read: Mapping[str, Any]) -> dict[str, Any]:
    """What the debtor stated in its reply `read`, and what can be redeemed under the rules."""
    figures: dict[str, Any] = {
        "available": read["available"],
        "held": read["held"],
        "unit": body.unit,
        "as_of": read["as_of"],
        "step": step(body),
        "minimum": points_for(body, body.minimum),
        "maximum": points_for(body, largest(body)),
    }
    if body.currency:  # Worth is money only where the programme has a currency.
        now = redeemable(body, read["available"])
        figures["max_redeemable_now"] = {"amount": now, "currency": body.currency}
        if body.remaining is not None:
            figures["daily_remaining"] = {"amount": body.remaining, "currency": body.currency}
    return figures
