"""Bad input, each with a clear outcome on every side, and nothing lost beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from orchestrator.engine.instance import Saga
from orchestrator.engine.results import phase
from schemas.ids import partition_key, saga_id
from tests.harness import QUICK, Platform
from tests.nodes import Node
from tests.platform.bad import (
    ACCOUNT,
    BASE,
    KEY,
    OPEN,
    ORIGIN,
    REFUSALS,
    SCHEMA_INVALID,
    Bad,
    Refused,
    bad_inputs,
    padded,
)
from tests.platform.partner import (
    REFUSED,
    REQUESTED,
    Place,
    Raw,
    Sender,
    envelope,
    read_all,
)
from tests.support import wait_until
from tests.wire import Heard, Redemption, redemptions

pytestmark = pytest.mark.servers

OPEN_SAGA = saga_id("harbour", OPEN["account"], OPEN["request_id"])
CASES = tuple(bad_inputs(BASE.saga_id, OPEN_SAGA))
LARGEST = "as large as may be"
ALL_THROUGH = {"UPRP_COORDINATOR__DEAD_LETTER_SHARE_MAX": "1"}
"""Here bad input is most of what comes; that this stops a coordinator is shown at the end."""


@dataclass(frozen=True)
class Aftermath:
    """Everything that each side knows once all was read."""

    platform: Platform
    places: Mapping[str, Place]
    """Where each bad input came to stand, by its name."""
    good: Sequence[Redemption]
    letters: Sequence[Raw]
    results: Sequence[Raw]
    rows: Mapping[Place, Any]
    sagas: Mapping[str, Saga]
    inbound: Sequence[Heard]
    commands: Sequence[Heard]
    records_counted: float
    base_before: Saga

    def final(self, saga: str) -> dict[str, Any]:
        """The final result of a saga; said again it is the same."""
        told = [
            record.data
            for record in self.results
            if record.said.get("ce_subject") == saga and record.data["final"]
        ]
        assert told
        assert all(one == told[0] for one in told)
        return told[0]


@pytest.fixture(scope="module")
def restore(
    kafka: EmbeddedKafka, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Aftermath]:
    """All bad input among good requests, on one platform, until nothing is left to do."""
    dsn = postgres.create_database("bad_input")
    try:
        with Platform(kafka, dsn, tmp_path_factory.mktemp("bad") / "platform") as platform:
            platform.start_sandbox(only="citi,alipayhk")
            coordinator = platform.start_coordinator(**QUICK, **ALL_THROUGH).wait_ready()
            sender = Sender(kafka.bootstrap_servers)
            base = _one_ended_and_one_open(platform, sender)
            places, good = _all_at_once(platform, sender)
            _until_all_is_said(platform, sender, good)
            yield _gathered(platform, coordinator, places, good, base)
    finally:
        postgres.drop_database("bad_input")


def _one_ended_and_one_open(platform: Platform, sender: Sender) -> Saga:
    platform.publish([BASE])
    ask(sender, OPEN, "harbour")
    platform.finish([BASE])

    def asked() -> bool:
        return any(one.subject == OPEN_SAGA for one in platform.tape.of("commands"))

    wait_until(asked, 20, "the deduction that nobody answers is asked for")
    return platform.stories()[BASE.saga_id]


def ask(sender: Sender, body: Mapping[str, Any] | bytes, origin: str = ORIGIN) -> None:
    """Publish one more request."""
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    account = json.loads(value)["account"]
    headers = envelope(origin, REQUESTED, f"asked {json.loads(value)['request_id']}")
    key = partition_key(origin, account).encode()
    sender.send(f"uprp.{origin}.requests", key, value, headers)
    sender.flush()


def _all_at_once(platform: Platform, sender: Sender) -> tuple[dict[str, Place], list[Redemption]]:
    """Bad ones and good ones in turn, of which some have the bad ones' key."""
    good = list(redemptions(len(CASES), seed=3, stem="good"))
    delivered = {}
    for bad, beside in zip(CASES, good, strict=True):
        delivered[bad.name] = sender.send(bad.topic, bad.key, bad.value, bad.sent_headers)
        platform.origin.send([beside])
    sender.flush()
    platform.origin.flush()
    for refused in REFUSALS:
        ask(sender, refused.body, refused.origin)
    # The same account and the same id as a refused record: that did not use the id up.
    ask(sender, padded(64 * 1024, request_id=LARGEST))
    ask(sender, {**json.loads(BASE.body()), "request_id": "bad"})
    return {name: place for name, (place,) in delivered.items()}, good


def _until_all_is_said(platform: Platform, sender: Sender, good: Sequence[Redemption]) -> None:
    asked = {one.saga_id for one in good} | {_saga_of(one) for one in REFUSALS}
    asked |= {saga_id(ORIGIN, ACCOUNT, name) for name in (LARGEST, "bad")}
    wait_until(lambda: asked <= platform.tape.finals(), 40, "every request has a final result")
    wait_until(
        lambda: len(platform.tape.of("dead-letters")) >= len(CASES), 20, "all were set aside"
    )
    no = {"code": "INSUFFICIENT_POINTS"}
    answer = {"leg_id": f"{OPEN_SAGA}/deduct", "outcome": "REJECTED", "reason": no}
    sender.reply("harbour", b"harbour/saver-bad", answer)
    wait_until(lambda: OPEN_SAGA in platform.tape.finals(), 20, "the open one has ended")


