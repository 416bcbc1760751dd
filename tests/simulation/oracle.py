"""What must hold once everything is healed and at rest (`domain.md` 4.1).

The companies' own books, the topics and the tables are compared; each check yields what is wrong,
in words.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from orchestrator.admission.outcomes import in_flight
from orchestrator.engine.instance import Saga
from orchestrator.engine.kind import LimitKey
from orchestrator.engine.undo import LOSS
from orchestrator.ports import Record
from orchestrator.sagas.redemption.journal import SUSPENSE
from schemas.events import DEAD_LETTER_TOPIC
from schemas.ids import SagaId, split_leg_id
from tests.engine.sums import issued_late
from tests.simulation.companies import DECIDED, Fact
from tests.simulation.world import World


@dataclass
class Rest:
    """A run that came to rest, with what is asked of it again and again at hand."""

    world: World
    sagas: dict[str, Saga] = field(init=False)
    facts: dict[str, dict[str, Fact]] = field(init=False)  # By saga, by path.
    losses: Counter[str] = field(default_factory=Counter)  # By saga, what its bearer paid,
    forgone: Counter[str] = field(default_factory=Counter)  # and what was never given back.

    def __post_init__(self) -> None:
        self.sagas = {str(key): row.saga() for key, row in self.world.database.sagas.items()}
        self.facts = defaultdict(dict)
        for company in self.world.companies.values():
            for leg_id, fact in company.facts.items():
                saga_id, path = split_leg_id(leg_id)
                self.facts[saga_id][path] = fact
        for (saga_id, _), movement in self.world.database.movements.items():
            moved = movement.transfer
            for account, way in ((moved.debit, 1), (moved.credit, -1)):
                if account.endswith("/loss"):
                    self.losses[saga_id] += way * moved.amount
                if account.endswith("/forgone"):
                    self.forgone[saga_id] -= way * moved.amount

    def settled(self) -> Iterator[tuple[str, Saga, dict[str, Any]]]:
        """The sagas that ended and that nobody needs to look at, with their last result."""
        for saga_id, saga in self.sagas.items():
            told = self.world.origins.latest(saga_id)
            if saga.ended and not saga.parked and told is not None:
                yield saga_id, saga, told

    def moved(self, saga_id: str, verb: str, line: int | None = None) -> int:
        """How much of a verb the companies really did for a saga."""
        return sum(
            fact.moved
            for path, fact in self.facts[saga_id].items()
            if fact.verb == verb and (line is None or path.split("/")[1] == str(line + 1))
        )


def everybody_has_an_answer(rest: Rest) -> Iterator[str]:
    """Every well-formed request is a saga with a final result, or one that a person looks at."""
    origins, letters = rest.world.origins, rest.world.database.letters
    for sent in origins.sent:
        record, saga_id = sent.record, sent.saga_id
        place = f"{record.topic}/{record.partition}/{record.offset}"
        refused = place in letters
        if sent.ask.kind == "malformed":
            if not refused:
                yield f"{place} cannot be read and is no dead letter"
            continue
        if sent.ask.kind != "inquire" and not refused:
            if saga_id not in rest.sagas:
                yield f"{saga_id}: {sent.ask.kind} was published and there is no saga"
            told = origins.latest(saga_id)
            if told is None or not (told["final"] or told["status"] == "MANUAL_REVIEW"):
                yield f"{saga_id}: the last that the origin heard is {told}"
        heard = len(origins.results.get(saga_id, ()))
        if not refused and heard <= sent.heard_before:
            yield f"{saga_id}: {sent.ask.kind} was never answered"


def every_saga_came_to_rest(rest: Rest) -> Iterator[str]:
    """Ended or parked, with no timer left; and the origin was told what the row says (I13)."""
    for saga_id, saga in rest.sagas.items():
        if not (saga.ended or saga.parked):
            yield f"{saga_id}: has neither ended nor parked: {saga.legs}"
        if saga.wake_at is not None:
            yield f"{saga_id}: rests with a timer"
        heard = rest.world.origins.latest(saga_id)
        told = saga.told
        row = told and (told.revision, told.status, told.final)
        if row != (heard and (heard["revision"], heard["status"], heard["final"])):
            yield f"{saga_id}: was told {told}, heard {heard}"


def belief_is_fact(rest: Rest) -> Iterator[str]:
    """Leg by leg: what was concluded is what the company's books say; nothing was done unasked."""
    for saga_id, saga in rest.sagas.items():
        for leg in saga.legs:
            fact = rest.facts[saga_id].get(leg.path)
            done = fact.moved if fact is not None else 0
            if not leg.parked and leg.verb != LOSS and leg.moved != done:
                yield f"{saga_id}/{leg.path}: we believe {leg}, the books say {fact}"
    for saga_id, facts in rest.facts.items():
        known = {leg.path for leg in rest.sagas[saga_id].legs} if saga_id in rest.sagas else set()
        for path, fact in facts.items():
            if path not in known:
                yield f"{saga_id}/{path}: was done, no saga knows of it: {fact}"
            if fact.outcome not in DECIDED:
                yield f"{saga_id}/{path}: is {fact.outcome} though all is at rest"


