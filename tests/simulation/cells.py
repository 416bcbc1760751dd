"""What a run of many seeds must have seen at least once, or it proves less than it says.

Add a line for whatever must not go unseen; the names are what the run itself says it reached.
`--reached` prints all of them.
"""

from __future__ import annotations

from typing import Final

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
    "killed half_published",
    "frozen half_published",
    "slow return",
    "late return",
    "twice return",
    "pending return then yes",
    "pending reverse then yes",
    "unknown_code return",
    "mute cancel",
    "decided write-off of overturned",
    "log breaker.opened",
    "saga parked",
    "no after yes of deduct",
    "expired deduct",
    "expired credit",
)
"""Seen by a thousand."""

RARELY: Final = (
    "lost return",
    "applied return",
    "cancel of a pending leg",
    "decided write-off of refused",
    "refuse reverse",
)
"""Seen by ten thousand."""

SEEDS_FOR_OFTEN: Final = 300
SEEDS_FOR_SELDOM: Final = 1_000
SEEDS_FOR_RARELY: Final = 10_000


def wanted(seeds: int) -> tuple[str, ...]:
    """What a run of so many seeds must see."""
    found: tuple[str, ...] = OFTEN if seeds >= SEEDS_FOR_OFTEN else ()
    found += SELDOM if seeds >= SEEDS_FOR_SELDOM else ()
    return found + (RARELY if seeds >= SEEDS_FOR_RARELY else ())
