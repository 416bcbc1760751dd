"""After the storm: what the database, the companies and the origins say, compared leg by leg."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.audit.report import Audit
from adapters.demo.audit import recorded_as
from adapters.sandbox.books import Books, LegBook
from adapters.sandbox.faults import magic_name
from adapters.sandbox.magic_accounts import MAGIC
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import DECIDED, IN_FLIGHT, Status
from orchestrator.engine.operator import Action
from orchestrator.engine.undo import LOSS
from orchestrator.sagas.redemption.journal import SUSPENSE
from schemas.reasons import Code
from tests.chaos.recorder import Ear, Told

SHOWN_MAX: Final = 10
SAGA_CHARS: Final = 36


@dataclass
class Verdict:
    """What was looked at, and what was wrong with it, by kind."""

    looked_at: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    shown: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)  # The hard cases that happened.

    def problem(self, kind: str, text: str) -> None:
        """Count it, and keep the first few words."""
        self.wrong[kind] += 1
        if self.wrong[kind] <= SHOWN_MAX:
            self.shown.append(f"{kind}: {text}")

    @property
    def figures(self) -> str:
        """The three that count."""
        return ", ".join(
            f"{self.wrong[kind]} {kind}" for kind in ("lost", "doubled", "unexplained")
        )


def judge(sagas: Iterator[Saga], books: Books, asked: set[str], ear: Ear) -> Verdict:
    """Compare what was asked for, what is believed, what was done and what was told.

    Seen is also each story that was told of a company: how many legs it was about.
    """
    verdict = Verdict()
    known: set[str] = set()
    believed: set[tuple[str, str]] = set()
    for saga in sagas:
        known.add(saga.terms.saga_id)
        _saga(verdict, saga, ear.told.get(saga.terms.saga_id))
        for leg in saga.legs:
            if leg.verb != LOSS:
                company, leg_id = recorded_as(saga, leg)
                believed.add((company, leg_id))
                found = books.companies.get(company)
                _leg(verdict, leg_id, leg, found.legs.get(leg_id) if found else None)
        _sightings(verdict.seen, saga)
    verdict.looked_at["requests"] = len(asked)
    for saga_id in asked - known:
        verdict.problem("lost", f"{saga_id} was asked for and is no saga")
    for saga_id in known - asked:
        verdict.problem("unexplained", f"{saga_id} is a saga that nobody asked for")
    _books(verdict, books, believed)
    for text in ear.problems:
        verdict.problem("unexplained", text)
    return verdict


def _saga(verdict: Verdict, saga: Saga, told: Told | None) -> None:
    verdict.looked_at["sagas"] += 1
    if not saga.ended and not saga.parked:
        verdict.problem("lost", f"{saga.terms.saga_id} has neither ended nor an owner: {saga.legs}")
    if saga.told is None:
        return
    if told is None:
        verdict.problem("lost", f"{saga.terms.saga_id}: nobody told its origin {saga.told}")
    elif (told.revision, told.status) != (saga.told.revision, saga.told.status):
        verdict.problem("unexplained", f"{saga.terms.saga_id}: told {told}, should be {saga.told}")


def _leg(verdict: Verdict, leg_id: str, leg: Leg, fact: LegBook | None) -> None:
    verdict.looked_at["legs"] += 1
    if fact is not None and fact.applied > 1:
        verdict.problem("doubled", f"{leg_id} was done {fact.applied} times")
    if leg.parked:
        verdict.looked_at["legs with an open case"] += 1
        return  # A person has it; what the company did is what the case is about.
    if leg.status is Status.WAITING:
        if fact is not None:
            verdict.problem("unexplained", f"{leg_id} was never asked for: {fact}")
    elif leg.status not in DECIDED:
        verdict.problem("lost", f"{leg_id} is {leg.status} though all has ended")
    elif fact is None:
        verdict.problem("unexplained", f"{leg_id} is {leg.status}, nobody heard of it")
    elif fact.moved != leg.moved:
        verdict.problem("unexplained", f"{leg_id}: we believe {leg}, the books say {fact}")


def _books(verdict: Verdict, books: Books, believed: set[tuple[str, str]]) -> None:
    """What the companies have that we do not know of, and whether their own books balance."""
    for company, one in books.companies.items():
        for leg_id, fact in one.legs.items():
            ours = len(leg_id) > SAGA_CHARS and leg_id[8] == leg_id[13] == "-"
            if story := magic_name(fact.account, MAGIC):
                verdict.seen[story] += 1
            if ours and fact.moved and (company, leg_id) not in believed:
                verdict.problem("unexplained", f"{leg_id}: {company} did it, no saga knows of it")
        verdict.looked_at[f"legs of {company}"] = len(one.legs)
    for text in books.problems():
        verdict.problem("doubled" if "applied" in text else "unexplained", text)


HARD_CASES: Final = (
    "late yes believed",
    "late no believed",
    "disputed",
    "return refused",
    "ladder ran out",
    "cancel accepted",
    "partial success",
    "whole order taken back",
    "charged again",
    "loss booked",
    "returned",
    "withdrawn",
    "several returns",
    "given back by the origin",
    "refused before the deduction",
    "poison",
)
"""Of `domain.md` 4.4, what the companies can bring about within minutes."""


def _sightings(seen: Counter[str], saga: Saga) -> None:
    for leg in saga.legs:
        first = leg.first
        seen["late yes believed"] += first is not None and leg.moved > first
        seen["late no believed"] += first is not None and leg.moved < first
        # Also where people have decided since.
        seen["disputed"] += leg.claim is not None
        seen["return refused"] += leg.status in (Status.REFUSED, Status.WRITTEN_OFF)
        seen["ladder ran out"] += leg.status is Status.SILENT
        seen["cancel accepted"] += leg.status is Status.CANCELLED
        seen["whole order taken back"] += leg.verb == "reverse"
        seen["charged again"] += leg.verb == "charge"
        seen["loss booked"] += leg.verb == LOSS
        seen["returned"] += leg.verb == "return" and leg.moved > 0
        seen["given back by the origin"] += saga.terms.body.prededucted and leg.verb == "return"
        seen["several returns"] += leg.path.endswith("return/2")
        seen["called, and still climbing"] += leg.escalated_at > 0 and leg.status in IN_FLIGHT
    if saga.told is not None:
        seen["partial success"] += saga.told.status == "PARTIAL_SUCCESS"
        seen["refused before the deduction"] += saga.told.code is Code.PARTNER_UNAVAILABLE
        seen["withdrawn"] += saga.told.status == "CANCELLED"


def audited(verdict: Verdict, audit: Audit) -> None:
    """What `uprp audit` says: every broken invariant is unexplained."""
    for finding in audit.findings:
        verdict.looked_at[f"{finding.of} by {finding.invariant}"] = finding.checked
        if finding.broken:
            verdict.problem("unexplained", f"{finding.broken} break {finding.invariant}: {finding}")


def journal(verdict: Verdict, balances: list[tuple[str, str, int]], stakes: dict[str, int]) -> None:
    """Zero-sum in every unit; what is in suspense is what the open cases are about (I10, I11)."""
    sums: Counter[str] = Counter()
    for account, unit, balance in balances:
        verdict.looked_at["journal accounts"] += 1
        sums[unit] += balance
        if account == SUSPENSE and balance != stakes.get(unit, 0):
            at_stake = stakes.get(unit, 0)
            verdict.problem(
                "unexplained", f"{balance} {unit} in suspense, {at_stake} are at stake in cases"
            )
    for unit, total in sums.items():
        if total:
            verdict.problem("unexplained", f"{unit} add up to {total}")


def dead_letters(verdict: Verdict, letters: Iterable[Mapping[str, Any]], poison: int) -> None:
    """What nobody could read lies among the dead letters, each once, and nothing else does.

    Of the replies only those are unreadable that a company garbled: the first about a leg, which is
    lost with a company that is killed before it says it.
    """
    found = garbled = 0
    for row in letters:
        verdict.looked_at[f"dead letters: {row['field']} {row['message']}"] = row["count"]
        if row["replied"]:
            garbled += row["count"]
        else:
            found += row["count"]
    verdict.seen["poison"] = found
    legs = verdict.seen["magic-garbled"]
    if garbled > legs:
        verdict.problem("unexplained", f"{garbled} unreadable replies about {legs} legs")
    if found < poison:
        verdict.problem("lost", f"of {poison} unreadable records {found} are dead letters")
    elif found > poison:
        verdict.problem("unexplained", f"{found} dead letters, {poison} records were unreadable")


DECIDED_BY_PEOPLE: Final = (
    *(f"{action} applied" for action in Action),
    "decision refused",
    "decision declined",
)


def decided(
    verdict: Verdict,
    decisions: Iterable[Mapping[str, Any]],
    carried_out: Iterable[int],
    written: set[int],
) -> None:
    """What people decided is carried out once if it was applied, and else never.

    `carried_out` names a decision for each row of a timeline that tells of one; `written` are the
    decisions that the database said it had.
    """
    times, gone = Counter(carried_out), set(written)
    for row in decisions:
        number, action, outcome = row["id"], row["action"], row["outcome"]
        gone.discard(number)
        applied = outcome == "applied"
        verdict.looked_at[f"decisions to {action}, {outcome or 'open'}"] += 1
        verdict.seen[f"{action} applied" if applied else f"decision {outcome or 'open'}"] += 1
        if outcome is None and row["due_at"] is not None:
            verdict.problem("lost", f"decision {number} was approved, and nothing came of it")
        found = times.pop(number, 0)
        if found > 1:
            verdict.problem("doubled", f"decision {number} was carried out {found} times")
        elif found and not applied:
            verdict.problem("unexplained", f"decision {number} is {outcome} and was carried out")
        elif applied and not found:
            verdict.problem("lost", f"decision {number} is applied, no timeline tells of it")
    for number in times:
        verdict.problem("unexplained", f"decision {number} was carried out and is in no row")
    for number in gone:
        verdict.problem("lost", f"decision {number} was written down and is gone")
