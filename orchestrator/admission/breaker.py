"""How a participant is doing, from what was seen of it: a breaker that all coordinators share.

Pure: times are arguments, in milliseconds; counts are integers (`domain.md` 4.4, partner outage).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.frozen import TextEnum, value

SLOTS: Final = 10
"""Into how many parts a window is cut: what was seen is forgotten part by part."""


class WhenUnavailable(StrEnum):
    """What becomes of a new saga that a participant cannot take."""

    REFUSE = "refuse"
    HOLD = "hold"  # Accepted, and nobody is asked until there is room again.


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """When a participant gets no new sagas, and what becomes of those; times in milliseconds."""

    breaker: bool = True
    breaker_window: int = 30_000
    breaker_min_samples: int = 20  # Fewer outcomes than that in a window prove nothing.
    breaker_failure_percent: int = 50  # Of a window's outcomes, inclusive.
    open_for: int = 30_000
    probes: int = 3  # New sagas that a half-open breaker lets through, all coordinators together.
    patience: int = 5_000  # The longest response time-out: how long a probe may take.
    in_flight_max: int | None = None  # Legs; None: no limit.
    rate_per_s: int | None = None  # Legs of new sagas; None: no limit.
    burst: int = 1
    when_unavailable: WhenUnavailable = WhenUnavailable.REFUSE
    hold_for: int = 600_000  # At most; then the saga is refused.


class State(TextEnum):
    """Where a breaker stands."""

    CLOSED = "closed"  # Every new saga is let through.
    OPEN = "open"  # None is.
    HALF_OPEN = "half_open"  # A few are, as probes.


class Signal(TextEnum):
    """What can be noticed of a participant."""

    FAILING = "failing"  # Too many legs, or any probe, got no usable answer in time.
    ANSWERED = "answered"  # Enough probes were answered in time.
    ELAPSED = "elapsed"  # The time that was set for this state has passed.


_STAYS: Final = None
Cell = State | None

# A row for each state, a column for each sign, in the order of Sign. Total on purpose.
_ROWS: Final[Mapping[State, tuple[Cell, ...]]] = {
    #               FAILING     ANSWERED      ELAPSED
    State.CLOSED: (State.OPEN, _STAYS, _STAYS),
    State.OPEN: (_STAYS, _STAYS, State.HALF_OPEN),
    # Elapsed: its probes were lost on the way (refused by the bank, say), so there are new ones.
    State.HALF_OPEN: (State.OPEN, State.CLOSED, State.HALF_OPEN),
}
TABLE: Final = {state: dict(zip(Signal, row, strict=True)) for state, row in _ROWS.items()}


@value
class Breaker:
    """One participant's breaker. What was asked before `since` says nothing about it."""

    revision: int = 0  # Of each move; it is moved by compare-and-set.
    state: State = State.CLOSED
    since: int = 0
    until: int | None = None  # When it is looked at again, whatever is seen.


@value
class Counts:
    """What was seen of a participant: legs asked, answered in time, not answered in time."""

    asked: int = 0
    answered: int = 0  # Whatever the answer: a refusal is the work of a healthy participant.
    missed: int = 0  # No usable answer within the response time-out; counted once a leg.

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.asked + other.asked, self.answered + other.answered, self.missed + other.missed
        )


Window = Mapping[int, Counts]
"""What was seen in each slot; a slot is a tenth of the policy's window, counted from 1970."""


def slot_of(policy: HealthPolicy, now: int) -> int:
    """The slot in which something is seen now."""
    return now // max(1, policy.breaker_window // SLOTS)


def noted(window: Window, policy: HealthPolicy, seen: Counts, now: int) -> Window:
    """The window with what was seen now; slots that have passed out of it are dropped."""
    slot = slot_of(policy, now)
    kept = {at: was for at, was in window.items() if at > slot - SLOTS}
    kept[slot] = kept.get(slot, Counts()) + seen
    return kept


def merged(windows: Iterable[Window], policy: HealthPolicy, now: int) -> Counts:
    """What all of them saw within the window; the order of the windows does not matter."""
    oldest = slot_of(policy, now) - SLOTS
    total = Counts()
    for window in windows:
        for slot, seen in window.items():
            if slot > oldest:
                total += seen
    return total


def sign(breaker: Breaker, policy: HealthPolicy, seen: Counts, now: int) -> Signal | None:
    """What there is to notice, given what was seen since the breaker last moved."""
    if breaker.state is State.CLOSED:
        outcomes = seen.answered + seen.missed
        enough = policy.breaker and outcomes >= policy.breaker_min_samples
        share = policy.breaker_failure_percent * outcomes
        return Signal.FAILING if enough and seen.missed * 100 >= share else None
    if not policy.breaker:
        return Signal.ANSWERED if breaker.state is State.HALF_OPEN else Signal.ELAPSED
    if breaker.state is State.HALF_OPEN:
        if seen.missed:
            return Signal.FAILING
        if seen.answered >= policy.probes:
            return Signal.ANSWERED
    return Signal.ELAPSED if breaker.until is not None and now >= breaker.until else None


def moved(breaker: Breaker, policy: HealthPolicy, seen: Counts, now: int) -> Breaker | None:
    """The breaker after what was seen; None while it stays where it is."""
    noticed = sign(breaker, policy, seen, now)
    to = TABLE[breaker.state][noticed] if noticed is not None else _STAYS
    if to is _STAYS:
        return None
    until = {
        State.CLOSED: None,
        State.OPEN: now + policy.open_for,
        State.HALF_OPEN: now + policy.open_for + policy.patience,
    }
    return Breaker(breaker.revision + 1, to, now, until[to])
