"""Answers that state another amount, unit or item than was done, or nothing (`domain.md` 4.4)."""

from typing import Any, Final

import orjson

from adapters.sandbox.fault_kinds import Kind

_OTHER_CURRENCY: Final = "XTS"  # ISO 4217 keeps it for tests.
_OTHER_FACE: Final = 111
_COUPON: Final = {"coupon_id": "NOT-ASKED-FOR", "usable_from": "2020-01-01T00:00:00Z"}


def misstated(answer: bytes, kind: Kind) -> bytes:
    """The answer with the fault's mistake in it.

    Only a CONFIRMED answer is misstated; garbled is whatever was to be said.
    """
    if kind == "garbled":
        return answer[: len(answer) // 2]
    told: dict[str, Any] = orjson.loads(answer)
    if told["outcome"] != "CONFIRMED":
        return answer
    match kind:
        case "wrong_amount":
            field = "points" if "points" in told else "quantity"
            told[field] += 1
        case "wrong_unit":
            _change_unit(told)
        case "wrong_item":
            coupons = told.get("coupons") or [_COUPON]
            face = coupons[0].get("face", {"amount": 0, "currency": _OTHER_CURRENCY})
            other = {**face, "amount": face["amount"] + _OTHER_FACE}
            told["coupons"] = [{**coupon, "face": other} for coupon in coupons]
    return orjson.dumps(told)


def _change_unit(told: dict[str, Any]) -> None:
    if "available" in told:
        told["quantity"] = told["available"]
        return
    if "points" in told:
        told["quantity"] = told.pop("points")
        return
    told["points"] = told.pop("quantity")
    for coupon in told.get("coupons", ()):
        if "face" in coupon:
            coupon["face"] = {**coupon["face"], "currency": _OTHER_CURRENCY}
