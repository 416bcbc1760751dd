"""The state machine of one leg, as a table with a cell for every pair of status and event.

A leg is one effect at one participant, whether it does something or undoes it. "Nothing changes"
and "this must not happen" are cells of the table too, so no case is left out (`domain.md` 4.2,
4.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from schemas.frozen import TextEnum


class Status(TextEnum):
    """The status of a leg."""

    WAITING = "waiting"  # Its command was not sent yet.
    SENT = "sent"  # Its command was sent; the answer is not late.
    UNKNOWN = "unknown"  # No usable answer came in time: the ladder goes on to get one.
    PENDING = "pending"  # Accepted by the participant, to be settled later.
    CANCELLING = "cancelling"  # Cancels are sent until one is answered, and nothing else any more.
    SILENT = "silent"  # The ladder has run out: a person decides, or a late answer. Parked.
    CONFIRMED = "confirmed"  # Done.
    REJECTED = "rejected"  # Not done, and never will be under this id.
    CANCELLED = "cancelled"  # Not done, and a tombstone at the participant stops it for ever.
    OVERTURNED = "overturned"  # A later verdict, or a person's decision, counts, not the first.
    DISPUTED = "disputed"  # Two verdicts exclude each other; meanwhile the first counts. Parked.
    REFUSED = "refused"  # Declined, though it is an undo that may only be late. Parked.
    WRITTEN_OFF = "written_off"  # Two persons gave it up; the loss is booked.


class Event(TextEnum):
    """What can happen to one leg."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"  # The participant accepted our cancel.
    PENDING = "pending"
    NOT_RECEIVED = "not_received"  # The participant never got it: no verdict, as it still may.
    UNUSABLE = "unusable"  # An unknown outcome or code, a wrong amount: nothing may be concluded.
    TIMED_OUT = "timed_out"  # The next rung of the same stage of the ladder is due.
    GAVE_UP = "gave_up"  # The rungs that ask have run out: from now on, cancel the leg.
    EXHAUSTED = "exhausted"  # The whole ladder has run out.
    DONE = "done"  # A person says, with evidence, that it was done.
    NOT_DONE = "not_done"  # A person says, with evidence, that it was not and will not be.
    AGAIN = "again"  # A person decides to retry it.
    WRITE_OFF = "write_off"  # Two persons decide to give it up.


class NoChange(StrEnum):
    """Why an event leaves the leg, and so the saga, as it is."""

    STALE = "stale"  # A repeat, an inconclusive answer, a late timer.
    PREMATURE = "premature"  # An answer to a command that was never sent: a dead letter.
    UNFIT = "unfit"  # An answer that cannot be used, after a verdict: a dead letter.
    FORBIDDEN = "forbidden"  # A person may not decide this, or not now.


S = Status
STALE, PREMATURE, UNFIT, NO = NoChange.STALE, NoChange.PREMATURE, NoChange.UNFIT, NoChange.FORBIDDEN

Cell = Status | NoChange

# A row for each status, a column for each event, in the order of Event. No cell may be missing.
# fmt: off
_ROWS: Final[Mapping[Status, tuple[Cell, ...]]] = {
    # Columns, first line: answers of a participant:
    #   CONFIRMED REJECTED CANCELLED PENDING NOT_RECEIVED UNUSABLE
    # second line: timers:
    #   TIMED_OUT GAVE_UP EXHAUSTED
    # third line: decisions of a person:
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
    # PENDING may be the late answer to the command itself, so the cancel is repeated all the same.
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
    # A repeat of either verdict brings nothing new. A person may only write off the loss.
    S.OVERTURNED: (STALE, STALE, STALE, STALE, STALE, UNFIT,
                   STALE, STALE, STALE,
                   NO, NO, NO, S.OVERTURNED),
    S.DISPUTED: (STALE, STALE, STALE, STALE, STALE, UNFIT,
                 STALE, STALE, STALE,
                 S.OVERTURNED, S.OVERTURNED, NO, NO),
    S.REFUSED: (S.CONFIRMED, STALE, STALE, S.PENDING, STALE, STALE,
                STALE, STALE, STALE,
                S.CONFIRMED, S.REJECTED, S.UNKNOWN, S.WRITTEN_OFF),
    # Two persons gave it up; if an answer says that it was done after all, that answer counts.
    S.WRITTEN_OFF: (S.OVERTURNED, STALE, STALE, STALE, STALE, STALE,
                    STALE, STALE, STALE,
                    NO, NO, NO, NO),
}
# fmt: on
TABLE: Final = {status: dict(zip(Event, row, strict=True)) for status, row in _ROWS.items()}

IN_FLIGHT: Final = frozenset({S.SENT, S.UNKNOWN, S.PENDING, S.CANCELLING})
"""The platform waits for an answer, and a timer is set."""
PARKED: Final = frozenset({S.SILENT, S.DISPUTED, S.REFUSED})
"""A person must decide, though a late answer may still do so first."""
DECIDED: Final = frozenset({S.CONFIRMED, S.REJECTED, S.CANCELLED, S.OVERTURNED, S.WRITTEN_OFF})
"""The outcome is known."""
READINGS: Final = frozenset(
    event
    for event in Event
    if all(TABLE[status][event] is STALE for status in Status if status is not S.WAITING)
)
"""The answers that change nothing, in whatever status a leg is that was sent."""
