"""What one leg can go through: one total table.

A leg is one effect at one participant, do or undo alike. Every (status, event) pair is a cell;
"nothing happens" and "this must not be" are cells, not missing branches (`domain.md` 4.2, 4.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from schemas.frozen import TextEnum


class Status(TextEnum):
    """Where one leg stands."""

    WAITING = "waiting"  # Not asked yet.
    SENT = "sent"  # Asked; the answer is not late.
    UNKNOWN = "unknown"  # No usable answer in time: we are asking what became of it.
    PENDING = "pending"  # Accepted there, to be settled later.
    CANCELLING = "cancelling"  # We say "do not, ever" until it is answered; nothing else any more.
    SILENT = "silent"  # The ladder ran out: a person decides, or a late answer does. Parked.
    CONFIRMED = "confirmed"
    REJECTED = "rejected"  # Not done, and never will be under this id.
    CANCELLED = "cancelled"  # Not done, and a tombstone stops it for ever.
    OVERTURNED = "overturned"  # A later verdict, or a person, is believed instead of the first.
    DISPUTED = "disputed"  # Two verdicts that exclude each other; the first one stands. Parked.
    REFUSED = "refused"  # What may only be late was declined: its amount is in suspense. Parked.
    WRITTEN_OFF = "written_off"  # Two persons gave it up; the loss is booked.


class Event(TextEnum):
    """What can happen to one leg."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"  # The participant accepted our cancel.
    PENDING = "pending"
    NOT_RECEIVED = "not_received"  # A reading, not a verdict.
    UNUSABLE = "unusable"  # An unknown outcome or code, a wrong amount: nothing may be concluded.
    TIMED_OUT = "timed_out"  # The next rung of what is being done already.
    GAVE_UP = "gave_up"  # Asking ran out: cancel it by our own id.
    EXHAUSTED = "exhausted"  # The whole ladder ran out.
    DONE = "done"  # A person says, with evidence, that it was done.
    NOT_DONE = "not_done"  # A person says, with evidence, that it was not and will not be.
    AGAIN = "again"  # A person has it tried once more.
    WRITE_OFF = "write_off"  # Two persons give it up.


class NoChange(StrEnum):
    """Cells in which nothing moves."""

    STALE = "stale"  # A repeat, a reading, a late timer: nothing changes.
    PREMATURE = "premature"  # An answer to what was never asked: set aside with an alarm.
    UNFIT = "unfit"  # An answer that cannot be used, after a verdict: set aside with an alarm.
    FORBIDDEN = "forbidden"  # A person may not decide this, or not now.


S = Status
STALE, PREMATURE, UNFIT, NO = NoChange.STALE, NoChange.PREMATURE, NoChange.UNFIT, NoChange.FORBIDDEN

Cell = Status | NoChange

# A row for each status, a column for each event, in the order of Event. Total on purpose.
# fmt: off
_ROWS: Final[Mapping[Status, tuple[Cell, ...]]] = {
    # What a participant says:
    #   CONFIRMED REJECTED CANCELLED PENDING NOT_RECEIVED UNUSABLE
    # what the clock says:
    #   TIMED_OUT GAVE_UP EXHAUSTED
    # what a person says:
    #   DONE NOT_DONE AGAIN WRITE_OFF
    S.WAITING: (PREMATURE, PREMATURE, PREMATURE, PREMATURE, PREMATURE, PREMATURE,
                STALE, STALE, STALE,
                NO, NO, NO, NO),
    S.SENT: (S.CONFIRMED, S.REJECTED, S.CANCELLED, S.PENDING, STALE, S.UNKNOWN,
             S.UNKNOWN, S.CANCELLING, S.SILENT,
             NO, NO, NO, NO),
    S.UNKNOWN: (S.CONFIRMED, S.REJECTED, S.CANCELLED, S.PENDING, STALE, STALE,
                S.UNKNOWN, S.CANCELLING, S.SILENT,
                S.CONFIRMED, S.REJECTED, NO, NO),
    S.PENDING: (S.CONFIRMED, S.REJECTED, S.CANCELLED, STALE, STALE, STALE,
                S.PENDING, STALE, S.SILENT,
                S.CONFIRMED, S.REJECTED, NO, NO),
    # PENDING may be the late answer to the command itself: the cancel is repeated all the same.
    S.CANCELLING: (S.CONFIRMED, S.REJECTED, S.CANCELLED, STALE, STALE, STALE,
                   S.CANCELLING, STALE, S.SILENT,
                   S.CONFIRMED, S.REJECTED, NO, NO),
    S.SILENT: (S.CONFIRMED, S.REJECTED, S.CANCELLED, S.PENDING, STALE, STALE,
               STALE, STALE, STALE,
               S.CONFIRMED, S.REJECTED, S.UNKNOWN, NO),
    S.CONFIRMED: (STALE, S.OVERTURNED, S.OVERTURNED, STALE, STALE, UNFIT,
                  STALE, STALE, STALE,
                  NO, NO, NO, NO),
    S.REJECTED: (S.OVERTURNED, STALE, STALE, STALE, STALE, UNFIT,
                 STALE, STALE, STALE,
                 NO, NO, NO, NO),
    S.CANCELLED: (S.OVERTURNED, STALE, STALE, STALE, STALE, UNFIT,
                  STALE, STALE, STALE,
                  NO, NO, NO, NO),
    # Whatever either verdict says again is known. A person may only book the loss of it.
    S.OVERTURNED: (STALE, STALE, STALE, STALE, STALE, UNFIT,
                   STALE, STALE, STALE,
                   NO, NO, NO, S.OVERTURNED),
    S.DISPUTED: (STALE, STALE, STALE, STALE, STALE, UNFIT,
                 STALE, STALE, STALE,
                 S.OVERTURNED, S.OVERTURNED, NO, NO),
    S.REFUSED: (S.CONFIRMED, STALE, STALE, S.PENDING, STALE, STALE,
                STALE, STALE, STALE,
                S.CONFIRMED, S.REJECTED, S.UNKNOWN, S.WRITTEN_OFF),
    # Two persons gave up; that it was done after all is believed.
    S.WRITTEN_OFF: (S.OVERTURNED, STALE, STALE, STALE, STALE, STALE,
                    STALE, STALE, STALE,
                    NO, NO, NO, NO),
}
# fmt: on
TABLE: Final = {status: dict(zip(Event, row, strict=True)) for status, row in _ROWS.items()}

IN_FLIGHT: Final = frozenset({S.SENT, S.UNKNOWN, S.PENDING, S.CANCELLING})
"""The platform waits for an answer, with a timer."""
PARKED: Final = frozenset({S.SILENT, S.DISPUTED, S.REFUSED})
"""A person must look, though a late answer may still help."""
DECIDED: Final = frozenset({S.CONFIRMED, S.REJECTED, S.CANCELLED, S.OVERTURNED, S.WRITTEN_OFF})
"""It is known what became of it."""
READINGS: Final = frozenset(
    event
    for event in Event
    if all(TABLE[status][event] is STALE for status in Status if status is not S.WAITING)
)
"""What says nothing of a leg that was asked, wherever it stands and will ever stand."""
