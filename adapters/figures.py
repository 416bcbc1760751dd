"""The answer to a question about a balance, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_NO_MINOR_UNITS: Final = frozenset({"JPY", "KRW", "VND", "XAF", "XOF", "CLP", "ISK"})
_THOUSANDTHS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


def figures_in_words(data: Mapping[str, Any]) -> str:
    """What a member has and may redeem, from the data of a result; empty where it has no figures.

    What the platform says is what it is; nothing here is computed but where the point stands.
    """
    return "; ".join(_figures(data)) if data.get("available") is not None else ""


def _figures(data: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"available {data['available']:,}, held {data.get('held') or 0:,}"
        f" {data.get('unit') or 'points'}, as of {data.get('as_of')}"
    )
    now, left = data.get("max_redeemable_now"), data.get("daily_remaining")
    if now is not None:
        yield f"redeemable now {money_in_words(now)}"
    if left is not None:
        yield f"left of today's limit {money_in_words(left)}"
    if data.get("step") is not None:
        least, most = data.get("minimum") or 0, data.get("maximum") or 0
        yield f"one redemption {least:,} to {most:,} in steps of {data['step']:,}"


def money_in_words(money: Mapping[str, Any]) -> str:
    """An amount in minor units with its currency: `HKD 1,000.00`."""
    amount, currency = int(money["amount"]), str(money["currency"])
    places = 0 if currency in _NO_MINOR_UNITS else 3 if currency in _THOUSANDTHS else 2
    whole, part = divmod(amount, 10**places)
    return f"{currency} {whole:,}" + (f".{part:0{places}}" if places else "")