def members_have_what_they_were_told(rest: Rest) -> Iterator[str]:
    """I1: what was deducted and not returned is the price of what was issued and not reversed."""
    for saga_id, saga, told in rest.settled():
        paid = rest.moved(saga_id, "deduct") - rest.moved(saga_id, "return")
        issued = [
            rest.moved(saga_id, "credit", at) - rest.moved(saga_id, "reverse", at)
            for at in range(len(saga.terms.body.lines))
        ]
        price = sum(
            line.points_for(n) for line, n in zip(saga.terms.body.lines, issued, strict=True)
        )
        covered = rest.losses[saga_id] - rest.forgone[saga_id]
        if told["points"]["charged"] != paid or paid + covered != price:
            yield f"{saga_id}: told {told['points']}, paid {paid}, worth {price}: {told}"
        if [line["issued"] for line in told["lines"]] != issued:
            yield f"{saga_id}: told {told['lines']}, issued {issued}"


def limits_are_what_counts(rest: Rest) -> Iterator[str]:
    """I5: what was issued, and all of what is still open."""
    expected: Counter[LimitKey] = Counter()
    for saga in rest.sagas.values():
        terms = saga.terms
        if terms.body.limit and terms.body.business_date is not None and saga.legs:
            key = (terms.key_hash, terms.body.limit, terms.body.business_date)
            expected[key] += _issued_worth(saga) if saga.ended else terms.body.worth
    used = {key: n for key, n in rest.world.database.used.items() if n}
    if used != +expected:
        yield f"limits: {used} is used, {+expected} counts"
    # The correction that says so may wait for a person who decides something else of it.
    late = {saga.terms.body.limit for saga in rest.sagas.values() if _given_after_all(saga)}
    for key, n in used.items():
        # What was given after all is honoured, though others used the room (`domain.md` 7).
        if n > 100_000 and key[1] not in late:
            yield f"limits: {n} of {key} is used"


def _given_after_all(saga: Saga) -> bool:
    corrected = saga.told is not None and saga.told.corrected
    return corrected or issued_late(saga)


def _issued_worth(saga: Saga) -> int:
    pieces = [0] * len(saga.terms.body.lines)
    for leg in saga.legs:
        if leg.line is not None:
            pieces[leg.line] += leg.moved if leg.verb == "credit" else -leg.moved
    return sum(line.worth_of(n) for line, n in zip(saga.terms.body.lines, pieces, strict=True))


def the_books_balance(rest: Rest) -> Iterator[str]:
    """I10, I11: zero-sum in every unit; in suspense lies what is open, and nothing else."""
    books: Counter[tuple[str, str]] = Counter()
    suspense: Counter[str] = Counter()
    for (key, _), movement in rest.world.database.movements.items():
        moved = movement.transfer
        books[moved.debit, moved.unit] -= moved.amount
        books[moved.credit, moved.unit] += moved.amount
        if SUSPENSE in (moved.debit, moved.credit):
            suspense[str(key)] += moved.amount if moved.credit == SUSPENSE else -moved.amount
    for unit in sorted({unit for _, unit in books}):
        if total := sum(n for (_, other), n in books.items() if other == unit):
            yield f"{unit} add up to {total}"
    for saga_id, saga in rest.sagas.items():
        left = suspense[saga_id]
        if saga.ended and not saga.parked and left:
            yield f"{saga_id}: ended and left {left} in suspense"
        if left < 0 and not saga.parked:
            yield f"{saga_id}: {left} in suspense"


def the_first_final_stands(rest: Rest) -> Iterator[str]:
    """I6: one first final result a saga; what comes later is corrected and of a higher revision."""
    for saga_id, results in rest.world.origins.results.items():
        by_revision = {int(one["revision"]): one for one in results}
        finals = sorted(revision for revision, one in by_revision.items() if one["final"])
        for revision, one in sorted(by_revision.items()):
            if finals and revision > finals[0] and not one["corrected"]:
                yield f"{saga_id}: after the final result {finals[0]} came {one}"


