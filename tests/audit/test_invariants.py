"""The rules by themselves: which answer about a saga breaks which promise. No server is needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from adapters.audit.database import statements
from adapters.audit.invariants import INVARIANTS, wrong_with
from adapters.audit.report import GUARDED, Surveyed, broken_by, judged, named_questions
from adapters.audit.shape import COLUMNS, QUESTION_COLUMNS, Group, Question, QuestionGroup, Shape
from orchestrator.engine.machine import DECIDED, IN_FLIGHT, PARKED, Status
from orchestrator.engine.undo import LOSS
from orchestrator.sagas import KINDS
from orchestrator.sagas.redemption.journal import SUSPENSE

_WELL: Final[dict[str, Any]] = (
    dict.fromkeys(COLUMNS, False)
    | {"told": "SUCCESS", "final": True, "ended": True, "kept": "all", "settled": True}
    | {"spent": True, "booked": True, "told_once": True, "shown": True}
    | {"told_from_the_start": True, "digested": True, "staked": True}
)
DONE: Final = Shape(**_WELL)
"""A redemption that went well."""
FLYING: Final = replace(
    DONE, told="", final=False, ended=False, kept="none", settled=False, flying=True, timed=True
)
PARKED_ONE: Final = replace(FLYING, flying=False, timed=False, parked=True, cased=True)
UNDONE: Final = replace(DONE, told="FAILED_POINTS_RETURNED", kept="none", undone=True, refused=True)
REVIVED: Final = replace(DONE, undone=True, cancelled=True, revived=True, refused=True)


@pytest.mark.parametrize("shape", (DONE, FLYING, PARKED_ONE, UNDONE, REVIVED))
def test_what_is_as_it_should_be_breaks_nothing(shape: Shape) -> None:
    assert broken_by(shape) == {}


@pytest.mark.parametrize(
    ("shape", "changed", "breaks"),
    (
        (DONE, {"settled": False}, "I1 I11"),
        (DONE, {"settled": False, "cased": True, "parked": True}, "I1"),
        (DONE, {"spent": False}, "I1"),
        (DONE, {"kept": "some"}, "I1"),
        (DONE, {"told": "PARTIAL_SUCCESS"}, "I1"),
        (UNDONE, {"kept": "some"}, "I1"),
        (UNDONE, {"unpaid": True}, "I2"),
        (UNDONE, {"unpaid": True, "flying": True, "timed": True}, ""),
        (UNDONE, {"undone_more": True}, "I2"),
        (DONE, {"covered": True, "unowned": True}, "I2"),
        (DONE, {"booked": False}, "I3"),
        (FLYING, {"unasked": True}, "I3"),
        (FLYING, {"unsaid": True}, "I3"),
        (DONE, {"uncaused": True}, "I3"),
        (DONE, {"unanswered": True}, "I4"),
        (FLYING, {"unanswered": True}, ""),
        (DONE, {"unreturned": True}, "I4"),
        (DONE, {"unreturned": True, "prededucted": True}, ""),
        (FLYING, {"unsound": True}, "I4"),
        (DONE, {"told_once": False}, "I6"),
        (PARKED_ONE, {"shown": False}, "I6"),
        (UNDONE, {"refused": False}, "I7"),
        (UNDONE, {"refused": False, "turned": True}, ""),
        (UNDONE, {"cancelled": True, "cancelled_and_done": True}, "I8"),
        (REVIVED, {"unpaid": True}, "I2 I8"),
        (REVIVED, {"unpaid": True, "parked": True, "cased": True}, ""),
        (DONE, {"digested": False}, "I9"),
        (PARKED_ONE, {"staked": False}, "I11"),
        (DONE, {"replayed": True}, "I12"),
        (DONE, {"told_from_the_start": False}, "I12"),
        (FLYING, {"timed": False}, "I13"),
        (FLYING, {"overdue": True}, "I13"),
        (FLYING, {"late": True}, "I13"),
        (FLYING, {"flying": False, "timed": False}, "I13"),
        (FLYING, {"flying": False, "held": True}, ""),
        (PARKED_ONE, {"cased": False}, "I13"),
        (DONE, {"cased": True}, "I13"),
        (DONE, {"ended": False, "correcting": True}, "I13"),
    ),
)
def test_each_answer_breaks_its_promise_and_no_other(
    shape: Shape, changed: dict[str, Any], breaks: str
) -> None:
    assert set(broken_by(replace(shape, **changed))) == set(breaks.split())


def test_the_findings_add_up() -> None:
    bad = replace(FLYING, timed=False)
    surveyed = Surveyed(groups=[Group(DONE, 7, 14, 21, 21, 0), Group(bad, 3, 6, 0, 3, 9)])
    surveyed.guards = GUARDED
    found = judged(surveyed, {}, datetime.now(UTC), 1.23)
    assert not found.holds
    assert (found.sagas, found.legs, found.events, found.waiting) == (10, 20, 24, 3)
    counts = {one.invariant: (one.checked, one.broken) for one in found.findings}
    assert counts["I1"] == (7, 0)
    assert counts["I13"] == (3, 3)
    surveyed.guards = ()
    surveyed.strays = ["s"]
    surveyed.journal = {"points": (5, 40)}
    broken = {one.invariant: one.broken for one in judged(surveyed, {}, found.at, 0).findings}
    assert (broken["I3"], broken["I10"], broken["I11"]) == (1, 2, 1)


WELL: Final = Question(**{**dict.fromkeys(QUESTION_COLUMNS, False), "answered_well": True})


def test_a_question_that_is_as_it_should_be_is_not_named() -> None:
    assert not list(wrong_with(WELL))


@pytest.mark.parametrize("column", QUESTION_COLUMNS)
def test_each_answer_about_a_question_is_judged(column: str) -> None:
    bad = replace(WELL, **{column: not getattr(WELL, column)})
    (why,) = wrong_with(bad)
    surveyed = Surveyed(guards=GUARDED)
    surveyed.questions = [QuestionGroup(WELL, 5, ("a",)), QuestionGroup(bad, 2, ("b", "c"))]
    named = list(named_questions(surveyed))
    assert [(one.name, one.why) for one in named] == [("b", why), ("c", why)]
    found = judged(surveyed, {"I14": named}, datetime.now(UTC), 0)
    (one,) = [one for one in found.findings if one.broken]
    assert (one.invariant, one.checked, one.broken, found.questions) == ("I14", 7, 2, 7)
    assert "uprp saga show b" in str(one.next)


def test_every_promise_has_a_next_step() -> None:
    for invariant in INVARIANTS:
        assert invariant.next.format(saga="S") != invariant.next


# -- the SQL counts for itself: what it names of the engine changes with the engine ---------------


def test_the_sql_knows_every_verb_account_and_status() -> None:
    verbs = {
        verb.name
        for definition in (kind.definition for kind in KINDS.values())
        for verb in definition.verbs()
    }
    assert verbs == {"deduct", "return", "charge", "credit", "reverse", "balance"}
    queries = {name for (name, _), kind in KINDS.items() if kind.books is None}
    written = statements()["reading"].splitlines()[-1]
    assert written == f"""s.terms like '["{queries.pop()}"%'"""
    assert not queries
    sql = statements()["survey"]
    for word in ("'deduct', 'charge'", "'/return'", "'/re'", f"'{LOSS}%'", "'credit/%'"):
        assert word in sql
    assert f"'{SUSPENSE}'" in sql
    for group in (DECIDED, IN_FLIGHT, PARKED):
        statuses = [status.value for status in Status if status in group]
        listed = ", ".join(f"'{status}'" for status in statuses)
        assert listed in sql, listed


def test_every_column_of_a_shape_is_found_by_the_sql() -> None:
    for column in COLUMNS:
        assert f" as {column}," in statements()["fact"] or f".{column}," in statements()["fact"]
