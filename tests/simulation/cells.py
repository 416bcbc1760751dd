"""What a run of many seeds must have seen, and how often, or it proves less than it says.

Add a line for whatever must not go unseen; the names are what the run itself says it reached.
`--reached` prints all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

OFTEN: Final = (
    # Everything that is said to a company, and the ways in which that goes wrong.
    "command deduct",
    "command credit",
    "command return",
    "command reverse",
    "command inquire",
    "command inquire again",
    "command return again",
    "command cancel",
    "command balance",
    "result ANSWERED",
    "result UNAVAILABLE",
    "command cancel again",
    "command credit again",
    "cancel leaves a tombstone",
    "mute for a while",
    "lost deduct",
    "lost credit",
    "applied deduct",
    "applied credit",
    "slow credit",
    "late credit",
    "twice credit",
    "wrong_amount credit",
    "unknown_code credit",
    "unknown_outcome credit",
    "elsewhere credit",
    "keyless credit",
    "refuse credit",
    "refuse deduct",
    "less credit",
    "pending credit then yes",
    "pending credit then no",
    "pending deduct then no",
    "yes after no of credit",
    "no after yes of credit",
    "yes after no of deduct",
    "inquiry answered NOT_RECEIVED",
    "inquiry answered CONFIRMED",
    "inquiry answered REJECTED",
    "inquiry answered PENDING",
    "down for a while",
    # What origins send and hear.
    "origin request",
    "origin repeat",
    "origin inquire",
    "origin withdraw",
    "origin mismatch",
    "origin stale",
    "origin malformed",
    "result PENDING",
    "result MANUAL_REVIEW",
    "result SUCCESS",
    "result PARTIAL_SUCCESS",
    "result REJECTED",
    "result FAILED_NOTHING_DEDUCTED",
    "result FAILED_POINTS_RETURNED",
    "result CANCELLED",
    "result NOT_RECEIVED",
    "result FAILED_POINTS_RETURNED corrected",
    "decided reject of disputed",
    "notable decisions_applied",
    "notable unavailable_bulkhead",
    "notable unavailable_rate",
    # Crash points: killed after each phase of the loop, and frozen so that others take over.
    "killed start",
    "killed before_commit",
    "killed after_commit",
    "killed before_offsets",
    "killed after_offsets",
    "frozen before_commit",
    "frozen after_commit",
    "frozen before_offsets",
    "a frozen transaction was ended",
    "drained",
    "joined",
    "database restored",
    "log recovery.done",
    "notable recalled_sagas",
    # What goes wrong around it, and what the coordinator did about it.
    "broker away",
    "database away",
    "stalled topic",
    "clock ahead",
    "clock back",
    "publish before",
    "publish after",
    "commit before",
    "commit after",
    "save conflict",
    "commit offsets after",
    "log batch.dropped",
    "log batch.retried",
    "log consumer.remade",
    "log publish.retried",
    "log sweep.retried",
    "log offsets.not_committed",
    "notable said_again",
    "notable stale_replies",
    "notable stale_timers",
    "notable duplicate_requests",
    "notable dead_letters_refused",
    "notable dead_letters_poison",
)
"""Seen by the 300 seeds of every test run."""

SELDOM: Final = (
    "slow return",
    "twice return",
    "pending return then yes",
    "unknown_code return",
    "mute cancel",
    "decided write-off of overturned",
    "log breaker.opened",
    "saga parked",
    "no after yes of deduct",
)
"""Five or more in a thousand: seen by a thousand, wherever they begin."""

RARELY: Final = (
    "killed half_published",
    "frozen half_published",
    "late return",
    "lost return",
    "applied return",
    "refuse return",
    "refuse reverse",
    "pending return then no",
    "pending reverse then yes",
    "pending reverse then no",
    "no after yes of reverse",
    "decided write-off of refused",
    "expired deduct",
    "expired credit",
)
"""From one to some seven in a thousand: seen by ten thousand."""

HARDLY: Final = (
    "cancel of a pending leg",
    "decided retry of refused",
)
"""Fewer, and some of them several at once: seen by thirty thousand."""


class Tier(NamedTuple):
    """Cells that are met about equally often."""

    name: str
    cells: tuple[str, ...]
    seeds: int  # Of so many seeds, wherever they begin, each cell is met at least once.


TIERS: Final = (
    Tier("often", OFTEN, 300),
    Tier("seldom", SELDOM, 1_000),
    Tier("rarely", RARELY, 10_000),
    Tier("hardly", HARDLY, 30_000),
)
_MARGIN: Final = 4
"""How much less often than its tier says a cell may be met in a run of many times as many seeds."""


def least(tier: Tier, seeds: int) -> int:
    """How often each cell of the tier must be met by so many seeds; 0: the run is too short.

    A longer run demands more: what was met a hundred times and now is met once has been lost.
    """
    return 0 if seeds < tier.seeds else max(1, seeds // tier.seeds // _MARGIN)


def missing(reached: Mapping[str, int], seeds: int) -> list[str]:
    """What a run of so many seeds met too seldom, in words."""
    return [
        f"{cell} ({reached.get(cell, 0)} of at least {least(tier, seeds)})"
        for tier in TIERS
        for cell in tier.cells
        if reached.get(cell, 0) < least(tier, seeds)
    ]


def report(reached: Mapping[str, int], seeds: int) -> Iterator[str]:
    """Tier by tier, what was demanded of the run and what it met."""
    for tier in TIERS:
        count, demanded = len(tier.cells), least(tier, seeds)
        met = sum(reached.get(cell, 0) >= max(1, demanded) for cell in tier.cells)
        if demanded:
            often = "once" if demanded == 1 else f"{demanded:,} times"
            yield f"{tier.name}: {met} of {count} cells reached at least {often}"
        else:
            yield f"{tier.name}: {met} of {count} cells reached; demanded of {tier.seeds:,} seeds"
