"""What surrounds the cells: terms, replies as they are read, to whom an answer belongs, watches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.conform.exchange import (
    Ask,
    CommandBuilder,
    Finding,
    ReceivedReply,
    SentCommand,
    Steps,
    read_reply,
)
from adapters.conform.monitors import MONITORS, RunRecords
from adapters.conform.scheduler import ScriptRun, Timeouts, run_scripts
from adapters.conform.terms import TermsError, read_terms
from schemas.envelope import Envelope, read
from schemas.events import EVENTS
from schemas.jsonschemas import event_schema
from tests.conform.bench import NOW, TERMS, terms_of

TOPIC = "uprp.citi.replies"


def builder(name: str = "citi", **given: Any) -> CommandBuilder:
    return CommandBuilder(terms_of(name, **given), "run", "cell", NOW)


def reply(sent: SentCommand, outcome: str = "CONFIRMED", **more: Any) -> ReceivedReply:
    """A good reply to a command; `source`, `cause`, `topic`, `key` and `id` may be made bad."""
    topic, key = more.pop("topic", TOPIC), more.pop("key", sent.key)
    source = more.pop("source", "/participants/citi")
    event_id, cause = more.pop("id", "r1"), more.pop("cause", sent.envelope.id)
    body = {"leg_id": sent.leg_id, "outcome": outcome, **more}
    if outcome == "CONFIRMED":
        body |= {"reference": more.get("reference", "R")}
    envelope = Envelope(
        event_id, source, "uprp.leg.answered.v1", "2026-03-01T04:00:00Z", causation_id=cause
    )
    return read_reply(topic, key.encode(), orjson.dumps(body), envelope.headers())


# -- terms -----------------------------------------------------------------------------------------


def test_options_go_before_the_file() -> None:
    terms = terms_of("citi", amount=7, account="mine")
    assert (terms.amount, terms.account, terms.role) == (7, "mine", "debtor")
    assert terms_of("citi").for_run("x9").exact_account == "conform-x9"


def test_a_participant_without_a_section_is_given_by_options_alone() -> None:
    given = {"role": "debtor", "programme": "p", "account": "a", "amount": 2}
    assert read_terms(TERMS, "acme", given).participant == "acme"


@pytest.mark.parametrize(
    ("name", "given", "told"),
    (
        ("acme", {}, "acme.role: Field required; set it there or by --role"),
        ("citi", {"role": "origin"}, "citi.role: Input should be 'debtor' or 'creditor'"),
        ("citi", {"amount": 1}, "citi.amount: Input should be greater than or equal to 2"),
        ("citi", {"lacking": ["speed"]}, "citi.lacking.0: Input should be 'repeat'"),
        ("alipayhk", {"face": "5HK"}, "alipayhk.face: Input should be"),
        ("citi", {"role": "creditor"}, "citi.item: Field required of a creditor"),
        ("pacificair", {"exact_amount": 5}, "pacificair.exact_amount: goes with exact_account"),
    ),
)
def test_bad_terms_are_explained(name: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(TermsError, match=r"conform\.toml: ") as raised:
        terms_of(name, **given)
    assert told in str(raised.value)


@pytest.mark.parametrize(("text", "told"), (("[", "not TOML"), ("citi = 1", "expected a table")))
def test_a_bad_file_is_explained(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "terms.toml"
    path.write_text(text)
    with pytest.raises(TermsError, match=told):
        read_terms(path, "citi", {})
    with pytest.raises(TermsError, match="No such file"):
        read_terms(tmp_path / "none.toml", "citi", {})


# -- commands and replies --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("citi", "alipayhk"))
def test_commands_are_records_of_the_contract(name: str) -> None:
    ours = builder(name)
    do = ours.do()
    undo = ours.undo(do, "R", amount=1)
    asked = ours.balance(account="a")
    written = [
        asked,
        ours.again(asked),
        do,
        ours.again(do),
        undo,
        ours.inquire(do),
        ours.cancel(do),
        ours.inquire(do),
    ]
    known = {event.name: event for event in EVENTS}
    for one in written:
        envelope, _ = read(one.envelope.headers(), one.value)
        assert (envelope.source, envelope.subject) == ("/uprp", ours.saga_id)
        known[envelope.type].data.model_validate_json(one.value)
        required = set(event_schema(known[envelope.type])["required"])
        assert required <= set(orjson.loads(one.value))
    assert len({one.envelope.id for one in written}) == len(written)
    assert {one.key for one in written} == {"conform/run-cell"}
    assert written[3].leg_id == do.leg_id
    assert orjson.loads(written[3].value) == {**orjson.loads(do.value), "attempt": 2}


def test_a_bad_reply_names_what_is_wrong_and_finds_its_leg() -> None:
    sent = builder().do()
    bad = read_reply(TOPIC, b"k", b'{"leg_id": "x/deduct", "outcome": 7}', [])
    assert bad.data is None
    assert bad.fault.startswith("ce_specversion")
    assert bad.leg_id == "x/deduct"
    headers = sent.envelope.headers()
    assert "expected uprp.leg.answered.v1" in read_reply(TOPIC, None, b"{}", headers).fault
    wrong = reply(sent, points="50")
    assert wrong.fault.startswith("points: Input should be a valid integer")
    assert wrong.leg_id == sent.leg_id


# -- to whom an answer belongs ---------------------------------------------------------------------


class Script:
    """A transport that brings the replies that the test names, one portion for each `receive`."""

    def __init__(self, *portions: Sequence[ReceivedReply]) -> None:
        self.said: list[SentCommand] = []
        self._portions = list(portions)
        self._seconds = 0.0

    def now(self) -> Any:
        return NOW

    def seconds(self) -> float:
        return self._seconds

    def send(self, commands: Sequence[SentCommand]) -> None:
        self.said.extend(commands)

    def receive(self, wait_s: float) -> list[ReceivedReply]:
        if self._portions:
            return list(self._portions.pop(0))
        self._seconds += wait_s
        return []


def asked(
    ours: CommandBuilder, *portions: Sequence[ReceivedReply], commands: Sequence[SentCommand]
) -> list[ReceivedReply | None]:
    """The answers that a script gets to one question."""
    got: list[ReceivedReply | None] = []

    def steps() -> Steps:
        got.extend((yield Ask(tuple(commands))))
        return Finding("kept")

    run_scripts([ScriptRun("act", ours, steps())], Script(*portions), Timeouts(1, 2, 0.5))
    return got


def test_an_answer_goes_to_the_command_that_it_names() -> None:
    ours = builder()
    do = ours.do()
    inquiry = ours.inquire(do)
    second, first = reply(inquiry, "NOT_RECEIVED"), reply(do)
    assert asked(ours, [second, first], commands=[do, inquiry]) == [first, second]


def test_answers_without_a_cause_are_taken_in_their_order() -> None:
    ours = builder()
    do = ours.do()
    repeat = ours.again(do)
    one, two = (reply(do, cause=None, id=name) for name in ("1", "2"))
    assert asked(ours, [one], [two], commands=[do, repeat]) == [one, two]


def test_a_second_answer_to_one_command_is_no_answer_to_another() -> None:
    ours = builder()
    do = ours.do()
    repeat = ours.again(do)
    one, two = (reply(do, id=name) for name in ("1", "2"))
    assert asked(ours, [one, two], commands=[do, repeat]) == [one, None]


def test_what_is_about_others_is_not_heard() -> None:
    ours = builder()
    other = CommandBuilder(terms_of("citi"), "other", "cell", NOW).do()
    assert asked(ours, [reply(other)], commands=[ours.do()]) == [None]


def test_a_pending_is_asked_about_until_it_is_settled_or_patience_ends() -> None:
    ours = builder()
    do = ours.do()
    pending, settled = reply(do, "PENDING"), reply(do, cause=None)
    assert asked(ours, [pending], [], [settled], commands=[do]) == [settled]
    assert asked(ours, [pending], commands=[do]) == [pending]


# -- monitors --------------------------------------------------------------------------------------


def judged(
    replies: Sequence[ReceivedReply], *sent: SentCommand, blamed: frozenset[str] = frozenset()
) -> set[str]:
    """The ids of the monitors that are broken."""
    records = RunRecords(terms_of("citi"), {one.envelope.id: one for one in sent}, replies, blamed)
    return {one.id for one in MONITORS if one.judge(records)[0].verdict == "broken"}


def test_good_replies_break_no_monitor() -> None:
    do = builder().do()
    assert judged([reply(do), reply(do), reply(do, id="r2")], do) == set()


@pytest.mark.parametrize(
    ("bad", "monitor"),
    (
        ({"topic": "uprp.alipayhk.replies"}, "reply.topic"),
        ({"source": "/participants/alipayhk"}, "reply.source"),
        ({"key": "another"}, "reply.key"),
        ({"points": "many"}, "reply.readable"),
        ({"reference": "other", "id": "r1"}, "reply.id"),
        ({"colour": "red", "id": "r2"}, "reply.fields"),
    ),
)
def test_a_bad_reply_breaks_its_monitor(bad: dict[str, Any], monitor: str) -> None:
    do = builder().do()
    assert monitor in judged([reply(do), reply(do, **bad)], do)


def test_a_second_differing_verdict_is_seen_unless_a_cell_told_of_it() -> None:
    do = builder().do()
    two = [reply(do), reply(do, "CANCELLED", id="r2")]
    assert judged(two, do) == {"reply.consistent"}
    assert judged(two, do, blamed=frozenset({do.leg_id})) == set()
    readings = [reply(do, "NOT_RECEIVED"), reply(do, "PENDING", id="r2"), reply(do, id="r3")]
    assert judged(readings, do) == set()


def test_without_any_reply_nothing_is_judged() -> None:
    records = RunRecords(terms_of("citi"), {}, ())
    assert {one.judge(records)[0].verdict for one in MONITORS} == {"undecided"}


def test_a_sent_record_shows_its_type_and_its_value() -> None:
    do = replace(builder().do(), topic="t")
    assert str(do).startswith('uprp.points.deduct.v1 {"leg_id":')
