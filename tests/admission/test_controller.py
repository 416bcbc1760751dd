"""Several coordinators, one verdict: found from rows of their own, without a call per record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.admission.breaker import Counts, HealthPolicy, State
from orchestrator.admission.controller import DEAF_MS, AdmissionController
from orchestrator.admission.gate import Gate, legs_needed
from orchestrator.admission.outcomes import ParticipantOutcomes
from orchestrator.admission.sync import HealthSync
from orchestrator.errors import Unavailable
from orchestrator.ports import Record
from orchestrator.sagas.redemption.intake import first_legs
from orchestrator.sagas.redemption.kind import REDEMPTION
from orchestrator.settings import LogSettings
from orchestrator.telemetry import Metrics, configure_logs
from tests.admission.board import Board
from tests.platform.rows import NOW, terms

WHO: Final = "alipayhk"
LEGS: Final = 2  # Of each saga, at that participant.
TERMS: Final = terms()
MOST: Final = 12
POLICY: Final = HealthPolicy(
    breaker_window=10_000, breaker_min_samples=6, open_for=5_000, probes=3, in_flight_max=MOST
)


@dataclass
class Clock:
    """A clock that a test moves."""

    at: int = NOW

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.at / 1000


@dataclass
class Node:
    """One coordinator: its gatekeeper, its loop, and what it let through."""

    board: Board
    name: str
    clock: Clock
    policy: HealthPolicy = POLICY
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.admission = AdmissionController({WHO: self.policy})
        self.loop = HealthSync(
            admission=self.admission,
            board=self.board.of(self.name),
            clock=self.clock,
            log=configure_logs(LogSettings(level="error", format="json")),
            metrics=self.metrics,
            every_s=0.5,
        )

    def share(self) -> None:
        asyncio.run(self.loop.run_once())

    def ask(self) -> bool:
        """Begin a saga if the gate lets it through; commit it with its legs in flight."""
        gate = Gate(self.admission.allowances(self.clock.at))
        definition = REDEMPTION.definition
        needed = legs_needed(first_legs(definition, TERMS), TERMS, definition)
        if gate.admit(needed) is not None:
            assert not gate.taken
            return False
        self.commit(ParticipantOutcomes({WHO: Counts(asked=LEGS)}, {WHO: LEGS}), gate.taken)
        return True

    def commit(self, outcomes: ParticipantOutcomes, taken: Any = None) -> None:
        self.board.in_flight.update(outcomes.in_flight)
        self.admission.committed(outcomes, taken or {}, self.clock.at)

    def answered(self, legs: int = LEGS) -> None:
        self.commit(ParticipantOutcomes({WHO: Counts(answered=legs)}, {WHO: -legs}))

    def missed(self, legs: int = LEGS) -> None:
        self.commit(ParticipantOutcomes({WHO: Counts(missed=legs)}, {}))

    def state(self) -> State:
        ((_, breaker, _),) = self.admission.standings()
        return breaker.state


def nodes(count: int = 2, policy: HealthPolicy = POLICY) -> tuple[Board, Clock, list[Node]]:
    board, clock = Board(), Clock()
    made = [Node(board, f"n{number}", clock, policy) for number in range(count)]
    for _ in range(2):
        for node in made:
            node.share()
    return board, clock, made


def round_of(*all_nodes: Node) -> None:
    """Everybody tells, then everybody has heard."""
    for _ in range(2):
        for node in all_nodes:
            node.share()


def test_what_two_have_seen_together_opens_it_for_both() -> None:
    _, _, (one, other) = nodes()
    one.missed(3)
    round_of(one, other)
    assert (one.state(), other.state()) == (State.CLOSED, State.CLOSED)
    other.missed(3)
    round_of(one, other)
    assert (one.state(), other.state()) == (State.OPEN, State.OPEN)
    assert not one.ask()
    assert not other.ask()
    assert (
        other.metrics.registry.get_sample_value("uprp_participant_state", {"participant": WHO}) == 2
    )


def test_it_stays_open_over_a_restart_and_for_who_comes_later() -> None:
    board, clock, (one,) = nodes(1)
    one.missed(6)
    round_of(one)
    later = Node(board, "later", clock)
    later.share()
    assert later.state() is State.OPEN
    assert not later.ask()


def test_probes_are_shared_and_their_answers_close_it() -> None:
    _, clock, (one, other) = nodes()
    one.missed(6)
    round_of(one, other)
    clock.at += POLICY.open_for
    round_of(one, other)
    assert (one.state(), other.state()) == (State.HALF_OPEN, State.HALF_OPEN)
    let = [sum(node.ask() for _ in range(9)) for node in (one, other)]
    assert sum(let) == POLICY.probes
    assert min(let) >= 1
    one.answered()
    other.answered()
    round_of(one, other)
    assert (one.state(), other.state()) == (State.CLOSED, State.CLOSED)
    assert one.ask()


def test_a_probe_that_is_missed_opens_it_again() -> None:
    _, clock, (one,) = nodes(1)
    one.missed(6)
    round_of(one)
    clock.at += POLICY.open_for
    round_of(one)
    assert one.ask()
    one.missed(1)
    round_of(one)
    assert one.state() is State.OPEN
    clock.at += POLICY.open_for - 1
    round_of(one)
    assert one.state() is State.OPEN


def test_what_was_seen_before_it_moved_does_not_move_it_again() -> None:
    """The misses that opened it are still within the window when it closes."""
    _, clock, (one, other) = nodes()
    one.missed(9)
    round_of(one, other)
    clock.at += POLICY.open_for
    round_of(one, other)
    for node in (one, other):
        while node.ask():
            node.answered()
    round_of(one, other)
    round_of(one, other)
    assert (one.state(), other.state()) == (State.CLOSED, State.CLOSED)


def test_room_is_given_back_without_waiting_for_the_others() -> None:
    _, _, (one,) = nodes(1)
    for _ in range(50):
        assert one.ask()
        one.answered()


def test_probes_that_were_lost_on_the_way_are_replaced() -> None:
    _, clock, (one,) = nodes(1)
    one.missed(6)
    round_of(one)
    clock.at += POLICY.open_for
    round_of(one)
    assert sum(one.ask() for _ in range(9)) == POLICY.probes
    one.commit(ParticipantOutcomes({}, {WHO: -POLICY.probes * LEGS}))
    clock.at += POLICY.open_for + POLICY.patience
    round_of(one)
    assert one.state() is State.HALF_OPEN
    assert sum(one.ask() for _ in range(9)) == POLICY.probes


def test_room_is_what_was_read_once_it_is_read_again() -> None:
    _, _, (one,) = nodes(1)
    assert sum(one.ask() for _ in range(9)) == MOST // LEGS
    for _ in range(2):
        one.answered()
    one.share()
    assert sum(one.ask() for _ in range(9)) == 2


def meanwhile(node: Node, what: Callable[[], object]) -> None:
    """Share once, while something is committed between the board's answer and its arrival."""
    board = node.loop._board
    share = board.share

    async def slowly(*arguments: Any) -> Any:
        found = await share(*arguments)
        what()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(board, "share", slowly)
        node.share()


