"""Bugs planted in the loop turn the simulation red, which is green without them."""

import pytest

from tests.mutants.shell import MUTANTS, Mutant, a_conflict_changes_nothing
from tests.simulation import test_found
from tests.simulation.runs import run

# Those that take many seeds to show are tried at night.
NIGHTLY = (pytest.mark.nightly, pytest.mark.timeout(3_600))
CASES = [
    pytest.param(
        mutant,
        id=mutant.name.replace(" ", "-"),
        marks=NIGHTLY if mutant.seeds > 300 else (),
    )
    for mutant in MUTANTS
]


@pytest.mark.parametrize("mutant", CASES)
def test_a_planted_bug_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.plant(monkeypatch)
    tally, failed = run(range(mutant.seeds))
    assert failed is not None, f"{mutant.name}: {tally.seeds} seeds saw nothing"
    print(f"{mutant.name:<52} seed {failed.plan.seed:>5}  {failed.problems[0][:90]}")


def test_a_conflict_that_empties_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    a_conflict_changes_nothing(monkeypatch)
    with pytest.raises(AssertionError, match=r"assert \d{3,} <= 3"):
        test_found.test_after_a_conflict_nothing_at_hand_is_believed()
