"""A company that does not answer gets no new redemptions, and nothing is deducted for them.

On real servers: two coordinators come to one verdict, it outlives both, probes end it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from adapters.embedded.kafka import EmbeddedKafka
from orchestrator.admission.breaker import State
from orchestrator.settings import Settings
from tests.foreign.platform import ROOT, UPRP
from tests.harness import QUICK, Platform
from tests.nodes import Node
from tests.support import wait_until
from tests.wire import Redemption

pytestmark = pytest.mark.servers

FAST: Final = QUICK | {"UPRP_COORDINATOR__SWEEP_S": "0.05", "UPRP_COORDINATOR__HEALTH_S": "0.2"}
LADDERS: Final = {"citi": ("deduct", "return"), "alipayhk": ("credit", "reverse")}
SHORT: Final = 'response_timeout = "400ms"\nexpires_after = "60s"\nevery = "300ms"\n'
GAUGE: Final = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
SAMPLES: Final = 4


def deployed(folder: Path, name: str, health: str) -> Path:
    """A copy of what is deployed, in which one company is soon found to be unavailable."""
    deploy = folder / "deploy"
    for part in ("programmes", "participants"):
        shutil.copytree(Settings().deploy / part, deploy / part)
    asked, undone = LADDERS[name]
    times = "[legs.balance]\n" if undone == "return" else "times = 3\n"
    (deploy / "participants" / f"{name}.toml").write_text(
        f'id = "{name}"\nversion = 1\nname = "{name}"\n'
        f"[legs.{asked}]\n{SHORT}times = 3\n[legs.{undone}]\n{SHORT}{times}"
        f"[health]\nbreaker_min_samples = {SAMPLES}\nprobes = 2\n{health}\n"
    )
    return deploy


def some(stem: str, count: int) -> list[Redemption]:
    """Redemptions of an account each, so that they spread over all partitions."""
    return [
        Redemption(f"{stem}-{n}", f"w-{stem}-{n}", f"c-{stem}-{n}", (("hkd50", 2),))
        for n in range(count)
    ]


def results(platform: Platform, requests: Sequence[Redemption]) -> list[str]:
    """The status and the reason of every final result of theirs."""
    asked = {one.saga_id for one in requests}
    return [
        f"{one.data['status']} {one.data.get('reason', {}).get('code', '')}".strip()
        for one in platform.tape.results()
        if one.subject in asked and one.data["final"]
    ]


def commanded(platform: Platform, requests: Sequence[Redemption]) -> set[str]:
    """Those of the redemptions about which any company was asked anything."""
    asked = {one.saga_id for one in requests}
    return {one.subject for one in platform.tape.of("commands")} & asked


def state(node: Node, name: str) -> float | None:
    """What a coordinator believes of a company."""
    return node.metrics().get(f'uprp_participant_state{{participant="{name}"}}')


def wait_for(platform: Platform, name: str, wanted: State, nodes: Sequence[Node]) -> None:
    wait_until(
        lambda: all(state(node, name) == GAUGE[wanted] for node in nodes),
        30,
        f"every coordinator knows that {name} is {wanted}",
    )


def the_hour_passes(platform: Platform) -> None:
    async def act() -> None:
        connection = await asyncpg.connect(platform.dsn)
        await connection.execute("update participant_breaker set until = now()")
        await connection.close()

    asyncio.run(act())


def shown(platform: Platform, name: str) -> dict[str, Any]:
    """What `uprp participants` says of a company."""
    done = subprocess.run(
        [*UPRP, "participants", name, "--json"],
        cwd=ROOT,
        env=platform.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    (one,) = found["participants"]
    return {"coordinators": found["coordinators"], **one}


def test_a_silent_partner_costs_nobody_a_point(
    kafka: EmbeddedKafka, database: str, tmp_path: Path
) -> None:
    # It stays open for an hour: the test says when that has passed.
    deploy = deployed(tmp_path, "alipayhk", 'open_for = "1h"\nin_flight_max = 500')
    with Platform(kafka, database, tmp_path / "platform", deploy=deploy) as platform:
        platform.start_sandbox("bank", only="citi")
        pair = [platform.start_coordinator(name, **FAST) for name in ("a", "b")]
        for node in pair:
            node.wait_ready()
        first = platform.publish(some("first", 12))
        wait_for(platform, "alipayhk", State.OPEN, pair)

        refused = platform.publish(some("refused", 40))
        platform.finish(refused, 30)
        assert results(platform, refused) == ["REJECTED PARTNER_UNAVAILABLE"] * 40
        assert not commanded(platform, refused)
        books = platform.books().companies["citi"]
        assert not {one.card for one in refused} & books.accounts.keys()
        kind = 'uprp_notable_total{kind="unavailable_breaker"}'
        assert [node.metrics().get(kind, 0) > 0 for node in pair] == [True, True]
        assert sum(node.metrics()[kind] for node in pair) == 40
        opened = [line for node in pair for line in node.events("breaker.opened")]
        assert [line["participant"] for line in opened] == ["alipayhk"]

        # Nobody is left who could remember it but the database.
        assert [node.kill() for node in pair] == [-9, -9]
        last = platform.start_coordinator("c", **FAST).wait_ready()
        again = platform.publish(some("again", 8))
        platform.finish(again, 30)
        assert results(platform, again) == ["REJECTED PARTNER_UNAVAILABLE"] * 8
        assert not commanded(platform, again)
        found = shown(platform, "alipayhk")
        assert (found["state"], found["new_sagas"]) == ("open", "refused")
        assert found["in_flight"] == 12
        assert found["in_flight_max"] == 500

        # It heals: probes find out, whatever became of those that waited.
        platform.start_sandbox("wallet", only="alipayhk")
        the_hour_passes(platform)
        probes: list[Redemption] = []

        def closed() -> bool:
            number = len(probes)
            probes.extend(platform.publish(some(f"probe-{number}", 1)))
            return state(last, "alipayhk") == GAUGE[State.CLOSED]

        wait_until(closed, 90, "the probes are answered")
        served = platform.publish(some("served", 10))
        platform.finish([*first, *probes, *served])
        assert results(platform, served) == ["SUCCESS"] * 10
        assert {"SUCCESS", "REJECTED PARTNER_UNAVAILABLE"} >= set(results(platform, probes))
        assert results(platform, probes).count("SUCCESS") >= 2
        assert shown(platform, "alipayhk")["state"] == "closed"
        assert shown(platform, "alipayhk")["in_flight"] == 0
        assert platform.books().problems() == ()


def test_a_silent_bank_holds_new_redemptions_until_it_answers(
    kafka: EmbeddedKafka, database: str, tmp_path: Path
) -> None:
    deploy = deployed(
        tmp_path, "citi", 'open_for = "8s"\nwhen_unavailable = "hold"\nhold_for = "30m"'
    )
    with Platform(kafka, database, tmp_path / "platform", deploy=deploy) as platform:
        platform.start_sandbox("wallet", only="alipayhk")
        node = platform.start_coordinator(**FAST).wait_ready()
        first = platform.publish(some("first", 6))
        wait_for(platform, "citi", State.OPEN, [node])

        held = platform.publish(some("held", 6))
        wait_until(
            lambda: sum(bool(saga.held) for saga in platform.stories().values()) == 6,
            30,
            "they are held",
        )
        assert not commanded(platform, held)
        assert not results(platform, held)
        assert sum(row.used for row in platform.limits()) == 12 * 10_000
        assert shown(platform, "citi")["new_sagas"] == "held up to 1800 s"

        # The first of them that are looked at are the probes.
        platform.start_sandbox("bank", only="citi")
        platform.finish([*first, *held])
        assert results(platform, held) == ["SUCCESS"] * 6
        assert shown(platform, "citi")["state"] == "closed"
        assert platform.books().problems() == ()
