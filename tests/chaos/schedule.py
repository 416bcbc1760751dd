"""What happens when, drawn from a seed: the same seed, the same blows. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """The blows; each is a crash that must have been seen."""

    KILL = "coordinator killed at any time"
    BEFORE_COMMIT = "coordinator killed before_commit"
    AFTER_COMMIT = "coordinator killed after_commit"
    HALF_PUBLISHED = "coordinator killed half_published"
    BEFORE_OFFSETS = "coordinator killed before_offsets"
    AFTER_OFFSETS = "coordinator killed after_offsets"
    FREEZE = "coordinator stopped past its session"
    BLINK = "coordinator stopped for a moment"
    DATABASE_KILLED = "database killed"
    DATABASE_RESTARTED = "database restarted"
    BROKER_KILLED = "broker killed"
    BROKER_STOPPED = "broker stopped for a moment"
    COMPANIES_KILLED = "companies killed"
    COMPANIES_STOPPED = "companies stopped past their session"
    DISK_FULL = "disk of the database full"


PHASE_KILLS: Final = (
    Kind.BEFORE_COMMIT,
    Kind.AFTER_COMMIT,
    Kind.HALF_PUBLISHED,
    Kind.BEFORE_OFFSETS,
    Kind.AFTER_OFFSETS,
)
CHEAP: Final = (
    *(Kind.KILL, *PHASE_KILLS, Kind.FREEZE, Kind.BLINK),
    *(Kind.COMPANIES_KILLED, Kind.COMPANIES_STOPPED),
)
"""What heals within seconds; the rest stops everybody, and comes less often."""


@dataclass(frozen=True, slots=True)
class Blow:
    """One thing that goes wrong, so many seconds after the load began."""

    at: float
    kind: Kind
    who: int  # Which of the coordinators, where one is meant.
    for_s: float  # How long it lasts, where it lasts.

    def __str__(self) -> str:
        return f"{self.at:7.1f} s  {self.kind}, {self.who}, {self.for_s:.1f} s"


def schedule(seed: int, seconds: float, kinds: Sequence[Kind] = tuple(Kind)) -> list[Blow]:
    """Each kind once in any order, then any of them, until the time is up.

    The first round is as dense as it must be for all to have their turn.
    """
    dice = random.Random(seed)
    first = list(kinds)
    dice.shuffle(first)
    every = min(5.0, max(1.0, seconds * 0.9 / len(first)))
    blows: list[Blow] = []
    at = 1.0
    while at < seconds:
        cheap = [kind for kind in kinds if kind in CHEAP]
        drawn = dice.choice(cheap if cheap and dice.random() < 0.8 else list(kinds))
        kind = first[len(blows)] if len(blows) < len(first) else drawn
        blows.append(Blow(round(at, 2), kind, dice.randrange(2), round(_lasts(kind, dice), 2)))
        at += every * dice.uniform(0.7, 1.3)
    return blows


def _lasts(kind: Kind, dice: random.Random) -> float:
    if kind in (Kind.FREEZE, Kind.COMPANIES_STOPPED):
        return dice.uniform(3.0, 5.0)  # The session is 2 s.
    if kind is Kind.DISK_FULL:
        return dice.uniform(1.0, 3.0)
    return dice.uniform(0.1, 0.8)
