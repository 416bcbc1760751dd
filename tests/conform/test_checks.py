"""Every cell: an honest company keeps it, and somebody who breaks it is caught by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.conform.monitors import MONITORS
from adapters.conform.runner import EXIT_BROKEN, EXIT_KEPT, EXIT_UNDECIDED
from adapters.sandbox.business import Verdict, refused
from adapters.sandbox.commands import Command
from adapters.sandbox.faults import Fault, Faults, Rule
from adapters.sandbox.handler import CommandHandler, _decide
from adapters.sandbox.ledger import Leg
from tests.conform.bench import all_ids, examined, ids, terms_of
from tests.conform.liars import (
    AnswersAnew,
    ForgetsTombstones,
    PaysTwice,
    PaysTwiceInSecret,
    SaysNoTime,
)

HONEST = ("citi", "harbour", "alipayhk", "pacificair", "unionpay")
REPLIES = {monitor.id for monitor in MONITORS}


def rules(*found: dict[str, Any]) -> Faults:
    return Faults(tuple(Rule.model_validate(one) for one in found))


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_company_keeps_every_promise(tmp_path: Path, name: str) -> None:
    report, books = examined(tmp_path, name)
    unknown_stock = {"credit.exact"} if name == "pacificair" else set()
    assert ids(report, "kept") == (all_ids(terms_of(name)) | REPLIES) - unknown_stock
    assert ids(report, "not offered") == unknown_stock
    assert report.exit_code == EXIT_KEPT
    assert not list(books.problems())


@pytest.mark.parametrize("name", HONEST)
def test_the_moves_are_those_of_the_companys_books_and_all_is_undone(
    tmp_path: Path, name: str
) -> None:
    report, books = examined(tmp_path, name)
    done = {leg.leg_id: leg.moved for leg in books.legs.values() if leg.moved}
    own = {leg_id: moved for leg_id, moved in done.items() if not leg_id.startswith("app/")}
    assert {move.leg_id: move.amount for move in report.moves} == own
    assert report.left == 0
    accounts = [one for one in books.accounts.values() if "conform" in one.account]
    assert accounts or name in ("alipayhk", "unionpay")
    assert all(one.now == one.initial for one in accounts)
    assert books.coupons_of("conform-001") == 0


# -- the liars that the kit must catch -------------------------------------------------------------

LIES = (
    (
        "alipayhk",
        PaysTwice,
        {"credit.repeat", "credit.burst", "credit.late-repeat", "credit.exact", "reverse.repeat"},
    ),
    ("citi", PaysTwice, {"deduct.exact", "return.repeat"}),
    ("pacificair", PaysTwice, {"reverse.repeat"}),
    ("citi", PaysTwiceInSecret, {"deduct.exact"}),
    ("alipayhk", PaysTwiceInSecret, {"credit.exact"}),
    *((name, ForgetsTombstones, {"cancel.tombstone"}) for name in HONEST),
    ("citi", AnswersAnew, {"inquire.done", "return.inquire"}),
    ("alipayhk", AnswersAnew, {"inquire.done", "reverse.inquire"}),
    ("citi", SaysNoTime, {"balance.done", "balance.repeat", "balance.unmoved"}),
)


@pytest.mark.parametrize(("name", "liar", "broken"), LIES)
def test_a_liar_breaks_the_right_cell_and_keeps_the_others(
    tmp_path: Path, name: str, liar: type[CommandHandler], broken: set[str]
) -> None:
    report, _ = examined(tmp_path, name, handler=liar)
    assert ids(report, "broken") == broken
    assert ids(report, "undecided") == set()
    assert report.exit_code == EXIT_BROKEN


def test_what_a_broken_cell_shows(tmp_path: Path) -> None:
    report, _ = examined(tmp_path, "citi", handler=ForgetsTombstones)
    (found,) = [one for one in report.results if one.verdict == "broken"]
    assert (found.why, found.expected) == ("it is CONFIRMED", "CANCELLED")
    assert [entry.way for entry in found.log] == ["sent", "came"] * 2
    assert found.log[0].topic == "uprp.citi.commands"
    assert found.log[0].record.startswith("uprp.leg.cancel.v1 {")
    assert orjson.loads(found.log[3].record)["outcome"] == "CONFIRMED"


# -- others, so that every cell is seen to turn red ------------------------------------------------


class DoesWhatExpired(CommandHandler):
    def _do(self, command: Command, leg: Leg, fault: Fault) -> None:
        super()._do(command._replace(expires_at=None), leg, fault)


class ForgetsWhenLate(CommandHandler):
    """A repeat past its time is refused as expired, although it was seen before."""

    def _do(self, command: Command, leg: Leg, fault: Fault) -> None:
        if command.expires_at is not None and command.expires_at <= self._now:
            _decide(leg, refused("EXPIRED", "too late"))
        else:
            super()._do(command, leg, fault)


class RefusesWhatItNeverSaw(CommandHandler):
    """An inquiry about an unknown leg is answered with a no, which then stands."""

    def _process(self, command: Command, leg: Leg, fault: Fault, mark: str = "") -> None:
        if command.verb == "inquire" and leg.outcome is None:
            _decide(leg, refused("PARTNER_DECLINED", "no such thing"))
        super()._process(command, leg, fault, mark)


class ForgetsRefusals(CommandHandler):
    """Only what was done is remembered."""

    def _reply(self, command: Command, leg: Leg, fault: Fault, mark: str = "") -> None:
        super()._reply(command, leg, fault, mark)
        if leg.outcome == "REJECTED":
            leg.outcome, leg.answer, leg.verb = None, None, ""


class CancelsWhatIsDone(CommandHandler):
    """Any cancel is answered with CANCELLED."""

    def _reply(self, command: Command, leg: Leg, fault: Fault, mark: str = "") -> None:
        told = leg.answer
        if command.verb == "cancel":
            leg.answer = orjson.dumps({"leg_id": leg.leg_id, "outcome": "CANCELLED"})
        super()._reply(command, leg, fault, mark)
        leg.answer = told


class KnowsNoCancel(CommandHandler):
    """A cancel is answered as an inquiry is."""

    def _cancel(self, leg: Leg) -> None:
        pass


class CancelsOnlyOnce(CommandHandler):
    def _cancel(self, leg: Leg) -> None:
        super()._cancel(leg)
        if leg.cancels > 1:
            _decide(leg, refused("PARTNER_DECLINED", "it is cancelled"))


class UndoesAnything(CommandHandler):
    """An undo is confirmed whatever was done."""

    def _carry_out(self, command: Command, leg: Leg) -> None:
        if command.verb in ("return", "reverse"):
            unit = "points" if command.verb == "return" else "quantity"
            _decide(leg, Verdict("CONFIRMED", 0, {"reference": "R", unit: command.amount}))
        else:
            super()._carry_out(command, leg)


class MixesLots(CommandHandler):
    """Points come back into the first lot that there is."""

    def _reply(self, command: Command, leg: Leg, fault: Fault, mark: str = "") -> None:
        if command.verb == "return" and leg.outcome == "CONFIRMED" and leg.answer is not None:
            found = orjson.loads(leg.answer)
            for lot in found["lots"]:
                lot["expires_on"] = "2099-12-31"
            leg.answer = orjson.dumps(found)
        super()._reply(command, leg, fault, mark)


class AnswersRepeatsAnew(CommandHandler):
    """A repeat is not done again, but gets a reference of its own."""

    def _reply(self, command: Command, leg: Leg, fault: Fault, mark: str = "") -> None:
        told = leg.answer
        if leg.deliveries > 1 and leg.outcome == "CONFIRMED" and told is not None:
            found = orjson.loads(told)
            leg.answer = orjson.dumps({**found, "reference": f"REPEAT-{leg.deliveries}"})
        super()._reply(command, leg, fault, mark)
        leg.answer = told


class TellsWhoExists(CommandHandler):
    """A balance that cannot be said is refused with the very reason."""

    def _read(self, command: Command, leg: Leg, fault: Fault) -> None:
        super()._read(command, leg, fault)
        if leg.outcome == "REJECTED":
            _decide(leg, refused("NAME_MISMATCH", "there is such an account"))


class ChargesForAsking(CommandHandler):
    """Each question about a balance takes a point."""

    def _read(self, command: Command, leg: Leg, fault: Fault) -> None:
        fee = command._replace(verb="deduct", leg_id=f"app/{command.leg_id}", amount=1)
        self._business.carry_out(fee, self._begin, self._now)
        super()._read(command, leg, fault)


class AnswersQuestionsOnce(CommandHandler):
    """A question about a balance that comes again is refused."""

    def _read(self, command: Command, leg: Leg, fault: Fault) -> None:
        super()._read(command, leg, fault)
        if command.attempt > 1:
            _decide(leg, refused("PARTNER_DECLINED", "it was asked before"))


OTHERS: tuple[type[CommandHandler], ...] = (
    PaysTwice,
    ForgetsTombstones,
    AnswersAnew,
    DoesWhatExpired,
    ForgetsWhenLate,
    RefusesWhatItNeverSaw,
    ForgetsRefusals,
    CancelsWhatIsDone,
    KnowsNoCancel,
    CancelsOnlyOnce,
    UndoesAnything,
    MixesLots,
    AnswersRepeatsAnew,
    SaysNoTime,
    TellsWhoExists,
)


@pytest.mark.parametrize("name", ("citi", "alipayhk"))
def test_every_cell_is_broken_by_somebody(tmp_path: Path, name: str) -> None:
    bad_code = {"action": "refuse", "code": "NO_IDEA", "match": {"account": "unknown-*"}}
    runs: list[tuple[type[CommandHandler], Faults]] = [
        (CommandHandler, rules({"action": "wrong_amount"})),
        (CommandHandler, rules(bad_code)),
        *((liar, Faults()) for liar in OTHERS),
    ]
    broken: set[str] = set()
    for number, (liar, faults) in enumerate(runs):
        report, _ = examined(tmp_path / str(number), name, handler=liar, faults=faults)
        broken |= ids(report, "broken")
    assert not all_ids(terms_of(name)) - broken


@pytest.mark.parametrize(
    ("name", "rule", "broken"),
    (
        ("citi", {"action": "wrong_amount", "match": {"verb": "deduct"}}, "deduct.done"),
        ("citi", {"action": "wrong_unit", "match": {"verb": "deduct"}}, "deduct.done"),
        ("alipayhk", {"action": "wrong_item"}, "credit.done"),
        ("alipayhk", {"action": "wrong_unit", "match": {"verb": "credit"}}, "credit.done"),
        ("citi", {"action": "refuse_undo", "code": "RISK_DECLINED"}, "return.whole"),
        ("citi", {"action": "silence", "match": {"verb": "cancel"}}, "cancel.done"),
        ("citi", {"action": "wrong_unit", "match": {"verb": "balance"}}, "balance.done"),
        ("citi", {"action": "garbled", "match": {"verb": "balance"}}, "balance.repeat"),
        ("citi", {"action": "pending", "ms": 9, "match": {"verb": "balance"}}, "balance.done"),
    ),
)
def test_faults_are_seen_where_they_should_be(
    tmp_path: Path, name: str, rule: dict[str, Any], broken: str
) -> None:
    report, _ = examined(tmp_path, name, faults=rules(rule))
    assert broken in ids(report, "broken")


@pytest.mark.parametrize(
    ("liar", "broken"),
    (
        (DoesWhatExpired, "deduct.expired"),
        (ForgetsWhenLate, "deduct.late-repeat"),
        (RefusesWhatItNeverSaw, "inquire.unknown"),
        (RefusesWhatItNeverSaw, "inquire.decides-nothing"),
        (ForgetsRefusals, "inquire.refused"),
        (CancelsWhatIsDone, "cancel.done"),
        (KnowsNoCancel, "cancel.unknown"),
        (CancelsOnlyOnce, "cancel.repeat"),
        (UndoesAnything, "return.too-much"),
        (UndoesAnything, "return.unknown"),
        (MixesLots, "return.lots"),
        (AnswersRepeatsAnew, "deduct.repeat"),
        (AnswersRepeatsAnew, "deduct.burst"),
        (TellsWhoExists, "balance.unknown"),
        (ChargesForAsking, "balance.unmoved"),
        (AnswersQuestionsOnce, "balance.repeat"),
    ),
)
def test_others_are_caught_where_they_should_be(
    tmp_path: Path, liar: type[CommandHandler], broken: str
) -> None:
    report, _ = examined(tmp_path, "citi", handler=liar)
    assert broken in ids(report, "broken")


# -- patience --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    (
        {"action": "repeat", "times": 3},
        {"action": "delay", "ms": 4_000},
        {"action": "pending", "ms": 5_000, "match": {"verb": "deduct"}},
        {"action": "pending", "ms": 5_000, "match": {"verb": "credit"}},
        {"action": "pending", "ms": 5_000, "match": {"verb": "return"}},
        {"action": "down_after", "ms": 3_000, "match": {"first_n": 1}},
    ),
)
@pytest.mark.parametrize("name", ("citi", "alipayhk"))
def test_slow_and_talkative_companies_keep_their_promises(
    tmp_path: Path, name: str, rule: dict[str, Any]
) -> None:
    report, _ = examined(tmp_path, name, faults=rules(rule))
    told = {one.cell: one.why for one in report.results if one.verdict == "broken"}
    assert not told


def test_what_stays_pending_is_not_decided(tmp_path: Path) -> None:
    day = {"action": "pending", "ms": 86_400_000, "match": {"verb": "deduct"}}
    report, _ = examined(tmp_path, "citi", faults=rules(day))
    assert "deduct.repeat" in ids(report, "undecided")
    assert "cancel.unknown" in ids(report, "kept")


def test_who_never_answers_is_undecided(tmp_path: Path) -> None:
    report, _ = examined(tmp_path, "citi", faults=rules({"action": "silence"}))
    assert (report.heard, report.exit_code) == (0, EXIT_UNDECIDED)


def test_what_is_not_offered_is_not_tried(tmp_path: Path) -> None:
    terms = terms_of("citi", lacking=["cancel", "repeat"])
    report, _ = examined(tmp_path, "citi", terms=terms)
    unoffered = ids(report, "not offered")
    assert {one for one in all_ids(terms) if one.startswith("cancel.")} <= unoffered
    assert "deduct.repeat" in unoffered
    (told,) = [one.why for one in report.results if one.cell == "cancel.done"]
    assert told == "you offer no cancel: a member whose answer was lost waits for the points"
    assert report.exit_code == EXIT_KEPT


def test_two_runs_have_nothing_in_common(tmp_path: Path) -> None:
    one, _ = examined(tmp_path, "citi", run="one")
    two, _ = examined(tmp_path, "citi", run="two")
    assert one.exit_code == two.exit_code == EXIT_KEPT
    assert not {move.leg_id for move in one.moves} & {move.leg_id for move in two.moves}
