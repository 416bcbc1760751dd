"""How a redemption speaks and listens: what its commands and results say, what replies mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.engine.definition import Definition
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import Event
from orchestrator.engine.undo import undo_legs
from orchestrator.sagas.redemption.balance import issued, points, price
from orchestrator.sagas.redemption.terms import RedemptionTerms
from schemas.reasons import Code, is_definite_no, reason
from schemas.replies import Coupon, LegAnswered, Outcome
from schemas.results import ResultStatus
from schemas.times import text_of
from schemas.values import Lot


@dataclass(frozen=True, slots=True)
class RedemptionWording:
    """What a redemption says and hears, in one version of its definition."""

    definition: Definition

    def command(self, saga: Saga, leg: Leg) -> dict[str, Any]:
        """The fields of a command beyond those that every command has."""
        return _COMMANDS[leg.verb](saga, leg, text_of(leg.expires_at))

    def read_reply(self, saga: Saga, leg: Leg, reply: LegAnswered) -> LegUpdate:
        """What a reply says about a leg; whatever does not fit what was asked is unusable."""
        return read_reply(saga, leg, reply)

    def read_command(self, data: Mapping[str, Any]) -> tuple[int, Mapping[str, Any] | None]:
        """How much a command asked for, and into which lots it gives back."""
        lots = data.get("lots")
        return data.get("points") or data["quantity"], {"lots": list(lots)} if lots else None

    def result(self, saga: Saga) -> dict[str, Any]:
        """The data of the latest result; the same whenever it is said."""
        told = saga.told
        assert told is not None, saga.terms.saga_id
        terms, body = saga.terms, _agreed(saga)
        pieces = issued(saga, self.definition.pivot)
        charged, returned = self._points(saga, pieces)
        result: dict[str, Any] = {
            "saga_id": terms.saga_id,
            "request_id": terms.request_id,
            "account": terms.account,
            "revision": told.revision,
            "status": told.status,
            "final": told.final,
            "corrected": told.corrected,
            "points": {"charged": charged, "returned": returned},
            "lines": [
                {"item": line.item, "quantity": line.quantity, "issued": n, "coupons": coupons}
                for line, n, coupons in zip(body.lines, pieces, _coupons(saga, pieces), strict=True)
            ],
            "at": text_of(told.at),
        }
        if told.code:
            why = reason(told.code, terms.locale, told.field)
            result["reason"] = why.model_dump(exclude_none=True)
        if body.business_date is not None:
            result["business_date"] = body.business_date.isoformat()
        if body.prededucted and told.final and returned:
            result["return_required"] = _return_required(saga, returned)
        return result

    def _points(self, saga: Saga, pieces: tuple[int, ...]) -> tuple[int, int]:
        """What the member paid, and what was given back of what was deducted."""
        assert saga.told is not None, saga.terms.saga_id
        plain = len(saga.legs) == 1 + len(pieces)  # Nothing was charged again, returned or lost.
        if saga.told.status == ResultStatus.SUCCESS and plain and not saga.told.corrected:
            return price(saga.terms, pieces), 0
        now = points(saga, self.definition)
        # What an origin took itself it is told to give back: to the member, that is returned.
        returning = now.returning if _agreed(saga).prededucted and saga.told.final else 0
        returned = now.returned + returning
        return now.taken - returned, returned


def _return_required(saga: Saga, returned: int) -> dict[str, Any]:
    """What an origin that deducted the points itself must give back (`contract.md` 3)."""
    taken = saga.legs[0]
    found: dict[str, Any] = {"reference": taken.reference, "points": returned}
    lots = (taken.detail or {}).get("lots")
    return found | {"lots": _lots_back(lots, returned, 0)} if lots else found


def _agreed(saga: Saga) -> RedemptionTerms:
    """What a redemption has of its own in its terms."""
    body: RedemptionTerms = saga.terms.body
    return body


def _coupons(saga: Saga, pieces: tuple[int, ...]) -> list[list[Any]]:
    """The coupons that the member has, line by line."""
    found: list[list[Any]] = [[] for _ in pieces]
    for leg in saga.legs_of("credit"):
        at = leg.line or 0
        if leg.detail and pieces[at] == leg.moved:
            found[at] = leg.detail.get("coupons", [])
    return found


def _undone(saga: Saga, leg: Leg) -> Leg:
    done = saga.leg(leg.undoes or "")
    assert done is not None, leg
    assert done.reference is not None, leg  # Only what was confirmed is undone.
    return done


def _why(saga: Saga) -> Code:
    # Not the code of a leg: that may still change, and a repeat must have the same content.
    return Code.WITHDRAWN if saga.withdrawn else Code.PARTNER_DECLINED


def _deduct(saga: Saga, leg: Leg, expires: str) -> dict[str, Any]:
    account = _agreed(saga).debtor_account
    return {"account": account, "points": leg.asked, "expires_at": expires}


def _return(saga: Saga, leg: Leg, _expires: str) -> dict[str, Any]:
    done = _undone(saga, leg)
    found: dict[str, Any] = {
        "account": _agreed(saga).debtor_account,
        "points": leg.asked,
        "deduction_leg_id": f"{saga.terms.saga_id}/{done.path}",
        "reference": done.reference,
        "reason": _why(saga),
    }
    if leg.detail is not None:  # As it was said before its database was lost.
        return found | dict(leg.detail)
    lots = (done.detail or {}).get("lots")
    if not lots:
        return found
    earlier = [undo.asked for undo in undo_legs(saga, done)]
    before = sum(earlier[: [undo.path for undo in undo_legs(saga, done)].index(leg.path)])
    return found | {"lots": _lots_back(lots, leg.asked, before)}


def _lots_back(taken: list[dict[str, Any]], points: int, before: int) -> list[dict[str, Any]]:
    """Into which lots points go back: what was taken last first, so what expires first is spent.

    `before` points went back by earlier returns.
    """
    back: list[dict[str, Any]] = []
    for lot in reversed(taken):
        there = min(lot["points"], before)
        before -= there
        share = min(lot["points"] - there, points)
        points -= share
        if share:
            back.insert(0, lot | {"points": share})
    return back


def _credit(saga: Saga, leg: Leg, expires: str) -> dict[str, Any]:
    body = _agreed(saga)
    line = body.lines[leg.line or 0]
    found: dict[str, Any] = {
        "account": body.creditor_account,
        "item": line.item,
        "kind": line.kind,
        "quantity": leg.asked,
        "expires_at": expires,
    }
    if line.face is not None:
        found["face"] = {"amount": line.face, "currency": body.currency}
    return found


def _reverse(saga: Saga, leg: Leg, _expires: str) -> dict[str, Any]:
    done = _undone(saga, leg)
    return {
        "account": _agreed(saga).creditor_account,
        "credit_leg_id": f"{saga.terms.saga_id}/{done.path}",
        "reference": done.reference,
        "quantity": leg.asked,
        "reason": _why(saga),
    }


Projection = Callable[[Saga, Leg, str], dict[str, Any]]
_COMMANDS: Final[dict[str, Projection]] = {
    "deduct": _deduct,
    "charge": _deduct,
    "return": _return,
    "credit": _credit,
    "reverse": _reverse,
}


def read_reply(saga: Saga, leg: Leg, reply: LegAnswered) -> LegUpdate:
    """What a reply says about a leg; whatever does not fit what was asked is unusable."""
    if reply.stated is Outcome.CONFIRMED:
        return _confirmed(saga, leg, reply)
    if reply.stated is Outcome.REJECTED and reply.reason is not None:
        if is_definite_no(reply.reason.code):
            return LegUpdate(event=Event.REJECTED, code=reply.reason.code)
        return LegUpdate(event=Event.UNUSABLE, code=Code.PARTNER_SYSTEM_ERROR)
    return _READINGS.get(reply.stated, _MALFORMED)


_MALFORMED: Final = LegUpdate(event=Event.UNUSABLE, code=Code.MALFORMED_REPLY)
_READINGS: Final[dict[Outcome | None, LegUpdate]] = {
    Outcome.CANCELLED: LegUpdate(event=Event.CANCELLED),
    Outcome.PENDING: LegUpdate(event=Event.PENDING),
    Outcome.NOT_RECEIVED: LegUpdate(event=Event.NOT_RECEIVED),
}


def _confirmed(saga: Saga, leg: Leg, reply: LegAnswered) -> LegUpdate:
    is_points = leg.verb in ("deduct", "charge", "return")
    stated, foreign = reply.points, reply.quantity
    if not is_points:
        stated, foreign = foreign, stated
    if foreign is not None or (reply.lots and not is_points):
        return _MISMATCH  # Coupons for points, or the other way round: another unit than asked.
    amount = leg.asked if stated is None else stated
    fewer_is_fine = leg.verb == "credit"
    if amount > leg.asked or (amount < leg.asked and not fewer_is_fine):
        return _MISMATCH
    detail: dict[str, Any] = {}
    if reply.lots:
        if sum([lot.points for lot in reply.lots]) != amount:
            return _MISMATCH
        detail["lots"] = [_lot(lot) for lot in reply.lots]
    if reply.coupons and leg.verb == "credit":
        face = _agreed(saga).lines[leg.line or 0].face
        currency = _agreed(saga).currency
        faces = [coupon.face for coupon in reply.coupons if coupon.face is not None]
        if len(reply.coupons) != amount or any(
            face is not None and (shown.amount, shown.currency) != (face, currency)
            for shown in faces
        ):
            return _MISMATCH
        detail["coupons"] = [_coupon(coupon) for coupon in reply.coupons]
    return LegUpdate(
        event=Event.CONFIRMED, amount=amount, reference=reply.reference, detail=detail or None
    )


def _lot(lot: Lot) -> dict[str, Any]:
    """What the contract knows of a lot; what else a partner adds never reaches another."""
    found: dict[str, Any] = {"lot": lot.lot, "points": lot.points}
    if lot.expires_on is not None:
        found["expires_on"] = lot.expires_on
    return found


def _coupon(coupon: Coupon) -> dict[str, Any]:
    """What the contract knows of a coupon."""
    found: dict[str, Any] = {"coupon_id": coupon.coupon_id}
    if coupon.code is not None:
        found["code"] = coupon.code
    if coupon.face is not None:
        found["face"] = {"amount": coupon.face.amount, "currency": coupon.face.currency}
    found["usable_from"] = coupon.usable_from
    if coupon.expires_at is not None:
        found["expires_at"] = coupon.expires_at
    if (spend := coupon.min_net_spend) is not None:
        found["min_net_spend"] = {"amount": spend.amount, "currency": spend.currency}
    return found


_MISMATCH: Final = LegUpdate(event=Event.UNUSABLE, code=Code.REPLY_AMOUNT_MISMATCH)
