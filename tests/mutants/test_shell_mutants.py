"""Bugs planted in the loop turn the simulation red, which is green without them."""

from collections.abc import Iterable

import pytest

from tests.mutants.shell import MUTANTS, Mutant, a_conflict_changes_nothing
from tests.simulation import test_found
from tests.simulation.runs import run

GATE_MAX = 300
"""So many seeds may be tried by day, after the one that is known."""


def caught(mutant: Mutant, seeds: Iterable[int]) -> None:
    tally, failed = run(seeds)
    assert failed is not None, f"{mutant.name}: {tally.seeds} seeds saw nothing"
    print(f"{mutant.name:<52} seed {failed.plan.seed:>5}  {failed.problems[0][:90]}")


def named(mutant: Mutant) -> str:
    return mutant.name.replace(" ", "-")


@pytest.mark.parametrize("mutant", MUTANTS, ids=named)
def test_a_planted_bug_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.plant(monkeypatch)
    caught(mutant, (mutant.seen_at, *range(min(mutant.seeds, GATE_MAX))))


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("mutant", MUTANTS, ids=named)
def test_whoever_does_not_know_the_seed_finds_it_too(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant.plant(monkeypatch)
    caught(mutant, range(mutant.seeds))


def test_a_conflict_that_empties_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    a_conflict_changes_nothing(monkeypatch)
    with pytest.raises(AssertionError, match=r"assert \d{3,} <= 3"):
        test_found.test_after_a_conflict_nothing_at_hand_is_believed()