def test_what_grows_while_the_board_is_read_counts() -> None:
    _, _, (one,) = nodes(1)
    meanwhile(one, one.ask)
    assert sum(one.ask() for _ in range(9)) == MOST // LEGS - 1


def test_what_shrinks_while_the_board_is_read_does_not_count_twice() -> None:
    """It may be in what was read: room that is found a little late is better than none."""
    _, _, (one,) = nodes(1)
    assert sum(one.ask() for _ in range(9)) == MOST // LEGS
    meanwhile(one, one.answered)
    assert not one.ask()
    one.share()
    assert one.ask()


def test_what_is_seen_while_the_board_is_read_is_told_next_time() -> None:
    _, _, (one, other) = nodes()
    one.missed(1)
    meanwhile(one, lambda: one.missed(5))
    round_of(one, other)
    assert other.state() is State.OPEN


def test_a_rate_is_counted_from_batch_to_batch() -> None:
    _, clock, (one,) = nodes(1, HealthPolicy(rate_per_s=2 * LEGS, burst=3 * LEGS))
    assert sum(one.ask() for _ in range(9)) == 3
    clock.at += 1_000
    assert sum(one.ask() for _ in range(9)) == 2


def test_a_coordinator_that_is_gone_leaves_its_part_to_the_others() -> None:
    _, clock, (one, _) = nodes()
    assert sum(one.ask() for _ in range(9)) == 3
    clock.at += 10_000
    one.share()
    assert sum(one.ask() for _ in range(9)) == 3


