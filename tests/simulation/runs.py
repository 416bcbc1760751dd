"""Runs of many seeds: what they found, what they saw, and the shortest schedule of a failure."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from tests.simulation.oracle import complaints
from tests.simulation.plan import Plan, draw, without_ask, without_fault
from tests.simulation.world import World


@dataclass
class Outcome:
    """What came of one plan."""

    plan: Plan
    problems: list[str]
    reached: Counter[str]
    trace: list[str]
    digest: str
    sagas: int
    crashes: int
    hours: float  # Of virtual time.

    @property
    def kind(self) -> str:
        """What kind of thing went wrong; empty if nothing did."""
        return self.problems[0].partition(":")[0] if self.problems else ""


@dataclass
class Tally:
    """What came of many."""

    seeds: int = 0
    sagas: int = 0
    crashes: int = 0
    hours: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one run."""
        self.seeds += 1
        self.sagas += outcome.sagas
        self.crashes += outcome.crashes
        self.hours += outcome.hours
        self.faults.update(fault.kind for fault in outcome.plan.faults)
        self.reached.update(outcome.reached)


def live(plan: Plan) -> Outcome:
    """Run a plan to its end."""
    world = World(plan)
    world.run()
    problems = complaints(world)
    return Outcome(
        plan=plan,
        problems=problems,
        reached=world.reached,
        trace=list(world.trace) if problems else [],
        digest=world.broker.digest.hexdigest(),
        sagas=len(world.database.sagas),
        crashes=world.crashes,
        hours=world.loop.elapsed_ms / 3_600_000,
    )


def run(
    seeds: Iterable[int], tell: Callable[[Tally], None] = lambda _: None
) -> tuple[Tally, Outcome | None]:
    """Run seed after seed; stops at the first that fails, and returns it."""
    tally = Tally()
    for seed in seeds:
        outcome = live(draw(seed))
        tally.add(outcome)
        if outcome.problems:
            return tally, outcome
        tell(tally)
    return tally, None


def shrink(outcome: Outcome, seconds: float) -> Outcome:
    """The shortest failing plan found in that time: halves and single pieces left out."""
    deadline = time.monotonic() + seconds
    best = outcome
    progress = True
    while progress and time.monotonic() < deadline:
        progress = False
        for smaller in _smaller(best.plan):
            if time.monotonic() > deadline:
                break
            found = live(smaller)
            if found.kind == outcome.kind:
                best, progress = found, True
                break
    return best


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans with less in them, the much smaller ones first."""
    half = len(plan.faults) // 2
    if half:
        yield replace(plan, faults=plan.faults[half:])
        yield replace(plan, faults=plan.faults[:half])
    for at in range(len(plan.faults)):
        yield without_fault(plan, at)
    half = len(plan.asks) // 2
    if half:
        yield replace(plan, asks=plan.asks[half:])
        yield replace(plan, asks=plan.asks[:half])
    if len(plan.asks) > 1:
        for at in range(len(plan.asks)):
            yield without_ask(plan, at)
    for fewer in range(1, plan.processes):
        yield replace(plan, processes=fewer)
    if plan.partitions > 1:
        yield replace(plan, partitions=1)
