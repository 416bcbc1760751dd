"""How long to wait for a participant, and what to do then: data per participant and verb.

The ladder of `domain.md` 4.3: wait, inquire (or resend the command), cancel by our own leg id and
repeat the cancel while its window lasts, tell the origin, call a person. No rung undoes anything
because an answer is missing.
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
    """What is sent when an answer does not come."""

    INQUIRE = "inquire"  # An inquiry about the leg.
    RESEND = "resend"  # The command again, same leg id: only for an idempotent participant.


class Remedy(StrEnum):
    """What is done when a later verdict leaves value given and not paid for (`domain.md` 4.4)."""

    REVERSE = "reverse"  # Take the value back.
    CHARGE = "charge"  # Deduct its price again.
    LOSS = "loss"  # Book it as a loss of the loss bearer.
    PARK = "park"  # Let a person decide.


@dataclass(frozen=True, slots=True)
class Until:
    """The end of a window: a time after it began, or a time of day a number of days later."""

    after: int | None = None  # Milliseconds after it began; None: see the other fields.
    days: int = 0  # Calendar days after the day on which it began.
    minute: int = 0  # Of that day, from 0, in the zone.
    zone: str = "UTC"  # An IANA time zone.

    def moment(self, begin: int) -> int:
        """When a window that began at `begin` ends; both in milliseconds since 1970."""
        if self.after is not None:
            return begin + self.after
        return _end(self, begin // _QUARTER)


@lru_cache(maxsize=4_096)
def _end(until: Until, quarter: int) -> int:
    """When a window ends that began in that quarter of an hour since 1970, in milliseconds.

    No calendar day begins within a quarter of an hour, so the answer is the same for all of it. It
    is cached, since thousands of legs a second may ask about the same few days.
    """
    zone = ZoneInfo(until.zone)
    begin = datetime.fromtimestamp(quarter * _QUARTER / 1000, UTC)
    day = begin.astimezone(zone).date() + timedelta(days=until.days)
    hour, minute = divmod(until.minute, 60)
    return round(datetime.combine(day, time(hour, minute), zone).timestamp() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegPolicy:
    """The ladder of one verb at one participant; times are in milliseconds (`domain.md` 4.3)."""

    response_timeout: int = 5_000  # From the command until its answer is late.
    expires_after: int = 60_000  # From the command until it must no longer be executed.
    rungs: tuple[Rung, ...] = (Rung.INQUIRE,)  # Taken in turn; none: it is only waited for.
    every: int = 3_000  # Between two rungs.
    times: int | None = 20  # How many rungs before the next stage; None: no limit.
    cancel: bool = False  # Whether the participant keeps an accepted cancel as a tombstone.
    cancel_every: int = 10_000  # Between two of the first cancels.
    cancel_quick: int = 6  # How many those are; after them, each pause is twice the one before.
    cancel_slowest: int = _HOUR  # The longest pause between two cancels.
    cancel_until: Until = Until(after=_DAY)  # From the command; then the ladder has run out.
    pending_every: int = _HOUR  # Between two inquiries about a pending leg.
    pending_times: int | None = None  # How many of them before it is parked; None: no limit.
    pending_until: Until | None = None  # From when it was pending until it is parked; None: never.
    tell_after: int = 60_000  # From the command until the origin is told PENDING.
    call_after: Until | None = None  # From the command until a person is called as well.
    # What is done, in this order, when a late verdict confirms more, or less, than the first one.
    late_yes: tuple[Remedy, ...] = (Remedy.REVERSE, Remedy.CHARGE, Remedy.LOSS)
    late_no: tuple[Remedy, ...] = (Remedy.PARK,)

    def exhausted(self, rungs: int) -> bool:
        """Whether no rung is left after so many."""
        return self.times is not None and rungs >= self.times

    def overdue(self, inquiries: int, since: int, now: int) -> bool:
        """Whether a leg that is pending since then, after so many inquiries, must be parked."""
        if self.pending_times is not None and inquiries >= self.pending_times:
            return True
        return self.pending_until is not None and now >= self.pending_until.moment(since)

    def cancel_pause(self, leg_id: str, cancels: int) -> int:
        """Milliseconds to wait after so many cancels: first fixed, then exponential with jitter.

        The jitter, up to a fifth more or less, is computed from the leg id and the number, so that
        a restarted process waits as long as the one before it would have.
        """
        if cancels <= self.cancel_quick:
            return self.cancel_every
        doublings = min(cancels - self.cancel_quick, 20)
        pause = min(self.cancel_every << doublings, self.cancel_slowest)
        return pause * (800 + crc32(f"{leg_id}#{cancels}".encode()) % 401) // 1000


DEFAULT: Final = LegPolicy()
"""The published defaults (`domain.md` 4.3)."""
FOR_EVER: Final = replace(DEFAULT, rungs=(Rung.RESEND,), every=15_000, times=None)
"""The default for what may be late but not declined: it is resent until it is answered."""


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of all participants."""

    by_leg: Mapping[tuple[str, str], LegPolicy]  # By participant and verb.

    def of(self, participant: str, verb: Verb) -> LegPolicy:
        """The policy of a verb at a participant.

        The catalogue has one for every participant that a programme names. The published defaults
        are for a participant that left the platform while it still had open sagas.
        """
        found = self.by_leg.get((participant, verb.name))
        if found is None:
            found = self.by_leg.get((participant, verb.ladder or verb.name))
        if found is not None:
            return found
        return FOR_EVER if verb.for_ever else DEFAULT