def test_without_the_database_the_last_verdict_stands_and_its_age_is_seen() -> None:
    board, clock, (one,) = nodes(1)
    one.missed(6)
    round_of(one)
    learned = one.metrics.registry.get_sample_value("uprp_health_learned_timestamp_seconds")
    board.away = True
    clock.at += 60_000
    with pytest.raises(Unavailable):
        one.share()
    assert one.state() is State.OPEN
    assert not one.ask()
    assert (
        one.metrics.registry.get_sample_value("uprp_health_learned_timestamp_seconds")
        == learned
        == NOW / 1000
    )
    asyncio.run(one.loop.begin())
    board.away = False
    one.share()
    assert one.state() is State.HALF_OPEN


# -- when silence proves anything -----------------------------------------------------------------


def reply_at(at: int) -> Record:
    return Record(f"uprp.{WHO}.replies", 0, 0, None, None, (), at)


def listening(keeper: AdmissionController) -> int:
    return keeper._listening.get(WHO, 0)


def test_a_loop_that_stood_still_may_have_missed_answers() -> None:
    keeper = AdmissionController({WHO: POLICY})
    keeper.heard([], NOW)
    assert listening(keeper) == NOW
    keeper.heard([], NOW + DEAF_MS)
    assert listening(keeper) == NOW
    keeper.heard([], NOW + 3 * DEAF_MS)
    assert listening(keeper) == NOW + 3 * DEAF_MS


def test_answers_that_were_read_late_were_not_given_late() -> None:
    keeper = AdmissionController({WHO: POLICY})
    keeper.heard([], NOW)
    keeper.heard([reply_at(NOW)], NOW + DEAF_MS)
    assert listening(keeper) == NOW
    keeper.heard([reply_at(NOW - 1)] * 500, NOW + DEAF_MS)
    assert listening(keeper) == NOW + DEAF_MS
    keeper.heard([reply_at(0)], NOW + DEAF_MS + 1)
    assert listening(keeper) == NOW + DEAF_MS, "0: the broker does not say"


# -- whatever happens -----------------------------------------------------------------------------

actions: Final = st.lists(
    st.tuples(
        st.sampled_from(("ask", "ask", "ask", "answered", "missed", "share", "wait")),
        st.integers(0, 2),
    ),
    max_size=120,
)


@settings(max_examples=80, deadline=None)
@given(actions, st.integers(1, 3))
def test_never_more_than_the_bulkhead_nor_than_the_probes(steps: list[Any], count: int) -> None:
    """One coordinator keeps the bulkhead exactly; several may pass it by what one round hides."""
    board, clock, made = nodes(count)
    waiting = probed = revision = 0
    for action, who in steps:
        node = made[who % count]
        now = board.breakers.get(WHO)
        if now is not None and now.revision != revision:
            revision, probed = now.revision, 0
        if action == "ask":
            stale = node.admission._watches[WHO].breaker.revision != revision
            if node.ask():
                waiting += 1
                probed += not stale
                assert node.state() is not State.OPEN
            if count == 1:
                assert board.in_flight[WHO] <= MOST
        elif action == "answered" and waiting:
            waiting -= 1
            node.answered()
        elif action == "missed":
            node.missed(1)
        elif action == "wait":
            clock.at += 1_500
        if action in ("share", "wait"):
            round_of(*made)
        if now is not None and now.state is State.HALF_OPEN and now.revision == revision:
            assert probed <= POLICY.probes
    assert board.in_flight[WHO] <= count * MOST


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1)), max_size=5), st.integers(1, 9))
def test_it_never_opens_under_its_least_samples(seen: list[Any], after: int) -> None:
    _, clock, made = nodes()
    for answered, who in seen:
        (made[who].answered if answered else made[who].missed)(1)
        clock.at += after
        round_of(*made)
        assert {node.state() for node in made} == {State.CLOSED}
