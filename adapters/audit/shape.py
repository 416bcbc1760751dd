"""The shape of a saga: what the database says about it, as answers to questions.

Sagas with the same answers are of one shape, which is judged once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final


@dataclass(frozen=True, slots=True)
class Shape:
    """The answers, as `audit.sql` finds them in one saga's rows; the names are its columns."""

    told: str  # The status of the latest result; empty when nothing was told.
    final: bool  # The result is final, and it is known why.
    correcting: bool  # A final result is being corrected.
    ended: bool  # Final, and not being corrected.
    prededucted: bool
    # -- its legs --
    flying: bool  # Some wait for an answer, with a timer.
    held: bool
    parked: bool  # Some wait for a person.
    unreturned: bool  # A return was asked for and is not acknowledged.
    unanswered: bool  # Something else was asked for and it is not known what became of it.
    recalled: bool  # Its database was lost, and what was said before read back from the topics.
    undone: bool  # Something is, or was to be, taken back.
    cancelled: bool  # A cancel was accepted.
    unsound: bool  # A leg moved something that its status rules out, or is decided with a timer.
    # -- points --
    settled: bool  # In suspense lies what is asked to be returned, and no more.
    spent: bool  # The journal consumed the price of what the member keeps.
    kept: str  # Of the pieces that were asked for: none, some, all.
    unpaid: bool  # More was kept and given back than was taken.
    undone_more: bool  # More is taken back than was done.
    covered: bool  # A loss was booked.
    unowned: bool  # ... on nobody.
    # -- effects --
    booked: bool  # The journal has what the legs moved, account for account.
    unasked: bool  # A leg moved something that was never asked for.
    unsaid: bool  # A command of which the timeline does not know.
    uncaused: bool  # A movement without the event that caused it.
    # -- undoing --
    refused: bool  # A definite no, an accepted cancel, fewer than asked, a verdict overturned.
    turned: bool  # Withdrawn, refused or too late before value was asked for.
    cancelled_and_done: bool
    revived: bool  # Done all the same, after the cancel was accepted.
    # -- what was told --
    told_once: bool  # Each revision once, the highest is the one that stands.
    shown: bool  # The status that operators see is the one that was told.
    told_from_the_start: bool  # The timeline begins with the first revision, ends with the latest.
    replayed: bool  # One record counted twice.
    digested: bool  # The request's content is known by its digest.
    # -- whose turn it is --
    timed: bool  # The row has a timer.
    overdue: bool  # ... of long ago.
    late: bool  # ... that rings after the leg is due.
    cased: bool  # A case is open.
    staked: bool  # The case states what lies in suspense.


@dataclass(frozen=True, slots=True)
class Question:
    """The answers about a saga that reads something, a balance, and moves nothing."""

    moved: bool  # The journal has movements of it.
    remembered: bool  # The timeline has events of it.
    cased: bool  # A person was called.
    answered_well: bool  # Not answered yet, or once: figures without a reason or the reverse.
    untimed: bool  # The row has no timer.
    overdue: bool  # ... or one of long ago.
    overstayed: bool  # The answer was to be forgotten long ago.


COLUMNS: Final = tuple(found.name for found in fields(Shape))
QUESTION_COLUMNS: Final = tuple(found.name for found in fields(Question))


@dataclass(frozen=True, slots=True)
class Group:
    """The sagas of one shape in one part of the database."""

    shape: Shape
    sagas: int
    legs: int
    movements: int
    events: int
    first_key: int  # The lowest key hash that has one.


@dataclass(frozen=True, slots=True)
class QuestionGroup:
    """The questions of one shape in one part of the database, and the ids of the first of them."""

    question: Question
    count: int
    first: tuple[str, ...]