def _gathered(
    platform: Platform,
    coordinator: Node,
    places: Mapping[str, Place],
    good: Sequence[Redemption],
    base: Saga,
) -> Aftermath:
    platform.tape.caught_up()
    inbound = platform.tape.of("requests", "replies", "internal")

    def counted() -> float:
        found = coordinator.metrics()
        return sum(n for name, n in found.items() if name.startswith("uprp_records_total"))

    wait_until(lambda: counted() >= len(inbound), 20, "every record is committed and counted")
    letters = read_all(platform.kafka.bootstrap_servers, ["uprp.dead-letters"])
    results = read_all(
        platform.kafka.bootstrap_servers,
        [f"uprp.{who}.results" for who in ("alipayhk", "citi", "harbour", "pacificair")],
    )
    rows = platform.fetch("select *, headers::text as headers from dead_letter")
    return Aftermath(
        platform=platform,
        places=places,
        good=good,
        letters=letters,
        results=results,
        rows={(row["topic"], row["partition"], row["offset"]): row for row in rows},
        sagas=platform.stories(),
        inbound=inbound,
        commands=platform.tape.of("commands"),
        records_counted=counted(),
        base_before=base,
    )


def _saga_of(refused: Refused) -> str:
    return saga_id(refused.origin, ACCOUNT, refused.body["request_id"])


def _id(place: Place) -> str:
    return "/".join(map(str, place))


bad_ones = pytest.mark.parametrize("bad", CASES, ids=[case.name for case in CASES])


@bad_ones
def test_a_bad_record_is_a_dead_letter_byte_for_byte(restore: Aftermath, bad: Bad) -> None:
    topic, partition, offset = place = restore.places[bad.name]
    (letter,) = [one for one in restore.letters if one.said["x-dlq-id"] == _id(place)]
    assert letter.key == bad.key
    assert letter.value == bad.value
    assert letter.headers[: len(bad.sent_headers)] == bad.sent_headers
    ours = dict(letter.headers[len(bad.sent_headers) :])
    text = {name: (content or b"").decode() for name, content in ours.items()}
    assert text.pop("__dlq.errors.message").startswith(f"{bad.field}: {bad.says}")
    assert len(text.pop("x-dlq-fingerprint")) == 16
    assert text.pop("x-dlq-first-failed-at").endswith("Z")
    assert text.pop("x-saga-id", None) == bad.saga
    assert text == {
        "__dlq.errors.topic": topic,
        "__dlq.errors.partition": str(partition),
        "__dlq.errors.offset": str(offset),
        "__dlq.errors.group": restore.platform.group,
        "x-dlq-id": _id(place),
        "x-dlq-error-class": bad.code,
        "x-dlq-disposition": bad.disposition,
        "x-replay-count": "0",
    }


@bad_ones
def test_a_bad_record_is_in_the_table(restore: Aftermath, bad: Bad) -> None:
    place = restore.places[bad.name]
    row = restore.rows[place]
    letter = next(one for one in restore.letters if one.said["x-dlq-id"] == _id(place))
    assert (row["key"], row["value"]) == (bad.key, bad.value)
    kept = [(name, content.encode("latin-1")) for name, content in json.loads(row["headers"])]
    assert tuple(kept) == bad.sent_headers
    assert row["error_class"] == bad.code
    assert row["field"] == bad.field
    assert row["message"].startswith(bad.says)
    assert row["disposition"] == bad.disposition
    assert row["fingerprint"] == letter.said["x-dlq-fingerprint"]
    assert (row["saga_id"] and str(row["saga_id"])) == bad.saga
    failed_at = f"{row['first_failed_at']:%Y-%m-%dT%H:%M:%S}"
    assert letter.said["x-dlq-first-failed-at"].startswith(failed_at)


@bad_ones
def test_only_who_asked_hears_that_it_was_refused(restore: Aftermath, bad: Bad) -> None:
    topic, partition, offset = place = restore.places[bad.name]
    told = [one for one in restore.results if one.said["ce_id"] == _id(place)]
    if bad.channel != "requests":
        assert told == []
        return
    (word,) = told
    assert word.topic == f"uprp.{bad.who}.results"
    assert word.key == bad.key
    assert word.said["ce_type"] == REFUSED
    assert word.said["ce_source"] == "/uprp"
    data = word.data
    assert (data["topic"], data["partition"], data["offset"]) == (topic, partition, offset)
    assert data["reason"]["code"] == bad.code
    assert data["reason"]["field"] == bad.field
    assert data["reason"]["recoverable"] is True
    assert data["reason"]["message"]
    if bad.code == SCHEMA_INVALID:
        assert f"({bad.field}: {bad.says}" in data["reason"]["message"]
    sent_id = dict(bad.sent_headers).get("ce_id", b"").decode("latin-1")
    if bad.name.startswith("structured"):
        sent_id = "bad envelope"
    assert data.get("event_id") == (sent_id if sent_id.isascii() and sent_id else None)
    assert data.get("request_id") == bad.request_id


