"""Whom people ask about a leg: somebody at the company who looks into its own books."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson

from adapters.sandbox.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Word:
    """What the books say now: how much was moved, under which reference, or that it was not."""

    moved: int
    reference: str | None = None


def word(books: Path, company: str, leg_id: str, *, bar: bool) -> Word:
    """What a company's own books say of a leg.

    With `bar`, what is not done yet is barred, as by a cancel: what a company tells a person it
    will not do, it does not do. Liars do it all the same, and say so.

    Raises:
        sqlite3.Error: nobody answers the telephone.
    """
    with closing(Ledger(books / f"{company}.sqlite3", beside=True)) as ledger:
        work = ledger.begin((leg_id,), ())
        leg = work.legs.get(leg_id)
        if bar and (leg is None or leg.outcome in (None, "PENDING")):
            leg = work.touch(leg_id)
            leg.outcome, leg.moved = "CANCELLED", 0
            leg.answer = orjson.dumps({"leg_id": leg_id, "outcome": leg.outcome})
        ledger.commit(work)
    if leg is None or not leg.moved:
        return Word(0)
    told = orjson.loads(leg.answer or b"{}")
    return Word(leg.moved, told.get("reference"))
