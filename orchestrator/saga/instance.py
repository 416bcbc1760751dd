"""One saga: the terms it was accepted on, which never change, and where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Any
from uuid import UUID

from schemas.reasons import Code
from schemas.results import ResultStatus

from .machine import IN_FLIGHT, PARKED, Status


class Partial(StrEnum):
    """What to do when some lines of a redemption are refused (`domain.md` 4.4)."""

    KEEP_ISSUED = "keep_issued"  # Keep what was issued, return the points of the rest.
    ALL_OR_NOTHING = "all_or_nothing"  # Take back what was issued, return all points.


@dataclass(frozen=True, slots=True)
class PricedLine:
    """One line, priced: `points` for `quantity` pieces that are worth `worth` minor units."""

    item: str
    kind: str
    quantity: int
    points: int
    worth: int
    face: int | None  # Minor units of the programme's currency.

    def points_for(self, issued: int) -> int:
        """What `issued` of the pieces cost, rounded up: a return never exceeds the unissued."""
        return -(-self.points * issued // self.quantity)

    def worth_of(self, issued: int) -> int:
        """What `issued` of the pieces are worth, in minor units."""
        return self.worth * issued // self.quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was agreed when the request was accepted, frozen with its versions (`domain.md` 4.4)."""

    saga_id: UUID
    key_hash: int
    definition: str
    definition_version: int
    programme: str
    programme_version: int
    origin: str
    account: str
    request_id: str
    content: str  # Digest of what was asked; empty for a tombstone, which any content meets.
    accepted_at: int  # Milliseconds since 1970.
    locale: str = "en"
    debtor: str = ""
    creditor: str = ""
    debtor_account: str = ""
    creditor_account: str = ""
    unit: str = ""  # Of the points.
    currency: str = ""
    partial: Partial = Partial.KEEP_ISSUED
    lines: tuple[PricedLine, ...] = ()
    limit: str = ""  # The account limit on which `worth` was reserved.
    business_date: date | None = None
    traceparent: str | None = None

    @property
    def points(self) -> int:
        """The price of all lines."""
        return sum(line.points for line in self.lines)

    @property
    def worth(self) -> int:
        """What all lines are worth, in minor units; what the account limits count."""
        return sum(line.worth for line in self.lines)


@dataclass(frozen=True, slots=True)
class Leg:
    """One effect at one participant. Times are milliseconds since 1970."""

    path: str  # `deduct`, `credit/2`, `deduct/return`: the leg id after the saga's id.
    asked: int  # Points or pieces.
    status: Status = Status.WAITING
    attempt: int = 0  # How often the command was said on purpose.
    inquiries: int = 0
    sent_at: int = 0
    said_at: int = 0  # When it was last said or inquired about.
    due: int | None = None
    moved: int = 0  # What the first verdict confirmed; never overwritten.
    reference: str | None = None
    code: str | None = None  # Why it was rejected, or cannot be concluded.
    detail: Mapping[str, Any] | None = None  # Lots, coupons.

    @property
    def verb(self) -> str:
        """The last word of the path."""
        head, _, tail = self.path.rpartition("/")
        return head.rpartition("/")[2] if tail.isdigit() else tail

    @property
    def line(self) -> int | None:
        """The index of the line that it serves, from 0."""
        for part in self.path.split("/"):
            if part.isdigit():
                return int(part) - 1
        return None


@dataclass(frozen=True, slots=True)
class Told:
    """The latest result that the origin was told."""

    revision: int
    status: ResultStatus
    final: bool
    code: Code | None
    field: str | None
    at: int


@dataclass(frozen=True, slots=True)
class Saga:
    """A saga at one revision. The row that keeps it is also the outbox."""

    terms: Terms
    revision: int
    legs: tuple[Leg, ...] = ()
    told: Told | None = None
    withdrawn: bool = False
    wake_at: int | None = None  # The row's timer; never later than the first due leg.

    def leg(self, path: str) -> Leg | None:
        """The leg of that path, if the saga has it yet."""
        for leg in self.legs:
            if leg.path == path:
                return leg
        return None

    def with_leg(self, changed: Leg) -> Saga:
        """The saga with that leg changed, or added."""
        legs = tuple(changed if leg.path == changed.path else leg for leg in self.legs)
        if self.leg(changed.path) is None:
            legs = (*legs, changed)
        return replace(self, legs=legs)

    def legs_of(self, verb: str) -> Iterator[Leg]:
        """The legs with that verb, in the order of their lines."""
        return (leg for leg in self.legs if leg.verb == verb)

    @property
    def ended(self) -> bool:
        """Whether the origin has its final answer."""
        return self.told is not None and self.told.final

    @property
    def parked(self) -> bool:
        """Whether it waits for a person."""
        return any(leg.status in PARKED for leg in self.legs)

    @property
    def due(self) -> int | None:
        """When the first leg in flight wants to be looked at."""
        dues = [leg.due for leg in self.legs if leg.due is not None and leg.status in IN_FLIGHT]
        return min(dues, default=None)
