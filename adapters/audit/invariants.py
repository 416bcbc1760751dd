"""The invariants I1 to I14 of `domain.md` 4.1, as far as one database can prove them.

Pure: shapes in, words out. They judge what `audit.sql` added up and never ask the engine what
should be, so that a fault of the engine cannot hide itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from adapters.audit.shape import Question, Shape


@dataclass(frozen=True, slots=True)
class Invariant:
    """One invariant: to which sagas it applies, and how a saga breaks it."""

    id: str
    says: str  # In a person's words.
    of: str  # What is counted.
    applies_to: Callable[[Shape], bool]
    broken: Callable[[Shape], Iterator[str]]
    next: str  # What a person does about it; {saga} is the first one.


def _any(_: Shape) -> bool:
    return True


def _ended(shape: Shape) -> bool:
    return shape.ended


def _conserved(shape: Shape) -> Iterator[str]:
    """I1."""
    if not shape.settled:
        yield "points are neither consumed nor returned, nor a loss or forgone"
    if not shape.spent:
        yield "the points consumed are not the price of what was issued"
    meant = {"SUCCESS": "all", "PARTIAL_SUCCESS": "some"}.get(shape.told, "none")
    if shape.kept != meant:
        yield f"{shape.told or 'nothing'} was told, and {shape.kept} of it is kept"


def _not_twice(shape: Shape) -> Iterator[str]:
    """I2."""
    if shape.unpaid and not (shape.correcting or shape.flying or shape.parked):
        yield "the member keeps what was also paid back, and no loss is booked"
    if shape.undone_more and not (shape.recalled and shape.flying):
        yield "more is taken back than was done"
    if shape.unowned:
        yield "a loss is booked on nobody"


def _intended(shape: Shape) -> Iterator[str]:
    """I3."""
    if not shape.booked:
        yield "the journal does not have what the legs moved"
    if shape.unasked:
        yield "a leg moved something and was never asked to"
    if shape.unsaid and not shape.recalled:
        yield "a command was said of which the timeline has no row"
    if shape.uncaused:
        yield "a movement stands without the event that caused it"


def _resolved_once(shape: Shape) -> Iterator[str]:
    """I4."""
    if shape.ended and shape.unanswered:
        yield "it ended while it is not known what became of a leg"
    if shape.ended and shape.unreturned and not shape.prededucted:
        yield "it ended while a return is not acknowledged"
    if shape.unsound:
        yield "a leg has moved what its status rules out, or is decided and has a timer"


def _told_once(shape: Shape) -> Iterator[str]:
    """I6."""
    if not shape.told_once:
        yield "a result was told twice, or is not the one that stands"
    if not shape.shown:
        yield "operators see another status than was told"


def _undone_for_a_reason(shape: Shape) -> Iterator[str]:
    """I7."""
    if not (shape.refused or shape.turned):
        yield "it is taken back, and nobody said no"


def _stopped(shape: Shape) -> Iterator[str]:
    """I8."""
    if shape.cancelled_and_done:
        yield "a cancel was accepted, and the leg moved something"
    if shape.revived and shape.unpaid and not (shape.correcting or shape.flying or shape.parked):
        yield "it was done after the cancel was accepted, and nothing came of that"


def _known_by_content(shape: Shape) -> Iterator[str]:
    """I9."""
    if not shape.digested:
        yield "the request's content is not known, so another one cannot be told from it"


def _accounted_for(shape: Shape) -> Iterator[str]:
    """I11."""
    if not shape.staked:
        yield "the case states another amount than lies in suspense"
    if shape.ended and not shape.settled and not shape.cased:
        yield "points lie in suspense, and no case is open"


def _once(shape: Shape) -> Iterator[str]:
    """I12."""
    if shape.replayed:
        yield "one record counted twice"
    if not shape.told_from_the_start:
        yield "the timeline lacks its beginning, or goes beyond the saga"


def _open(shape: Shape) -> bool:
    """Whether something must still happen, or a person is said to be at it."""
    waits = shape.flying or shape.held or shape.parked or shape.cased
    return not shape.ended or waits


def _owned(shape: Shape) -> Iterator[str]:
    """I13."""
    if shape.flying or shape.held:
        if not shape.timed:
            yield "it waits for an answer, and no timer will ring"
        elif shape.overdue:
            yield "its timer is long overdue: does a coordinator run?"
        if shape.late:
            yield "its timer rings only after an answer is due"
    elif not shape.parked:
        yield "nobody's turn: no timer, no answer awaited, no person called"
    if shape.parked and not shape.cased:
        yield "a person must look, and no case is open"
    if shape.cased and not shape.parked:
        yield "a case is open, and there is nothing to decide"


def wrong_with(question: Question) -> Iterator[str]:
    """I14."""
    if question.moved:
        yield "a question has movements"
    if question.remembered:
        yield "a question stands in the timeline"
    if question.cased:
        yield "a person was called about a question"
    if not question.answered_well:
        yield "it was not answered once with either figures or a reason, or is shown otherwise"
    if question.untimed:
        yield "no timer will ring: it is neither answered in time nor forgotten"
    elif question.overdue:
        yield "its timer is long overdue: does a coordinator run?"
    if question.overstayed:
        yield "its answer was to be forgotten long ago"


_SHOW: Final = "uprp saga show {saga}"

INVARIANTS: Final = (
    Invariant(
        "I1",
        "What was taken is the price of what was given, the rest went back, was borne or forgone",
        "sagas that ended",
        _ended,
        _conserved,
        f"{_SHOW}; book what is missing by a decision, never by hand",
    ),
    Invariant(
        "I2",
        "Nobody keeps what was paid back, unless somebody bears the loss",
        "sagas that undid something",
        lambda shape: shape.undone or shape.covered or shape.unpaid,
        _not_twice,
        f"{_SHOW}; ask both companies what they have under its legs",
    ),
    Invariant(
        "I3",
        "Every effect was written down before it was asked for, and booked as it was confirmed",
        "sagas",
        _any,
        _intended,
        f"{_SHOW}; compare its movements with its legs, and both with a backup",
    ),
    Invariant(
        "I4",
        "What is reserved is released once, and never while an answer is unknown",
        "sagas",
        _any,
        _resolved_once,
        f"{_SHOW}; ask the participant of the leg",
    ),
    Invariant(
        "I6",
        "One final result; what is told later is a correction with a higher revision",
        "sagas",
        _any,
        _told_once,
        f"{_SHOW}; tell the origin which of its results stands",
    ),
    Invariant(
        "I7",
        "Something is taken back only after a definite no or an accepted cancel",
        "sagas that undid something",
        # After a loss, the reason is only known again when it was asked for again.
        lambda shape: shape.undone and not shape.recalled,
        _undone_for_a_reason,
        f"{_SHOW}; stop the coordinators, this must not happen",
    ),
    Invariant(
        "I8",
        "What is done after an accepted cancel is taken back, charged, borne, or a case",
        "sagas with an accepted cancel",
        lambda shape: shape.cancelled,
        _stopped,
        f"{_SHOW}; the participant breaks its tombstone: run its conformance tests",
    ),
    Invariant(
        "I9",
        "One request is one saga, known by its content",
        "sagas",
        _any,
        _known_by_content,
        f"{_SHOW}; compare with the origin's own record of the request",
    ),
    Invariant(
        "I11",
        "What lies in suspense is in a case, or waits for an answer",
        "sagas",
        _any,
        _accounted_for,
        f"{_SHOW}; uprp saga list --status PARKED",
    ),
    Invariant(
        "I12",
        "Every record counted once; readers only go forward",
        "sagas",
        _any,
        _once,
        f"{_SHOW}; do two deployments share the database and not the consumer group?",
    ),
    Invariant(
        "I13",
        "Whatever has not ended has a timer that rings, or a person who was called",
        "sagas that wait",
        _open,
        _owned,
        f"{_SHOW}; uprp status, and the coordinators' /readyz",
    ),
)
"""What is judged saga by saga. I5 and I10 are judged on limits and movements, I14 on questions
(`report.py`)."""
