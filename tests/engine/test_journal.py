"""Books balance whatever happens, and suspense is empty when all is over (I10, I11)."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.instance import Saga
from orchestrator.engine.machine import IN_FLIGHT
from orchestrator.engine.postings import Transfer
from orchestrator.sagas.redemption.journal import SUSPENSE, transfers
from orchestrator.sagas.redemption.kind import REDEMPTION
from orchestrator.sagas.redemption.terms import Partial
from tests.engine.cases import NOW, engine, started, terms
from tests.engine.sums import balances
from tests.engine.walk import update

STORY = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["confirmed", "rejected"]), st.booleans()),
    max_size=12,
)


def story(partial: Partial, events: list[tuple[int, str, bool]]) -> tuple[Saga, list[Transfer]]:
    """A saga of two lines after those events, and everything that was booked."""
    run = engine()
    saga, booked = started(run, terms(2, partial), NOW), list[Transfer]()
    for at, reply, short in events:
        leg = saga.legs[at % len(saga.legs)]
        amount = 1 if short and leg.verb == "credit" else leg.asked
        now = run.apply_reply(saga, leg.path, update(reply, amount), NOW)
        if isinstance(now, Saga):
            booked += transfers(REDEMPTION.definition, saga, now)
            saga = now
    return saga, booked


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(Partial), STORY)
def test_every_unit_sums_to_zero(partial: Partial, events: list[tuple[int, str, bool]]) -> None:
    saga, booked = story(partial, events)
    units: Counter[str] = Counter()
    found: Counter[tuple[str, str]] = Counter()
    for one in booked:
        assert one.amount > 0
        assert one.debit != one.credit
        found[one.debit, one.unit] -= one.amount
        found[one.credit, one.unit] += one.amount
    for (_, unit), balance in found.items():
        units[unit] += balance
    assert not any(units.values())
    overturned = any(leg.first is not None for leg in saga.legs)
    if not overturned:  # Below zero only while a late yes is not paid for yet.
        assert found[SUSPENSE, "bank-points"] >= 0
    if saga.ended and not saga.parked and not any(leg.status in IN_FLIGHT for leg in saga.legs):
        assert found[SUSPENSE, "bank-points"] == 0


def test_a_success_moves_points_one_way_and_value_the_other() -> None:
    _, booked = story(Partial.KEEP_ISSUED, [(at, "confirmed", False) for at in range(3)])
    assert balances(booked) == {
        ("bank/member/card-1", "bank-points"): -5_005,
        (SUSPENSE, "bank-points"): 0,
        ("bank/redeemed", "bank-points"): 5_005,
        ("issuer/issued", "issuer:hkd50"): -2,
        ("issuer/member/w-1", "issuer:hkd50"): 2,
        ("issuer/issued", "issuer:hkd20"): -1,
        ("issuer/member/w-1", "issuer:hkd20"): 1,
    }


def test_a_reversal_mirrors_what_it_takes_back() -> None:
    """All or nothing: one line short, the other reversed, everything returned."""
    events = [(0, "confirmed", False), (1, "confirmed", True), (2, "rejected", False)]
    saga, booked = story(Partial.ALL_OR_NOTHING, events)
    forward = booked[1:]
    saga, all_booked = story(
        Partial.ALL_OR_NOTHING, [*events, (3, "confirmed", False), (4, "confirmed", False)]
    )
    mirrored = [Transfer(one.credit, one.debit, one.unit, one.amount) for one in forward]
    assert all_booked[3:5] == mirrored
    assert saga.ended
    assert not any(balances(all_booked).values())


def test_a_part_of_a_line_is_booked_at_its_price_rounded_up() -> None:
    """One of two pieces that cost 5 points: 3 are redeemed, 2 come back."""
    events = [(0, "confirmed", False), (1, "confirmed", True), (2, "confirmed", False)]
    saga, booked = story(Partial.KEEP_ISSUED, [*events, (3, "confirmed", False)])
    assert saga.ended
    assert balances(booked)["bank/redeemed", "bank-points"] == 5_003
    assert balances(booked)["bank/member/card-1", "bank-points"] == -5_003