def everything_was_read(rest: Rest) -> Iterator[str]:
    """The positions stand at the end of each log, and the group's offsets never beyond them."""
    broker, database = rest.world.broker, rest.world.database
    for (topic, number), log in broker.logs.items():
        if topic in broker.group.topics and log.records:
            stored = database.positions.get((topic, number), 0)
            committed = broker.group.committed.get((topic, number), 0)
            if stored != len(log.records):
                yield f"{topic}/{number}: read to {stored} of {len(log.records)}"
            if committed > stored:
                yield f"{topic}/{number}: committed {committed}, stored {stored}"


def who_waits_for_a_person_has_a_case(rest: Rest) -> Iterator[str]:
    """I11: the open cases are the parked sagas, each with a leg and what is at stake."""
    opened = {str(key) for key, case in rest.world.database.cases.items() if not case.closed}
    parked = {saga_id for saga_id, saga in rest.sagas.items() if saga.parked}
    for saga_id in sorted(opened ^ parked):
        yield f"{saga_id}: parked {saga_id in parked}, open case {saga_id in opened}"


def who_decided_was_heard(rest: Rest) -> Iterator[str]:
    """Each decision was applied or refused, once; nothing is refused that was true when made."""
    for number, row in rest.world.database.decisions.items():
        if row.settled is None:
            yield f"decision {number} about {row.saga_id}/{row.leg} was never carried out"


def legs_in_flight_add_up(rest: Rest) -> Iterator[str]:
    """What the coordinators added up, commit by commit, is the sum over all sagas."""
    counted: Counter[str] = Counter()
    for (_, participant), legs in rest.world.database.in_flight.items():
        counted[participant] += legs
    expected: Counter[str] = Counter()
    for saga in rest.sagas.values():
        expected.update(in_flight(saga) if saga.legs else {})
    names = counted.keys() | expected.keys()
    for name in sorted(name for name in names if counted[name] != expected[name]):
        yield f"{name}: {counted[name]} legs in flight are counted, there are {expected[name]}"


def questions_about_balances_are_over(rest: Rest) -> Iterator[str]:
    """Each was answered, and nothing is left of it: no row, no movement, no case, no event."""
    database = rest.world.database
    yield from rest.world.balances.complaints(set(database.letters))
    asked = rest.world.balances.sent.keys()
    for name, left in (
        ("a row", database.sagas.keys()),
        ("a movement", {saga_id for saga_id, _ in database.movements}),
        ("a timeline", {saga_id for saga_id, _ in database.timeline}),
        ("a case", database.cases.keys()),
    ):
        yield from (f"{saga_id}: a balance left {name}" for saga_id in asked & left)


def dead_letters_are_on_their_topic(rest: Rest) -> Iterator[str]:
    """Each one is in the index and on the topic.

    A question whose database was lost is put anew, and may be refused this time: then a reply that
    was refused before the loss says nothing any more, and is no dead letter.
    """
    said = {
        (dict(record.headers)["x-dlq-id"] or b"").decode(): _saga_of(record)
        for record in rest.world.broker.records(DEAD_LETTER_TOPIC)
    }
    letters = rest.world.database.letters
    anew = rest.world.balances.sent.keys() & rest.world.gone
    yield from (
        f"{one} is on the topic and not in the table"
        for one in sorted(said.keys() - letters.keys())
        if said[one] not in anew
    )
    yield from (
        f"{one} is in the table and not on the topic" for one in sorted(letters.keys() - said)
    )


def _saga_of(record: Record) -> SagaId:
    """The saga that a reply is about; empty for any other record."""
    with suppress(orjson.JSONDecodeError):
        data = orjson.loads(record.value or b"")
        if isinstance(data, dict):
            return split_leg_id(str(data.get("leg_id", "")))[0]
    return ""


CHECKS: tuple[Callable[[Rest], Iterator[str]], ...] = (
    everybody_has_an_answer,
    every_saga_came_to_rest,
    belief_is_fact,
    members_have_what_they_were_told,
    limits_are_what_counts,
    the_books_balance,
    the_first_final_stands,
    everything_was_read,
    who_waits_for_a_person_has_a_case,
    who_decided_was_heard,
    legs_in_flight_add_up,
    questions_about_balances_are_over,
    dead_letters_are_on_their_topic,
)


def complaints(world: World) -> list[str]:
    """What is wrong after a run; first what was noticed while it ran."""
    found = [*world.problems, *world.origins.problems]
    if found:
        return [f"while it ran: {problem}" for problem in found]
    rest = Rest(world)
    for saga in rest.sagas.values():
        world.reach("saga parked" if saga.parked else "saga ended")
    return [
        f"{check.__name__.replace('_', ' ')}: {problem}"
        for check in CHECKS
        for problem in check(rest)
    ]
