"""Questions about balances on real servers: answered, also by a silent bank, and forgotten."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from schemas.events import BALANCE, BALANCE_INQUIRED
from schemas.ids import saga_id
from tests.harness import QUICK, Platform
from tests.platform.partner import Sender, envelope
from tests.support import wait_until

pytestmark = pytest.mark.servers

SILENT = "magic-never"
COUNT = 20
SOON = "update saga set due_at = now() where terms like '[\"balance\"%' and due_at is not null"


@pytest.fixture
def platform(
    kafka: EmbeddedKafka, postgres: EmbeddedPostgres, tmp_path: Path
) -> Iterator[Platform]:
    """A bank that answers, save for one account; a coordinator that looks for timers often."""
    dsn = postgres.create_database("balance")
    try:
        with Platform(kafka, dsn, tmp_path / "platform") as one:
            one.start_sandbox(only="citi")
            one.start_coordinator(**QUICK, UPRP_COORDINATOR__SWEEP_S="0.05").wait_ready()
            yield one
    finally:
        postgres.drop_database("balance")


def ask(platform: Platform, servers: str, cards: list[str]) -> list[str]:
    """A question for each card; the ids of their sagas."""
    sender = Sender(servers)
    for number, card in enumerate(cards):
        question = {
            "request_id": f"b-{number}",
            "programme": "citi-alipayhk-coupons",
            "account": f"w-{number}",
            "debtor_account": card,
        }
        headers = envelope("alipayhk", BALANCE_INQUIRED, f"b-{number}")
        key = f"alipayhk/w-{number}".encode()
        sender.send("uprp.alipayhk.requests", key, json.dumps(question).encode(), headers)
    sender.flush()
    return [
        saga_id("alipayhk", f"w-{number}", f"b-{number}", "balance") for number in range(len(cards))
    ]


def answers(platform: Platform) -> dict[str, dict[str, Any]]:
    """What was answered so far, by saga."""
    heard = platform.tape.of("results")
    return {one.subject: one.data for one in heard if one.type == BALANCE}


async def _forget_soon(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(SOON)
    finally:
        await connection.close()


def test_it_is_answered_in_the_banks_time_and_nothing_is_left_of_it(
    platform: Platform, kafka: EmbeddedKafka
) -> None:
    cards = [f"card-{1 + number % 7:03}" for number in range(COUNT)]
    sagas = ask(platform, kafka.bootstrap_servers, [*cards, SILENT])
    wait_until(lambda: set(sagas) <= answers(platform).keys(), 30, "every question is answered")
    told = answers(platform)
    assert {told[saga]["status"] for saga in sagas[:-1]} == {"ANSWERED"}
    silent = told[sagas[-1]]
    assert (silent["status"], silent["reason"]["code"]) == ("UNAVAILABLE", "TIMEOUT")
    assert set(platform.stories()) == set(sagas)

    asyncio.run(_forget_soon(platform.dsn))
    wait_until(lambda: not platform.stories(), 30, "every row is deleted")
    for table in ("timeline", "transfer", "account_limit", "parked_case", "dead_letter"):
        assert platform.fetch(f"select * from {table}") == [], table
    assert platform.audit().holds
