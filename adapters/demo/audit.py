"""Compares three accounts of the same redemptions: our tables, the companies' books, the results.

Pure: values in, problems in words out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.postgres.views import AccountBalance, SagaStory
from adapters.sandbox.banking import own_leg
from adapters.sandbox.books import Books, LegBook
from adapters.sandbox.business import DENIED
from orchestrator.engine.definition import participant
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.kind import SagaKind
from orchestrator.engine.machine import Status
from orchestrator.sagas import KINDS
from orchestrator.sagas.redemption.journal import SUSPENSE
from orchestrator.sagas.redemption.terms import CREDITOR, DEBTOR

Holding = tuple[str, str, str]
"""A company, an account there, and the item of a coupon; "" stands for the account's own unit."""


@dataclass(frozen=True, slots=True)
class Balance:
    """A member's balance at a company, before and after, in `unit`.

    `told` is the change that results reported to the origins.
    """

    company: str
    account: str
    unit: str
    before: int
    after: int
    told: int

    @property
    def ok(self) -> bool:
        """Whether the company's books changed by what was reported."""
        return self.after - self.before == self.told


@dataclass(frozen=True, slots=True)
class Audit:
    """The members' balances, and everything that is wrong with any book."""

    balances: tuple[Balance, ...]
    problems: tuple[str, ...]
    transfers: int
    legs: int
    questions: int  # Sagas that only read something.


def audit(
    stories: Sequence[SagaStory],
    journal: Iterable[AccountBalance],
    before: Books,
    after: Books,
    results: Mapping[str, Mapping[str, Any]],
) -> Audit:
    """Compare what we believe, what the companies know and what the origins were told.

    Questions about balances take no part in it: of them nothing may be in any book.
    """
    questions = [story for story in stories if _reads(story)]
    moving = [story for story in stories if not _reads(story)]
    told, units = _told(moving, after, results)
    balances = tuple(_balances(before, after, told, units))
    own = list(journal)
    problems = [
        *after.problems(),
        *_journal(own),
        *_legs(moving, after),
        *_questions(questions),
        *_members(own, balances),
        *_answers(stories, results),
        *(_differs(one) for one in balances if not one.ok),
    ]
    transfers = sum(len(story.transfers) for story in stories)
    legs = sum(len(story.saga.legs) for story in moving)
    return Audit(balances, tuple(problems), transfers, legs, len(questions))


def _reads(story: SagaStory) -> bool:
    """Whether a saga is of a kind that moves nothing."""
    return _kind(story.saga).books is None


def _kind(saga: Saga) -> SagaKind:
    return KINDS[saga.terms.definition, saga.terms.definition_version]


def _questions(stories: Sequence[SagaStory]) -> Iterator[str]:
    """Of a question nothing is in the journal; that no company wrote its leg down, `_legs` sees."""
    for story in stories:
        terms = story.saga.terms
        if not story.saga.ended:
            yield f"question {terms.saga_id} ({terms.request_id}) has not ended"
        for one in story.transfers:
            moved = f"{one.amount:,} {one.unit} from {one.debit} to {one.credit}"
            yield f"question {terms.saga_id} ({terms.request_id}) moved {moved}"


def _differs(one: Balance) -> str:
    return (
        f"{one.company}: {one.account} went from {one.before:,} to {one.after:,} {one.unit},"
        f" the origins were told of {one.told:+,}"
    )


def _journal(journal: Iterable[AccountBalance]) -> Iterator[str]:
    """Zero-sum in every unit; nothing deducted that is neither consumed nor returned (I11)."""
    sums: dict[str, int] = defaultdict(int)
    for one in journal:
        sums[one.unit] += one.balance
        if one.account == SUSPENSE and one.balance:
            yield f"journal: {one.balance:,} {one.unit} are left in suspense"
    for unit, total in sums.items():
        if total:
            yield f"journal: {unit} add up to {total:,}, not 0"


def _legs(stories: Sequence[SagaStory], books: Books) -> Iterator[str]:
    """Each leg must stand in our tables as in its participant's books, and in both or neither."""
    believed = set()
    for story in stories:
        terms = story.saga.terms
        if not story.saga.ended:
            yield f"saga {terms.saga_id} ({terms.request_id}) has not ended"
        for leg in story.saga.legs:
            owner, leg_id = recorded_as(story.saga, leg)
            if leg_id in believed:
                yield f"{owner}: two sagas build upon {leg_id}"
            believed.add(leg_id)
            fact = books.companies[owner].legs.get(leg_id) if owner in books.companies else None
            if not _agree(leg, fact):
                ours = f"{leg.status} {leg.moved:,}"
                yield f"{owner}: {leg_id} is {ours} to us, to them {_fact(fact)}"
    for leg_id in books.legs:
        if leg_id not in believed and not leg_id.startswith(DENIED):
            yield f"{leg_id} is known to a company, not to us"


