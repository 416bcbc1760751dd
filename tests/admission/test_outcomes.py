"""What a batch tells of the participants, and that legs in flight add up whatever happens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.admission.breaker import Counts
from orchestrator.admission.outcomes import ParticipantOutcomes, in_flight, observe
from orchestrator.batch.effects import BatchResult
from orchestrator.engine.machine import Status
from schemas import events
from schemas.ids import saga_id
from tests.engine.checkers import REQUEST
from tests.engine.memory import START, Platform

LINES: Final[Any] = REQUEST["lines"]
KEY: Final = "alipayhk/w-1"
SAGA: Final = saga_id("alipayhk", "w-1", "r-1")
YES: Final = {"outcome": "CONFIRMED", "reference": "R-1"}
NO: Final = {"outcome": "REJECTED", "reason": {"code": "PARTNER_DECLINED"}}
LATER: Final = {"outcome": "PENDING"}
ODD: Final = {"outcome": "MAYBE"}
GONE: Final = {"outcome": "CANCELLED"}
QUANTITIES: Final = {f"credit/{number}": line["quantity"] for number, line in enumerate(LINES, 1)}
PATHS: Final = (
    ("citi", "deduct"),
    ("alipayhk", "credit/1"),
    ("alipayhk", "credit/2"),
    ("citi", "deduct/return"),
)


class Sums(Platform):
    """Anything may happen here, also after the end: only what is in flight is looked at."""

    def _check_limits(self) -> None:
        pass

    def _check_suspense(self) -> None:
        pass


@dataclass
class Watched:
    """A platform in memory whose every batch is observed."""

    platform: Platform = field(default_factory=Sums)
    total: Counter[str] = field(default_factory=Counter)
    since: dict[str, int] = field(default_factory=dict)
    listening: dict[str, int] = field(default_factory=dict)

    def begun(self) -> Watched:
        self.platform.request(REQUEST)
        self.batch()
        return self

    def batch(self) -> ParticipantOutcomes:
        return self.observed(self.platform.batch())

    def observed(self, decision: BatchResult) -> ParticipantOutcomes:
        found = observe(decision.changes.sagas.values(), self.since, self.listening)
        self.total.update(found.in_flight)
        expected: Counter[str] = Counter()
        for saga in self.platform.sagas():
            expected.update(in_flight(saga))
        assert {name: n for name, n in self.total.items() if n} == expected
        return found

    def reply(self, who: str, path: str, **data: Any) -> ParticipantOutcomes:
        said = {"leg_id": f"{SAGA}/{path}"} | data
        if data == YES and path.startswith("credit"):
            said["quantity"] = QUANTITIES[path]
        self.platform.arrive(who, events.ANSWERED, KEY, said)
        return self.batch()

    def ring(self, after: int) -> ParticipantOutcomes:
        self.platform.now += after
        self.platform.ring()
        return self.batch()


def test_a_redemption_is_in_flight_at_both_from_the_moment_it_is_asked() -> None:
    watched = Watched()
    watched.platform.request(REQUEST)
    found = watched.batch()
    assert found.in_flight == {"citi": 1, "alipayhk": 2}
    assert found.seen == {"citi": Counts(1, 0, 0)}
    found = watched.reply("citi", "deduct", **YES)
    assert found.in_flight == {"citi": -1}
    assert found.seen == {"citi": Counts(0, 1, 0), "alipayhk": Counts(2, 0, 0)}
    watched.reply("alipayhk", "credit/1", **YES)
    found = watched.reply("alipayhk", "credit/2", **YES)
    assert found == ParticipantOutcomes({"alipayhk": Counts(0, 1, 0)}, {"alipayhk": -1})
    assert not +watched.total


def test_a_refusal_is_the_answer_of_a_healthy_participant() -> None:
    found = Watched().begun().reply("citi", "deduct", **NO)
    assert found.seen == {"citi": Counts(0, 1, 0)}
    assert found.in_flight == {"citi": -1, "alipayhk": -2}


def test_an_answer_that_is_late_or_cannot_be_used_was_missed_once() -> None:
    late = Watched().begun()
    assert late.ring(5_000).seen == {"citi": Counts(0, 0, 1)}
    assert late.ring(3_000).seen == {}
    assert late.reply("citi", "deduct", **YES).seen == {"alipayhk": Counts(2, 0, 0)}
    odd = Watched().begun().reply("citi", "deduct", **ODD)
    assert odd.seen == {"citi": Counts(0, 0, 1)}


def test_what_is_pending_was_answered_and_is_not_in_flight() -> None:
    found = Watched().begun().reply("citi", "deduct", **LATER)
    assert found.seen == {"citi": Counts(0, 1, 0)}
    assert found.in_flight == {"citi": -1, "alipayhk": -2}


def test_who_will_not_be_asked_any_more_has_its_room_back() -> None:
    watched = Watched().begun()
    ids = {"request_id": "r-1", "account": "w-1"}
    watched.platform.arrive("alipayhk", events.WITHDRAWN, KEY, ids)
    assert watched.batch().in_flight == {"alipayhk": -2}
    assert watched.total["citi"] == 1


def test_what_is_being_cancelled_is_still_owed_an_answer() -> None:
    watched = Watched().begun()
    for _ in range(3):
        watched.ring(5_000)
    (saga,) = watched.platform.sagas()
    assert saga.legs[0].status is Status.CANCELLING
    assert watched.total == {"citi": 1, "alipayhk": 0}


def test_silence_proves_nothing_while_this_coordinator_did_not_listen() -> None:
    watched = Watched().begun()
    watched.listening["citi"] = START + 1
    assert watched.ring(5_000).seen == {}
    assert watched.total["citi"] == 1
    answered = Watched().begun()
    answered.listening["citi"] = START + 1
    assert answered.reply("citi", "deduct", **YES).seen["citi"] == Counts(0, 1, 0)


def test_what_was_asked_before_the_breaker_moved_says_nothing_about_it_now() -> None:
    for missed in (False, True):
        watched = Watched().begun()
        watched.since["citi"] = START + 1
        found = watched.ring(5_000) if missed else watched.reply("citi", "deduct", **NO)
        assert found.seen == {}


steps: Final = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(PATHS), st.sampled_from((YES, NO, LATER, ODD, GONE))),
        st.sampled_from((5_000, 60_000, 90_000_000)),
        st.sampled_from((events.WITHDRAWN, events.INQUIRED)),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_legs_in_flight_add_up_whatever_happens(taken: list[Any]) -> None:
    """The sum of all changes is what the sagas say, after every batch."""
    watched = Watched().begun()
    for step in taken:
        if isinstance(step, int):
            watched.ring(step)
        elif isinstance(step, str):
            ids = {"request_id": "r-1", "account": "w-1"}
            watched.platform.arrive("alipayhk", step, KEY, ids)
            watched.batch()
        else:
            (who, path), data = step
            watched.reply(who, path, **data)
