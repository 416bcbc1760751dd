"""The circuit breaker of a participant, which all coordinators share (`domain.md` 4.4).

It opens when too many commands get no usable answer in time, and closes after probes were answered.
Pure: times are arguments, in milliseconds since 1970; counts are integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.frozen import TextEnum, value

SLOTS: Final = 10
"""How many slots a window has; what was seen is dropped slot by slot."""


class WhenUnavailable(StrEnum):
    """What is done with a new saga whose participant is unavailable."""

    REFUSE = "refuse"  # The request is refused.
    HOLD = "hold"  # The saga is accepted, and sends no command until the participant is available.


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """When a participant gets no new sagas, and what is done with those; times in milliseconds."""

    breaker: bool = True  # Whether there is a breaker at all.
    breaker_window: int = 30_000  # How far back outcomes count.
    breaker_min_samples: int = 20  # With fewer outcomes in a window, the breaker stays closed.
    breaker_failure_percent: int = 50  # It opens if at least so many of a window's outcomes fail.
    open_for: int = 30_000  # How long it stays open before probes are let through.
    probes: int = 3  # New sagas that a half-open breaker lets through, all coordinators together.
    patience: int = 5_000  # How long a probe may take: the longest response time-out of any verb.
    in_flight_max: int | None = None  # Legs in flight; None: no limit.
    rate_per_s: int | None = None  # Legs of new sagas per second; None: no limit.
    burst: int = 1  # Legs of new sagas at once, after a pause.
    when_unavailable: WhenUnavailable = WhenUnavailable.REFUSE
    hold_for: int = 600_000  # How long a saga may be held before it is refused.


class State(TextEnum):
    """The state of a breaker."""

    CLOSED = "closed"  # Every new saga is let through.
    OPEN = "open"  # No new saga is let through.
    HALF_OPEN = "half_open"  # A few new sagas are let through, as probes.


class Signal(TextEnum):
    """What makes a breaker move."""

    FAILING = "failing"  # Too many commands, or any probe, got no usable answer in time.
    ANSWERED = "answered"  # Enough probes were answered in time.
    ELAPSED = "elapsed"  # The time of this state is over.


_STAYS: Final = None
Cell = State | None

# A row for each state, a column for each signal, in the order of Signal. No cell may be missing.
_ROWS: Final[Mapping[State, tuple[Cell, ...]]] = {
    #               FAILING     ANSWERED      ELAPSED
    State.CLOSED: (State.OPEN, _STAYS, _STAYS),
    State.OPEN: (_STAYS, _STAYS, State.HALF_OPEN),
    # ELAPSED: the probes never reached it (another participant refused first), so more are sent.
    State.HALF_OPEN: (State.OPEN, State.CLOSED, State.HALF_OPEN),
}
TABLE: Final = {state: dict(zip(Signal, row, strict=True)) for state, row in _ROWS.items()}


@value
class Breaker:
    """The breaker of one participant."""

    revision: int = 0  # Raised with each move, which is a compare-and-set on it.
    state: State = State.CLOSED
    since: int = 0  # When it moved; outcomes of commands sent before that do not count.
    until: int | None = None  # When the time of this state is over; None: never.


@value
class Counts:
    """What was seen of a participant, in legs."""

    asked: int = 0  # Sent.
    answered: int = 0  # Answered in time; also rejections, which show a healthy participant too.
    missed: int = 0  # No usable answer within the response time-out; counted once for a leg.

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.asked + other.asked, self.answered + other.answered, self.missed + other.missed
        )


Window = Mapping[int, Counts]
"""What was seen in each slot. A slot is a tenth of the policy's window, numbered from 1970."""


def slot_of(policy: HealthPolicy, now: int) -> int:
    """The number of the slot that `now` is in."""
    return now // max(1, policy.breaker_window // SLOTS)


def noted(window: Window, policy: HealthPolicy, seen: Counts, now: int) -> Window:
    """The window with what was seen now, and without the slots that have left it."""
    slot = slot_of(policy, now)
    recent = {at: was for at, was in window.items() if at > slot - SLOTS}
    recent[slot] = recent.get(slot, Counts()) + seen
    return recent


def merged(windows: Iterable[Window], policy: HealthPolicy, now: int) -> Counts:
    """The sum of what is in the windows, as far as it is recent enough; in any order."""
    oldest = slot_of(policy, now) - SLOTS
    total = Counts()
    for window in windows:
        for slot, seen in window.items():
            if slot > oldest:
                total += seen
    return total


def sign(breaker: Breaker, policy: HealthPolicy, seen: Counts, now: int) -> Signal | None:
    """The signal that was given since the breaker last moved; None: none."""
    if breaker.state is State.CLOSED:
        outcomes = seen.answered + seen.missed
        enough = policy.breaker and outcomes >= policy.breaker_min_samples
        threshold = policy.breaker_failure_percent * outcomes
        return Signal.FAILING if enough and seen.missed * 100 >= threshold else None
    if not policy.breaker:
        return Signal.ANSWERED if breaker.state is State.HALF_OPEN else Signal.ELAPSED
    if breaker.state is State.HALF_OPEN:
        if seen.missed:
            return Signal.FAILING
        if seen.answered >= policy.probes:
            return Signal.ANSWERED
    return Signal.ELAPSED if breaker.until is not None and now >= breaker.until else None


def moved(breaker: Breaker, policy: HealthPolicy, seen: Counts, now: int) -> Breaker | None:
    """The breaker in its next state, given what was seen since it last moved; None: it stays."""
    signal = sign(breaker, policy, seen, now)
    to = TABLE[breaker.state][signal] if signal is not None else _STAYS
    if to is _STAYS:
        return None
    until = {
        State.CLOSED: None,
        State.OPEN: now + policy.open_for,
        State.HALF_OPEN: now + policy.open_for + policy.patience,
    }
    return Breaker(breaker.revision + 1, to, now, until[to])
