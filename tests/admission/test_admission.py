"""The gate: what it lets through, what it takes, and who says no."""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.admission.breaker import Breaker, HealthPolicy, State, WhenUnavailable
from orchestrator.admission.gate import (
    LOOK_MS,
    MICRO,
    Admitted,
    Allowance,
    Blocked,
    Gate,
    Limiter,
    Slot,
    TokenBucket,
    allowance,
    legs_needed,
    refilled,
    spent,
)
from orchestrator.engine.instance import Terms
from orchestrator.sagas.redemption.intake import first_legs
from orchestrator.sagas.redemption.kind import REDEMPTION
from orchestrator.sagas.redemption.terms import Deducted
from tests.platform.rows import NOW, terms

TERMS: Final = terms()
POLICY: Final = HealthPolicy()
HOLD: Final = HealthPolicy(when_unavailable=WhenUnavailable.HOLD, hold_for=60_000)


def gate(**allowances: Allowance) -> Gate:
    return Gate(allowances)


def needed(agreed: Terms, deducted: Deducted | None = None) -> dict[str, int]:
    definition = REDEMPTION.definition
    return legs_needed(first_legs(definition, agreed, deducted), agreed, definition)


def admit(found: Gate) -> Blocked | None:
    return found.admit(needed(TERMS))


def test_a_saga_needs_one_deduction_and_a_credit_for_each_line() -> None:
    assert needed(TERMS) == {"citi": 1, "alipayhk": 2}
    assert needed(replace(TERMS, participants=("alipayhk", "citi", "citi"))) == {"citi": 3}
    assert needed(TERMS, Deducted("D-1", TERMS.body.points)) == {"alipayhk": 2}


def test_whoever_is_not_bounded_takes_everything() -> None:
    free = gate(harbour=Allowance(POLICY, Breaker(), probes=0))
    assert admit(free) is None
    assert admit(gate()) is None
    assert not free.taken


def test_each_of_the_three_can_say_no() -> None:
    opened = Breaker(1, State.OPEN, NOW, NOW + 9)
    for bound, why, until in (
        (Allowance(POLICY, opened, probes=0), Limiter.BREAKER, NOW + 9),
        (Allowance(POLICY, Breaker(), room=1), Limiter.BULKHEAD, None),
        (Allowance(POLICY, Breaker(), tokens=MICRO - 1), Limiter.RATE, None),
    ):
        objection = admit(gate(alipayhk=bound))
        assert objection is not None
        assert (objection.participant, objection.why) == ("alipayhk", why)
        assert objection.until == until


def test_what_is_let_through_is_taken_from_everybody_and_else_from_nobody() -> None:
    found = gate(
        citi=Allowance(POLICY, Breaker(), room=3),
        alipayhk=Allowance(POLICY, Breaker(), room=4, tokens=4 * MICRO),
    )
    assert admit(found) is None
    assert admit(found) is None
    assert admit(found) is not None
    assert found.taken == {"citi": Admitted(2, 2), "alipayhk": Admitted(2, 4)}


def test_a_refusal_counts_before_a_hold_and_a_short_patience_before_a_long_one() -> None:
    holds = Allowance(HOLD, Breaker(), room=0)
    short = Allowance(replace(HOLD, hold_for=10), Breaker(), room=0)
    refuses = Allowance(POLICY, Breaker(), room=0)
    for one, other, who in (
        (holds, refuses, "alipayhk"),
        (refuses, holds, "citi"),
        (holds, short, "alipayhk"),
    ):
        objection = admit(gate(citi=one, alipayhk=other))
        assert objection is not None
        assert objection.participant == who


def of(number: int) -> Terms:
    """The same terms for another saga."""
    return replace(TERMS, saga_id=str(UUID(int=number)))


def test_held_sagas_are_looked_at_again_when_there_may_be_room_and_not_all_at_once() -> None:
    held = Blocked("citi", Limiter.BREAKER, WhenUnavailable.HOLD, 60_000, NOW + 30_000)
    looks = {held.next_look(NOW, of(n)) for n in range(3_000)}
    assert min(looks) == NOW + 30_000
    assert max(looks) == NOW + 30_000 + LOOK_MS - 1
    assert len(looks) == LOOK_MS
    assert replace(held, until=None).next_look(NOW, of(0)) == NOW + LOOK_MS


