"""Kill -9 at every phase of the loop, at any time, and of the servers: nothing is lost or doubled.

One flow of requests meets many deaths; the companies answer slowly, twice, not at all until asked,
and sometimes refuse. Everything is drawn from a seed.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter

import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.embedded.server import EmbeddedServer
from tests.consistency import assert_consistent
from tests.faults.lanes import PHASES, SMALL_BATCHES, deaths, lanes
from tests.harness import QUICK, Platform
from tests.support import wait_until
from tests.wire import redemptions

pytestmark = pytest.mark.servers

RATES = "repeat=0.05,delay=0.05,refuse=0.05,apply_silent=0.01"
ENDLESS = 1_000_000
NIGHTLY = (pytest.mark.nightly, pytest.mark.timeout(3_600))


@pytest.mark.parametrize(
    ("seed", "each", "at_random"),
    (
        (1, 2, 4),
        pytest.param(1, 6, 12, marks=NIGHTLY),
        pytest.param(2, 40, 100, marks=NIGHTLY),
    ),
)
def test_coordinators_killed_at_every_phase_and_at_any_time(
    platform: Platform, seed: int, each: int, at_random: int
) -> None:
    plan = deaths(seed, each=each, at_random=at_random)
    platform.start_sandbox(rates=RATES, seed=seed)
    flow = redemptions(ENDLESS, seed)
    with platform.flowing(flow, per_s=50, repeats=0.05, seed=seed) as requests:
        both = lanes(platform, plan)
        wait_until(
            lambda: sum(lane.turn() for lane in both) == len(both),
            len(plan) * 20,
            "all died as planned",
        )
    died = sum((lane.died for lane in both), Counter[str]())
    assert died == Counter(dict.fromkeys(PHASES, each) | {"at random": at_random})
    sys.stderr.write(f"\n{died.total()} kills of a coordinator: {dict(died)}")
    assert_consistent(platform, requests, "coordinators killed")
    assert said_again(platform) > 0
    for lane in both:
        assert lane.node is not None
        assert lane.node.stop() == 0


def said_again(platform: Platform) -> int:
    """How many records of the platform repeat an earlier one."""
    said = platform.tape.of("commands", "results")
    return len(said) - len({one.event_id for one in said})


@pytest.mark.parametrize(
    ("seed", "times"),
    ((3, 2), pytest.param(3, 4, marks=NIGHTLY), pytest.param(4, 30, marks=NIGHTLY)),
)
def test_broker_and_database_killed(
    platform: Platform, kafka: EmbeddedKafka, postgres: EmbeddedPostgres, seed: int, times: int
) -> None:
    killed: Counter[str] = Counter()
    platform.start_sandbox(rates=RATES, seed=seed)
    node = platform.start_coordinator("only", **QUICK, **SMALL_BATCHES)
    flow = redemptions(ENDLESS, seed)
    with platform.flowing(flow, per_s=50, seed=seed) as requests:
        servers: tuple[EmbeddedServer, ...] = (kafka, postgres)
        for server in itertools.chain.from_iterable(itertools.repeat(servers, times)):
            platform.more_end(20, "redemptions go on")
            server.kill()
            server.start()
            killed[server.name] += 1
        platform.more_end(20, "redemptions go on")
    sys.stderr.write(f"\n{killed.total()} kills of servers: {dict(killed)}")
    assert_consistent(platform, requests, "servers killed")
    assert node.stop() == 0
