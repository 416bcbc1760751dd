"""The world of `world.py` with companies that lie, people who decide, and what else may be odd."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from orchestrator.admission.breaker import Breaker, HealthPolicy, State, WhenUnavailable
from orchestrator.admission.gate import Allowance
from orchestrator.engine.definition import participant
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import IN_FLIGHT
from orchestrator.engine.operator import Action, OperatorDecision
from orchestrator.ports import DecisionRow, DueDecision
from orchestrator.sagas import KINDS
from orchestrator.timers.decisions import record_of
from schemas import events
from schemas.ids import partition_key, saga_id
from tests.engine.companies import Choose, Company, Fact
from tests.engine.sums import is_parked, sums
from tests.engine.world import World

HOLDS: Final = HealthPolicy(when_unavailable=WhenUnavailable.HOLD, hold_for=60_000)
HOLDS_BRIEFLY: Final = replace(HOLDS, hold_for=5_000)
"""Not even until somebody looks again whether the participant can be asked."""
REFUSES: Final = HealthPolicy()
LOOKS_MAX: Final = 40
PREDEDUCTED: Final = "uprp-harbour-coupons"
PRICES: Final = {"uplan-hkd50": 10_000, "coffee": 7_000}


@dataclass
class Liar(Company):
    """Says something else than is true, now and then, and later what is true."""

    erred: set[str] = field(default_factory=set)  # The legs that people decided about anyhow.
    lied: set[str] = field(default_factory=set)
    lying: bool = True

    def handle(self, type_: str, data: dict[str, Any], now: int, choose: Choose) -> dict[str, Any]:
        """The answer to a command: the true one, or another."""
        leg_id = data["leg_id"]
        fate = choose(24) if self.lying else 0
        if fate == 20 and type_ == events.CANCEL and leg_id not in self.facts:
            self.lied.add(leg_id)  # The tombstone is forgotten.
            return {"leg_id": leg_id, "outcome": "CANCELLED"}
        answer = super().handle(type_, data, now, choose)
        fact = self.facts.get(leg_id)
        if fate > 20 and fact is not None and fact.moved is not None:
            self.lied.add(leg_id)
            return _otherwise(answer, fact)
        return answer

    def _decide(self, type_: str, data: dict[str, Any], now: int, choose: Choose) -> Fact:
        done_id = data.get("deduction_leg_id") or data.get("credit_leg_id")
        if done_id is not None:
            asked, done = data.get("points") or data["quantity"], self.facts.get(done_id)
            if done is None or (done.moved or 0) < asked:
                assert done_id in self.lied | self.erred, f"{done_id} is undone, and was not done"
                return Fact(data["account"], asked, 0, "REJECTED")
        return super()._decide(type_, data, now, choose)


def _otherwise(answer: dict[str, Any], fact: Fact) -> dict[str, Any]:
    """Yes for no, no for yes."""
    said = {"leg_id": answer["leg_id"]}
    if fact.moved:
        return said | {"outcome": "REJECTED", "reason": {"code": "PARTNER_DECLINED"}}
    return said | {"outcome": "CONFIRMED", "reference": "OTHER"}


@dataclass
class Hostile(World):
    """One run; what is believed after a lie or an error may differ, but only on the record."""

    erred: set[str] = field(default_factory=set)
    decided: int = 0
    looks: int = 0
    held: set[str] = field(default_factory=set)  # The sagas that ever waited for their begin.

    def company(self, name: str) -> Company:
        """A company that lies."""
        return Liar(name, erred=self.erred)

    def actions(self) -> tuple[Callable[[], None], ...]:
        """Beside the usual: people decide, channels deduct themselves, health changes."""
        return (*super().actions(), self._err, self._prededucted, self._health)

    # -- what else happens --------------------------------------------------------------------

    def _prededucted(self) -> None:
        """A channel that took the points before it asked; sometimes another sum than the price."""
        number, items = len(self.asked), list(PRICES)[: 1 + self.choose(2)]
        points = sum(PRICES[item] for item in items) - (self.choose(9) == 8)
        deduction = {"reference": f"HB-{number}", "points": points}
        data: dict[str, Any] = {
            "request_id": f"r-{number}",
            "account": f"w-{self.choose(2)}",
            "programme": PREDEDUCTED,
            "creditor_account": "u-1",
            "lines": [{"item": item, "quantity": 1} for item in items],
            "deduction": deduction,
        }
        self.asked.append(("harbour", data))
        ours = saga_id("harbour", data["account"], data["request_id"])
        self.companies["harbour"].facts[f"{ours}/deduct"] = Fact("", points, points)
        self.platform.request(data, "harbour")

    def _health(self) -> None:
        """A participant can take nothing more, or can again; new sagas are held, or refused."""
        kind = self.choose(4)
        if kind == 0:
            self.platform.allowances = {}
            return
        opened = Breaker(1, State.OPEN, self.platform.now, self.platform.now + 30_000)
        policy = (HOLDS, REFUSES, HOLDS_BRIEFLY)[kind - 1]
        who = ("citi", "alipayhk", "harbour", "pacificair")[self.choose(4)]
        self.platform.allowances = {who: Allowance(policy, opened, probes=0)}

    def _parked(self) -> list[tuple[Saga, Leg]]:
        return [
            (saga, leg) for saga in self.platform.sagas() for leg in saga.legs if is_parked(leg)
        ]

    def _err(self) -> None:
        """People decide about something that is parked, whatever it is that is true."""
        parked = self._parked()
        if parked:
            saga, leg = parked[self.choose(len(parked))]
            self.erred.add(f"{saga.terms.saga_id}/{leg.path}")
            self._rule(saga, leg, tuple(Action)[self.choose(4)])

    def _rule(self, saga: Saga, leg: Leg, action: Action, amount: int | None = None) -> None:
        self.decided += 1
        ruling = OperatorDecision(self.decided, action, amount)
        terms = saga.terms
        self.platform.made[self.decided] = DecisionRow(terms.saga_id, leg.path, ruling, True, False)
        due = DueDecision(terms.saga_id, leg.path, ruling, terms.origin, terms.account)
        record = record_of(due, self.platform.now)
        key = partition_key(terms.origin, terms.account)
        self.platform.arrive("", events.DECIDED, key, orjson.loads(record.value or b""))

    # -- how it ends ----------------------------------------------------------------------------

    def _calm(self) -> None:
        """From now on nobody lies; what was said otherwise is put right."""
        self.platform.allowances = {}
        for name, company in self.companies.items():
            assert isinstance(company, Liar)
            company.lying = False
            for leg_id in sorted(company.lied):
                self.air.append((name, self._key(leg_id), company.knows(leg_id)))
        super()._calm()

    def _looked_at(self) -> bool:
        """People who know what is true decide about what is parked, though not for ever."""
        self.looks += 1
        parked = self._parked()
        if not parked or self.looks > LOOKS_MAX:
            return False
        saga, leg = parked[0]
        truth = self._truth(saga, leg)
        engine = self.platform.decider.kinds.of(saga.terms).engine
        wanted = OperatorDecision(self.decided + 1, Action.CONFIRM, truth)
        if not truth:
            wanted = replace(wanted, action=Action.REJECT, amount=None)
        allowed = engine.allowed(saga, leg)
        action = wanted.action if wanted.action in allowed else allowed[-1]
        self._rule(saga, leg, action, wanted.amount if action is wanted.action else None)
        return True

    def _truth(self, saga: Saga, leg: Leg) -> int:
        definition = KINDS[saga.terms.definition, saga.terms.definition_version].definition
        owner = self.companies[participant(saga.terms, definition, leg.verb)]
        leg_id = f"{saga.terms.saga_id}/{leg.path}"
        fact = owner.facts.get(leg_id)
        if fact is None:  # Found to have come to nothing: it is stopped there.
            owner.facts[leg_id] = fact = Fact("", 0, 0, "CANCELLED")
        return fact.moved or 0

    # -- what must hold -------------------------------------------------------------------------

    def _read(self) -> None:
        """As ever; the last final result counts, and no revision ever has two contents."""
        for record in self.platform.outgoing[self.seen :]:
            if record.topic.endswith(".commands"):
                self.inbox.append(record)
            elif record.topic.endswith(".results"):
                data, value = orjson.loads(record.value or b""), record.value or b""
                if data.get("final"):
                    known = orjson.loads(self.finals.get(data["saga_id"], value))
                    assert known["revision"] != data["revision"] or known == data, (known, data)
                    assert data["corrected"] or known["revision"] == data["revision"], data
                    if data["revision"] >= known["revision"]:
                        self.finals[data["saga_id"]] = value
        self.seen = len(self.platform.outgoing)
        self.held |= {id_ for id_, (saga, *_) in self.platform.rows.items() if saga.held}

    def check(self) -> None:
        """Belief equals fact, or what differs is on the record, or somebody has it to decide."""
        for saga in self.platform.sagas():
            for leg in saga.legs:
                self._check_hostile(saga, leg)
            if not self._touched(saga):
                self._check_end(saga)
                self._check_told(saga)
            elif not saga.parked:
                assert saga.ended, f"{saga.terms.saga_id} has neither ended nor parked"
                found = sums(saga)
                gone = found.returned + found.forgone + found.price
                assert found.taken + found.covered == gone, (found, saga)

    def also_seen(self) -> Counter[str]:
        """How many sagas were held, and how many of those began after all, or never did."""
        sagas = [saga for saga in self.platform.sagas() if saga.terms.saga_id in self.held]
        begun = sum(any(leg.attempt for leg in saga.legs) for saga in sagas)
        refused = sum(bool(saga.told and saga.told.status == "REJECTED") for saga in sagas)
        return Counter({"held": len(sagas), "held, begun": begun, "held, refused": refused})

    def _touched(self, saga: Saga) -> bool:
        """Whether anybody lied or erred about it."""
        wrong = self.erred.union(*(c.lied for c in self.companies.values() if isinstance(c, Liar)))
        return any(leg_id.startswith(saga.terms.saga_id) for leg_id in wrong)

    def _check_hostile(self, saga: Saga, leg: Leg) -> None:
        leg_id = f"{saga.terms.saga_id}/{leg.path}"
        if not self._touched(saga):
            self._check_leg(saga, leg.path, leg.status, leg.moved)
            return
        if leg.verb == "loss" or is_parked(leg):
            return
        assert leg.status not in IN_FLIGHT, f"{leg_id} is {leg.status} at the end"
        definition = KINDS[saga.terms.definition, saga.terms.definition_version].definition
        owner = self.companies[participant(saga.terms, definition, leg.verb)]
        fact = owner.facts.get(leg_id)
        truth = (fact.moved or 0) if fact is not None else 0
        if leg.moved == truth:
            return
        assert isinstance(owner, Liar)
        assert leg_id in owner.lied | self.erred, f"{leg_id}: {leg}, and {truth} is true"
        recorded = truth in (leg.first, leg.claim) or leg.decision > 0
        assert recorded, f"{leg_id}: {truth} is true and was lost: {leg}"
