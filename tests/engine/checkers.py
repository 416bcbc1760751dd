"""The proofs of the engine as plain functions: the tests run them, and so do the planted bugs."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any, Final

import orjson

from orchestrator.engine.policy import Rung, Until
from orchestrator.sagas.redemption.terms import Partial
from schemas import events
from schemas.ids import partition_key, split_leg_id
from tests.engine import (
    orders,
    shapes,
    test_hard_cases,
    test_hard_cases_prededucted,
    test_overruled,
)
from tests.engine.cases import LINES, NOW
from tests.engine.hostile import Hostile
from tests.engine.memory import Platform
from tests.engine.walk import EVENTS, VERDICTS, walk
from tests.engine.world import World

RULED: Final = (*VERDICTS, "decisions")
REQUEST: Final = {
    "request_id": "r-1",
    "account": "w-1",
    "programme": "citi-alipayhk-coupons",
    "debtor_account": "card-1",
    "lines": [{"item": "hkd50", "quantity": 2}, {"item": "hkd20", "quantity": 3}],
}
ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "done": {"outcome": "CONFIRMED", "reference": "R-1"},
    "refused": {"outcome": "REJECTED", "reason": {"code": "PARTNER_DECLINED"}},
    "pending": {"outcome": "PENDING"},
    "not_received": {"outcome": "NOT_RECEIVED"},
    "nonsense": {"outcome": "MAYBE"},
}


def check_walk() -> None:
    """Edges of every kind: a ladder with everything, chains of remedies, two lines, corrections."""
    policy = replace(
        shapes.SHORT,
        rungs=(Rung.INQUIRE, Rung.RESEND),
        cancel=True,
        times=2,
        call_after=Until(after=shapes.CALLED),
        pending_until=Until(after=shapes.PENDING_ENDS),
    )
    walk(shapes.shape("ladder", policy), EVENTS, 0)
    fresh = replace(shapes.SHORT, cancel=True)
    walk(shapes.shape("fresh", fresh, fresh_until=NOW + shapes.FRESH), EVENTS, 0)
    quick = replace(shapes.SHORT, times=0)
    for partial in Partial:
        walk(shapes.shape(f"parts {partial}", quick, shapes.PARTS, partial), RULED, 0)
        walk(shapes.shape(f"lines {partial}", quick, LINES[1:3], partial), VERDICTS, 0)
    for one in shapes.corrected():
        walk(one, RULED, 1)


def check_worlds(seeds: range = range(60), kind: type[World] = World) -> Counter[str]:
    """Worlds that go wrong in every way: belief equals fact. How often each end was reached."""
    ends: Counter[str] = Counter()
    for seed in seeds:
        numbers = random.Random(seed)
        world = kind([numbers.randrange(256) for _ in range(60 + seed % 200)])
        try:
            world.live()
        except AssertionError as error:
            raise AssertionError(f"world {seed}: {error}") from error
        for saga in world.platform.sagas():
            ends[str(saga.told and saga.told.status)] += 1
            ends["corrected"] += bool(saga.told and saga.told.corrected)
            ends.update(str(leg.status) for leg in saga.legs)
            ends["decided"] += any(leg.decision for leg in saga.legs)
            ends["prededucted"] += saga.terms.body.prededucted
        ends += world.also_seen()
    return ends


def talk(script: Mapping[str, str], times: int) -> list[str]:
    """The commands of one redemption whose companies say everything `times` times."""
    platform, seen = Platform(), 0
    platform.request(REQUEST)
    key = partition_key("alipayhk", "w-1")
    for _ in range(9):
        platform.batch()
        fresh = [record for record in platform.outgoing[seen:] if ".commands" in record.topic]
        seen = len(platform.outgoing)
        for record in fresh:
            leg_id = orjson.loads(record.value or b"")["leg_id"]
            _, path = split_leg_id(leg_id)
            answer = {"leg_id": leg_id, **ANSWERS[script.get(path, "done")]}
            owner = record.topic.split(".")[1]
            for _ in range(times):
                platform.arrive(owner, events.ANSWERED, key, answer)
        if not fresh and (due := platform.next_due()) is not None:
            platform.now = max(platform.now, due)
            platform.ring()
    names = (dict(record.headers)["ce_id"] or b"" for record in platform.outgoing)
    return [name.decode() for name in names if b"#r" not in name]


def check_amplification() -> None:
    """Companies that say everything five times cause not one command more, whatever they say."""
    for deduct, first, second in product(ANSWERS, repeat=3):
        script = {"deduct": deduct, "credit/1": first, "credit/2": second}
        once, often = talk(script, 1), talk(script, 5)
        assert often == once, f"{script}: {often} instead of {once}"
        assert len(set(once)) == len(once), f"{script}: said twice: {once}"
        if deduct != "done":
            credited = [name for name in once if "/credit" in name]
            assert not credited, f"{script}: credited without a deduction"


def check_limits() -> None:
    """Redemptions of one account, in every order and every cut into batches: the limit holds."""
    for worths in product((100, 400, 600, 1_000), repeat=3):
        for cuts in product((False, True), repeat=2):
            platform = Platform()
            for at, worth in enumerate(worths):
                lines = [{"item": "hkd50", "quantity": worth // 50}]
                platform.request(REQUEST | {"request_id": f"r-{at}", "lines": lines})
                if at < 2 and cuts[at]:
                    platform.batch()
            platform.batch()
            took = [worth for worth, ok in zip(worths, _accepted(platform), strict=True) if ok]
            assert took == list(_greedy(worths)), (worths, cuts, took)


def _accepted(platform: Platform) -> list[bool]:
    by_id = {saga.terms.request_id: not saga.ended for saga in platform.sagas()}
    return [by_id[request_id] for request_id in sorted(by_id)]


def _greedy(worths: tuple[int, ...]) -> Iterator[int]:
    """Who comes first is served, as long as the sum stays within HK$1,000."""
    used = 0
    for worth in worths:
        if used + worth <= 1_000:
            used += worth
            yield worth


def check_hard_cases() -> None:
    """The hard cases, each as it is told."""
    for module in (test_hard_cases, test_hard_cases_prededucted, test_overruled):
        for name, case in vars(module).items():
            if name.startswith("test_"):
                case()


def check_orders() -> None:
    """One redemption and all its faults, in every order of a few of them."""
    for one in orders.chosen():
        one.search()


def check_hostile() -> None:
    """Worlds in which companies lie, people err and sagas are held; a few."""
    check_worlds(range(40), Hostile)


CHECKERS: Final[Mapping[str, Callable[[], object]]] = {
    "walk": check_walk,
    "worlds": check_worlds,
    "hard cases": check_hard_cases,
    "amplification": check_amplification,
    "limits": check_limits,
    "orders": check_orders,
    "hostile": check_hostile,
}
