"""One saga: the terms it was accepted on, which never change, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from orchestrator.engine.machine import PARKED, Status
from schemas.frozen import keyed, replaced, value
from schemas.ids import SagaId
from schemas.reasons import Code


@keyed
class Terms:
    """What was agreed when the request was accepted, frozen with its versions (`domain.md` 4.4).

    What every kind of saga has, and in `body` what the kind has of its own.
    """

    saga_id: SagaId
    key_hash: int
    programme: str
    origin: str
    account: str
    request_id: str
    content: str  # Digest of what was asked; empty for a tombstone, which any content meets.
    accepted_at: int  # Milliseconds since 1970.
    definition: str  # The kind of saga.
    definition_version: int
    programme_version: int = 0  # 0: there is no such programme.
    locale: str = "en"
    participants: tuple[str, ...]  # Who plays each of the kind's roles; the first is the origin.
    traceparent: str | None = None
    fresh_until: int | None = None  # Past it, what is confirmed late is not built upon.
    # The kind's own, of a type that only the kind knows; it says which where it reads it.
    body: Any = None


@value
class Leg:
    """One effect at one participant. Times are milliseconds since 1970."""

    path: str  # `deduct`, `credit/2`, `deduct/return`: the leg id after the saga's id.
    asked: int  # Points or pieces.
    status: Status = Status.WAITING
    attempt: int = 0  # How often the command was said on purpose.
    inquiries: int = 0  # How often the participant was asked what became of it.
    sent_at: int = 0
    said_at: int = 0  # When it was last said, inquired about or cancelled.
    due: int | None = None
    moved: int = 0  # What is believed to be done; the first verdict, unless overturned.
    reference: str | None = None
    code: str | None = None  # Why it was rejected, or cannot be concluded.
    detail: Mapping[str, Any] | None = None  # Lots, coupons.
    expires_at: int = 0  # Of the command, by the policy of the day it was first said.
    rungs: int = 0  # Rungs taken since it was late, or since a person had it tried again.
    since: int = 0  # When it was called pending, or its cancel was first said.
    pending_from: int = 0  # The inquiries made before it was called pending.
    cancels: int = 0  # How often it was cancelled by our own id.
    escalated_at: int = 0  # When a person was called, though the ladder goes on.
    first: int | None = None  # What the first verdict moved, where a later one is believed.
    claim: int | None = None  # What the contradicting verdict of a dispute says was moved.
    decision: int = 0  # The number of the last decision about what became of it.

    @property
    def parked(self) -> bool:
        """Whether a person must look at it."""
        return self.status in PARKED or (self.escalated_at > 0 and self.status not in _CLOSED)

    @property
    def verb(self) -> str:
        """The last word of the path."""
        return _parts(self.path)[0]

    @property
    def line(self) -> int | None:
        """The index of the line that it serves, from 0."""
        return _parts(self.path)[1]

    @property
    def undoes(self) -> str | None:
        """The path of the leg that it takes back, if it takes one back."""
        return _parts(self.path)[2]


_CLOSED = frozenset({Status.CONFIRMED, Status.REJECTED, Status.CANCELLED, Status.WRITTEN_OFF})


@lru_cache(maxsize=1_024)
def _parts(path: str) -> tuple[str, int | None, str | None]:
    """The verb of a path, the index of its line, the leg that it takes back; read often.

    A path is `<step>[/<line>][/<undo>[/<number>]]`.
    """
    words = path.split("/")
    line = int(words[1]) - 1 if len(words) > 1 and words[1].isdigit() else None
    at = next(at for at in range(len(words) - 1, -1, -1) if not words[at].isdigit())
    return words[at], line, "/".join(words[:at]) or None


@value
class ResultRevision:
    """The latest result that the origin was told."""

    revision: int
    status: str  # One of the kind's own.
    final: bool
    code: Code | None
    field: str | None
    at: int
    corrected: bool = False  # It revises a final result.
    superseded: tuple[
        int, ...
    ] = ()  # What each leg had moved by then, where that is not so any more.
    as_published: Mapping[str, Any] | None = (
        None  # As read back from the topic, not yet seen to stand.
    )


@value
class Saga:
    """A saga at one revision. The row that keeps it is also the outbox."""

    terms: Terms
    revision: int
    legs: tuple[Leg, ...] = ()
    told: ResultRevision | None = None
    withdrawn: bool = False
    wake_at: int | None = None  # The row's timer; never later than the first due leg.
    held: int = 0  # When to look again whether the participants can be asked; 0: not held.

    def leg(self, path: str) -> Leg | None:
        """The leg of that path, if the saga has it yet."""
        for leg in self.legs:
            if leg.path == path:
                return leg
        return None

    def with_leg(self, changed: Leg) -> Saga:
        """The saga with that leg changed, or added."""
        path = changed.path
        if self.leg(path) is None:
            return replaced(self, legs=(*self.legs, changed))
        return replaced(
            self, legs=tuple([changed if leg.path == path else leg for leg in self.legs])
        )

    def legs_of(self, verb: str) -> tuple[Leg, ...]:
        """The legs with that verb, in the order of their lines."""
        return tuple([leg for leg in self.legs if _parts(leg.path)[0] == verb])

    @property
    def as_told(self) -> Saga:
        """The saga as the latest result described it: a repeat has the same content.

        Of legs begun since then it said nothing: a return that is only asked for counts already.
        """
        if self.told is None or not self.told.superseded:
            return self
        legs = (
            replace(leg, moved=was, detail=leg.detail if was else None)
            for leg, was in zip(self.legs, self.told.superseded, strict=False)
        )
        return replace(self, legs=tuple(legs))

    @property
    def answered(self) -> bool:
        """Whether the origin has a final answer."""
        return self.told is not None and self.told.final

    @property
    def ended(self) -> bool:
        """Whether the origin has its final answer, and it is known why (`recall.py`)."""
        return self.told is not None and self.told.final and self.told.as_published is None

    @property
    def parked(self) -> bool:
        """Whether it waits for a person."""
        for leg in self.legs:  # noqa: SIM110  # A generator costs twice as much, and this is hot.
            if leg.status in PARKED or (leg.escalated_at and leg.parked):
                return True
        return False


def next_wake(was: Saga | None, due: int | None, now: int) -> int | None:
    """The row's timer: kept while it is early enough, which leaves its index alone.

    Not if it rings already: it would ring again, and in vain.
    """
    if due is None or was is None or was.wake_at is None:
        return due
    return was.wake_at if now < was.wake_at <= due else due