def recorded_as(saga: Saga, leg: Leg) -> tuple[str, str]:
    """The participant in whose books a leg stands, and the leg's id there.

    What a channel deducted itself stands under its own reference: the platform never asked for it.
    """
    terms = saga.terms
    owner = participant(terms, _kind(saga).definition, leg.verb)
    if terms.body.prededucted and leg.path == saga.legs[0].path:
        return owner, own_leg(leg.reference or "")
    return owner, f"{terms.saga_id}/{leg.path}"


def _agree(leg: Leg, fact: LegBook | None) -> bool:
    match leg.status:
        case Status.WAITING:
            return fact is None
        case Status.CONFIRMED if fact is not None:
            known = (fact.outcome, fact.moved, fact.applied)
            return known == ("CONFIRMED", leg.moved, 1)
        case Status.REJECTED if fact is not None:
            return fact.outcome == "REJECTED" and not fact.applied
        case _:
            return False


def _fact(fact: LegBook | None) -> str:
    return "unknown" if fact is None else f"{fact.outcome} {fact.moved:,} x{fact.applied}"


def _members(journal: Iterable[AccountBalance], balances: Iterable[Balance]) -> Iterator[str]:
    """The journal's balance of each member is what the company's books changed by."""
    changed = {
        (f"{one.company}/member/{one.account}", one.unit): one.after - one.before
        for one in balances
    }
    for booked in journal:
        fact = changed.get((booked.account, booked.unit.rpartition(":")[2]), 0)
        if "/member/" in booked.account and booked.balance != fact:
            yield f"journal: {booked.account} {booked.balance:+,} {booked.unit}, in fact {fact:+,}"


def _answers(
    stories: Iterable[SagaStory], results: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    known = {story.saga.terms.saga_id for story in stories}
    for saga_id in sorted(known ^ set(results)):
        what = "was answered and is no saga" if saga_id in results else "has no final answer"
        yield f"saga {saga_id} {what}"


def _told(
    stories: Iterable[SagaStory], after: Books, results: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[Holding, int], dict[str, str]]:
    """The changes that the final results report, and each company's unit."""
    told: dict[Holding, int] = defaultdict(int)
    units: dict[str, str] = {}
    for story in stories:
        terms = story.saga.terms
        result = results.get(terms.saga_id)
        if result is None:
            continue
        if terms.participants[DEBTOR]:
            units[terms.participants[DEBTOR]] = terms.body.unit
            told[terms.participants[DEBTOR], terms.body.debtor_account, ""] -= result["points"][
                "charged"
            ]
        for line in result["lines"]:
            of = after.companies.get(terms.participants[CREDITOR])
            counted = of is not None and terms.body.creditor_account in of.accounts
            if counted:
                units[terms.participants[CREDITOR]] = line["item"]
            if line["issued"]:
                item = "" if counted else line["item"]
                told[terms.participants[CREDITOR], terms.body.creditor_account, item] += line[
                    "issued"
                ]
    return told, units


def _balances(
    before: Books, after: Books, told: Mapping[Holding, int], units: Mapping[str, str]
) -> Iterator[Balance]:
    was, now = _holdings(before), _holdings(after)
    first = {
        (company, one.account, ""): one.initial
        for company, books in after.companies.items()
        for one in books.accounts.values()
    }
    for held in sorted({*was, *now, *(held for held, change in told.items() if change)}):
        company, account, item = held
        start = was.get(held, first.get(held, 0))  # An account may open on its first use.
        unit = item or units.get(company, "points")
        yield Balance(company, account, unit, start, now.get(held, 0), told.get(held, 0))


def _holdings(books: Books) -> dict[Holding, int]:
    held: dict[Holding, int] = defaultdict(int)
    for name, company in books.companies.items():
        for one in company.accounts.values():
            if not one.account.startswith("@"):  # A stock is nobody's.
                held[name, one.account, ""] += one.now
        for coupons in company.coupons.values():
            for coupon in coupons:
                held[name, coupon.account, coupon.item] += coupon.state == "ISSUED"
    return held
