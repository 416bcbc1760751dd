"""Answers that do not come: asked about on schedule, then parked in sight, never undone."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from orchestrator.catalogue.loader import load
from orchestrator.engine.policy import Rung
from orchestrator.engine.results import phase
from orchestrator.settings import Settings
from schemas.ids import saga_id
from tests.foreign.platform import ROOT, UPRP
from tests.harness import QUICK, Platform
from tests.platform.partner import REQUESTED, Sender, envelope
from tests.support import wait_until
from tests.wire import Heard, Redemption

pytestmark = pytest.mark.servers

TIMEOUT_MS = 400
EVERY_MS = 300
TIMES = 3
SHORT = (
    f'response_timeout = "{TIMEOUT_MS}ms"\nexpires_after = "60s"\nevery = "{EVERY_MS}ms"\n'
    "cancel = false\n"
)
LADDERS = {
    "citi": ("deduct", "return"),
    "alipayhk": ("credit", "reverse"),
    "harbour": ("deduct", "return"),
    "pacificair": ("credit", "reverse"),
}
SILENT = Redemption("silent", "w-silent", "c-silent", (("hkd50", 2),))
APPLIED = Redemption("applied", "w-applied", "c-applied", (("hkd50", 2),))
REFUSED = Redemption("refused", "w-refused", "c-refused", (("hkd50", 2),))
RETURNED = Redemption("returned", "w-returned", "c-returned", (("hkd50", 2),))
COUPONS = (SILENT, APPLIED, REFUSED, RETURNED)
DEAF = 3
"""How many commands to return points the bank leaves unanswered."""
MILES: dict[str, Any] = {
    "request_id": "nobody-there",
    "programme": "uprp-harbour-miles",
    "account": "s-1",
    "debtor_account": "s-1",
    "creditor_account": "f-1",
    "lines": [{"item": "miles", "quantity": 1_000}],
}
NOBODY_THERE = saga_id("harbour", "s-1", "nobody-there")


def short_ladders(folder: Path) -> Path:
    """A copy of what is deployed, in which companies are given up soon."""
    deploy = folder / "deploy"
    for part in ("programmes", "participants"):
        shutil.copytree(Settings().deploy / part, deploy / part)
    for name, (asked, undone) in LADDERS.items():
        rest = "[legs.balance]\n" if undone == "return" else f"times = {TIMES}\n"
        (deploy / "participants" / f"{name}.toml").write_text(
            f'id = "{name}"\nversion = 1\nname = "{name}"\n'
            f"[legs.{asked}]\n{SHORT}times = {TIMES}\n[legs.{undone}]\n{SHORT}{rest}"
        )
    assert load(deploy).policies.by_leg["citi", "return"].rungs == (Rung.RESEND,)
    return deploy


def script(folder: Path) -> Path:
    """What the companies do wrong: by leg, so that an inquiry meets it too."""
    path = folder / "faults.toml"
    path.write_text(
        f"""
        [[rule]]
        match = {{ leg = "{SILENT.saga_id}/credit/*" }}
        action = "silence"
        [[rule]]
        match = {{ leg = "{APPLIED.saga_id}/credit/*", verb = "credit" }}
        action = "apply_silent"
        [[rule]]
        match = {{ verb = "credit", account = "w-re*" }}
        action = "refuse"
        code = "PARTNER_DECLINED"
        [[rule]]
        match = {{ verb = "return", account = "c-returned", first_n = {DEAF} }}
        action = "silence"
        """
    )
    return path


@pytest.fixture(scope="module")
def platform(
    kafka: EmbeddedKafka, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """All requests are made; Harbour and Pacific Air are not there at all."""
    folder = tmp_path_factory.mktemp("timers")
    dsn = postgres.create_database("timers")
    try:
        deploy = short_ladders(folder)
        with Platform(kafka, dsn, folder / "platform", deploy=deploy) as one:
            one.start_sandbox(only="citi,alipayhk", faults=script(folder))
            one.start_coordinator(**QUICK, UPRP_COORDINATOR__SWEEP_S="0.05").wait_ready()
            one.publish(COUPONS)
            sender = Sender(kafka.bootstrap_servers)
            headers = envelope("harbour", REQUESTED, "miles")
            body = json.dumps(MILES).encode()
            sender.send("uprp.harbour.requests", b"harbour/s-1", body, headers)
            sender.flush()
            yield one
    finally:
        postgres.drop_database("timers")


def commands(platform: Platform, saga: str, leg: str = "") -> list[Heard]:
    """What was asked about a saga, or one of its legs, in order."""
    return [
        one
        for one in platform.tape.of("commands")
        if one.subject == saga and leg in ("", one.data["leg_id"].partition("/")[2])
    ]


def kinds(said: Sequence[Heard]) -> list[str]:
    """The types of commands, shortly."""
    return [one.type.removeprefix("uprp.").removesuffix(".v1") for one in said]


def results(platform: Platform, saga: str) -> list[dict[str, Any]]:
    """What the origin was told."""
    return [one.data for one in platform.tape.results() if one.subject == saga]


def parked(platform: Platform, saga: str) -> dict[str, Any]:
    """Wait until a saga is parked; what the origin was told of it."""

    def told() -> bool:
        return any(one["status"] == "MANUAL_REVIEW" for one in results(platform, saga))

    wait_until(told, 30, f"the origin is told that {saga} is looked into")
    return results(platform, saga)[-1]


def ended(platform: Platform, saga: str) -> dict[str, Any]:
    """Wait until a saga has ended; its final result."""
    wait_until(lambda: saga in platform.tape.finals(), 30, f"{saga} has ended")
    return results(platform, saga)[-1]


def show(platform: Platform, saga: str) -> str:
    """What `uprp saga show` prints."""
    done = subprocess.run(
        [*UPRP, "saga", "show", saga],
        cwd=ROOT,
        env=platform.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def gaps(said: Sequence[Heard]) -> list[int]:
    """The milliseconds between one command and the next, by what they say of themselves."""
    at = [datetime.fromisoformat(one.data["issued_at"]).timestamp() * 1000 for one in said]
    return [round(after - before) for before, after in pairwise(at)]


def test_a_company_that_never_answers_is_asked_about_and_then_parked(platform: Platform) -> None:
    result = parked(platform, SILENT.saga_id)
    assert result["final"] is False
    assert result["reason"]["code"] == "TIMEOUT"
    assert result["reason"]["message"]
    assert result["points"] == {"charged": 25_000, "returned": 0}
    said = commands(platform, SILENT.saga_id, "credit/1")
    assert kinds(said) == ["value.credit", *["leg.inquire"] * TIMES]
    leg = f"{SILENT.saga_id}/credit/1"
    inquiries = [f"{leg}#inquire{n}" for n in range(1, TIMES + 1)]
    assert [one.event_id for one in said] == [f"{leg}#1", *inquiries]
    first, *others = gaps(said)
    assert first >= TIMEOUT_MS
    assert all(gap >= EVERY_MS for gap in others)


def test_a_parked_saga_is_in_sight(platform: Platform) -> None:
    parked(platform, SILENT.saga_id)
    saga = platform.stories()[SILENT.saga_id]
    assert phase(saga) == "PARKED"
    assert platform.counts()["PARKED"] >= 1
    assert platform.nodes[-1].metrics()["uprp_sagas_parked_total"] >= 1
    story = show(platform, SILENT.saga_id)
    assert "PARKED" in story
    assert "waits for a person: credit/1 (silent: TIMEOUT)" in story
    assert "inquired of alipayhk: credit/1 (time 3)" in story


def test_silence_is_never_undone_and_a_late_answer_completes(platform: Platform) -> None:
    review = parked(platform, SILENT.saga_id)
    # No timer is left that could do anything: only word from somebody can.
    saga = platform.stories()[SILENT.saga_id]
    assert saga.wake_at is None
    assert saga.wake_at is None
    assert set(kinds(commands(platform, SILENT.saga_id))) == {
        "points.deduct",
        "value.credit",
        "leg.inquire",
    }
    answer = {"leg_id": f"{SILENT.saga_id}/credit/1", "outcome": "CONFIRMED", "reference": "late"}
    Sender(platform.kafka.bootstrap_servers).reply("alipayhk", SILENT.key, answer | {"quantity": 2})
    result = ended(platform, SILENT.saga_id)
    assert result["status"] == "SUCCESS"
    assert result["revision"] > review["revision"]
    assert result["points"] == {"charged": 25_000, "returned": 0}
    assert "points.return" not in kinds(commands(platform, SILENT.saga_id))


def test_a_company_that_is_not_there_parks_and_its_late_no_ends_it(platform: Platform) -> None:
    review = parked(platform, NOBODY_THERE)
    assert review["points"] == {"charged": 0, "returned": 0}
    assert set(kinds(commands(platform, NOBODY_THERE))) == {"points.deduct", "leg.inquire"}
    no = {"code": "INSUFFICIENT_POINTS"}
    answer = {"leg_id": f"{NOBODY_THERE}/deduct", "outcome": "REJECTED", "reason": no}
    Sender(platform.kafka.bootstrap_servers).reply("harbour", b"harbour/s-1", answer)
    result = ended(platform, NOBODY_THERE)
    assert result["status"] == "FAILED_NOTHING_DEDUCTED"
    assert result["reason"]["code"] == "INSUFFICIENT_POINTS"
    assert result["revision"] > review["revision"]


def test_what_was_done_in_silence_is_found_out(platform: Platform) -> None:
    result = ended(platform, APPLIED.saga_id)
    assert result["status"] == "SUCCESS"
    said = kinds(commands(platform, APPLIED.saga_id, "credit/1"))
    assert said[:2] == ["value.credit", "leg.inquire"]
    assert said.count("value.credit") == 1
    leg = platform.books().companies["alipayhk"].legs[f"{APPLIED.saga_id}/credit/1"]
    assert leg.outcome == "CONFIRMED"
    assert platform.nodes[-1].alive


def test_points_come_back_when_the_credit_is_refused(platform: Platform) -> None:
    result = ended(platform, REFUSED.saga_id)
    assert result["status"] == "FAILED_POINTS_RETURNED"
    assert result["reason"]["code"] == "PARTNER_DECLINED"
    assert result["points"] == {"charged": 0, "returned": 25_000}
    (said,) = commands(platform, REFUSED.saga_id, "deduct/return")
    assert said.data["points"] == 25_000
    assert said.data["deduction_leg_id"] == f"{REFUSED.saga_id}/deduct"
    account = platform.books().companies["citi"].accounts["c-refused"]
    assert account.now == account.initial


def test_a_return_is_repeated_under_its_one_id_until_it_is_answered(platform: Platform) -> None:
    result = ended(platform, RETURNED.saga_id)
    assert result["status"] == "FAILED_POINTS_RETURNED"
    assert not [one for one in results(platform, RETURNED.saga_id) if not one["final"]]
    said = commands(platform, RETURNED.saga_id, "deduct/return")
    assert set(kinds(said)) == {"points.return"}
    assert len(said) > DEAF
    assert [one.data["attempt"] for one in said] == [*range(1, len(said) + 1)]
    leg = f"{RETURNED.saga_id}/deduct/return"
    assert [one.event_id for one in said] == [f"{leg}#{n}" for n in range(1, len(said) + 1)]
    assert {one.data["leg_id"] for one in said} == {leg}
    assert len({json.dumps(_content(one.data)) for one in said}) == 1
    account = platform.books().companies["citi"].accounts["c-returned"]
    assert account.now == account.initial


def _content(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a repeat must not change; the platform may count and date it."""
    return {name: found for name, found in data.items() if name not in ("attempt", "issued_at")}


def test_in_the_end_nobody_is_owed_anything(platform: Platform) -> None:
    for one in COUPONS[1:]:
        ended(platform, one.saga_id)
    assert platform.books().problems() == ()
    assert platform.nodes[-1].stop() == 0
