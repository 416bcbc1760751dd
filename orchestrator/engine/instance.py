"""One saga: its terms, which never change after acceptance, and its state at one revision."""

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

    The fields are those that every kind of saga has; what only one kind has is in `body`.
    """

    saga_id: SagaId
    key_hash: int
    programme: str
    origin: str
    account: str
    request_id: str
    content: str  # Digest of the request; empty for a tombstone, which matches any request.
    accepted_at: int  # Milliseconds since 1970.
    definition: str  # The kind of saga.
    definition_version: int
    programme_version: int = 0  # 0: there is no such programme.
    locale: str = "en"
    participants: tuple[str, ...]  # One for each of the kind's roles; the first is the origin.
    traceparent: str | None = None  # W3C trace context of the request.
    fresh_until: int | None = None  # From this time on (ms), no further step is started.
    # What only this kind has. Its type is the kind's: the kind annotates it where it reads it.
    body: Any = None


@value
class Leg:
    """One effect at one participant. Times are in milliseconds since 1970, 0 where there is none.

    Amounts are points or pieces, as the verb has it.
    """

    path: str  # `deduct`, `credit/2`, `deduct/return`: the leg id after the saga's id.
    asked: int  # The amount that the command asks for.
    status: Status = Status.WAITING
    attempt: int = 0  # How often the command was sent, not counting repeats after a crash.
    inquiries: int = 0  # How many inquiries about it were sent.
    sent_at: int = 0  # When the command was first sent.
    said_at: int = 0  # When the latest command, inquiry or cancel about it was sent.
    due: int | None = None  # When its timer fires.
    moved: int = 0  # The amount that counts as done: by the first verdict, unless overturned.
    reference: str | None = None  # The participant's own.
    code: str | None = None  # Why it was rejected, or why its outcome is not known.
    detail: Mapping[str, Any] | None = None  # What the kind keeps of the reply: lots, coupons.
    expires_at: int = 0  # When the command expires, by the policy at the time it was first sent.
    rungs: int = 0  # Rungs taken since the answer was late, or since a person decided to retry.
    since: int = 0  # When it became pending, or when its cancel was first sent.
    pending_from: int = 0  # The number of inquiries sent before it became pending.
    cancels: int = 0  # How many cancels of it were sent.
    escalated_at: int = 0  # When a person was called, though the ladder goes on.
    first: int | None = None  # The amount of the first verdict, where a later one counts.
    claim: int | None = None  # In a dispute: the amount of the verdict that contradicts the first.
    decision: int = 0  # The number of the last decision of a person about its outcome.

    @property
    def parked(self) -> bool:
        """Whether a person must look at it."""
        return self.status in PARKED or (self.escalated_at > 0 and self.status not in _CLOSED)

    @property
    def verb(self) -> str:
        """What the leg asks of its participant: the last name in its path."""
        return _parts(self.path)[0]

    @property
    def line(self) -> int | None:
        """The index, from 0, of the line of the request that it serves; None: the whole request."""
        return _parts(self.path)[1]

    @property
    def undoes(self) -> str | None:
        """The path of the leg that it undoes; None: it is no undo."""
        return _parts(self.path)[2]


def verb_of(path: str) -> str:
    """The verb of the leg of that path; empty if the path has no verb."""
    return _parts(path)[0]


_CLOSED = frozenset({Status.CONFIRMED, Status.REJECTED, Status.CANCELLED, Status.WRITTEN_OFF})


@lru_cache(maxsize=1_024)
def _parts(path: str) -> tuple[str, int | None, str | None]:
    """The verb of a path, the index of its line, and the path of the leg that it undoes.

    A path is `<step>[/<line>][/<undo>[/<number>]]`. Cached, since every batch asks for the same.
    """
    names = path.split("/")
    line = int(names[1]) - 1 if len(names) > 1 and names[1].isdigit() else None
    at = next((at for at in range(len(names) - 1, -1, -1) if not names[at].isdigit()), None)
    if at is None:
        return "", line, None  # Only a participant that makes up leg ids writes such a path.
    return names[at], line, "/".join(names[:at]) or None


@value
class ResultRevision:
    """The latest result of a saga for its origin."""

    revision: int  # Of the result, from 1.
    status: str  # One of the kind's result statuses.
    final: bool
    code: Code | None  # Why the saga did not become what was asked for.
    field: str | None  # The field of the request that is wrong.
    at: int  # Milliseconds since 1970.
    corrected: bool = False  # It revises a final result.
    # The amount that each leg had when this result was published, where that has changed since.
    superseded: tuple[int, ...] = ()
    # The data as read back from the topic, until the saga is known to agree with it again.
    as_published: Mapping[str, Any] | None = None


@value
class Saga:
    """A saga at one revision. The row that stores it is also its outbox (`outbox.py`)."""

    terms: Terms
    revision: int  # From 1; raised by one with each change.
    legs: tuple[Leg, ...] = ()
    told: ResultRevision | None = None  # The latest result; None: the origin has none yet.
    withdrawn: bool = False
    wake_at: int | None = None  # The row's timer; never later than the first due leg.
    held: int = 0  # When to check again whether the participants are available; 0: not held.

    def leg(self, path: str) -> Leg | None:
        """The leg of that path; None while the saga does not have it."""
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
        """The saga as the latest result described it, so that a repeat has the same content.

        Legs that were added since then stay as they are: a return counts as soon as it is asked.
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
        """Whether the origin has a final answer that agrees with the saga (`rebuild.py`)."""
        return self.told is not None and self.told.final and self.told.as_published is None

    @property
    def parked(self) -> bool:
        """Whether it waits for a person."""
        for leg in self.legs:  # noqa: SIM110  # A generator costs twice as much, and this is hot.
            if leg.status in PARKED or (leg.escalated_at and leg.parked):
                return True
        return False


def next_wake(was: Saga | None, due: int | None, now: int) -> int | None:
    """The time for the row's timer, where the saga must be looked at by `due`.

    The timer that the row has is kept if it is early enough, so that the database need not update
    its index. It is not kept once it is due: it would fire a second time for nothing.
    """
    if due is None or was is None or was.wake_at is None:
        return due
    return was.wake_at if now < was.wake_at <= due else due
