"""The gate: whether a new saga may begin, given the breaker, bulkhead and rate of participants.

Every limit is divided among the coordinators that are alive. Each has its share of what is left, so
no coordinator has to ask another. Pure: times are arguments, in milliseconds since 1970; shares are
integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from orchestrator.admission.breaker import Breaker, HealthPolicy, State, WhenUnavailable
from orchestrator.engine.definition import Definition, participant
from orchestrator.engine.instance import Leg, Terms
from orchestrator.engine.machine import Status
from schemas.frozen import replaced, value

MICRO: Final = 1_000_000
"""Rates are counted in millionths of a leg, so that the share of even a low rate is exact."""
LOOK_MS: Final = 1_000
"""The shortest time until a held saga is looked at again, in milliseconds."""


class Limiter(StrEnum):
    """What keeps a new saga from beginning."""

    BREAKER = "breaker"
    BULKHEAD = "bulkhead"
    RATE = "rate"


@value
class Slot:
    """The place of a coordinator among those that are alive."""

    rank: int = 0  # From 0.
    of: int = 1  # How many are alive.

    def share(self, total: int, turn: int = 0) -> int:
        """This coordinator's share of a number of things that cannot be split.

        What is left over after an even division goes to the coordinators one by one; `turn` decides
        with which of them that begins.
        """
        return total // self.of + ((self.rank + turn) % self.of < total % self.of)


@value
class TokenBucket:
    """A token bucket, which limits the rate of legs of new sagas."""

    level: int  # What may be asked at once, in millionths of a leg; below 0 it is a debt.
    at: int  # When that was so.


def refilled(
    bucket: TokenBucket | None, policy: HealthPolicy, part: Slot, now: int
) -> TokenBucket | None:
    """The bucket as it is at `now`, and full if it is new (None); None if there is no rate."""
    if policy.rate_per_s is None:
        return None
    full = max(MICRO, policy.burst * MICRO // part.of)
    if bucket is None:
        return TokenBucket(full, now)
    gained = max(0, now - bucket.at) * policy.rate_per_s * 1_000 // part.of
    return TokenBucket(min(full, bucket.level + gained), max(now, bucket.at))


def spent(bucket: TokenBucket, legs: int) -> TokenBucket:
    """The bucket after that many legs were let through."""
    return TokenBucket(bucket.level - legs * MICRO, bucket.at)


@value
class Allowance:
    """What one coordinator may still let through to one participant; None is no limit."""

    policy: HealthPolicy
    breaker: Breaker
    probes: int | None = None  # New sagas, while the breaker is not closed.
    room: int | None = None  # More legs in flight.
    tokens: int | None = None  # Legs by the rate, in millionths of a leg.

    def objection(self, legs: int) -> Limiter | None:
        """What blocks a new saga with so many legs; None: nothing does."""
        if self.probes is not None and self.probes < 1:
            return Limiter.BREAKER
        if self.room is not None and legs > self.room:
            return Limiter.BULKHEAD
        # One whole token is enough for any saga, as it may have more legs than a full bucket. The
        # bucket then has a debt, and the next sagas wait longer.
        if self.tokens is not None and self.tokens < MICRO:
            return Limiter.RATE
        return None

    def after(self, legs: int, probes: int = 1) -> Allowance:
        """What is left after a saga with so many legs, and so many probes, was let through."""
        return replaced(
            self,
            probes=None if self.probes is None else self.probes - probes,
            room=None if self.room is None else self.room - legs,
            tokens=None if self.tokens is None else self.tokens - legs * MICRO,
        )


@value
class Admitted:
    """What was let through to one participant."""

    sagas: int = 0  # Those that count as probes.
    legs: int = 0


@value
class Blocked:
    """A participant that is not available for a new saga, and what is done about that."""

    participant: str
    why: Limiter
    when_unavailable: WhenUnavailable
    hold_for: int  # How long it may be held, from its acceptance.
    until: int | None  # When the state of the breaker is over, if it is the breaker.

    def holds(self, now: int, terms: Terms) -> bool:
        """Whether the saga is to be held, and was not yet held for as long as it may be."""
        holds = self.when_unavailable is WhenUnavailable.HOLD
        return holds and now < terms.accepted_at + self.hold_for

    def next_look(self, now: int, terms: Terms) -> int:
        """When a held saga is looked at again; spread out, so that not all are due at once."""
        spread = int(terms.saga_id[-8:], 16) % LOOK_MS
        next_chance = max(now + LOOK_MS, self.until or 0) + spread
        return min(next_chance, terms.accepted_at + self.hold_for)


class Gate:
    """The gate of one batch; a batch that is decided again gets a new one."""

    def __init__(self, allowances: Mapping[str, Allowance]) -> None:
        self._left = dict(allowances)
        self.taken: dict[str, Admitted] = {}

    @property
    def bounded(self) -> bool:
        """Whether any participant has a limit now; most of the time none has."""
        return bool(self._left)

    def admit(self, legs: Mapping[str, int], probes: int = 1) -> Blocked | None:
        """Let a new saga through (None), or say which participant blocks it.

        Allowances are only used up if no participant blocks the saga. If several do, one whose
        policy refuses comes before one that holds, and a shorter `hold_for` before a longer.

        Args:
            legs: how many legs the saga needs of each participant.
            probes: for how many probes it counts; 0 if it shows nothing of a participant's health.
        """
        left = self._left
        if not left:
            return None
        limited = [name for name in legs if name in left]
        blocks = []
        for name in limited:
            policy, why = left[name].policy, left[name].objection(legs[name])
            if why is not None:
                until = left[name].breaker.until if why is Limiter.BREAKER else None
                blocks.append(Blocked(name, why, policy.when_unavailable, policy.hold_for, until))
        if blocks:
            return min(blocks, key=_strictness)
        for name in limited:
            left[name] = left[name].after(legs[name], probes)
            was = self.taken.get(name, Admitted())
            self.taken[name] = Admitted(was.sagas + probes, was.legs + legs[name])
        return None


def legs_needed(legs: Iterable[Leg], terms: Terms, definition: Definition) -> dict[str, int]:
    """How many legs a new saga will ask of each participant if it succeeds."""
    needed: dict[str, int] = {}
    for leg in legs:
        if leg.status is Status.WAITING:  # Not those that the origin did itself.
            name = participant(terms, definition, leg.verb)
            needed[name] = needed.get(name, 0) + 1
    return needed


def _strictness(blocked: Blocked) -> tuple[bool, int]:
    return blocked.when_unavailable is not WhenUnavailable.REFUSE, blocked.hold_for


def allowance(
    policy: HealthPolicy,
    breaker: Breaker,
    part: Slot,
    *,
    in_flight: int,
    change: int,
    probed: int,
    bucket: TokenBucket | None,
) -> Allowance:
    """What one coordinator may let through to one participant.

    Args:
        policy: the health policy of the participant.
        breaker: its breaker.
        part: the place of the coordinator among those that are alive.
        in_flight: legs in flight at the participant, of all coordinators, when that was last read.
        change: how many more of them this coordinator has had since then.
        probed: how many sagas it has let through since the breaker last moved.
        bucket: the coordinator's own bucket, refilled; None: there is no rate.
    """
    probes = {
        State.CLOSED: None,
        State.OPEN: 0,
        State.HALF_OPEN: part.share(policy.probes, breaker.revision) - probed,
    }
    room = None
    if policy.in_flight_max is not None:
        room = part.share(max(0, policy.in_flight_max - in_flight)) - change
    return Allowance(
        policy,
        breaker,
        probes=probes[breaker.state],
        room=room,
        tokens=None if bucket is None else bucket.level,
    )
