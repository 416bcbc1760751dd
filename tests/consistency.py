"""Belief equals fact: what the database, the topics and the companies' books say about each other.

Each check yields what is wrong, in words, and counts what it looked at, so that a check that saw
nothing shows.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from adapters.demo.audit import recorded_as
from adapters.postgres.views import AccountBalance
from adapters.sandbox.books import Books, LegBook
from adapters.sandbox.business import DENIED
from orchestrator.engine.instance import Saga
from orchestrator.engine.machine import DECIDED, Status
from orchestrator.sagas.redemption.journal import SUSPENSE
from orchestrator.sagas.redemption.terms import CREDITOR, DEBTOR
from tests.harness import LimitRow, Platform
from tests.wire import Heard, Redemption

SHOWN_MAX = 12


@dataclass(frozen=True)
class Evidence:
    """Everything that the three parties say once all redemptions have ended."""

    requests: Sequence[Redemption]
    sagas: dict[str, Saga]
    books: Books
    balances: Sequence[AccountBalance]
    limits: Sequence[LimitRow]
    results: Sequence[Heard]
    commands: Sequence[Heard]
    looked_at: Counter[str] = field(default_factory=Counter)

    def finals(self) -> dict[str, dict[str, Any]]:
        """The final result of each saga, as the origin read it."""
        told = ((one.subject, one.data) for one in self.results)
        return {subject: data for subject, data in told if data["final"]}


def gather(platform: Platform, requests: Sequence[Redemption]) -> Evidence:
    """Ask all three."""
    platform.tape.caught_up()
    return Evidence(
        requests=requests,
        sagas=platform.stories(),
        books=platform.books(),
        balances=platform.balances(),
        limits=platform.limits(),
        results=platform.tape.results(),
        commands=platform.tape.of("commands"),
    )


def nothing_lost(given: Evidence) -> Iterator[str]:
    """Every request is a saga that ended, and was told so; there is no other saga."""
    asked = {request.saga_id for request in given.requests}
    told = given.finals()
    for saga_id in asked:
        given.looked_at["requests"] += 1
        saga = given.sagas.get(saga_id)
        if saga is None:
            yield f"{saga_id}: was asked for and is no saga"
        elif not saga.ended or saga.parked:
            yield f"{saga_id}: has not ended: {saga.legs}"
        elif saga_id not in told:
            yield f"{saga_id}: the origin got no final result"
        elif saga.told is not None and told[saga_id]["status"] != saga.told.status:
            yield f"{saga_id}: the origin was told {told[saga_id]['status']}, not {saga.told}"
    for saga_id in given.sagas.keys() - asked:
        yield f"{saga_id}: nobody asked for it"


def belief_is_fact(given: Evidence) -> Iterator[str]:
    """Leg by leg: what the saga holds of it is what its company did, and nothing was done twice."""
    believed: set[tuple[str, str]] = set()
    for saga_id, saga in given.sagas.items():
        for leg in saga.legs:
            given.looked_at["legs"] += 1
            company, leg_id = recorded_as(saga, leg)
            if (company, leg_id) in believed:
                yield f"{leg_id}: {saga_id} is not the only saga that builds upon it"
            believed.add((company, leg_id))
            found = given.books.companies.get(company)
            fact = None if found is None else found.legs.get(leg_id)
            if leg.status is Status.WAITING:
                if fact is not None:
                    yield f"{leg_id}: was never asked for, {company} has {fact}"
            elif leg.status not in DECIDED:
                yield f"{leg_id}: is {leg.status} though all has ended"
            elif fact is None:
                yield f"{leg_id}: is {leg.status}, {company} never heard of it"
            else:
                done = leg.moved if leg.status is Status.CONFIRMED else 0
                yield from _differs(leg_id, done, fact)
    for company, one in given.books.companies.items():
        for leg_id in one.legs:
            if not leg_id.startswith(DENIED) and (company, leg_id) not in believed:
                yield f"{leg_id}: {company} did it, no saga knows of it"
    yield from given.books.problems()


def _differs(leg_id: str, done: int, fact: LegBook) -> Iterator[str]:
    if fact.moved != done or (fact.outcome == "CONFIRMED") != (done > 0):
        yield f"{leg_id}: we believe {done}, the books say {fact.outcome} {fact.moved}"
    if fact.applied != (done > 0):
        yield f"{leg_id}: was applied {fact.applied} times"


def journal_balances(given: Evidence) -> Iterator[str]:
    """Zero-sum in every unit; nothing is left in suspense (`domain.md` I10, I11)."""
    sums: Counter[str] = Counter()
    for row in given.balances:
        given.looked_at["journal accounts"] += 1
        sums[row.unit] += row.balance
        if row.account == SUSPENSE and row.balance:
            yield f"{row.balance} {row.unit} are left in suspense"
    yield from (f"{unit} add up to {total}" for unit, total in sums.items() if total)


def members_have_what_they_were_told(given: Evidence) -> Iterator[str]:
    """Points and coupons at the companies are what the origin's final results add up to."""
    charged: Counter[tuple[str, str]] = Counter()
    issued: Counter[tuple[str, str]] = Counter()
    for saga_id, told in given.finals().items():
        terms = given.sagas[saga_id].terms
        charged[terms.participants[DEBTOR], terms.body.debtor_account] += told["points"]["charged"]
        pieces = sum(line["issued"] for line in told["lines"])
        issued[terms.participants[CREDITOR], terms.body.creditor_account] += pieces
    for (company, name), points in charged.items():
        if company:
            given.looked_at["member accounts"] += 1
            account = given.books.companies[company].accounts.get(name)
            gone = 0 if account is None else account.initial - account.now
            if gone != points:
                yield f"{company}/{name}: {gone} points are gone, the results say {points}"
    for (company, name), pieces in issued.items():
        if company and given.books.companies[company].coupons:
            held = given.books.companies[company].coupons_of(name)
            if held != pieces:
                yield f"{company}/{name}: has {held} coupons, the results say {pieces}"