@pytest.mark.parametrize("refused", REFUSALS, ids=[one.name for one in REFUSALS])
def test_what_can_be_read_gets_a_row_and_a_final_result(
    restore: Aftermath, refused: Refused
) -> None:
    saga = _saga_of(refused)
    result = restore.final(saga)
    assert (result["status"], result["revision"]) == ("REJECTED", 1)
    assert result["reason"]["code"] == refused.code
    assert result["reason"]["field"] == refused.field
    assert result["points"] == {"charged": 0, "returned": 0}
    assert phase(restore.sagas[saga]) == "REJECTED"
    assert not [one for one in restore.commands if one.subject == saga]
    (said,) = [one for one in restore.results if one.said.get("ce_subject") == saga]
    assert said.topic == f"uprp.{refused.origin}.results"


def test_the_good_ones_succeed(restore: Aftermath) -> None:
    asked = [one.saga_id for one in restore.good]
    # The largest value that may be, and an id that a refused record did not use up.
    asked += [saga_id(ORIGIN, ACCOUNT, name) for name in (LARGEST, "bad")]
    assert {restore.final(saga)["status"] for saga in asked} == {"SUCCESS"}
    assert restore.platform.books().problems() == ()


def test_bad_replies_change_nothing(restore: Aftermath) -> None:
    assert restore.sagas[BASE.saga_id] == restore.base_before
    assert phase(restore.base_before) == "SUCCESS"
    assert restore.final(OPEN_SAGA)["status"] == "FAILED_NOTHING_DEDUCTED"
    said = [one.type for one in restore.commands if one.subject == OPEN_SAGA]
    assert set(said) <= {"uprp.points.deduct.v1", "uprp.leg.inquire.v1"}


def test_every_record_is_accounted_for(restore: Aftermath) -> None:
    expected = set(restore.places.values())
    assert len(expected) == len(CASES)
    assert sorted(one.said["x-dlq-id"] for one in restore.letters) == sorted(map(_id, expected))
    assert set(restore.rows) == expected
    # What was not set aside became a saga, or is word about one.
    asked = [one.saga_id for one in (BASE, *restore.good)] + [OPEN_SAGA]
    asked += [_saga_of(one) for one in REFUSALS]
    asked += [saga_id(ORIGIN, ACCOUNT, name) for name in (LARGEST, "bad")]
    assert set(restore.sagas) == set(asked)
    requests = [one for one in restore.inbound if one.channel == "requests"]
    bad = [case for case in CASES if case.channel == "requests"]
    assert len(requests) == len(asked) + len(bad)
    # Every record was committed once: that says the counter, and the positions.
    assert restore.records_counted == len(restore.inbound)
    ends: dict[tuple[str, int], int] = {}
    for one in restore.inbound:
        ends[one.topic, one.partition] = one.offset + 1
    positions = restore.platform.fetch("select topic, partition, next_offset from position")
    assert {(row["topic"], row["partition"]): row["next_offset"] for row in positions} == ends


def test_most_of_a_batch_that_cannot_be_read_stops_the_coordinator(restore: Aftermath) -> None:
    """The fault is systemic then: nothing is set aside until a person has looked."""
    platform = restore.platform
    assert platform.nodes[-1].stop() == 0
    before = len(platform.tape.of("dead-letters"))
    sender = Sender(platform.kafka.bootstrap_servers)
    topic = f"uprp.{ORIGIN}.requests"
    good = [Redemption(f"among-{n}", f"{ACCOUNT}-{n}", "card", (("hkd50", 2),)) for n in range(5)]
    for number in range(16):
        headers = envelope(ORIGIN, REQUESTED, f"mass-{number}")
        sender.send(topic, KEY, b"\xff", headers)
        if number < len(good):
            sender.send(topic, KEY, good[number].body(), headers)
    sender.flush()

    stopped = platform.start_coordinator("stops", **QUICK)
    assert stopped.wait_exit(30) == 5
    assert stopped.said("16 of 21 records of a batch cannot be read, first uprp.alipayhk.requests/")
    assert stopped.said("(value: is not UTF-8 (byte 0)); nothing was set aside. Find out who")
    assert stopped.said("raise UPRP_COORDINATOR__DEAD_LETTER_SHARE_MAX to let them through")
    platform.tape.caught_up()
    assert len(platform.tape.of("dead-letters")) == before
    assert platform.fetch("select count(*) from dead_letter")[0][0] == before
    assert not platform.tape.finals() & {one.saga_id for one in good}

    through = platform.start_coordinator("through", **QUICK, **ALL_THROUGH).wait_ready()
    platform.finish(good)
    wait_until(
        lambda: len(platform.tape.of("dead-letters")) == before + 16, 20, "all were set aside"
    )
    assert platform.fetch("select count(*) from dead_letter")[0][0] == before + 16
    assert through.stop() == 0
