"""Good samples and bad ones, each bad one with the field that is wrong."""

from __future__ import annotations

from typing import Any

from schemas.ids import saga_id

SAGA = saga_id("alipayhk", "w-1", "r-1")
REQUEST: dict[str, Any] = {
    "request_id": "r-1",
    "programme": "citi-alipayhk-coupons",
    "account": "w-1",
    "lines": [{"item": "hkd50", "quantity": 2}],
}
ANSWER: dict[str, Any] = {"leg_id": f"{SAGA}/deduct", "outcome": "CONFIRMED", "reference": "D-1"}
LOT: dict[str, Any] = {"lot": "2024", "points": 1}
COUPON: dict[str, Any] = {"coupon_id": "c", "usable_from": "2026-11-22T06:00:00Z"}
DEDUCTION: dict[str, Any] = {"reference": "d", "points": 5}


def without(found: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != name}


BAD_IDS: tuple[Any, ...] = ("", "a\n", "\xe9", "x" * 129, 7, [])
BAD_REQUESTS: tuple[tuple[dict[str, Any], str], ...] = (
    *((without(REQUEST, name), name) for name in REQUEST),
    *((REQUEST | {name: None}, name) for name in REQUEST),
    *((REQUEST | {"points": points}, "points") for points in (-1, 0, 2**53, 2**63, True, "1", 1.5)),
    *((REQUEST | {"request_id": id_}, "request_id") for id_ in BAD_IDS),
    *(
        (REQUEST | {"expires_at": moment}, "expires_at")
        for moment in (
            "2026-11-22T06:00:00",
            "2026-11-22",
            "1700000000",
            1_700_000_000,
            "soon",
            "2026-11-22T06:00Z",
        )
    ),
    (REQUEST | {"lines": []}, "lines"),
    (REQUEST | {"lines": {}}, "lines"),
    (REQUEST | {"lines": [{"item": f"i{n}", "quantity": 1} for n in range(21)]}, "lines"),
    (REQUEST | {"lines": [{"item": "a", "quantity": 0}]}, "lines.0.quantity"),
    (REQUEST | {"lines": [{"item": "a", "quantity": -2}]}, "lines.0.quantity"),
    (REQUEST | {"lines": [{"item": "a" * 65, "quantity": 1}]}, "lines.0.item"),
    (REQUEST | {"lines": [{"item": "a"}]}, "lines.0.quantity"),
    (REQUEST | {"lines": ["a"]}, "lines.0"),
    (REQUEST | {"locale": "e"}, "locale"),
    (REQUEST | {"locale": None}, "locale"),
    (REQUEST | {"context": []}, "context"),
    (REQUEST | {"deduction": {"points": 5}}, "deduction.reference"),
    (
        REQUEST | {"deduction": DEDUCTION | {"lots": [LOT | {"points": 0}]}},
        "deduction.lots.0.points",
    ),
    *(
        (
            REQUEST | {"deduction": DEDUCTION | {"lots": [LOT | {"expires_on": day}]}},
            "deduction.lots.0.expires_on",
        )
        for day in (
            "2026-2-1",
            "2026-02-30",
            "\uff12\uff10\uff12\uff16-01-01",
            "2026-01-01T00:00:00Z",
        )
    ),
)
BAD_ANSWERS: tuple[tuple[dict[str, Any], str], ...] = (
    (without(ANSWER, "leg_id"), "leg_id"),
    *(
        (ANSWER | {"leg_id": leg}, "leg_id")
        for leg in ("nonsense", SAGA, f"{SAGA}/", f"{SAGA.upper()}/deduct", f"{SAGA}/a\n", 7)
    ),
    (ANSWER | {"outcome": 1}, "outcome"),
    (ANSWER | {"outcome": ""}, "outcome"),
    (without(ANSWER, "reference"), "reference"),
    (ANSWER | {"reference": None}, "reference"),
    (ANSWER | {"outcome": "REJECTED"}, "reason"),
    (ANSWER | {"outcome": "REJECTED", "reason": {}}, "reason.code"),
    (ANSWER | {"outcome": "REJECTED", "reason": {"code": 51}}, "reason.code"),
    (ANSWER | {"outcome": "REJECTED", "reason": {"code": "X", "message": "\0"}}, "reason.message"),
    *((ANSWER | {"points": points}, "points") for points in (-25_000, 0, 2**63, "25000")),
    *((ANSWER | {"quantity": quantity}, "quantity") for quantity in (-1, 0, 2**31, False)),
    (ANSWER | {"coupons": [{"coupon_id": "c"}]}, "coupons.0.usable_from"),
    (ANSWER | {"coupons": [COUPON | {"face": {"amount": 5}}]}, "coupons.0.face.currency"),
    (
        ANSWER | {"coupons": [COUPON | {"face": {"amount": -5, "currency": "HKD"}}]},
        "coupons.0.face.amount",
    ),
)
