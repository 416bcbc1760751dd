"""The operator of the storm decides what is true by the company's own books."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from adapters.cli.case import Case, engine_of
from adapters.postgres.decisions import Proposal
from adapters.sandbox.ledger import Ledger
from orchestrator.engine.instance import Saga
from orchestrator.engine.operator import Action
from tests.chaos.company_staff import Word, word
from tests.chaos.people import OPERATOR, People
from tests.engine.memory import DEPLOY
from tests.engine.test_decisions import parked_at_the_credit

PATH = "credit/1"


def proposals(saga: Saga, books: Path) -> list[Proposal]:
    """What operators of many seeds want done about the credit."""
    people, now = People("", DEPLOY, books, 0), datetime.now(UTC)
    case = Case(saga, engine_of(saga, people._policies), now, now, ())
    (leg,) = case.legs
    assert leg.path == PATH
    made = []
    for seed in (*range(12), 11):
        people._seed = seed
        made.append(people._proposal(case, leg))
    assert made.pop() == made[-1], "the same seed, the same decision"
    return [one for one in made if one is not None]


@pytest.mark.parametrize("done", (True, False))
def test_an_operator_decides_as_the_books_say_or_has_it_asked_again(
    tmp_path: Path, *, done: bool
) -> None:
    saga = parked_at_the_credit().saga
    leg_id = f"{saga.terms.saga_id}/{PATH}"
    if done:
        with closing(Ledger(tmp_path / "alipayhk.sqlite3", beside=True)) as ledger:
            work = ledger.begin((leg_id,), ())
            leg = work.touch(leg_id)
            leg.outcome, leg.moved, leg.answer = "CONFIRMED", 2, orjson.dumps({"reference": "A-7"})
            ledger.commit(work)
    made = proposals(saga, tmp_path)
    assert len(made) == 12
    assert {one.action for one in made} == {
        Action.RETRY,
        Action.CONFIRM if done else Action.REJECT,
    }
    forced = [one for one in made if one.action is not Action.RETRY]
    expected = (2, "A-7") if done else (None, None)
    assert {(one.amount, one.reference) for one in forced} == {expected}
    assert {(one.leg, one.actor) for one in made} == {(PATH, OPERATOR)}
    assert word(tmp_path, "alipayhk", leg_id, bar=False) == Word(2 if done else 0, expected[1])
