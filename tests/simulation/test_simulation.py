"""The shipped coordinator lives through hundreds of hostile seeds (`design.md` 7)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .cells import OFTEN, RARELY, SELDOM, wanted
from .runs import Outcome, Tally, run

ROOT = Path(__file__).parents[2]
DIGESTS = """
import sys
from tests.simulation.plan import draw
from tests.simulation.runs import live
for seed in range(int(sys.argv[1]), int(sys.argv[2])):
    print(seed, live(draw(seed)).digest)
"""


def told(tally: Tally, failed: Outcome | None, seeds: int) -> None:
    cells = wanted(seeds)
    missing = tally.unreached(cells)
    print(
        f"\n{tally.seeds:,} seeds, {tally.sagas:,} sagas, {tally.crashes:,} crashes,"
        f" {tally.faults.total():,} faults, {tally.hours:,.0f} virtual hours;"
        f" {len(cells) - len(missing)} of {len(cells)} cells reached"
    )
    assert failed is None, f"seed {failed and failed.plan.seed}: {failed and failed.problems[:5]}"
    assert tally.seeds == seeds
    assert not missing, f"never reached: {missing}"


def test_three_hundred_seeds() -> None:
    told(*run(range(300)), 300)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_thirty_thousand_seeds() -> None:
    told(*run(range(1_000_000, 1_030_000)), 30_000)


def test_no_cell_is_listed_twice() -> None:
    cells = OFTEN + SELDOM + RARELY
    assert len(set(cells)) == len(cells)


def test_one_seed_is_one_run_in_every_process() -> None:
    """Whatever the hash seed: no order of a set, no clock, no chance of the process's own."""

    def digests(hash_seed: str) -> list[str]:
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", DIGESTS, "0", "40"],
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
