"""How long to wait for a participant, and what to do then: data per participant and verb."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class Rung(StrEnum):
    """What is said when an answer does not come."""

    INQUIRE = "inquire"  # Ask what became of it.
    RESEND = "resend"  # Say it again under the same id: only where the participant is idempotent.


@dataclass(frozen=True, slots=True, kw_only=True)
class LegPolicy:
    """The ladder of one verb at one participant; times in milliseconds (`domain.md` 4.3)."""

    response_timeout: int  # Until an answer is late.
    expires_after: int  # Until the command must no longer be executed.
    rung: Rung
    every: int  # Between two inquiries, or resends.
    times: int | None  # How many before the saga is parked; None: for ever.
    pending_every: int  # Between two inquiries about what the participant called pending.
    pending_times: int | None  # How many of those before the saga is parked; None: for ever.

    def exhausted(self, inquiries: int, *, pending: bool) -> bool:
        """Whether that many inquiries are all that the policy allows."""
        times = self.pending_times if pending else self.times
        return times is not None and inquiries >= times


DEFAULT: Final = LegPolicy(
    response_timeout=5_000,
    expires_after=60_000,
    rung=Rung.INQUIRE,
    every=3_000,
    times=20,
    pending_every=3_600_000,
    pending_times=None,
)
"""The published numbers (`domain.md` 4.3)."""
FOR_EVER: Final = replace(DEFAULT, rung=Rung.RESEND, every=15_000, times=None)
"""A return may be delayed, not declined: it is said again until it is answered."""


@dataclass(frozen=True, slots=True)
class Policies:
    """The policies of all participants."""

    by_leg: Mapping[tuple[str, str], LegPolicy]

    def of(self, participant: str, verb: str) -> LegPolicy:
        """The policy of a verb at a participant.

        The catalogue has one for whoever a programme names; a participant that left while a saga
        of its was open is treated by the published defaults.
        """
        found = self.by_leg.get((participant, verb))
        return found if found is not None else FOR_EVER if verb == "return" else DEFAULT
