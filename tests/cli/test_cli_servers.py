"""The command line on servers: what is missing is named, what is there is told, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.kafka.topics import wanted
from adapters.postgres.migrate import migrations
from orchestrator.catalogue.loader import load
from orchestrator.settings import Settings
from schemas import events
from tests.cli.test_cli import process, uprp
from tests.harness import PARTITIONS, QUICK, Platform
from tests.wire import delete_topics

pytestmark = pytest.mark.servers

UNKNOWN = "00000000-0000-5000-8000-000000000000"
ORDER: Mapping[str, Any] = {
    "request_id": "by-hand",
    "programme": "citi-alipayhk-coupons",
    "account": "w-cli",
    "debtor_account": "c-cli",
    "lines": [{"item": "hkd50", "quantity": 2}],
}


@dataclass(frozen=True)
class Bare:
    """What a coordinator, and the commands that mend it, said of servers with nothing on them."""

    without_tables: CompletedProcess[str]
    without_topics: CompletedProcess[str]
    dry_run: list[dict[str, Any]]
    migrated: list[dict[str, Any]]
    applied: list[dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """A platform that runs, and how commands reach it."""

    bare: Bare
    platform: Platform
    told: list[dict[str, Any]]
    """What `uprp request --wait --json` printed."""

    def uprp(self, *arguments: str, stdin: str = "") -> Any:
        """Run a command on it."""
        ours = {k: v for k, v in self.platform.environment.items() if k.startswith("UPRP_")}
        ours |= {"UPRP_KAFKA__REQUEST_TIMEOUT_S": "20"}  # Not the second of who asks nobody.
        return uprp(*arguments, stdin=stdin, **ours)


@pytest.fixture(scope="module")
def stage(
    kafka: EmbeddedKafka, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """From bare servers to a request that was answered, by commands alone."""
    folder = tmp_path_factory.mktemp("cli")
    dsn = postgres.create_database("cli")
    try:
        bare = on_bare_servers(kafka, dsn)
        with Platform(kafka, dsn, folder / "platform") as platform:
            platform.start_sandbox(only="citi,alipayhk")
            platform.start_coordinator(**QUICK).wait_ready()
            one = Stage(bare, platform, [])
            one.told.extend(redeem(one, folder / "requests.jsonl"))
            yield one
    finally:
        postgres.drop_database("cli")


def on_bare_servers(kafka: EmbeddedKafka, dsn: str) -> Bare:
    delete_topics(kafka.bootstrap_servers)
    environment = {
        "UPRP_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "UPRP_KAFKA__PARTITIONS": str(PARTITIONS),
        "UPRP_POSTGRES__DSN": dsn,
        "UPRP_HTTP__PORT": "0",
    }

    def said(*arguments: str) -> Any:
        done = uprp(*arguments, **environment)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    without_tables = process("coordinator", environment=environment)
    migrated = [said("db", "migrate", "--json") for _ in range(2)]
    without_topics = process("coordinator", environment=environment)
    dry_run = [said("topics", "apply", "--dry-run", "--json") for _ in range(2)]
    applied = [said("topics", "apply", "--json") for _ in range(2)]
    return Bare(without_tables, without_topics, dry_run, migrated, applied)


def redeem(stage: Stage, file: Path) -> list[dict[str, Any]]:
    good = {"origin": "alipayhk", "data": ORDER}
    bad = {"origin": "alipayhk", "raw": "{"}
    file.write_text(f"# by hand\n{json.dumps(good)}\n{json.dumps(bad)}\n")
    done = stage.uprp("request", str(file), "--wait", "--json")
    assert done.exit_code == 0, done.output
    assert "published 2 record(s)" in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_old_schema_stops_the_coordinator_with_4(stage: Stage) -> None:
    done = stage.bare.without_tables
    assert done.returncode == 4
    assert done.stdout == ""
    assert f"the database lacks {len(migrations())} migration(s)" in done.stderr
    assert "run `uprp db migrate`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broker_without_topics_stops_the_coordinator_with_7(stage: Stage) -> None:
    done = stage.bare.without_topics
    count = len(wanted(load(Settings().deploy), PARTITIONS))
    assert done.returncode == 7
    assert done.stdout == ""
    assert f"{count} topic(s) are missing or too small, first uprp." in done.stderr
    assert "run `uprp topics apply`" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_mends_them_does_so_once(stage: Stage) -> None:
    names = {topic.name for topic in wanted(load(Settings().deploy), PARTITIONS)}
    first, again = stage.bare.dry_run
    assert {topic["name"] for topic in first["create"]} == names
    assert first == again
    first, again = stage.bare.applied
    assert {topic["name"] for topic in first["create"]} == names
    assert again == {"create": [], "grow": [], "too_many": []}
    assert stage.bare.migrated == [{"applied": list(migrations())}, {"applied": []}]


def test_topics_apply_and_db_migrate_say_that_nothing_is_to_be_done(stage: Stage) -> None:
    for command, told in (
        (("topics", "apply"), "all topics are as they should be"),
        (("db", "migrate"), "the schema is up to date"),
    ):
        done = stage.uprp(*command)
        assert done.exit_code == 0
        assert done.stdout.strip() == told
        assert "done in" in done.stderr


def test_topics_with_more_partitions_than_set_are_named(stage: Stage) -> None:
    ours = {k: v for k, v in stage.platform.environment.items() if k.startswith("UPRP_")}
    fewer = {"UPRP_KAFKA__PARTITIONS": str(PARTITIONS // 2), "UPRP_HTTP__PORT": "0"}
    done = process("coordinator", environment=ours | fewer)
    assert done.returncode == 7
    assert f"has {PARTITIONS} partitions, UPRP_KAFKA__PARTITIONS is" in done.stderr


def test_request_waits_for_results_and_prints_them_as_json(stage: Stage) -> None:
    kinds = {one["_type"] for one in stage.told}
    assert kinds == {"uprp.redemption.result.v1", "uprp.request.refused.v1"}
    (result,) = [one for one in stage.told if one.get("final")]
    assert result["status"] == "SUCCESS"
    assert result["request_id"] == "by-hand"


def test_request_in_words_and_in_time_or_not(stage: Stage) -> None:
    again = json.dumps({"origin": "alipayhk", "data": ORDER})
    done = stage.uprp("request", "-", "--wait", stdin=again)
    assert done.exit_code == 0, done.stderr
    assert "by-hand r1 SUCCESS  charged 25,000 returned 0  2/2 hkd50" in done.stdout
    other = {"request_id": "not-told", "account": "w-cli"}
    strange = {"origin": "harbour", "id": "e-1", "type": "uprp.nothing.v1", "data": other}
    done = stage.uprp("request", "-", "--wait", stdin=json.dumps(strange))
    assert done.exit_code == 0, done.stderr
    assert "refused   e-1  SCHEMA_INVALID" in done.stdout
    miles = {"request_id": "miles", "programme": "uprp-harbour-miles", "account": "s-cli"}
    miles |= {"debtor_account": "s", "creditor_account": "f"}
    lines = {"lines": [{"item": "miles", "quantity": 1_000}]}
    open_one = {"origin": "harbour", "data": {**miles, **lines}}
    done = stage.uprp("request", "-", "--wait", "--timeout", "1", stdin=json.dumps(open_one))
    assert done.exit_code == 3
    assert "1 request(s) got no final answer in 1 s" in done.stderr
    assert "next: uprp saga list" in done.stderr


def test_a_question_about_a_balance_is_answered_listed_and_shown(stage: Stage) -> None:
    question = {**ORDER, "request_id": "look", "account": "w-look", "debtor_account": "c-look"}
    del question["lines"]
    line = json.dumps({"origin": "alipayhk", "type": events.BALANCE_INQUIRED, "data": question})
    done = stage.uprp("request", "-", "--wait", stdin=line)
    assert done.exit_code == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "look r1 ANSWERED available 10,000,000, held 0 citi-points, as of" in words
    assert "redeemable now HKD 1,000.00; left of today's limit HKD 1,000.00" in words
    done = stage.uprp("request", "-", "--wait", "--json", stdin=line)
    (told,) = [json.loads(one) for one in done.stdout.splitlines()]
    assert (told["_type"], told["available"], told["held"]) == (events.BALANCE, 10_000_000, 0)

    listed = stage.uprp("saga", "list", "--account", "w-look", "--json")
    (found,) = json.loads(listed.stdout)
    assert (found["kind"], found["status"]) == ("balance", "ANSWERED")
    assert "balance" in stage.uprp("saga", "list", "--account", "w-look").stdout
    words = " ".join(stage.uprp("saga", "show", found["saga_id"]).stdout.split())
    assert "balance of c-look at citi alipayhk/w-look request look" in words
    assert "forgotten at" in words
    shown = json.loads(stage.uprp("saga", "show", found["saga_id"], "--json").stdout)
    assert (shown["timeline"], shown["transfers"]) == ([], [])
    plain = stage.uprp("parked", "show", found["saga_id"])
    assert "nothing about it waits for a person" in plain.stdout


def test_saga_list_and_show_tell_the_same_as_words_and_as_json(stage: Stage) -> None:
    listed = stage.uprp("saga", "list", "--account", "w-cli", "--json")
    assert listed.exit_code == 0
    (line,) = json.loads(listed.stdout)
    assert (line["status"], line["request_id"]) == ("SUCCESS", "by-hand")
    assert line["saga_id"] in stage.uprp("saga", "list").stdout

    shown = stage.uprp("saga", "show", line["saga_id"], "--json")
    story = json.loads(shown.stdout)
    assert [entry["event"] for entry in story["timeline"]][:3] == ["requested", *["answered"] * 2]
    assert story["transfers"]
    words = stage.uprp("saga", "show", line["saga_id"]).stdout
    for told in (
        "alipayhk asked; accepted for 25,000 points",
        "asked citi: deduct",
        "citi answered deduct: CONFIRMED 25,000",
        "asked alipayhk: credit/1",
        "told alipayhk: result r1",
        "ended: SUCCESS",
    ):
        assert told in words


def test_what_is_not_there_is_said_with_3(stage: Stage) -> None:
    done = stage.uprp("saga", "show", UNKNOWN)
    assert done.exit_code == 3
    assert done.stdout == ""
    assert f"there is no saga {UNKNOWN}" in done.stderr
    done = stage.uprp("saga", "list", "--status", "PARKED", "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout) == []
    assert "no saga matches" in done.stderr


def test_the_books_as_json(stage: Stage) -> None:
    done = stage.uprp("sandbox-books", "--data", str(stage.platform.books_folder), "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["balanced"] is True
    assert found["companies"]["citi"]["accounts"]["c-cli"]["now"] == 10_000_000 - 25_000


def test_participants_shows_who_is_well(stage: Stage) -> None:
    done = stage.uprp("participants", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["coordinators"] == 1
    by_name = {one["participant"]: one for one in found["participants"]}
    assert set(by_name) == set(load(Settings().deploy).participants)
    assert {one["state"] for one in by_name.values()} == {"closed"}
    assert {one["new_sagas"] for one in by_name.values()} == {"let through"}
    # Harbour is not there, and may owe an answer to another test.
    assert [by_name[name]["in_flight"] for name in ("citi", "alipayhk")] == [0, 0]
    plain = stage.uprp("participants", "citi")
    assert plain.exit_code == 0
    heading, line = plain.stdout.splitlines()
    assert heading.split()[:2] == ["participant", "breaker"]
    assert line.split()[:2] == ["citi", "closed"]


def test_participants_names_what_it_does_not_know(stage: Stage) -> None:
    done = stage.uprp("participants", "nobody")
    assert done.exit_code == 3
    assert done.stdout == ""
    assert "there is no participant 'nobody'" in done.stderr
