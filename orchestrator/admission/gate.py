"""Whether a new saga may begin, before anything is asked of anybody: breaker, bulkhead, rate.

Every limit is shared by the coordinators that are alive: each has its part of what is left, so
none has to ask another. Pure: times are arguments, in milliseconds; shares are integers.
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
"""Rates are counted in millionths of a leg, so that a coordinator's part of a slow one is exact."""
LOOK_MS: Final = 1_000
"""How long a held saga waits at least before it is looked at again."""


class Limiter(StrEnum):
    """Which of the three says no."""

    BREAKER = "breaker"
    BULKHEAD = "bulkhead"
    RATE = "rate"


@value
class Slot:
    """Which coordinator this is among those that are alive, and how many those are."""

    rank: int = 0
    of: int = 1

    def share(self, total: int, turn: int = 0) -> int:
        """This coordinator's part of something that cannot be split; `turn` rotates the rest."""
        return total // self.of + ((self.rank + turn) % self.of < total % self.of)


@value
class TokenBucket:
    """A token bucket: what may be asked at once, in millionths of a leg. Below zero: a debt."""

    level: int
    at: int


def refilled(
    bucket: TokenBucket | None, policy: HealthPolicy, part: Slot, now: int
) -> TokenBucket | None:
    """The bucket at a later time, full when it is new; None without a limit."""
    if policy.rate_per_s is None:
        return None
    full = max(MICRO, policy.burst * MICRO // part.of)
    if bucket is None:
        return TokenBucket(full, now)
    gained = max(0, now - bucket.at) * policy.rate_per_s * 1_000 // part.of
    return TokenBucket(min(full, bucket.level + gained), max(now, bucket.at))


def spent(bucket: TokenBucket, legs: int) -> TokenBucket:
    """The bucket without the legs that were let through."""
    return TokenBucket(bucket.level - legs * MICRO, bucket.at)


@value
class Allowance:
    """What one coordinator may still let through to one participant. None: any number."""

    policy: HealthPolicy
    breaker: Breaker
    probes: int | None = None  # New sagas.
    room: int | None = None  # Legs in flight.
    tokens: int | None = None  # Millionths of a leg.

    def objection(self, legs: int) -> Limiter | None:
        """What speaks against a new saga with so many legs."""
        if self.probes is not None and self.probes < 1:
            return Limiter.BREAKER
        if self.room is not None and legs > self.room:
            return Limiter.BULKHEAD
        # A saga may have more legs than the bucket holds: then the next ones wait the longer.
        if self.tokens is not None and self.tokens < MICRO:
            return Limiter.RATE
        return None

    def after(self, legs: int, probes: int = 1) -> Allowance:
        """What is left once a saga with so many legs was let through, and so many probes."""
        return replaced(
            self,
            probes=None if self.probes is None else self.probes - probes,
            room=None if self.room is None else self.room - legs,
            tokens=None if self.tokens is None else self.tokens - legs * MICRO,
        )


@value
class Admitted:
    """What was let through to one participant."""

    sagas: int = 0
    legs: int = 0


@value
class Blocked:
    """Who cannot take a new saga, why, and what is to become of it."""

    participant: str
    why: Limiter
    when_unavailable: WhenUnavailable
    hold_for: int  # At most, since it was accepted.
    until: int | None  # When the breaker is looked at again.

    def holds(self, now: int, terms: Terms) -> bool:
        """Whether the saga is to wait, and may still."""
        holds = self.when_unavailable is WhenUnavailable.HOLD
        return holds and now < terms.accepted_at + self.hold_for

    def next_look(self, now: int, terms: Terms) -> int:
        """When a held saga is looked at again: spread, so that not all come at once."""
        there_may_be_room = (
            max(now + LOOK_MS, self.until or 0) + int(terms.saga_id[-8:], 16) % LOOK_MS
        )
        return min(there_may_be_room, terms.accepted_at + self.hold_for)


class Gate:
    """What one batch lets through; a batch that is decided anew begins with a new one."""

    def __init__(self, allowances: Mapping[str, Allowance]) -> None:
        self._left = dict(allowances)
        self.taken: dict[str, Admitted] = {}

    @property
    def bounded(self) -> bool:
        """Whether anybody is bounded at all; most of the time nobody is."""
        return bool(self._left)

    def admit(self, legs: Mapping[str, int], probes: int = 1) -> Blocked | None:
        """Let a saga through that needs so many legs of each participant, or say who objects.

        It counts as so many probes of a participant that may be back; 0 if it tells nothing of it.
        Nothing is taken from anybody unless everybody agrees. Of several objections the one that
        refuses counts before those that hold, and the shorter patience before the longer.
        """
        left = self._left
        if not left:
            return None
        concerned = [name for name in legs if name in left]
        objections = []
        for name in concerned:
            policy, why = left[name].policy, left[name].objection(legs[name])
            if why is not None:
                until = left[name].breaker.until if why is Limiter.BREAKER else None
                objections.append(
                    Blocked(name, why, policy.when_unavailable, policy.hold_for, until)
                )
        if objections:
            return min(objections, key=_strictness)
        for name in concerned:
            left[name] = left[name].after(legs[name], probes)
            was = self.taken.get(name, Admitted())
            self.taken[name] = Admitted(was.sagas + probes, was.legs + legs[name])
        return None


def legs_needed(legs: Iterable[Leg], terms: Terms, definition: Definition) -> dict[str, int]:
    """How many legs a new saga will ask of whom if all goes well."""
    needed: dict[str, int] = {}
    for leg in legs:
        if leg.status is Status.WAITING:  # What the origin did itself is done.
            name = participant(terms, definition, leg.verb)
            needed[name] = needed.get(name, 0) + 1
    return needed


def _strictness(objection: Blocked) -> tuple[bool, int]:
    return objection.when_unavailable is not WhenUnavailable.REFUSE, objection.hold_for


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
    """What is left for one coordinator.

    Args:
        in_flight: legs in flight at the participant, of all coordinators, when that was last read.
        change: how this coordinator has changed that since then.
        probed: how many sagas it has let through since the breaker last moved.
        bucket: its own, refilled.
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
