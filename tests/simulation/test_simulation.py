"""The shipped coordinator lives through hundreds of hostile seeds (`design.md` 7)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.cells import HARDLY, OFTEN, RARELY, SELDOM, TIERS, least, missing, report
from tests.simulation.runs import Outcome, Tally, run

ROOT = Path(__file__).parents[2]
DIGESTS = """
import sys
from tests.simulation.plan import draw
from tests.simulation.runs import live
for seed in range(int(sys.argv[1]), int(sys.argv[2])):
    print(seed, live(draw(seed)).digest)
"""


def told(tally: Tally, failed: Outcome | None, seeds: int) -> None:
    print(
        f"\n{tally.seeds:,} seeds, {tally.sagas:,} sagas, {tally.crashes:,} crashes,"
        f" {tally.faults.total():,} faults, {tally.hours:,.0f} virtual hours",
        *report(tally.reached, seeds),
        sep="\n",
    )
    assert failed is None, f"seed {failed and failed.plan.seed}: {failed and failed.problems[:5]}"
    assert tally.seeds == seeds
    lost = missing(tally.reached, seeds)
    assert not lost, f"reached too seldom: {lost}"


def test_three_hundred_seeds() -> None:
    told(*run(range(300)), 300)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_thirty_thousand_seeds() -> None:
    told(*run(range(1_000_000, 1_030_000)), 30_000)


def test_no_cell_is_listed_twice() -> None:
    cells = OFTEN + SELDOM + RARELY + HARDLY
    assert len(set(cells)) == len(cells)


@pytest.mark.parametrize(
    ("seeds", "demanded"),
    (
        (299, (0, 0, 0, 0)),
        (300, (1, 0, 0, 0)),
        (1_000, (1, 1, 0, 0)),
        (10_000, (8, 2, 1, 0)),
        (30_000, (25, 7, 1, 1)),
    ),
)
def test_a_longer_run_must_meet_more_and_more_often(seeds: int, demanded: tuple[int, ...]) -> None:
    assert tuple(least(tier, seeds) for tier in TIERS) == demanded
    cells = {cell: least(tier, seeds) for tier in TIERS for cell in tier.cells}
    assert not missing(cells, seeds)
    for cell, count in cells.items():
        if count:
            found = missing(cells | {cell: count - 1}, seeds)
            assert found == [f"{cell} ({count - 1} of at least {count})"]
    empty = list(report({}, seeds))
    assert [line.partition(":")[0] for line in empty] == [tier.name for tier in TIERS]
    assert all("0 of" in line for line in empty)


def test_one_seed_is_one_run_in_every_process() -> None:
    """Whatever the hash seed: no order of a set, no clock, no chance of the process's own."""

    def digests(hash_seed: str) -> list[str]:
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", DIGESTS, "100", "140"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    first, second = digests("1"), digests("2")
    assert len(first) == 40
    assert len({line.split()[1] for line in first}) > 30  # They are not all the same run.
    assert first == second