def limits_are_what_was_issued(given: Evidence) -> Iterator[str]:
    """A day's usage of an account's limit is the worth of what was issued (`domain.md` I5)."""
    worth: Counter[tuple[str, Any]] = Counter()
    for saga_id, told in given.finals().items():
        terms = given.sagas[saga_id].terms
        for line, found in zip(terms.body.lines, told["lines"], strict=True):
            worth[terms.body.limit, terms.body.business_date] += line.worth_of(found["issued"])
    used = {(row.scope, row.business_date): row.used for row in given.limits}
    for key in used.keys() | worth.keys():
        given.looked_at["limits"] += 1
        if key[0] and used.get(key, 0) != worth[key]:
            yield f"limit {key}: {used.get(key, 0)} is used, {worth[key]} was issued"


def one_revision_one_content(given: Evidence) -> Iterator[str]:
    """What is said again is said in the same words, and `final` is said of one revision only."""
    words: dict[str, set[bytes]] = defaultdict(set)
    finals: dict[str, set[int]] = defaultdict(set)
    highest: Counter[str] = Counter()
    for one in (*given.results, *given.commands):
        given.looked_at["records said"] += 1
        words[one.event_id].add(one.value)
    for one in given.results:
        data = orjson.loads(one.value)
        highest[one.subject] = max(highest[one.subject], data["revision"])
        if data["final"]:
            finals[one.subject].add(data["revision"])
    given.looked_at["events said"] += len(words)
    for event_id, contents in words.items():
        if len(contents) > 1:
            yield f"{event_id}: was said in {len(contents)} ways: {sorted(contents)[:2]}"
    for saga_id, revisions in finals.items():
        if revisions != {highest[saga_id]}:
            yield f"{saga_id}: final at {revisions}, the highest is {highest[saga_id]}"


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    nothing_lost,
    belief_is_fact,
    journal_balances,
    members_have_what_they_were_told,
    limits_are_what_was_issued,
    one_revision_one_content,
)


def assert_consistent(platform: Platform, requests: Sequence[Redemption], what: str = "") -> None:
    """Wait until every request ended, then check everything; prints what was checked."""
    platform.finish(requests)
    given = gather(platform, requests)
    problems: list[str] = []
    for check in CHECKS:
        found = list(check(given))
        problems += found[:SHOWN_MAX]
        if len(found) > SHOWN_MAX:
            problems.append(f"... {check.__name__}: {len(found)} in all")
    ends = Counter(str(told["status"]) for told in given.finals().values())
    seen = ", ".join(f"{count:,} {name}" for name, count in given.looked_at.items())
    sys.stderr.write(f"\n{what or platform.group}: {len(CHECKS)} checks of {seen}; {dict(ends)}\n")
    assert given.looked_at["requests"] == len({one.saga_id for one in requests}) > 0
    assert not problems, "\n".join(problems)
