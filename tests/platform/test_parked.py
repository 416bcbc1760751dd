"""People decide about parked sagas: twice looked at, once applied, never against a fact."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.decisions import open_decision_store
from orchestrator.engine.results import phase
from tests.harness import Platform
from tests.platform.parked import (
    CONFIRMED,
    CRASHED,
    DECLINED,
    FORGED,
    LATE,
    QUICK_DESK,
    REJECTED,
    RETRIED,
    SILENT,
    TIMES,
    TWICE,
    WRITTEN_OFF,
    approve,
    asked,
    decision,
    ended,
    publish_again,
    records,
    resolve,
    run,
    say,
    script,
    settled,
    short_ladders,
)
from tests.platform.partner import Sender
from tests.support import wait_until

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def platform(
    kafka: EmbeddedKafka, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """Every redemption is asked for and parked."""
    folder = tmp_path_factory.mktemp("parked")
    dsn = postgres.create_database("parked")
    try:
        with Platform(kafka, dsn, folder / "platform", deploy=short_ladders(folder)) as one:
            one.start_sandbox(only="citi,alipayhk", faults=script(folder))
            one.start_coordinator(**QUICK_DESK).wait_ready()
            one.publish([*SILENT, RETRIED, WRITTEN_OFF])
            leg = f"{WRITTEN_OFF.saga_id}/deduct/return"
            wait_until(lambda: leg in asked(one), 30, "the return is asked for")
            no = {"leg_id": leg, "outcome": "REJECTED", "reason": {"code": "MEMBER_UNKNOWN"}}
            Sender(kafka.bootstrap_servers).reply("citi", WRITTEN_OFF.key, no)
            wait_until(lambda: one.counts().get("PARKED") == 9, 30, "all of them are parked")
            yield one
    finally:
        postgres.drop_database("parked")


# -- what is seen ---------------------------------------------------------------------------------


def test_the_list_says_why_since_when_whose_turn_and_what_is_at_stake(platform: Platform) -> None:
    cases = {case["saga_id"]: case for case in say(platform, "list")}
    case = cases[REJECTED.saga_id]
    assert case["stake"] == {"points": 25_000, "unit": "citi-points"}
    assert 0 < case["age_s"] < 300
    (leg,) = case["legs"]
    assert (leg["leg"], leg["turn"], leg["participant"]) == ("credit/1", "operator", "alipayhk")
    assert (
        f"has not answered (TIMEOUT) about 2 x hkd50: asked once, inquired of {TIMES} times"
        in (leg["why"])
    )
    allowed = {one["action"]: one["two_persons"] for one in leg["allowed"]}
    assert allowed == {"confirm": True, "reject": True, "retry": False}
    (follows,) = [one["follows"] for one in leg["allowed"] if one["action"] == "reject"]
    assert follows == "ask citi: deduct/return; the saga becomes RETURN_SENT"
    (refused,) = cases[WRITTEN_OFF.saga_id]["legs"]
    assert "citi declined (MEMBER_UNKNOWN) what may only be late: 25,000" in refused["why"]
    assert {one["action"] for one in refused["allowed"]} == {"confirm", "retry", "write-off"}


def test_words_for_a_person(platform: Platform) -> None:
    listed = run(platform, "list").stdout
    assert f"{REJECTED.saga_id}  " in listed
    assert "25,000 citi-points in suspense" in listed
    assert "turn: operator; allowed: confirm, reject, retry" in listed
    shown = run(platform, "show", REJECTED.saga_id).stdout
    for told in (
        "alipayhk asked; accepted for 25,000 points",
        "waits since",
        "reject: it was not done and never will be, says the evidence, needs a second person",
        "then ask citi: deduct/return; the saga becomes RETURN_SENT",
        f"uprp parked resolve {REJECTED.saga_id} credit/1 reject --reason TEXT --evidence TEXT",
    ):
        assert told in shown


# -- what is decided ------------------------------------------------------------------------------


def test_a_no_takes_two_persons_and_gives_the_points_back(platform: Platform) -> None:
    why = ("--reason", "they never got it", "--evidence", "ticket 7", "--as", "Alice")
    dry = say(platform, "resolve", REJECTED.saga_id, "credit/1", "reject", *why, "--dry-run")
    assert dry["decision"] is None
    assert dry["foreseen"]["said"] == ["ask citi: deduct/return"]
    number = resolve(platform, REJECTED, "reject")
    assert decision(platform, number)["status"] == "proposed"
    (case,) = [one for one in say(platform, "list") if one["saga_id"] == REJECTED.saga_id]
    assert case["legs"][0]["turn"] == "second person"
    for name in ("alice", " ALICE "):
        alone = run(platform, "approve", str(number), "--as", name)
        assert alone.exit_code == 6
        assert "a second person must approve it" in alone.stderr
        assert f"somebody else runs uprp parked approve {number}" in alone.stderr
    assert phase(platform.stories()[REJECTED.saga_id]) == "PARKED"
    assert not records(platform, number)
    done = approve(platform, number, "--wait")
    assert done.exit_code == 0, done.output
    assert "applied at" in done.stdout
    result = ended(platform, REJECTED)
    assert result["status"] == "FAILED_POINTS_RETURNED"
    assert result["reason"]["code"] == "NO_ANSWER"
    assert result["points"] == {"charged": 0, "returned": 25_000}
    account = platform.books().companies["citi"].accounts[REJECTED.card]
    assert account.now == account.initial
    row = decision(platform, number)
    assert (row["actor"], row["approved_by"], row["status"]) == ("alice", "bob", "applied")
    assert approve(platform, number).exit_code == 5
    assert say(platform, "show", REJECTED.saga_id)["decisions"] == [row]
    shown = run(platform, "show", REJECTED.saga_id).stdout
    assert f"decision {number}: reject credit/1, by alice, approved by bob" in shown
    assert "nothing about it waits for a person" in shown


def test_a_yes_completes_with_the_reference_that_the_evidence_shows(platform: Platform) -> None:
    number = resolve(platform, CONFIRMED, "confirm", "--reference", "GL-77")
    told = say(platform, "approve", str(number), "--as", "bob")
    assert told["foreseen"]["becomes"] == "SUCCESS"
    assert (told["decision"]["status"], told["decision"]["reference"]) == ("approved", "GL-77")
    assert ended(platform, CONFIRMED)["status"] == "SUCCESS"
    leg = platform.stories()[CONFIRMED.saga_id].leg("credit/1")
    assert leg is not None
    assert leg.reference == "GL-77"


def test_asking_again_needs_one_person_and_finds_the_truth(platform: Platform) -> None:
    number = resolve(platform, RETRIED, "retry")
    assert ended(platform, RETRIED)["status"] == "SUCCESS"
    assert settled(platform, number)["approved_by"] is None
    said = [one.type for one in platform.tape.of("commands") if one.subject == RETRIED.saga_id]
    assert said.count("uprp.value.credit.v1") == 1, "asked about, not given again"
    assert said.count("uprp.leg.inquire.v1") == TIMES + 1


def test_a_return_that_was_refused_is_written_off_by_two(platform: Platform) -> None:
    number = resolve(platform, WRITTEN_OFF, "write-off", leg="deduct/return")
    assert approve(platform, number).exit_code == 0
    result = ended(platform, WRITTEN_OFF)
    assert (result["status"], result["reason"]["code"]) == (
        "FAILED_POINTS_RETURNED",
        "WRITTEN_OFF",
    )
    books = {one.account: one.balance for one in platform.balances() if one.unit == "citi-points"}
    assert books["citi/forgone"] == 25_000


def test_what_became_known_meanwhile_is_not_contradicted(platform: Platform) -> None:
    number = resolve(platform, LATE, "reject")
    yes = {"leg_id": f"{LATE.saga_id}/credit/1", "outcome": "CONFIRMED", "reference": "late"}
    Sender(platform.kafka.bootstrap_servers).reply("alipayhk", LATE.key, yes | {"quantity": 2})
    assert ended(platform, LATE)["status"] == "SUCCESS"
    late = approve(platform, number)
    assert late.exit_code == 6
    assert "credit/1 is confirmed by now" in late.stderr
    assert f"uprp parked decline {number} --reason TEXT" in late.stderr
    # Had bob been quicker than the news: it is refused where the order is decided.
    asyncio.run(approve_blindly(platform, number))
    row = settled(platform, number)
    assert row["status"] == "refused"
    assert "credit/1 is confirmed by now" in row["why"]
    assert not [one for one in platform.tape.of("dead-letters") if one.subject == LATE.saga_id]
    assert f"{LATE.saga_id}/deduct/return" not in asked(platform)


async def approve_blindly(platform: Platform, number: int) -> None:
    async with open_decision_store(platform.dsn) as decisions:
        row = await decisions.decision(number)
        assert row is not None
        assert await decisions.approve(row, "bob")


def test_one_decision_at_a_time_and_who_disagrees_declines_it(platform: Platform) -> None:
    number = resolve(platform, DECLINED, "reject")
    why = ("--reason", "no", "--evidence", "none", "--as", "bob")
    other = run(platform, "resolve", DECLINED.saga_id, "credit/1", "confirm", *why)
    assert other.exit_code == 5
    assert f"decision {number} (reject, by alice) about credit/1 is open" in other.stderr
    no = ("decline", str(number), "--reason", "not so", "--as", "bob")
    assert say(platform, *no, "--dry-run")["status"] == "proposed"
    assert say(platform, *no) == decision(platform, number)
    assert (row := decision(platform, number))["status"] == "declined"
    assert (row["settled_by"], row["why"]) == ("bob", "not so")
    assert approve(platform, number).exit_code == 5
    assert phase(platform.stories()[DECLINED.saga_id]) == "PARKED"
    resolve(platform, DECLINED, "confirm")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    (
        ((FORGED.saga_id, "credit/1", "write-off"), 6, "allowed is confirm or reject or retry"),
        ((FORGED.saga_id, "deduct", "reject"), 6, "deduct is confirmed by now"),
        ((FORGED.saga_id, "credit/9", "reject"), 6, "has no leg credit/9; it has deduct, credit/1"),
        ((FORGED.saga_id, "credit/1", "confirm", "--amount", "3"), 6, "between 1 and 2"),
        ((FORGED.saga_id, "credit/1", "reject", "--amount", "1"), 2, "belong to confirm"),
        ((FORGED.saga_id, "credit/1", "confirm", "--reference", "\u00e9"), 2, "--reference: must"),
        ((FORGED.saga_id, "credit/1", "reject", "--reason", " "), 2, "--reason: must be"),
        ((FORGED.saga_id, "credit/1", "reject", "--as", "a b"), 2, "--as: 'a b' is not a name"),
        (("nonsense", "credit/1", "reject"), 2, "'nonsense' is not a saga id"),
        (("00000000-0000-5000-8000-000000000000", "deduct", "reject"), 3, "there is no saga"),
    ),
)
def test_what_cannot_be_decided_is_refused_and_says_what_can(
    platform: Platform, arguments: tuple[str, ...], code: int, told: str
) -> None:
    before = len(say(platform, "decisions"))
    why = ("--reason", "r", "--evidence", "e", "--as", "alice")
    done = run(platform, "resolve", *why, *arguments)
    assert done.exit_code == code, done.output
    assert told in done.stderr
    assert done.stdout == ""
    assert len(say(platform, "decisions")) == before


def test_a_decision_that_is_none(platform: Platform) -> None:
    done = approve(platform, 999_999)
    assert done.exit_code == 3
    assert "there is no decision 999999" in done.stderr


# -- the record -----------------------------------------------------------------------------------


def test_the_same_record_twice_is_applied_once(platform: Platform) -> None:
    number = resolve(platform, TWICE, "reject")
    assert approve(platform, number).exit_code == 0
    ended(platform, TWICE)
    revision = platform.stories()[TWICE.saga_id].revision
    publish_again(platform, TWICE, records(platform, number)[0].data)
    assert platform.stories()[TWICE.saga_id].revision == revision
    assert decision(platform, number)["status"] == "applied"
    assert asked(platform).count(f"{TWICE.saga_id}/deduct/return") == 1
    metrics = platform.nodes[-1].metrics()
    assert metrics['uprp_notable_total{kind="stale_decisions"}'] == 1


def test_a_record_that_nobody_approved_has_no_effect(platform: Platform) -> None:
    number = resolve(platform, FORGED, "reject")
    forged = {
        "decision": number,
        "saga_id": FORGED.saga_id,
        "leg": "credit/1",
        "action": "reject",
    }
    publish_again(platform, FORGED, forged)
    assert phase(platform.stories()[FORGED.saga_id]) == "PARKED"
    assert decision(platform, number)["status"] == "proposed"
    (row,) = platform.fetch(
        f"select field, message from dead_letter where saga_id = '{FORGED.saga_id}'"
    )
    assert row["field"] == "decision"
    assert "was not approved by a second person" in row["message"]


def test_a_crash_between_approval_and_application_loses_nothing(platform: Platform) -> None:
    """Killed before it is published, before it is committed, and before what follows is said."""
    platform.nodes[-1].kill()
    number = resolve(platform, CRASHED, "reject")
    assert approve(platform, number).exit_code == 0
    for at in ("before_commit", "after_commit"):
        armed = platform.start_coordinator(at, **QUICK_DESK, UPRP_FAULT__PHASE=at)
        assert armed.wait_exit(60) == -9
    platform.start_coordinator("healed", **QUICK_DESK).wait_ready()
    assert ended(platform, CRASHED)["status"] == "FAILED_POINTS_RETURNED"
    row = settled(platform, number)
    assert row["status"] == "applied"
    rows = platform.fetch(
        f"select detail from timeline where saga_id = '{CRASHED.saga_id}' and event = 'decided'"
    )
    assert [json.loads(one["detail"])["decision"] for one in rows] == [number]
    account = platform.books().companies["citi"].accounts[CRASHED.card]
    assert account.now == account.initial
    assert platform.nodes[-1].stop() == 0


# -- the audit ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "told"),
    (
        ("update decision set reason = 'another'", "audit record"),
        ("update decision set approved_by = 'mallory' where approved_by = 'bob'", "audit record"),
        (
            "update decision set outcome = null, settled_at = null where outcome is not null",
            "audit",
        ),
        ("delete from decision", "is not deleted"),
    ),
)
def test_what_stands_in_the_audit_is_not_changed(
    platform: Platform, statement: str, told: str
) -> None:
    with pytest.raises(Exception, match=told):
        platform.fetch(statement)


@pytest.mark.parametrize(
    ("column", "content", "constraint"),
    (
        ("approved_by", "'alice'", "two_persons"),
        ("due_at", "now()", "published_when_approved"),
        ("outcome", "'applied', settled_at = now(), revision = 2", "applied_when_approved"),
        ("outcome", "'refused'", "settled_as_a_whole"),
    ),
)
def test_the_database_repeats_the_rules(
    platform: Platform, column: str, content: str, constraint: str
) -> None:
    approved = ", approved_at = now()" if column == "approved_by" else ""
    with pytest.raises(Exception, match=constraint):
        platform.fetch(
            f"update decision set {column} = {content}{approved}"
            f" where saga_id = '{FORGED.saga_id}' and outcome is null"
        )
