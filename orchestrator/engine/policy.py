"""How long to wait for a participant, and what to do then: data per participant and verb.

The ladder of `domain.md` 4.3: wait, ask (or say it again), cancel by our own id, repeat the cancel
for as long as its window lasts, tell the origin, call a person. No rung undoes anything on silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final
from zlib import crc32
from zoneinfo import ZoneInfo

from orchestrator.engine.definition import Verb

_HOUR: Final = 3_600_000
_DAY: Final = 24 * _HOUR
_QUARTER: Final = _HOUR // 4


class Rung(StrEnum):
    """What is said when an answer does not come."""

    INQUIRE = "inquire"  # Ask what became of it.
    RESEND = "resend"  # Say it again under the same id: only where the participant is idempotent.


class Remedy(StrEnum):
    """What is done when a later verdict leaves value given and not paid for (`domain.md` 4.4)."""

    REVERSE = "reverse"  # Ask the value back.
    CHARGE = "charge"  # Deduct its price again.
    LOSS = "loss"  # Book it on the account of whoever bears it.
    PARK = "park"  # A person decides.


@dataclass(frozen=True, slots=True)
class Until:
    """The end of a window: so long after its begin, or a time of day so many days later."""

    after: int | None = None  # Milliseconds.
    days: int = 0
    minute: int = 0  # Of the day, in the zone.
    zone: str = "UTC"

    def moment(self, begin: int) -> int:
        """When a window that began at `begin` ends; both in milliseconds since 1970."""
        if self.after is not None:
            return begin + self.after
        return _end(self, begin // _QUARTER)


@lru_cache(maxsize=4_096)
def _end(until: Until, quarter: int) -> int:
    """When a window that began in that quarter of an hour ends: no day begins within one.

    Kept, as thousands of legs a second may ask, of the same few days.
    """
    zone = ZoneInfo(until.zone)
    begin = datetime.fromtimestamp(quarter * _QUARTER / 1000, UTC)
    day = begin.astimezone(zone).date() + timedelta(days=until.days)
    hour, minute = divmod(until.minute, 60)
    return round(datetime.combine(day, time(hour, minute), zone).timestamp() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegPolicy:
    """The ladder of one verb at one participant; times in milliseconds (`domain.md` 4.3)."""

    response_timeout: int = 5_000  # Until an answer is late.
    expires_after: int = 60_000  # Until the command must no longer be executed.
    rungs: tuple[Rung, ...] = (Rung.INQUIRE,)  # In turn; none: the participant cannot be asked.
    every: int = 3_000  # Between two rungs.
    times: int | None = 20  # How many rungs before the next stage; None: for ever.
    cancel: bool = False  # Whether a cancel by our own leg id is kept as a tombstone there.
    cancel_every: int = 10_000  # Between two cancels, the first few.
    cancel_quick: int = 6  # How many those are; from then on each waits twice as long.
    cancel_slowest: int = _HOUR
    cancel_until: Until = Until(after=_DAY)  # From the command; then the ladder has run out.
    pending_every: int = _HOUR  # Between two inquiries about what is called pending.
    pending_times: int | None = None  # How many of those before a person must look; None: any.
    pending_until: Until | None = None  # When a person must look; None: never.
    tell_after: int = 60_000  # From the command, until the origin is told PENDING.
    call_after: Until | None = None  # A person is called, though the ladder goes on.
    late_yes: tuple[Remedy, ...] = (Remedy.REVERSE, Remedy.CHARGE, Remedy.LOSS)
    late_no: tuple[Remedy, ...] = (Remedy.PARK,)

    def exhausted(self, rungs: int) -> bool:
        """Whether that many rungs are all that the policy allows."""
        return self.times is not None and rungs >= self.times

    def overdue(self, inquiries: int, since: int, now: int) -> bool:
        """Whether what is called pending since then must be looked at by a person."""
        if self.pending_times is not None and inquiries >= self.pending_times:
            return True
        return self.pending_until is not None and now >= self.pending_until.moment(since)

    def cancel_pause(self, leg_id: str, cancels: int) -> int:
        """How long to wait after so many cancels: quick, then exponential with jitter.

        The jitter, up to a fifth either way, is a function of the leg, so that a restart waits as
        long as the process before it would have.
        """
        if cancels <= self.cancel_quick:
            return self.cancel_every
        doublings = min(cancels - self.cancel_quick, 20)
        pause = min(self.cancel_every << doublings, self.cancel_slowest)
        return pause * (800 + crc32(f"{leg_id}#{cancels}".encode()) % 401) // 1000


DEFAULT: Final = LegPolicy()
"""The published numbers (`domain.md` 4.3)."""
FOR_EVER: Final = replace(DEFAULT, rungs=(Rung.RESEND,), every=15_000, times=None)
"""A return may be delayed, not declined: it is said again until it is answered."""


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of all participants."""

    by_leg: Mapping[tuple[str, str], LegPolicy]

    def of(self, participant: str, verb: Verb) -> LegPolicy:
        """The policy of a verb at a participant.

        The catalogue has one for whoever a programme names; a participant that left while a saga
        of its was open is treated by the published defaults.
        """
        found = self.by_leg.get((participant, verb.name))
        if found is None:
            found = self.by_leg.get((participant, verb.ladder or verb.name))
        if found is not None:
            return found
        return FOR_EVER if verb.for_ever else DEFAULT
