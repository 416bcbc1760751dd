"""The breaker: a total table, windows that are sums, and nothing that opens without proof."""

from __future__ import annotations

from itertools import product
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.admission.breaker import (
    SLOTS,
    TABLE,
    Breaker,
    Counts,
    HealthPolicy,
    Signal,
    State,
    Window,
    merged,
    moved,
    noted,
    sign,
)

POLICY: Final = HealthPolicy(breaker_window=10_000, breaker_min_samples=4, probes=2)
SLOT: Final = POLICY.breaker_window // SLOTS
NOW: Final = 1_800_000_000_000
counts: Final = st.integers(0, 50)
seens: Final = st.builds(Counts, counts, counts, counts)
breakers: Final = st.builds(
    Breaker,
    st.integers(0, 9),
    st.sampled_from(State),
    st.integers(NOW - 60_000, NOW),
    st.none() | st.integers(NOW - 60_000, NOW + 60_000),
)


def test_the_table_is_total() -> None:
    assert {(state, found) for state in TABLE for found in TABLE[state]} == set(
        product(State, Signal)
    )


@pytest.mark.parametrize(
    ("state", "noticed", "to"),
    (
        (State.CLOSED, Signal.FAILING, State.OPEN),
        (State.OPEN, Signal.ELAPSED, State.HALF_OPEN),
        (State.HALF_OPEN, Signal.FAILING, State.OPEN),
        (State.HALF_OPEN, Signal.ANSWERED, State.CLOSED),
        (State.HALF_OPEN, Signal.ELAPSED, State.HALF_OPEN),
    ),
)
def test_what_moves_it(state: State, noticed: Signal, to: State) -> None:
    assert TABLE[state][noticed] is to
    assert sum(cell is not None for row in TABLE.values() for cell in row.values()) == 5


@pytest.mark.parametrize(
    ("answered", "missed", "opens"),
    ((0, 3, False), (0, 4, True), (2, 2, True), (3, 2, False), (3, 3, True), (100, 99, False)),
)
def test_it_opens_from_a_share_of_enough_outcomes(answered: int, missed: int, opens: bool) -> None:
    to = moved(Breaker(), POLICY, Counts(200, answered, missed), NOW)
    assert (to is not None) is opens
    if to is not None:
        assert to == Breaker(1, State.OPEN, NOW, NOW + POLICY.open_for)


def test_it_waits_then_probes_then_closes_or_opens_again() -> None:
    opened = Breaker(1, State.OPEN, NOW, NOW + POLICY.open_for)
    assert moved(opened, POLICY, Counts(9, 9, 0), NOW + POLICY.open_for - 1) is None
    later = NOW + POLICY.open_for
    half = moved(opened, POLICY, Counts(), later)
    assert half == Breaker(2, State.HALF_OPEN, later, later + POLICY.open_for + POLICY.patience)
    assert moved(half, POLICY, Counts(2, 1, 0), later) is None
    closed = moved(half, POLICY, Counts(2, 2, 0), later + 5)
    assert closed == Breaker(3, State.CLOSED, later + 5, None)
    again = moved(half, POLICY, Counts(2, 2, 1), later + 5)
    assert again == Breaker(3, State.OPEN, later + 5, later + 5 + POLICY.open_for)


def test_probes_that_were_lost_on_the_way_are_replaced() -> None:
    half = Breaker(2, State.HALF_OPEN, NOW, NOW + 9)
    assert moved(half, POLICY, Counts(), NOW + 8) is None
    renewed = moved(half, POLICY, Counts(), NOW + 9)
    assert renewed is not None
    assert (renewed.revision, renewed.state, renewed.since) == (3, State.HALF_OPEN, NOW + 9)


def test_a_breaker_that_is_switched_off_closes_and_stays_closed() -> None:
    off = HealthPolicy(breaker=False, breaker_min_samples=1)
    assert moved(Breaker(), off, Counts(9, 0, 9), NOW) is None
    found: Breaker | None = Breaker(1, State.OPEN, NOW, NOW + 60_000)
    for _ in range(2):
        assert found is not None
        found = moved(found, off, Counts(9, 0, 9), NOW)
    assert found is not None
    assert found.state is State.CLOSED


@given(breakers, seens, st.integers(NOW - 60_000, NOW + 120_000))
def test_it_never_opens_without_proof(breaker: Breaker, seen: Counts, now: int) -> None:
    to = moved(breaker, POLICY, seen, now)
    if to is None or to.state is not State.OPEN:
        return
    if breaker.state is State.CLOSED:
        assert seen.answered + seen.missed >= POLICY.breaker_min_samples
        assert seen.missed >= seen.answered
    else:
        assert breaker.state is State.HALF_OPEN
        assert seen.missed


@given(breakers, seens, st.integers(NOW - 60_000, NOW + 120_000))
def test_every_move_is_a_new_revision_with_a_time_to_look_again(
    breaker: Breaker, seen: Counts, now: int
) -> None:
    to = moved(breaker, POLICY, seen, now)
    assert (to is None) is (
        (found := sign(breaker, POLICY, seen, now)) is None or TABLE[breaker.state][found] is None
    )
    if to is not None:
        assert to.revision == breaker.revision + 1
        assert to.since == now
        assert (to.until is None) is (to.state is State.CLOSED)
        assert to.until is None or to.until > now


# -- windows --------------------------------------------------------------------------------------


def test_what_was_seen_is_forgotten_part_by_part() -> None:
    window: Window = {}
    for at in range(SLOTS + 3):
        window = noted(window, POLICY, Counts(1, 1, 0), NOW + at * SLOT)
    assert len(window) == SLOTS
    end = NOW + (SLOTS + 2) * SLOT
    assert merged([window], POLICY, end) == Counts(SLOTS, SLOTS, 0)
    assert merged([window], POLICY, end + 3 * SLOT) == Counts(SLOTS - 3, SLOTS - 3, 0)
    assert merged([window], POLICY, end + SLOTS * SLOT) == Counts()


@given(st.lists(st.tuples(st.integers(0, 12_000), seens, st.integers(0, 2)), max_size=30))
def test_windows_of_several_coordinators_are_the_window_of_one(
    events: list[tuple[int, Counts, int]],
) -> None:
    """Whoever saw what: all come to the same verdict."""
    one: Window = {}
    several: list[Window] = [{}, {}, {}]
    for after, seen, who in sorted(events, key=lambda event: event[0]):
        one = noted(one, POLICY, seen, NOW + after)
        several[who] = noted(several[who], POLICY, seen, NOW + after)
    end = NOW + 12_000
    assert merged([one], POLICY, end) == merged(several, POLICY, end)
    assert merged(several, POLICY, end) == merged(reversed(several), POLICY, end)
