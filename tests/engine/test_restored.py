"""A restored database knows less than the topics and the companies do: nothing comes of it."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.restored import LosingWorld


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(st.integers(0, 255), min_size=30, max_size=250))
def test_belief_equals_fact_after_a_loss(tape: list[int]) -> None:
    LosingWorld(tape).live()


def _worlds(seeds: range) -> Counter[str]:
    seen: Counter[str] = Counter()
    for seed in seeds:
        dice = random.Random(seed)
        world = LosingWorld([dice.randrange(256) for _ in range(dice.randrange(40, 300))])
        try:
            world.live()
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        seen["losses"] += world.losses
        seen["sagas begun again"] += world.platform.recalled
        seen["sagas brought up"] += world.platform.survived
    return seen


def test_losses_of_every_kind_are_seen() -> None:
    seen = _worlds(range(300))
    print(dict(seen))
    assert min(seen.values()) > 50, seen


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_many_more_losses() -> None:
    print(dict(_worlds(range(1_000, 12_000))))
