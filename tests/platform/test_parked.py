"""People decide about parked sagas: twice looked at, once applied, never against a fact."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres.desk import open_desk
from orchestrator.saga.telling import phase
from orchestrator.settings import Settings
from schemas.catalogue import DECIDED, INTERNAL_TOPIC
from tests.cli.test_cli import Done, uprp
from tests.harness import QUICK, Platform
from tests.platform.partner import Sender, envelope
from tests.support import wait_until
from tests.wire import Heard, Redemption

pytestmark = pytest.mark.servers

TIMES = 2
LADDER = (
    'response_timeout = "300ms"\nexpires_after = "60s"\nevery = "200ms"\n'
    f"times = {TIMES}\ncancel = false\n"
)
RETURN = 'response_timeout = "300ms"\nevery = "200ms"\n'
QUICK_DESK = QUICK | {"UPRP_COORDINATOR__SWEEP_S": "0.05", "UPRP_COORDINATOR__DECISIONS_S": "0.2"}


def order(name: str) -> Redemption:
    """HK$100 of coupons: 25,000 points."""
    return Redemption(name, f"w-{name}", f"c-{name}", (("hkd50", 2),))


REJECTED, CONFIRMED, RETRIED, LATE, DECLINED, TWICE, CRASHED, FORGED, WRITTEN_OFF = (
    order(name)
    for name in (
        *("rejected", "confirmed", "retried", "late", "declined", "twice"),
        *("crashed", "forged", "written"),
    )
)
SILENT = (REJECTED, CONFIRMED, LATE, DECLINED, TWICE, CRASHED, FORGED)


def short_ladders(folder: Path) -> Path:
    """A copy of what is deployed, in which companies are given up soon and nothing is cancelled."""
    deploy = folder / "deploy"
    for part in ("programmes", "participants"):
        shutil.copytree(Settings().deploy / part, deploy / part)
    for name, legs in (
        ("citi", f"[legs.deduct]\n{LADDER}[legs.return]\n{RETURN}"),
        ("alipayhk", f"[legs.credit]\n{LADDER}[legs.reverse]\n{LADDER.replace('cancel', '# ')}"),
    ):
        text = f'id = "{name}"\nversion = 1\nname = "{name}"\n{legs}'
        (deploy / "participants" / f"{name}.toml").write_text(text)
    return deploy


def script(folder: Path) -> Path:
    """The wallet never answers about most credits; one it gave, and says so when asked later."""
    path = folder / "faults.toml"
    rules = [f'match = {{ leg = "{one.saga_id}/credit/*" }}\naction = "silence"' for one in SILENT]
    again = f"{RETRIED.saga_id}/credit/*"
    rules += [
        f'match = {{ leg = "{again}", verb = "credit" }}\naction = "apply_silent"',
        f'match = {{ leg = "{again}", verb = "inquire", first_n = {TIMES} }}\naction = "silence"',
        f'match = {{ leg = "{WRITTEN_OFF.saga_id}/credit/*" }}\naction = "refuse"\n'
        'code = "PARTNER_DECLINED"',
        f'match = {{ leg = "{WRITTEN_OFF.saga_id}/deduct/return" }}\naction = "silence"',
    ]
    path.write_text("\n".join(f"[[rule]]\n{rule}" for rule in rules))
    return path


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


def asked(platform: Platform) -> list[str]:
    """The legs of all commands."""
    return [str(one.data["leg_id"]) for one in platform.tape.of("commands")]


def run(platform: Platform, *arguments: str) -> Done:
    """`uprp parked ...`."""
    ours = {k: v for k, v in platform.environment.items() if k.startswith("UPRP_")}
    return uprp("parked", *arguments, **ours)


def say(platform: Platform, *arguments: str) -> Any:
    """What a command that succeeds prints as JSON."""
    done = run(platform, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def resolve(platform: Platform, one: Redemption, *more: str, leg: str = "credit/1") -> Any:
    """What alice decides; the number of the decision."""
    why = ("--reason", "as the partner says", "--evidence", "ticket 7", "--as", "alice")
    return say(platform, "resolve", one.saga_id, leg, *more, *why)["decision"]["decision"]


def approve(platform: Platform, number: int, *more: str) -> Done:
    """Bob approves."""
    return run(platform, "approve", str(number), "--as", "bob", *more)


def decision(platform: Platform, number: int) -> dict[str, Any]:
    """How a decision stands."""
    found: dict[str, Any]
    (found,) = [one for one in say(platform, "decisions") if one["decision"] == number]
    return found


def settled(platform: Platform, number: int) -> dict[str, Any]:
    """A decision, once it was carried out or refused."""

    def done() -> bool:
        return decision(platform, number)["status"] not in ("proposed", "approved")

    wait_until(done, 30, f"decision {number} is settled")
    return decision(platform, number)


def ended(platform: Platform, one: Redemption) -> dict[str, Any]:
    """The final result."""
    wait_until(lambda: one.saga_id in platform.tape.finals(), 30, f"{one.request_id} has ended")
    return [heard.data for heard in platform.tape.results() if heard.subject == one.saga_id][-1]


def records(platform: Platform, number: int) -> list[Heard]:
    """The records of a decision."""
    heard = [one for one in platform.tape.of("internal") if one.type == DECIDED]
    return [one for one in heard if one.data["decision"] == number]


def publish_again(platform: Platform, one: Redemption, data: dict[str, Any]) -> None:
    """Put a record of a decision on the platform's own topic, and wait until it was read."""
    sender = Sender(platform.kafka.bootstrap_servers)
    headers = envelope("", DECIDED, f"{one.saga_id}#again")
    sender.send(INTERNAL_TOPIC, one.key, json.dumps(data).encode(), headers)
    sender.flush()
    wait_until(platform.idle, 30, "the record was read")


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
    async with open_desk(platform.dsn) as desk:
        row = await desk.decision(number)
        assert row is not None
        assert await desk.approve(row, "bob")


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
