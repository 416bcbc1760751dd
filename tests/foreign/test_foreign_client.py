"""A program written from the contract alone redeems, plays both companies, and is understood."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from tests.foreign import client
from tests.foreign.client import NAMESPACE, Company, Json, Record, Wire, now, saga_id
from tests.foreign.platform import ROOT, running
from tests.support import wait_until

ORIGIN = "alipayhk"
ACCOUNT = "w-1"
KEY = f"{ORIGIN}/{ACCOUNT}"
REQUESTED = "uprp.redemption.requested.v1"


def bank(kind: str, command: Json) -> Json:
    """Citi: deducts and returns whatever it is asked to, lot by lot."""
    lots = command.get("lots") or [
        {"lot": "2024", "points": command["points"], "expires_on": "2028-12-31"}
    ]
    if command["account"] == "card-novel":
        lots = [lot | {"serial": 10**30} for lot in lots]
    reference = f"citi-{kind.split('.')[2]}-{command['leg_id'][-12:]}"
    said = {"outcome": "CONFIRMED", "reference": reference, "points": command["points"]}
    return said | {"lots": lots}


def wallet(kind: str, command: Json) -> Json:
    """AlipayHK: issues coupons, but declines everything for the account `w-declined`."""
    assert kind == "uprp.value.credit.v1", kind
    if command["account"] == "w-declined":
        reason = {"code": "PARTNER_DECLINED", "message": "not today"}
        return {"outcome": "REJECTED", "reason": reason}
    coupons = [
        {"coupon_id": f"{command['leg_id']}-{n}", "face": command["face"], "usable_from": now()}
        for n in range(command["quantity"])
    ]
    if command["account"] == "w-novel":
        coupons = [coupon | {"serial": 10**30, "art": {"\0": "\0"}} for coupon in coupons]
    said = {"outcome": "CONFIRMED", "reference": f"issued-{command['leg_id'][:8]}"}
    return said | {"quantity": command["quantity"], "coupons": coupons}


def redemption(request_id: str, *, account: str = ACCOUNT, pieces: int = 2) -> Json:
    return {
        "request_id": request_id,
        "programme": "citi-alipayhk-coupons",
        "account": account,
        "debtor_account": "card-1",
        "lines": [{"item": "hkd50", "quantity": pieces}],
    }


class Partner:
    """What a test says and waits for."""

    def __init__(self, wire: Wire, citi: Company, alipayhk: Company) -> None:
        self.wire = wire
        self.citi = citi
        self.alipayhk = alipayhk

    def first(self, what: str, wanted: Callable[[Record], bool], count: int = 1) -> Record:
        """Take turns until `count` records are as wanted; the last of them."""
        found: list[Record] = []

        def turned() -> bool:
            self.wire.turn()
            found[:] = filter(wanted, self.wire.seen)
            return len(found) >= count

        wait_until(turned, 60, what)
        return found[count - 1]

    def final(self, saga: str, count: int = 1) -> Record:
        """The `count`-th final result of a saga; a result said again is the same result."""
        return self.first(
            f"final result {count} of {saga}",
            lambda record: (
                record.type == "uprp.redemption.result.v1"
                and record.headers["ce_subject"] == saga
                and record.data["final"]
            ),
            count,
        )

    def commands(self, saga: str, kind: str) -> list[Record]:
        return [
            record
            for record in self.wire.seen
            if record.type == kind and record.headers["ce_subject"] == saga
        ]


@pytest.fixture(scope="module")
def partner(
    kafka: EmbeddedKafka, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Partner]:
    """The platform runs; a foreign program listens as both companies."""
    dsn = postgres.create_database("foreign")
    try:
        with running(kafka.bootstrap_servers, dsn, tmp_path_factory.mktemp("foreign")):
            citi, alipayhk = Company("citi", bank), Company(ORIGIN, wallet)
            wire = Wire(kafka.bootstrap_servers, [citi, alipayhk])
            try:
                yield Partner(wire, citi, alipayhk)
            finally:
                wire.close()
            assert wire.undelivered == []
    finally:
        postgres.drop_database("foreign")


def test_the_client_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(client.__file__).read_text("utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add((node.module or "").split(".")[0])
    assert "confluent_kafka" in found
    assert found - {"confluent_kafka"} <= sys.stdlib_module_names
    source = Path(client.__file__).read_text("utf-8")
    assert "import_module" not in source
    assert "__import__" not in source


def test_the_name_space_is_published() -> None:
    published = json.loads((ROOT / "schemas/asyncapi.json").read_text("utf-8"))
    assert str(NAMESPACE) in published["info"]["description"]


@pytest.mark.servers
def test_a_redemption_succeeds(partner: Partner) -> None:
    event = partner.wire.say(ORIGIN, "requests", KEY, REQUESTED, redemption("ok-1"))
    saga = saga_id(ORIGIN, ACCOUNT, "ok-1")
    record = partner.final(saga)
    result = record.data
    assert result["status"] == "SUCCESS"
    assert result["saga_id"] == saga
    assert result["request_id"] == "ok-1"
    assert result["revision"] >= 1
    assert not result.get("corrected", False)
    assert result["points"] == {"charged": 25_000, "returned": 0}
    (line,) = result["lines"]
    assert (line["item"], line["quantity"], line["issued"]) == ("hkd50", 2, 2)
    assert len({coupon["coupon_id"] for coupon in line["coupons"]}) == 2
    assert {coupon["face"]["amount"] for coupon in line["coupons"]} == {5_000}
    assert record.key == KEY
    assert record.topic == "uprp.alipayhk.results"
    assert record.headers["ce_id"] == f"{saga}#r{result['revision']}"
    assert record.headers["ce_source"] == "/uprp"
    assert record.headers["ce_specversion"] == "1.0"
    assert record.headers["content-type"] == "application/json"
    (deduct,) = partner.commands(saga, "uprp.points.deduct.v1")
    assert deduct.topic == "uprp.citi.commands"
    assert deduct.key == KEY
    assert deduct.headers["ce_causationid"] == event
    assert deduct.headers["ce_id"] == f"{deduct.data['leg_id']}#1"
    assert deduct.data["account"] == "card-1"
    assert deduct.data["points"] == 25_000
    assert deduct.data["attempt"] == 1
    (credit,) = partner.commands(saga, "uprp.value.credit.v1")
    assert credit.topic == "uprp.alipayhk.commands"
    assert credit.data["account"] == ACCOUNT
    assert credit.data["face"] == {"amount": 5_000, "currency": "HKD"}


@pytest.mark.servers
def test_a_creditor_refuses_and_the_points_come_back(partner: Partner) -> None:
    account = "w-declined"
    request = redemption("refused-1", account=account)
    partner.wire.say(ORIGIN, "requests", f"{ORIGIN}/{account}", REQUESTED, request)
    saga = saga_id(ORIGIN, account, "refused-1")
    result = partner.final(saga).data
    assert result["status"] == "FAILED_POINTS_RETURNED"
    assert result["reason"]["code"] == "PARTNER_DECLINED"
    assert result["points"]["returned"] == 25_000
    assert [line["issued"] for line in result["lines"]] == [0]
    (deduct,) = partner.commands(saga, "uprp.points.deduct.v1")
    (back,) = partner.commands(saga, "uprp.points.return.v1")
    assert back.data["deduction_leg_id"] == deduct.data["leg_id"]
    assert back.data["leg_id"] == f"{deduct.data['leg_id']}/return"
    assert back.data["points"] == 25_000
    deduction = partner.citi.answers[deduct.data["leg_id"]]
    assert back.data["reference"] == deduction["reference"]
    assert back.data["lots"] == deduction["lots"]
    assert partner.citi.answers[back.data["leg_id"]]["outcome"] == "CONFIRMED"


@pytest.mark.servers
def test_a_request_below_the_minimum_is_rejected_before_anything_moves(partner: Partner) -> None:
    partner.wire.say(ORIGIN, "requests", KEY, REQUESTED, redemption("small-1", pieces=1))
    saga = saga_id(ORIGIN, ACCOUNT, "small-1")
    result = partner.final(saga).data
    assert result["status"] == "REJECTED"
    assert result["reason"]["code"] == "BELOW_MINIMUM"
    assert result["reason"]["recoverable"] is True
    assert result["points"] == {"charged": 0, "returned": 0}
    assert partner.commands(saga, "uprp.points.deduct.v1") == []


@pytest.mark.servers
def test_structured_mode_is_read_too(partner: Partner) -> None:
    event = partner.wire.say_structured(ORIGIN, "requests", KEY, REQUESTED, redemption("whole-1"))
    saga = saga_id(ORIGIN, ACCOUNT, "whole-1")
    assert partner.final(saga).data["status"] == "SUCCESS"
    (deduct,) = partner.commands(saga, "uprp.points.deduct.v1")
    assert deduct.headers["ce_causationid"] == event


@pytest.mark.servers
def test_what_cannot_be_read_is_refused_and_set_aside(partner: Partner) -> None:
    attributes = partner.wire.attributes(ORIGIN, REQUESTED, "unreadable-1")
    headers = {f"ce_{name}": content for name, content in attributes.items()}
    value = b'{"request_id": "bad-1", "lines": '
    partner.wire.send("uprp.alipayhk.requests", KEY, headers | {"x-mine": "kept"}, value)

    refused = partner.first(
        "word that the request was refused",
        lambda record: (
            record.type == "uprp.request.refused.v1"
            and record.data.get("event_id") == "unreadable-1"
        ),
    )
    assert refused.topic == "uprp.alipayhk.results"
    assert refused.headers["ce_source"] == "/uprp"
    assert refused.data["topic"] == "uprp.alipayhk.requests"
    assert refused.data["reason"]["code"] == "SCHEMA_INVALID"
    assert refused.data["reason"]["field"] == "value"

    letter = partner.first(
        "the dead letter",
        lambda record: (
            record.topic == "uprp.dead-letters" and record.headers.get("ce_id") == "unreadable-1"
        ),
    )
    assert letter.raw == value
    assert letter.key == KEY
    assert letter.headers["x-mine"] == "kept"
    where = ("uprp.alipayhk.requests", refused.data["partition"], refused.data["offset"])
    assert letter.headers["__dlq.errors.topic"] == where[0]
    assert letter.headers["__dlq.errors.partition"] == str(where[1])
    assert letter.headers["__dlq.errors.offset"] == str(where[2])
    assert letter.headers["__dlq.errors.group"]
    assert letter.headers["__dlq.errors.message"].startswith("value: is not JSON")
    assert letter.headers["x-dlq-id"] == "{}/{}/{}".format(*where)
    assert len(letter.headers["x-dlq-fingerprint"]) == 16
    assert letter.headers["x-dlq-error-class"] == "SCHEMA_INVALID"
    assert letter.headers["x-dlq-disposition"] == "poison"
    assert letter.headers["x-dlq-first-failed-at"].endswith("Z")
    assert letter.headers["x-replay-count"] == "0"


@pytest.mark.servers
def test_an_inquiry_about_an_unknown_id_decides_nothing(partner: Partner) -> None:
    asked = {"request_id": "never-sent", "account": ACCOUNT}
    partner.wire.say(ORIGIN, "requests", KEY, "uprp.redemption.inquired.v1", asked)
    saga = saga_id(ORIGIN, ACCOUNT, "never-sent")
    result = partner.first(
        "an answer to the inquiry",
        lambda record: (
            record.type == "uprp.redemption.result.v1" and record.data["request_id"] == "never-sent"
        ),
    ).data
    assert result["status"] == "NOT_RECEIVED"
    assert result["final"] is False
    assert result["saga_id"] == saga
    # It decided nothing: the request may still come, and is then done.
    partner.wire.say(ORIGIN, "requests", KEY, REQUESTED, redemption("never-sent"))
    assert partner.final(saga).data["status"] == "SUCCESS"


@pytest.mark.servers
def test_a_duplicate_gets_the_same_result_again(partner: Partner) -> None:
    saga = saga_id(ORIGIN, ACCOUNT, "twice-1")
    event = partner.wire.say(ORIGIN, "requests", KEY, REQUESTED, redemption("twice-1"))
    once = partner.final(saga)
    partner.wire.say(ORIGIN, "requests", KEY, REQUESTED, redemption("twice-1"), event_id=event)
    again = partner.final(saga, count=2)
    assert again.offset != once.offset
    assert again.data == once.data
    assert again.headers["ce_id"] == once.headers["ce_id"]
    assert len(partner.commands(saga, "uprp.points.deduct.v1")) == 1
    leg = partner.commands(saga, "uprp.points.deduct.v1")[0].data["leg_id"]
    assert partner.citi.answers[leg]["outcome"] == "CONFIRMED"


@pytest.mark.servers
def test_fields_that_the_contract_does_not_know_reach_nobody(partner: Partner) -> None:
    account = "w-novel"
    request = redemption("novel-1", account=account) | {"debtor_account": "card-novel", "new": "\0"}
    partner.wire.say(ORIGIN, "requests", f"{ORIGIN}/{account}", REQUESTED, request)
    result = partner.final(saga_id(ORIGIN, account, "novel-1")).data
    assert result["status"] == "SUCCESS"
    (line,) = result["lines"]
    assert [coupon.keys() for coupon in line["coupons"]] == [
        {"coupon_id", "face", "usable_from"},
        {"coupon_id", "face", "usable_from"},
    ]
