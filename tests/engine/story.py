"""One redemption told step by step: what happens, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from orchestrator.batch.decide import Decider
from orchestrator.batch.effects import BatchResult
from orchestrator.catalogue import loader as catalogues
from orchestrator.engine.definition import participant
from orchestrator.engine.instance import Saga
from orchestrator.engine.operator import Action, OperatorDecision
from orchestrator.engine.policy import Policies, Remedy
from orchestrator.engine.postings import Transfer
from orchestrator.ports import DecisionRow, DueDecision
from orchestrator.sagas.redemption.kind import REDEMPTION
from orchestrator.sagas.redemption.programme import Programme
from orchestrator.timers.decisions import record_of
from schemas import events
from schemas.ids import partition_key, saga_id
from tests.engine.memory import DEPLOY, START, Platform

COUPONS: Final = "citi-alipayhk-coupons"
MILES: Final = "uprp-harbour-miles"
ORIGINS: Final = {COUPONS: "alipayhk", MILES: "harbour"}
LOTS: Final = (
    {"lot": "2025", "points": 10_000, "expires_on": "2027-03-31"},
    {"lot": "2026", "points": 25_000, "expires_on": "2028-03-31"},
)
MANY: Final = 200
"""Timers: more than a ladder of a day and a half has."""
Chain = tuple[Remedy, ...]


def on_offer(
    late_yes: Chain | None = None,
    late_no: Chain | None = None,
    *,
    prededucted: bool = False,
    partial: str | None = None,
) -> catalogues.Catalogue:
    """What ships, with other chains of remedies, or with a channel that deducts itself."""
    found = catalogues.load(DEPLOY)
    ladders = {}
    for leg, policy in found.policies.by_leg.items():
        yes, no = late_yes or policy.late_yes, late_no or policy.late_no
        ladders[leg] = replace(policy, late_yes=yes, late_no=no, times=policy.times and 2)
    ours = dict(found.programmes["redemption"])
    if prededucted:
        coupons = ours[COUPONS]
        mode = {"debtor": None, "deduction": "prededucted", "partial": partial or coupons.partial}
        ours[COUPONS] = Programme.model_validate(coupons.model_dump() | mode, strict=False)
    programmes = {**found.programmes, "redemption": ours}
    return replace(found, programmes=programmes, policies=Policies(ladders))


@dataclass
class Story:
    """A platform and the one redemption that it is about."""

    programme: str = COUPONS
    offer: catalogues.Catalogue = field(default_factory=on_offer)
    told: list[dict[str, Any]] = field(default_factory=list)
    timeline: list[str] = field(default_factory=list)
    moves: list[Transfer] = field(default_factory=list)
    decisions: int = 0

    def __post_init__(self) -> None:
        self.platform = Platform(Decider(self.offer, "uprp"))
        self.origin = ORIGINS[self.programme]
        self.id = saga_id(self.origin, "w-1", "r-1")

    @property
    def saga(self) -> Saga:
        """The redemption."""
        return self.platform.saga(self.id)

    # -- what happens -------------------------------------------------------------------------

    def asks(self, lines: Mapping[str, int], **more: Any) -> list[str]:
        """The origin asks for the redemption."""
        data = {
            "request_id": "r-1",
            "account": "w-1",
            "programme": self.programme,
            "debtor_account": "card-1",
            "creditor_account": "m-1",
            "lines": [{"item": item, "quantity": n} for item, n in lines.items()],
        }
        self.platform.request(data | more, self.origin)
        return self.batch()

    def says(self, path: str, outcome: str, **fields: Any) -> list[str]:
        """A participant answers about a leg."""
        self.sends(path, outcome, **fields)
        return self.batch()

    def sends(self, path: str, outcome: str, **fields: Any) -> None:
        """An answer arrives, and nobody has worked on it."""
        leg = self.saga.leg(path)
        assert leg is not None, path
        owner = participant(self.saga.terms, REDEMPTION.definition, leg.verb)
        if outcome == "CONFIRMED":
            fields = {"reference": f"{owner}-1"} | fields
        if outcome == "REJECTED":
            fields = {"reason": {"code": "PARTNER_DECLINED"}} | fields
        data = {"leg_id": f"{self.id}/{path}", "outcome": outcome} | fields
        self.platform.arrive(owner, events.ANSWERED, self._key, data)

    def waits(self) -> list[str]:
        """Time passes until the next timer has rung."""
        due = self.platform.next_due()
        assert due is not None, "there is no timer"
        self.platform.now = max(due, self.platform.now)
        self.platform.ring()
        return self.batch()

    def waits_until(self, word: str) -> list[str]:
        """Time passes until that is said; everything that was."""
        said: list[str] = []
        for _ in range(MANY):
            said += self.waits()
            if any(word in one for one in said):
                return said
        raise AssertionError(f"{word} was never said: {said}")

    def waits_for_ever(self) -> list[str]:
        """Time passes until no timer is left; everything that was said."""
        said: list[str] = []
        for _ in range(MANY):
            if self.saga.wake_at is None:
                return said
            said += self.waits()
        raise AssertionError(f"it goes on for ever: {said[-3:]}")

    def from_origin(self, type_: str) -> list[str]:
        """The origin inquires or withdraws."""
        ids = {"request_id": "r-1", "account": "w-1"}
        self.platform.arrive(self.origin, type_, self._key, ids)
        return self.batch()

    def decides(self, path: str, action: Action, amount: int | None = None) -> list[str]:
        """People decide about a leg, both of them."""
        self.decisions += 1
        ruling = OperatorDecision(self.decisions, action, amount)
        self.platform.made[ruling.number] = DecisionRow(self.id, path, ruling, True, False)
        due = DueDecision(self.id, path, ruling, self.origin, "w-1")
        data = orjson.loads(record_of(due, START).value or b"")
        self.platform.arrive("", events.DECIDED, self._key, data)
        return self.batch()

    def batch(self, published: int | None = None) -> list[str]:
        """What was said in one batch: `deduct#1`, `credit/1#cancel2`, `#r1`."""
        decision = self.platform.batch(published=published)
        self._remember(decision)
        ids = [(dict(record.headers)["ce_id"] or b"").decode() for record in decision.outgoing]
        return [one.removeprefix(self.id).removeprefix("/") for one in ids]

    def _remember(self, decision: BatchResult) -> None:
        for record in decision.outgoing:
            if record.topic.endswith(".results"):
                result = orjson.loads(record.value or b"")
                if result not in self.told:
                    self.told.append(result)
        self.timeline += [entry.event for entry in decision.changes.timeline]
        self.moves += [move.transfer for move in decision.changes.movements]

    @property
    def _key(self) -> str:
        return partition_key(self.origin, "w-1")

    # -- what came of it ----------------------------------------------------------------------

    @property
    def results(self) -> list[tuple[int, str, int, int]]:
        """What the origin was told: revision, status, charged, returned."""
        for one in self.told:
            corrected = one["revision"] > 1 and one["final"] and self._final_before(one)
            assert one["corrected"] is corrected, one
        return [
            (one["revision"], one["status"], one["points"]["charged"], one["points"]["returned"])
            for one in self.told
        ]

    def _final_before(self, result: Mapping[str, Any]) -> bool:
        return any(one["final"] and one["revision"] < result["revision"] for one in self.told)

    @property
    def books(self) -> dict[str, int]:
        """What each account holds of the points, where it is not nothing."""
        unit = self.saga.terms.body.unit
        found = {name: n for (name, its), n in self.platform.books.items() if its == unit and n}
        assert sum(found.values()) == 0
        return found

    @property
    def limit(self) -> int:
        """What counts on the account's limit, in minor units."""
        return sum(self.platform.used.values())
