"""Walk every reachable state of the redemption and check every edge."""

import time
from collections.abc import Iterable, Iterator

import pytest

from orchestrator.sagas.redemption.terms import Partial
from tests.engine import shapes
from tests.engine.cases import LINES
from tests.engine.shapes import Shape
from tests.engine.walk import EVENTS, VERDICTS, Walked, walk

RULED = (*VERDICTS, "decisions")
ENDS = {
    "SUCCESS",
    "REJECTED",
    "CANCELLED",
    "FAILED_NOTHING_DEDUCTED",
    "FAILED_POINTS_RETURNED",
}

PARTIAL = ENDS - {"REJECTED", "CANCELLED"} | {"PARTIAL_SUCCESS"}

ALL_BACK = str(Partial.ALL_OR_NOTHING)
LONGEST = {f"yes reverse-charge-loss {ALL_BACK}", f"no charge-loss {ALL_BACK}"}
"""Where all is taken back, one chain of each sort: what each does shows where lines are kept."""
FOLLOWED = "reverse-charge-loss False"
"""Two thirds of all corrections; their second contradiction is followed at night."""


def quick_ladders() -> Iterator[Shape]:
    """All but those on which a person is called and there is a longer one; at night all."""
    for one in shapes.ladders():
        if one.name.startswith("both") or not one.name.endswith(", called"):
            yield one


def quick_chains() -> Iterator[Shape]:
    """Every chain where what was issued is kept, two where all is taken back; at night all."""
    for one in shapes.chains():
        if one.name in LONGEST or not one.name.endswith(ALL_BACK):
            yield one


def walked(
    kind: str,
    every: Iterable[Shape],
    events: tuple[str, ...],
    contradictions: int,
    remedies: int = 4,
) -> Walked:
    """Walk every shape, and say how much was seen."""
    begun, total, count = time.process_time(), Walked(), 0
    for one in every:
        total.add(walk(one, events, contradictions, remedies))
        count += 1
    took = time.process_time() - begun
    print(
        f"{kind}: {count} shapes, {total.states} states ({total.cut} not followed),"
        f" {total.edges} edges, {took:.1f} s, ends {dict(total.ends)}"
    )
    return total


def test_every_ladder() -> None:
    """Verbs present or absent, windows, both deduction modes, freshness, held sagas."""
    assert set(walked("ladders", quick_ladders(), EVENTS, 0).ends) == ENDS


def test_every_chain_of_remedies() -> None:
    """What one more verdict, or a person, does to every state that a redemption can be in."""
    assert set(walked("chains", quick_chains(), RULED, 0).ends) == PARTIAL


def test_what_follows_a_contradiction() -> None:
    """Corrections, to their end: the chain of the defaults, with a yes and with a no."""
    whole = [one for one in shapes.corrected() if one.name != FOLLOWED]
    assert walked("contradictions", whole, RULED, 2).states > 1_000
    (first,) = (one for one in shapes.corrected() if one.name == FOLLOWED)
    assert walked("first contradictions", [first], RULED, 1).states > 1_000


def test_several_lines() -> None:
    assert walked("lines", shapes.several(LINES[1:3]), VERDICTS, 0).states > 1_000


def test_a_contradiction_where_all_is_taken_back() -> None:
    """All or nothing: reversals and returns that cross, and a late verdict on any of them."""
    every = shapes.several(LINES[:2])
    taken_back = (one for one in every if one.terms.body.partial is Partial.ALL_OR_NOTHING)
    assert walked("all or nothing", taken_back, VERDICTS, 1, 0).ends["SUCCESS"] > 1


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_whatever_the_gate_leaves_out() -> None:
    assert set(walked("ladders", shapes.ladders(), EVENTS, 0).ends) == ENDS
    assert set(walked("chains", shapes.chains(), RULED, 0).ends) == PARTIAL
    assert walked("contradictions", shapes.corrected(), RULED, 2).states > 1_000


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_what_follows_every_contradiction() -> None:
    walked("chains, followed", shapes.chains(), RULED, 1, 1)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_contradictions_of_several_lines() -> None:
    """Where what was issued is kept; of all or nothing this has more states than can be held."""
    kept = (
        one for one in shapes.several(LINES[:2]) if one.terms.body.partial is Partial.KEEP_ISSUED
    )
    walked("lines, followed", kept, RULED, 1, 1)
