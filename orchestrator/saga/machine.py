"""What one leg can go through: one total table.

A leg is one effect at one participant, do or undo alike. Every (status, event) pair is a cell;
"nothing happens" and "this must not be" are cells, not missing branches (`domain.md` 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from schemas.value import TextEnum


class Status(TextEnum):
    """Where one leg stands."""

    WAITING = "waiting"  # Not asked yet.
    SENT = "sent"  # Asked; the answer is not late.
    UNKNOWN = "unknown"  # No usable answer in time: we are asking what became of it.
    PENDING = "pending"  # Accepted there, to be settled later.
    SILENT = "silent"  # We stopped asking: a person decides, or a late answer does. Parked.
    CONFIRMED = "confirmed"
    REJECTED = "rejected"  # Not done, and never will be under this id.
    DISPUTED = "disputed"  # Two verdicts that exclude each other; the first one stands. Parked.


class Event(TextEnum):
    """What can happen to one leg."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"  # Also CANCELLED: not done, and a tombstone stops it for ever.
    PENDING = "pending"
    NOT_RECEIVED = "not_received"  # A reading, not a verdict.
    UNUSABLE = "unusable"  # An unknown outcome or code, a wrong amount: nothing may be concluded.
    TIMED_OUT = "timed_out"
    EXHAUSTED = "exhausted"  # The policy's inquiries ran out.


class Still(StrEnum):
    """Cells in which nothing moves."""

    STALE = "stale"  # A repeat, a reading, a late timer: nothing changes.
    PREMATURE = "premature"  # An answer to what was never asked: set aside with an alarm.


STALE, PREMATURE, S = Still.STALE, Still.PREMATURE, Status
SENT, UNKNOWN, PENDING, SILENT = S.SENT, S.UNKNOWN, S.PENDING, S.SILENT
CONFIRMED, REJECTED, DISPUTED = S.CONFIRMED, S.REJECTED, S.DISPUTED

Cell = Status | Still

# A row for each status, a column for each event, in the order of Event. Total on purpose.
_ROWS: Final[Mapping[Status, tuple[Cell, ...]]] = {
    #          CONFIRMED  REJECTED   PENDING    NOT_RECVD  UNUSABLE   TIMED_OUT  EXHAUSTED
    S.WAITING: (PREMATURE, PREMATURE, PREMATURE, PREMATURE, PREMATURE, STALE, STALE),
    SENT: (CONFIRMED, REJECTED, PENDING, STALE, UNKNOWN, UNKNOWN, STALE),
    UNKNOWN: (CONFIRMED, REJECTED, PENDING, STALE, STALE, UNKNOWN, SILENT),
    PENDING: (CONFIRMED, REJECTED, STALE, STALE, STALE, PENDING, SILENT),
    SILENT: (CONFIRMED, REJECTED, PENDING, STALE, STALE, STALE, STALE),
    CONFIRMED: (STALE, DISPUTED, STALE, STALE, STALE, STALE, STALE),
    REJECTED: (DISPUTED, STALE, STALE, STALE, STALE, STALE, STALE),
    DISPUTED: (STALE, STALE, STALE, STALE, STALE, STALE, STALE),
}
TABLE: Final = {status: dict(zip(Event, row, strict=True)) for status, row in _ROWS.items()}

IN_FLIGHT: Final = frozenset({SENT, UNKNOWN, PENDING})
"""The platform waits for an answer, with a timer."""
PARKED: Final = frozenset({SILENT, DISPUTED})
"""A person must look, though a late answer may still help."""
DECIDED: Final = frozenset({CONFIRMED, REJECTED})
