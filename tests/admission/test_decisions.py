"""What becomes of a redemption whose bank or partner cannot take it: nothing is deducted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
import pytest

from orchestrator.admission.breaker import Breaker, HealthPolicy, State, WhenUnavailable
from orchestrator.admission.gate import Allowance
from orchestrator.batch.decode import InboundEvent
from orchestrator.batch.effects import BatchResult
from schemas import events
from tests.engine.checkers import REQUEST
from tests.engine.memory import START, Platform

KEY: Final = "alipayhk/w-1"
IDS: Final = {"request_id": "r-1", "account": "w-1"}
REFUSES: Final = HealthPolicy()
HOLDS: Final = HealthPolicy(when_unavailable=WhenUnavailable.HOLD, hold_for=60_000)
UNTIL: Final = START + 30_000


@dataclass
class Gated(Platform):
    """A platform in memory that is told what participants can take."""

    allowances: Mapping[str, Allowance] = field(default_factory=dict)

    def decide(self, arrivals: Sequence[InboundEvent]) -> BatchResult:
        needs = self.decider.needs(arrivals, self.now)
        wanted = {saga for _, saga in needs.keys}.union(needs.strays)
        loaded = {saga_id: self.saga(saga_id) for saga_id in wanted if saga_id in self.rows}
        used = {key: self.used[key] for key in needs.limits if key in self.used}
        return self.decider.decide(arrivals, loaded, used, self.now, allowances=self.allowances)


def open_for(policy: HealthPolicy) -> Allowance:
    return Allowance(policy, Breaker(1, State.OPEN, START, UNTIL), probes=0)


def gated(who: str, allowance: Allowance) -> tuple[Gated, BatchResult]:
    """A platform that got one request."""
    platform = Gated(allowances={who: allowance})
    platform.request(REQUEST)
    return platform, platform.batch()


def told(decision: BatchResult) -> list[dict[str, Any]]:
    values = (r.value for r in decision.outgoing if r.topic.endswith(".results"))
    return [orjson.loads(found or b"") for found in values]


def topics(decision: BatchResult) -> list[str]:
    return [record.topic for record in decision.outgoing]


def ring(platform: Gated, at: int) -> BatchResult:
    platform.now = at
    platform.ring()
    return platform.batch()


@pytest.mark.parametrize("who", ("citi", "alipayhk"))
def test_it_is_refused_and_nothing_is_taken(who: str) -> None:
    platform, decision = gated(who, open_for(REFUSES))
    (result,) = told(decision)
    assert (result["status"], result["final"]) == ("REJECTED", True)
    assert result["reason"]["code"] == "PARTNER_UNAVAILABLE"
    assert result["reason"]["recoverable"] is True
    assert topics(decision) == ["uprp.alipayhk.results"]
    assert not +platform.used
    assert not decision.changes.movements
    assert not decision.taken
    assert decision.counts["unavailable_breaker"] == 1


def test_what_would_be_refused_anyway_takes_no_probe() -> None:
    platform = Gated(allowances={"citi": Allowance(REFUSES, Breaker(), probes=1)})
    platform.request(REQUEST | {"lines": [{"item": "hkd20", "quantity": 1}]})
    decision = platform.batch()
    assert told(decision)[0]["reason"]["code"] == "BELOW_MINIMUM"
    assert not decision.taken
    platform.request(REQUEST | {"request_id": "r-2"})
    decision = platform.batch()
    assert decision.taken["citi"].sagas == 1
    assert topics(decision) == ["uprp.citi.commands"]


def test_a_duplicate_of_what_is_in_flight_is_not_a_new_saga() -> None:
    platform = Gated()
    platform.request(REQUEST)
    platform.batch()
    platform.allowances = {"citi": open_for(REFUSES)}
    platform.request(REQUEST)
    assert told(platform.batch())[0]["status"] == "PENDING"


def test_one_batch_lets_through_no_more_than_there_is_room() -> None:
    platform = Gated(allowances={"alipayhk": Allowance(REFUSES, Breaker(), room=5)})
    for number in range(4):
        # Of an account each, so that no limit plays a part.
        ids = {"account": f"w-{number}", "request_id": f"r-{number}"}
        platform.request(REQUEST | ids)
    decision = platform.batch()
    assert [result["reason"]["code"] for result in told(decision)] == ["PARTNER_UNAVAILABLE"] * 2
    assert topics(decision).count("uprp.citi.commands") == 2
    assert decision.taken["alipayhk"].legs == 4


def test_it_is_held_with_its_limit_and_asked_when_there_is_room() -> None:
    platform, decision = gated("alipayhk", open_for(HOLDS))
    assert topics(decision) == []
    assert sum(platform.used.values()) == 16_000
    (saga,) = platform.sagas()
    assert UNTIL <= saga.held < UNTIL + 1_000
    assert [entry.event for entry in decision.changes.timeline] == ["held"]
    # Looked at, and there is still no room: only the next look is later.
    again = ring(platform, saga.held)
    assert topics(again) == []
    assert not again.changes.timeline
    (saga,) = platform.sagas()
    assert saga.held > platform.now
    platform.allowances = {"alipayhk": Allowance(HOLDS, Breaker(), probes=1)}
    released = ring(platform, saga.held)
    assert topics(released) == ["uprp.citi.commands"]
    assert released.taken["alipayhk"].legs == 2
    assert platform.sagas()[0].held == 0


def test_it_is_held_no_longer_than_the_policy_says_and_gives_its_limit_back() -> None:
    platform, _ = gated("alipayhk", open_for(HOLDS))
    told_at: list[int] = []
    while not told_at:
        due = platform.next_due()
        assert due is not None, "a held saga always has a timer"
        decision = ring(platform, due)
        told_at += [platform.now for _ in told(decision)]
    assert told_at == [START + HOLDS.hold_for]
    (result,) = told(decision)
    assert (result["status"], result["final"]) == ("REJECTED", True)
    assert result["reason"]["code"] == "PARTNER_UNAVAILABLE"
    assert not +platform.used
    assert platform.next_due() is None


def test_a_held_redemption_can_be_asked_about_and_taken_back() -> None:
    platform, _ = gated("alipayhk", open_for(HOLDS))
    platform.arrive("alipayhk", events.INQUIRED, KEY, IDS)
    assert [one["status"] for one in told(platform.batch())] == ["PENDING"]
    platform.arrive("alipayhk", events.WITHDRAWN, KEY, IDS)
    decision = platform.batch()
    assert [one["status"] for one in told(decision)] == ["CANCELLED"]
    assert not +platform.used
    assert platform.next_due() is None


def test_a_policy_that_no_longer_holds_refuses_what_is_held() -> None:
    platform, _ = gated("alipayhk", open_for(HOLDS))
    platform.allowances = {
        "alipayhk": open_for(replace(HOLDS, when_unavailable=WhenUnavailable.REFUSE))
    }
    (result,) = told(ring(platform, platform.next_due() or 0))
    assert result["reason"]["code"] == "PARTNER_UNAVAILABLE"
