"""A channel that deducts itself and does not acknowledge: asked again after the end, also by a
coordinator that took over from one that was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from orchestrator.engine.instance import Leg
from orchestrator.engine.machine import Status
from tests.consistency import assert_consistent
from tests.harness import QUICK, Platform
from tests.platform.test_timers import commands, ended, results, short_ladders
from tests.support import wait_until
from tests.wire import Redemption

pytestmark = pytest.mark.servers

DEAF = 8
"""How many commands to give points back the channel leaves unanswered."""
KILLED_AFTER = 2
SILENT = "s-silent"
SCRIPT = f"""
[[rule]]
match = {{ verb = "return", account = "{SILENT}", first_n = {DEAF} }}
action = "silence"
[[rule]]
match = {{ verb = "credit", account = "u-refused" }}
action = "refuse"
code = "PARTNER_DECLINED"
[[rule]]
match = {{ verb = "credit", account = "u-partial", item = "instant-hkd10" }}
action = "refuse"
code = "OFFER_BUDGET_EXHAUSTED"
"""


def coupons(name: str, creditor: str, points: int, *lines: tuple[str, int]) -> Redemption:
    """A request of the channel, which took so many points of the account of that name."""
    account = f"s-{name}"
    return Redemption(
        name,
        account,
        account,
        lines,
        origin="harbour",
        programme="uprp-harbour-coupons",
        creditor=creditor,
        deduction={"reference": f"HB-{name}", "points": points},
    )


GIVEN = coupons("given", "u-1", 20_000, ("uplan-hkd50", 2))
PARTIAL = coupons("partial", "u-partial", 14_000, ("uplan-hkd50", 1), ("instant-hkd10", 2))
MISTAKEN = coupons("mistaken", "u-1", 9_999, ("uplan-hkd50", 1))
UNHEARD = coupons("silent", "u-refused", 10_000, ("uplan-hkd50", 1))
ALL = (GIVEN, PARTIAL, MISTAKEN, UNHEARD)


@pytest.fixture
def platform(
    kafka: EmbeddedKafka, postgres: EmbeddedPostgres, tmp_path: Path
) -> Iterator[Platform]:
    """The companies play, by the script; nobody coordinates yet."""
    dsn = postgres.create_database("channel")
    (tmp_path / "faults.toml").write_text(SCRIPT)
    try:
        deploy = short_ladders(tmp_path)
        with Platform(kafka, dsn, tmp_path / "platform", deploy=deploy) as one:
            one.start_sandbox(only="harbour,unionpay", faults=tmp_path / "faults.toml")
            yield one
    finally:
        postgres.drop_database("channel")


def to_return(platform: Platform, request: Redemption) -> Leg:
    """What the platform believes of the return, from its own row."""
    leg = platform.stories()[request.saga_id].leg("deduct/return")
    assert leg is not None
    return leg


def attempts(platform: Platform) -> list[dict[str, Any]]:
    """The commands to give back what nobody acknowledges."""
    return [one.data for one in commands(platform, UNHEARD.saga_id, "deduct/return")]


def test_what_a_channel_must_give_back_is_followed_until_it_did(platform: Platform) -> None:
    first = platform.start_coordinator("first", **QUICK, UPRP_COORDINATOR__SWEEP_S="0.05")
    first.wait_ready()
    platform.shop(ALL)
    result = ended(platform, UNHEARD.saga_id)
    assert (result["status"], result["final"]) == ("FAILED_POINTS_RETURNED", True)
    assert result["return_required"]["points"] == 10_000
    assert result["return_required"]["reference"] == "HB-silent"

    def said() -> int:
        return len(attempts(platform))

    wait_until(lambda: said() >= KILLED_AFTER, 20, "the return is repeated after the end")
    first.kill()
    before = said()
    assert before < DEAF
    assert to_return(platform, UNHEARD).status is not Status.CONFIRMED
    assert platform.stories()[UNHEARD.saga_id].wake_at is not None

    second = platform.start_coordinator("second", **QUICK, UPRP_COORDINATOR__SWEEP_S="0.05")

    def acknowledged() -> bool:
        return to_return(platform, UNHEARD).status is Status.CONFIRMED

    wait_until(acknowledged, 60, "the channel acknowledged the return")
    platform.tape.caught_up()
    said_in_all = attempts(platform)
    assert len(said_in_all) > DEAF
    contents = {json.dumps(_content(one), sort_keys=True) for one in said_in_all}
    assert len(contents) == 1
    # An attempt may be said twice by the two coordinators, in the same words.
    numbers = list(dict.fromkeys(one["attempt"] for one in said_in_all))
    assert numbers == [*range(1, len(numbers) + 1)]
    assert platform.stories()[UNHEARD.saga_id].wake_at is None

    assert_consistent(platform, ALL, "a channel that deducts itself")
    for request in ALL:
        assert {one["revision"] for one in results(platform, request.saga_id)} == {1}
    harbour = platform.books().companies["harbour"]
    gone = {name: one.initial - one.now for name, one in harbour.accounts.items() if "s-" in name}
    assert gone == {"s-given": 20_000, "s-partial": 10_000, "s-mistaken": 0, "s-silent": 0}
    assert second.stop() == 0


def _content(data: dict[str, Any]) -> dict[str, Any]:
    return {name: found for name, found in data.items() if name not in ("attempt", "issued_at")}
