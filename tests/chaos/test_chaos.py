"""Everything at once, in small: 0 lost, 0 doubled, 0 unexplained."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.run import Options, chaos, report
from tests.chaos.schedule import Kind, schedule

LONG_ONLY = {"refused before the deduction"}
"""A company is found to be unavailable only when many wait for it at once: a short storm may miss
that moment. The long one must not, and `platform/test_unavailable.py` shows it each time."""


@pytest.mark.servers
@pytest.mark.alone
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("seconds", "per_s", "may_miss"),
    # Each kind of blow has its turn in the short one too.
    (
        pytest.param(50.0, 200.0, LONG_ONLY, id="short"),
        pytest.param(120.0, 300.0, set[str](), id="long", marks=pytest.mark.nightly),
    ),
)
def test_everything_at_once(seconds: float, per_s: float, may_miss: set[str]) -> None:
    # Not in pytest's folder, which the database's account may not enter: its disk would be another.
    with tempfile.TemporaryDirectory(prefix="uprp-chaos-", ignore_cleanup_errors=True) as folder:
        outcome = chaos(Options(seconds, seed=1, per_s=per_s), Path(folder))
    report(outcome)
    assert not outcome.verdict.wrong, outcome.verdict.shown
    assert set(outcome.missing) <= may_miss, outcome.missing
    # A slow machine falls behind the rate that is asked for; a storm over nothing proves nothing.
    assert outcome.verdict.looked_at["sagas"] > 0.6 * seconds * per_s


def test_a_schedule_is_its_seed_and_has_every_kind() -> None:
    plan = schedule(7, 120.0)
    assert plan == schedule(7, 120.0)
    assert plan != schedule(8, 120.0)
    assert {blow.kind for blow in plan} == set(Kind)
    assert [blow.at for blow in plan] == sorted(blow.at for blow in plan)
    assert plan[-1].at < 120.0
    assert Counter(blow.kind for blow in schedule(7, 1_800.0))[Kind.KILL] > 10
