"""Every state that a question about a balance can reach, by everything that can happen to it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Leg, Saga, Terms
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import DECIDED, IN_FLIGHT, Event, NoChange, Status
from orchestrator.engine.policy import LegPolicy, Policies, Rung
from orchestrator.sagas.balance.definition import DEFINITION
from orchestrator.sagas.balance.kind import BALANCE
from orchestrator.sagas.balance.terms import BalanceTerms
from schemas.balance import BalanceStatus
from schemas.ids import key_hash, saga_id

NOW: Final = 1_800_000_000_000
TERMS: Final = Terms(
    saga_id=saga_id("wallet", "w-1", "b-1", "balance"),
    key_hash=key_hash(b"wallet/w-1"),
    programme="coupons",
    origin="wallet",
    account="w-1",
    request_id="b-1",
    content="digest",
    accepted_at=NOW,
    definition=DEFINITION.name,
    definition_version=DEFINITION.version,
    participants=("wallet", "bank"),
    body=BalanceTerms(debtor_account="card-1"),
)
SAID: Final = (
    Event.CONFIRMED,
    Event.REJECTED,
    Event.CANCELLED,
    Event.PENDING,
    Event.NOT_RECEIVED,
    Event.UNUSABLE,
)
LADDERS: Final = {
    "once": LegPolicy(response_timeout=3_000, rungs=(), times=0),
    "said again twice": LegPolicy(
        response_timeout=3_000, rungs=(Rung.RESEND,), every=1_000, times=2
    ),
}


def after(engine: Engine, saga: Saga, now: int) -> Iterator[tuple[str, Saga | NoChange]]:
    """Everything that can happen to it."""
    for event in SAID:
        update = LegUpdate(event=event, amount=int(event is Event.CONFIRMED), reference="R")
        yield event, engine.apply_reply(saga, "balance", update, now)
    yield "timer", engine.apply_timer(saga, engine.due(saga) or now)
    yield "withdrawn", engine.withdraw(saga, now)
    yield "asked", engine.status_requested(saga, now)


@pytest.mark.parametrize("name", tuple(LADDERS))
def test_it_is_in_flight_with_a_timer_or_has_ended_with_one_answer(name: str) -> None:
    engine = Engine(BALANCE, Policies({("bank", "balance"): LADDERS[name]}))
    begun = engine.start(TERMS, (Leg("balance", 1),), NOW)
    seen, fresh = {begun}, [begun]
    ended = set()
    while fresh:
        saga = fresh.pop()
        (leg,) = saga.legs
        assert not saga.parked
        assert engine.allowed(saga, leg) == ()
        if saga.told is None:
            assert leg.status in IN_FLIGHT, saga
            assert engine.due(saga) is not None, saga
        else:
            assert saga.ended
            assert saga.told.revision == 1
            assert engine.due(saga) is None
            assert (saga.told.status == BalanceStatus.ANSWERED) is (leg.moved == 1)
            ended.add(leg.status)
        for what, then in after(engine, saga, engine.due(saga) or NOW):
            if isinstance(then, NoChange):
                continue
            assert saga.told is None, f"{what} changed what has ended: {saga}"
            folded = replace(then, revision=1)  # A revision grows for ever and decides nothing.
            if folded not in seen:
                seen.add(folded)
                fresh.append(folded)
        assert len(seen) < 500
    assert ended >= {Status.CONFIRMED, Status.REJECTED, Status.CANCELLED} & DECIDED


def test_people_have_nothing_to_decide_about_it() -> None:
    engine = Engine(BALANCE, Policies({}))
    saga = engine.start(TERMS, (Leg("balance", 1),), NOW)
    called = replace(saga.legs[0], status=Status.UNKNOWN, escalated_at=NOW)
    assert called.parked
    assert engine.allowed(saga.with_leg(called), called) == ()
