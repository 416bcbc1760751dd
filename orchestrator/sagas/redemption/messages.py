"""The content of a redemption's messages: the data of commands and results, reading replies."""

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
    """The wording of redemptions, for one version of the definition."""

    definition: Definition

    def command(self, saga: Saga, leg: Leg) -> dict[str, Any]:
        """The fields of a command beyond those that every command has."""
        return _COMMANDS[leg.verb](saga, leg, text_of(leg.expires_at))

    def read_reply(self, saga: Saga, leg: Leg, reply: LegAnswered) -> LegUpdate:
        """What a reply says about a leg; a reply that does not fit the command is unusable."""
        return read_reply(saga, leg, reply)

    def read_command(self, data: Mapping[str, Any]) -> tuple[int, Mapping[str, Any] | None]:
        """The amount that a published command asked for, and the lots of a return."""
        lots = data.get("lots")
        return data.get("points") or data["quantity"], {"lots": list(lots)} if lots else None

    def result(self, saga: Saga) -> dict[str, Any]:
        """The data of the latest result; the same each time it is published."""
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
        """The points that the member paid, and those that were returned."""
        assert saga.told is not None, saga.terms.saga_id
        plain = len(saga.legs) == 1 + len(pieces)  # No charge, no undo, no loss.
        if saga.told.status == ResultStatus.SUCCESS and plain and not saga.told.corrected:
            return price(saga.terms, pieces), 0
        total = points(saga, self.definition)
        # If the origin deducted itself, this result tells it to return: that counts as returned.
        returning = total.returning if _agreed(saga).prededucted and saga.told.final else 0
        returned = total.returned + returning
        return total.taken - returned, returned


def _return_required(saga: Saga, returned: int) -> dict[str, Any]:
    """What an origin that deducted the points itself must return (`contract.md` 3)."""
    taken = saga.legs[0]
    data: dict[str, Any] = {"reference": taken.reference, "points": returned}
    lots = (taken.detail or {}).get("lots")
    return data | {"lots": _lots_back(lots, returned, 0)} if lots else data


def _agreed(saga: Saga) -> RedemptionTerms:
    """The part of the terms that only redemptions have."""
    body: RedemptionTerms = saga.terms.body
    return body


def _coupons(saga: Saga, pieces: tuple[int, ...]) -> list[list[Any]]:
    """The coupons that the member has, for each line."""
    coupons: list[list[Any]] = [[] for _ in pieces]
    for leg in saga.legs_of("credit"):
        at = leg.line or 0
        if leg.detail and pieces[at] == leg.moved:
            coupons[at] = leg.detail.get("coupons", [])
    return coupons


def _undone(saga: Saga, leg: Leg) -> Leg:
    """The leg that an undo undoes."""
    done = saga.leg(leg.undoes or "")
    assert done is not None, leg
    assert done.reference is not None, leg  # Only a confirmed leg is ever undone.
    return done


def _why(saga: Saga) -> Code:
    """The reason that an undo states."""
    # Not the code of a leg, as that may still change, and a repeat must have the same content.
    return Code.WITHDRAWN if saga.withdrawn else Code.PARTNER_DECLINED


def _deduct(saga: Saga, leg: Leg, expires: str) -> dict[str, Any]:
    account = _agreed(saga).debtor_account
    return {"account": account, "points": leg.asked, "expires_at": expires}


def _return(saga: Saga, leg: Leg, _expires: str) -> dict[str, Any]:
    done = _undone(saga, leg)
    data: dict[str, Any] = {
        "account": _agreed(saga).debtor_account,
        "points": leg.asked,
        "deduction_leg_id": f"{saga.terms.saga_id}/{done.path}",
        "reference": done.reference,
        "reason": _why(saga),
    }
    if leg.detail is not None:  # The lots as they were published before a database was lost.
        return data | dict(leg.detail)
    lots = (done.detail or {}).get("lots")
    if not lots:
        return data
    undos = undo_legs(saga, done)
    earlier = undos[: [undo.path for undo in undos].index(leg.path)]
    before = sum([undo.asked for undo in earlier])
    return data | {"lots": _lots_back(lots, leg.asked, before)}


def _lots_back(taken: list[dict[str, Any]], points: int, before: int) -> list[dict[str, Any]]:
    """The lots into which points are returned; earlier returns have given back `before` points.

    The lot that was used last gets its points first. So those points stay spent that expire first,
    since a debtor takes them first (`0012`).
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
    data: dict[str, Any] = {
        "account": body.creditor_account,
        "item": line.item,
        "kind": line.kind,
        "quantity": leg.asked,
        "expires_at": expires,
    }
    if line.face is not None:
        data["face"] = {"amount": line.face, "currency": body.currency}
    return data


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
    """What a reply says about a leg; a reply that does not fit the command is unusable."""
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
        return _MISMATCH  # Pieces where points were asked for, or the reverse.
    amount = leg.asked if stated is None else stated
    may_be_fewer = leg.verb == "credit"
    if amount > leg.asked or (amount < leg.asked and not may_be_fewer):
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
    """The fields of a lot that the contract has; others are not passed on to other partners."""
    data: dict[str, Any] = {"lot": lot.lot, "points": lot.points}
    if lot.expires_on is not None:
        data["expires_on"] = lot.expires_on
    return data


def _coupon(coupon: Coupon) -> dict[str, Any]:
    """The fields of a coupon that the contract has."""
    data: dict[str, Any] = {"coupon_id": coupon.coupon_id}
    if coupon.code is not None:
        data["code"] = coupon.code
    if coupon.face is not None:
        data["face"] = {"amount": coupon.face.amount, "currency": coupon.face.currency}
    data["usable_from"] = coupon.usable_from
    if coupon.expires_at is not None:
        data["expires_at"] = coupon.expires_at
    if (spend := coupon.min_net_spend) is not None:
        data["min_net_spend"] = {"amount": spend.amount, "currency": spend.currency}
    return data


_MISMATCH: Final = LegUpdate(event=Event.UNUSABLE, code=Code.REPLY_AMOUNT_MISMATCH)
