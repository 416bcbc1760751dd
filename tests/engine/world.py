"""A world around the platform: an origin, companies, a clock, and everything that goes wrong.

Every choice is drawn from a tape of numbers, so that a failing world shrinks and comes again.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, Final

import orjson

from orchestrator.engine.definition import participant
from orchestrator.engine.instance import Saga
from orchestrator.engine.machine import IN_FLIGHT, Status
from orchestrator.ports import Outgoing
from orchestrator.sagas import KINDS
from schemas import events
from schemas.ids import partition_key, split_leg_id
from tests.engine.companies import Company, garbled
from tests.engine.memory import Platform
from tests.engine.sums import pieces, price

CALM_MAX: Final = 400
PROGRAMMES: Final = (
    ("alipayhk", "citi-alipayhk-coupons", ("hkd50", "hkd20"), (2, 5, 12)),
    ("harbour", "uprp-harbour-miles", ("miles", "lounge-pass"), (600, 2, 3)),
)


@dataclass
class World:
    """One run: `live` does what the tape says, `calm` lets everything come to its end."""

    tape: list[int]
    platform: Platform = field(default_factory=Platform)
    companies: dict[str, Company] = field(default_factory=dict)
    inbox: list[Outgoing] = field(default_factory=list)  # Commands that were not worked on yet.
    air: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)  # Answers under way.
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    finals: dict[str, bytes] = field(default_factory=dict)
    seen: int = 0

    def __post_init__(self) -> None:
        self._numbers = chain(self.tape, repeat(0))
        self._left = len(self.tape)
        names = self.platform.decider.catalogue.participants
        self.companies = {name: self.company(name) for name in names}

    def company(self, name: str) -> Company:
        """A company of this world."""
        return Company(name)

    def choose(self, below: int) -> int:
        self._left -= 1
        return next(self._numbers) % below

    def live(self) -> None:
        """Live until the tape ends, then calm down and compare belief with fact."""
        self._request()
        actions = self.actions()
        while self._left > 0:
            actions[self.choose(len(actions))]()
            self._read()
        self._calm()

    def actions(self) -> tuple[Callable[[], None], ...]:
        """What may happen next."""
        return (
            self._batch,
            self._work,
            self._deliver,
            self._batch,
            self._work,
            self._deliver,
            self._wait,
            self._die,
            self._request,
            self._ask,
            self._settle,
        )

    # -- what happens -------------------------------------------------------------------------

    def _request(self) -> None:
        origin, programme, items, quantities = PROGRAMMES[self.choose(2)]
        count = 1 + self.choose(2)
        data = {
            "request_id": f"r-{len(self.asked)}",
            "account": f"w-{self.choose(2)}",
            "programme": programme,
            "debtor_account": "card-1",
            "creditor_account": "m-1",
            "lines": [
                {"item": item, "quantity": quantities[(at + self.choose(2)) % 3]}
                for at, item in enumerate(items[:count])
            ],
        }
        self.asked.append((origin, data))
        self.platform.request(data, origin)

    def _ask(self) -> None:
        """A duplicate, an inquiry or a withdrawal; sometimes of a request that comes later."""
        known = self.choose(len(self.asked) + 1)
        origin, data = self.asked[known - 1] if known else ("alipayhk", {})
        ids = {key: data.get(key, "r-99") for key in ("request_id", "account")}
        key = partition_key(origin, ids["account"])
        match self.choose(3):
            case 0 if known:
                self.platform.request(data, origin)
            case 1:
                self.platform.arrive(origin, events.INQUIRED, key, ids)
            case _:
                self.platform.arrive(origin, events.WITHDRAWN, key, ids)

    def _batch(self) -> None:
        self.platform.batch(1 + self.choose(6), None, self.choose(4))

    def _die(self) -> None:
        """Committed, and killed after publishing some of it."""
        self.platform.batch(1 + self.choose(6), self.choose(3), self.choose(4))

    def _read(self) -> None:
        """What was published reaches the companies' inboxes and the origins."""
        for record in self.platform.outgoing[self.seen :]:
            if record.topic.endswith(".commands"):
                self.inbox.append(record)
            elif record.topic.endswith(".results"):
                data = orjson.loads(record.value or b"")
                if data.get("final"):
                    first = self.finals.setdefault(data["saga_id"], record.value or b"")
                    assert first == record.value, f"two final results: {first!r} {record.value!r}"
        self.seen = len(self.platform.outgoing)

    def _work(self) -> None:
        """A company works on a command, in any order, perhaps twice, perhaps never."""
        if not self.inbox:
            return
        at = self.choose(len(self.inbox))
        fate = self.choose(8)
        record = self.inbox[at] if fate == 6 else self.inbox.pop(at)
        if fate != 7:
            self._handle(record)

    def _handle(self, record: Outgoing) -> None:
        name = record.topic.split(".")[1]
        type_ = (dict(record.headers)["ce_type"] or b"").decode()
        data = orjson.loads(record.value or b"")
        answer = self.companies[name].handle(type_, data, self.platform.now, self.choose)
        self.air.append((name, (record.key or b"").decode(), answer))

    def _deliver(self) -> None:
        """An answer arrives, in any order: once, twice, garbled first, or never."""
        if not self.air:
            return
        name, key, answer = self.air.pop(self.choose(len(self.air)))
        fate = self.choose(8)
        if fate == 5:
            self._answer(name, key, garbled(answer, self.choose))
        for _ in range({6: 2, 7: 0}.get(fate, 1)):
            self._answer(name, key, answer)

    def _answer(self, name: str, key: str, answer: dict[str, Any]) -> None:
        self.platform.arrive(name, events.ANSWERED, key if self.choose(8) < 7 else None, answer)

    def _wait(self) -> None:
        """Time passes until the first timer rings."""
        due = self.platform.next_due()
        if due is not None:
            self.platform.now = max(self.platform.now, due)
            self.platform.ring()

    def _settle(self) -> None:
        for name, company in self.companies.items():
            for answer in company.settle(self.choose):
                self.air.append((name, self._key(answer["leg_id"]), answer))

    def _key(self, leg_id: str) -> str:
        saga_id, _ = split_leg_id(leg_id)
        terms = next(s.terms for s in self.platform.sagas() if s.terms.saga_id == saga_id)
        return partition_key(terms.origin, terms.account)

    # -- how it ends --------------------------------------------------------------------------

    def _calm(self) -> None:
        """From now on everybody works, in order, until nothing is left to do."""
        for _ in range(CALM_MAX):
            self.platform.batch()
            self._read()
            self._settle()
            for record in self.inbox:
                self._handle(record)
            self.inbox.clear()
            for name, key, answer in self.air:
                self.platform.arrive(name, events.ANSWERED, key, answer)
            self.air.clear()
            if not self.platform.waiting():
                if self.platform.next_due() is not None:
                    self._wait()
                elif not self._looked_at():
                    break
        else:
            raise AssertionError("the world does not come to rest")
        self.check()

    def also_seen(self) -> Counter[str]:
        """What was seen on the way, and cannot be told from how it ended."""
        return Counter()

    def _looked_at(self) -> bool:
        """Whether a person, of whom there is none here, did something about what is parked."""
        return False

    def check(self) -> None:
        """Belief equals fact: of every leg, of every member's points, of every result."""
        for letter in self.platform.letters:  # Garbled, and after the verdict.
            assert "cannot be used: it was answered" in letter.message, letter
        for saga in self.platform.sagas():
            for leg in saga.legs:
                self._check_leg(saga, leg.path, leg.status, leg.moved)
            self._check_end(saga)
            self._check_told(saga)

    def _check_told(self, saga: Saga) -> None:
        saga_id = saga.terms.saga_id
        if saga_id in self.finals:
            points = orjson.loads(self.finals[saga_id])["points"]
            bank = self._moved(saga_id, "deduct"), self._returned(saga_id)
            assert points["charged"] == bank[0] - bank[1], (saga_id, points, bank)
            assert points["returned"] == bank[1], (saga_id, points, bank)

    def _returned(self, saga_id: str) -> int:
        """A second return has a number (`deduct/return/2`)."""
        paths = ("deduct/return", *(f"deduct/return/{number}" for number in range(2, 9)))
        return sum(self._moved(saga_id, path) for path in paths)

    def _moved(self, saga_id: str, path: str) -> int:
        facts = (company.facts.get(f"{saga_id}/{path}") for company in self.companies.values())
        return sum(fact.moved or 0 for fact in facts if fact is not None)

    def _check_leg(self, saga: Saga, path: str, status: Status, moved: int) -> None:
        definition = KINDS[saga.terms.definition, saga.terms.definition_version].definition
        leg = saga.leg(path)
        assert leg is not None, path
        owner = participant(saga.terms, definition, leg.verb)
        fact = self.companies[owner].facts.get(f"{saga.terms.saga_id}/{path}")
        match status:
            case Status.CONFIRMED:
                assert fact is not None, f"{path} was confirmed by nobody"
                assert fact.moved == moved, (path, fact, moved)
            case Status.REJECTED | Status.CANCELLED:
                assert fact is not None, f"{path} was refused by nobody"
                assert fact.moved == 0, (path, fact)
            case Status.WAITING:
                assert fact is None, f"{path} was done unasked: {fact}"
            case Status.DISPUTED:
                raise AssertionError(f"{path}: a dispute with a company that never lies")
            case _:
                assert status not in IN_FLIGHT, f"{path} is {status} at the end"

    def _check_end(self, saga: Saga) -> None:
        """I1 against the companies' own books: it ended as they say, or a person was told."""
        saga_id = saga.terms.saga_id
        if not saga.ended:
            assert saga.parked, f"{saga_id} has neither ended nor parked"
            return
        assert saga.wake_at is None, f"{saga_id} ended with a timer"
        assert saga_id in self.finals, f"{saga_id}: the origin never heard"
        issued = [
            self._moved(saga_id, f"credit/{n}") - self._moved(saga_id, f"credit/{n}/reverse")
            for n in range(1, len(saga.terms.body.lines) + 1)
        ]
        assert issued == pieces(saga), (issued, pieces(saga))
        kept = self._moved(saga_id, "deduct") - self._returned(saga_id)
        assert kept == price(saga), (kept, price(saga))
