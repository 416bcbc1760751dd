"""Companies that keep their own truth: each leg is done or refused once, and remembered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from schemas import events
from schemas.values import moment_of

Choose = Callable[[int], int]
"""A number below the given one; 0 is what a company does on a good day."""

OTHER_LOTS: Final = [{"lot": "none-of-ours", "points": 10**8}]


@dataclass
class Fact:
    """What became of one leg: `moved` is None while it is pending, 0 when it was refused."""

    account: str
    asked: int
    moved: int | None
    verdict: str = "CONFIRMED"
    code: str = "PARTNER_DECLINED"


@dataclass
class Company:
    """Bank or issuer; idempotent by leg id, truthful, and nothing else."""

    name: str
    facts: dict[str, Fact] = field(default_factory=dict)

    def handle(self, type_: str, data: dict[str, Any], now: int, choose: Choose) -> dict[str, Any]:
        """The answer to a command; the first time, the effect too."""
        leg_id = data["leg_id"]
        fact = self.facts.get(leg_id)
        if type_ == events.CANCEL:
            if fact is None or (fact.moved is None and choose(2)):
                self.facts[leg_id] = Fact("", 0, 0, "CANCELLED")  # The tombstone.
        elif fact is None and type_ != events.INQUIRE:
            fact = self.facts[leg_id] = self._decide(type_, data, now, choose)
        return self.knows(leg_id)

    def _decide(self, type_: str, data: dict[str, Any], now: int, choose: Choose) -> Fact:
        asked = data.get("points") or data["quantity"]
        fact = Fact(data["account"], asked, asked)
        if "expires_at" in data and moment_of(data["expires_at"]).timestamp() * 1000 <= now:
            return Fact(data["account"], asked, 0, "REJECTED", "EXPIRED")
        if type_ == events.RETURN:
            self._check_undo(data["deduction_leg_id"], asked)
            fact.moved = None if choose(5) == 4 else asked
            return fact
        if type_ == events.REVERSE:
            self._check_undo(data["credit_leg_id"], asked)
        match choose(6):
            case 2:
                fact.moved, fact.verdict = 0, "REJECTED"
            case 3:
                fact.moved, fact.verdict = 0, "CANCELLED"
            case 4:
                fact.moved = None
            case 5 if type_ == events.CREDIT:
                fact.moved = 1 + choose(asked)
        return fact

    def _check_undo(self, leg_id: str, amount: int) -> None:
        done = self.facts.get(leg_id)
        assert done is not None, f"{leg_id} is to be undone and was never asked for"
        assert done.moved, f"{leg_id} is to be undone and was not done"
        assert amount <= done.moved, f"{leg_id}: {amount} of {done.moved} are to be undone"

    def settle(self, choose: Choose) -> list[dict[str, Any]]:
        """Decide what is pending, and say so."""
        answers = []
        for leg_id, fact in self.facts.items():
            if fact.moved is None:
                refused = choose(2) and "/return" not in leg_id
                fact.moved = 0 if refused else fact.asked
                fact.verdict = "REJECTED" if refused else "CONFIRMED"
                answers.append(self.knows(leg_id))
        return answers

    def knows(self, leg_id: str) -> dict[str, Any]:
        """What is known about a leg, in the words of the contract."""
        fact = self.facts.get(leg_id)
        if fact is None:
            return {"leg_id": leg_id, "outcome": "NOT_RECEIVED"}
        if fact.moved is None:
            return {"leg_id": leg_id, "outcome": "PENDING"}
        answer: dict[str, Any] = {"leg_id": leg_id, "outcome": fact.verdict}
        if fact.moved:
            unit = "quantity" if "/credit" in leg_id else "points"
            answer |= {"reference": f"{self.name}-{len(leg_id)}", unit: fact.moved}
        elif fact.verdict == "REJECTED":
            answer["reason"] = {"code": fact.code}
        return answer


def garbled(answer: dict[str, Any], choose: Choose) -> dict[str, Any]:
    """The same leg in words that say nothing that may be used."""
    leg_id = answer["leg_id"]
    wrong_unit = "points" if "/credit" in leg_id else "quantity"
    return (
        {"leg_id": leg_id, "outcome": "DONE"},
        {"leg_id": leg_id, "outcome": "REJECTED", "reason": {"code": "E-51"}},
        {"leg_id": leg_id, "outcome": "CONFIRMED", "reference": "X", "points": 10**9}
        | {"quantity": 10**9},
        {"leg_id": leg_id, "outcome": "REJECTED", "reason": {"code": "TIMEOUT"}},
        {"leg_id": leg_id, "outcome": "CONFIRMED", "reference": "X", wrong_unit: 1},
        {"leg_id": leg_id, "outcome": "CONFIRMED", "reference": "X", "lots": OTHER_LOTS},
    )[choose(6)]