def test_a_saga_is_held_no_longer_than_the_policy_says() -> None:
    held = Blocked("citi", Limiter.RATE, WhenUnavailable.HOLD, 60_000, None)
    end = TERMS.accepted_at + 60_000
    assert held.holds(end - 1, TERMS)
    assert held.next_look(end - 1, TERMS) == end
    assert not held.holds(end, TERMS)
    refuses = replace(held, when_unavailable=WhenUnavailable.REFUSE)
    assert not refuses.holds(TERMS.accepted_at, TERMS)


# -- shares ---------------------------------------------------------------------------------------


@given(st.integers(0, 1_000), st.integers(1, 20), st.integers(0, 50))
def test_the_parts_are_the_whole(total: int, of: int, turn: int) -> None:
    parts = [Slot(rank, of).share(total, turn) for rank in range(of)]
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1


def test_whoever_got_no_probe_gets_one_in_a_later_turn() -> None:
    got = {rank for turn in range(3) for rank in range(3) if Slot(rank, 3).share(1, turn)}
    assert got == {0, 1, 2}


# -- rates ----------------------------------------------------------------------------------------


@given(
    st.integers(1, 500),
    st.integers(1, 100),
    st.integers(1, 7),
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(1, 4)), max_size=60),
)
def test_a_rate_holds_over_any_time(
    rate: int, burst: int, of: int, asks: list[tuple[int, int]]
) -> None:
    """All parts together: a burst, then the rate, then the last saga's own legs."""
    policy = HealthPolicy(rate_per_s=rate, burst=burst)
    asked = passed = 0
    for rank in range(of):
        now = NOW
        bucket = refilled(None, policy, Slot(rank, of), now)
        for after, legs in asks:
            now += after
            bucket = refilled(bucket, policy, Slot(rank, of), now)
            assert bucket is not None
            if Allowance(policy, Breaker(), tokens=bucket.level).objection(legs) is None:
                bucket = spent(bucket, legs)
                asked += legs
        passed = now - NOW
    most = max(burst, of) + rate * passed / 1_000 + 4 * of
    assert asked <= most


def test_coordinators_share_a_rate() -> None:
    policy = HealthPolicy(rate_per_s=10, burst=2)
    asked = 0
    for rank in range(2):
        bucket = None
        for at in range(0, 10_000, 10):
            bucket = refilled(bucket, policy, Slot(rank, 2), NOW + at)
            assert bucket is not None
            if Allowance(policy, Breaker(), tokens=bucket.level).objection(1) is None:
                bucket = spent(bucket, 1)
                asked += 1
    assert 100 <= asked <= 102


def test_a_slow_rate_is_exact_for_every_coordinator() -> None:
    policy = HealthPolicy(rate_per_s=1, burst=1)
    bucket = TokenBucket(0, NOW)
    for at in range(1, 3_001):
        found = refilled(bucket, policy, Slot(0, 3), NOW + at)
        assert found is not None
        bucket = found
    assert MICRO - 3_000 <= bucket.level <= MICRO


# -- what is left ---------------------------------------------------------------------------------


def test_room_is_what_all_have_left_less_what_was_let_through_since() -> None:
    policy = HealthPolicy(in_flight_max=10)

    def room(in_flight: int, change: int, part: Slot) -> int | None:
        return allowance(
            policy, Breaker(), part, in_flight=in_flight, change=change, probed=0, bucket=None
        ).room

    assert room(4, 0, Slot()) == 6
    assert room(4, 2, Slot()) == 4
    assert room(12, 0, Slot()) == 0
    assert [room(5, 1, Slot(rank, 2)) for rank in (0, 1)] == [2, 1]


def test_probes_are_shared_and_an_open_breaker_has_none() -> None:
    def probes(state: State, probed: int) -> int | None:
        breaker = Breaker(2, state, NOW, NOW)
        return allowance(
            POLICY, breaker, Slot(0, 2), in_flight=0, change=0, probed=probed, bucket=None
        ).probes

    assert probes(State.CLOSED, 0) is None
    assert probes(State.OPEN, 0) == 0
    assert probes(State.HALF_OPEN, 0) == 2
    assert probes(State.HALF_OPEN, 2) == 0
