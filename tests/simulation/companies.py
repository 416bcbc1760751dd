"""Companies that keep their own truth, and whose answers get lost (`domain.md` 4.6, 4.7).

Each leg is decided once. Whatever is asked about it later gets that answer, unless the plan has a
fault for this command; after the run has healed there are none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import orjson

from orchestrator.ports import Record
from schemas import events
from schemas.events import Channel, topic_of
from schemas.ids import split_leg_id
from schemas.times import text_of
from schemas.values import moment_of
from tests.simulation.broker import Broker
from tests.simulation.loop import VirtualLoop
from tests.simulation.plan import Fault
from tests.simulation.questions import Balances

Reach = Callable[[str], None]
DECIDED: Final = frozenset({"CONFIRMED", "REJECTED", "CANCELLED"})
VERBS: Final = {
    events.DEDUCT: "deduct",
    events.RETURN: "return",
    events.CREDIT: "credit",
    events.REVERSE: "reverse",
    events.INQUIRE: "inquire",
    events.CANCEL: "cancel",
}
_NO_FAULT: Final = Fault("none", "", 0)
_RETRY_MS: Final = 500


@dataclass(slots=True)
class Fact:
    """What became of one leg here: the truth."""

    verb: str = ""  # Empty: only its cancel was ever heard.
    content: dict[str, Any] = field(default_factory=dict)
    outcome: str = ""  # As it is said; empty: not decided.
    code: str = "PARTNER_DECLINED"
    moved: int = 0
    reference: str = ""
    least: int | None = None  # The smallest amount that was ever said,
    most: int = 0  # and the largest.

    @property
    def asked(self) -> int:
        """Points or pieces."""
        return int(self.content.get("points") or self.content.get("quantity") or 0)


@dataclass
class Company:
    """A bank, an issuer, an airline: whoever reads commands and writes replies."""

    name: str
    loop: VirtualLoop
    broker: Broker
    random: Random
    faults: dict[tuple[str, int], Fault]  # By verb, by how many of it there were.
    reach: Reach
    complain: Callable[[str], None]
    price: Callable[[str, int | None], int]  # Of a credit leg's pieces; None: of all.
    balances: Balances
    facts: dict[str, Fact] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)  # Leg ids that were ever commanded.
    peers: dict[str, Company] = field(default_factory=dict)
    down_until: int = 0
    mute_until: int = 0
    healed: bool = False
    _commands: Counter[str] = field(default_factory=Counter)
    _replies: int = 0

    # -- commands -------------------------------------------------------------------------------

    def hear(self, record: Record) -> None:
        """A command stands in the topic; when it arrives is another question."""
        type_ = (dict(record.headers)["ce_type"] or b"").decode()
        if type_ == events.READ_BALANCE:
            self.reach("command balance")
            self.balances.command(self.name, record)
            return
        data = orjson.loads(record.value or b"")
        verb = VERBS[type_]
        self._commands[verb] += 1
        fault = self.faults.get((verb, self._commands[verb]), _NO_FAULT)
        if self.healed:
            fault = _NO_FAULT
        if verb not in ("inquire", "cancel"):
            self.asked.setdefault(data["leg_id"], verb)
        self.reach(f"command {verb}" + (" again" if data["attempt"] > 1 else ""))
        wait = 2 + self.random.randrange(60)
        if fault.kind == "slow":
            wait += fault.length
        self._at(wait, self._arrive, verb, data, record.key, fault)

    def _at(self, wait: int, callback: Callable[..., object], *args: Any) -> None:
        self.loop.at(self.loop.wall() + wait, callback, *args)

    def _arrive(self, verb: str, data: dict[str, Any], key: bytes | None, fault: Fault) -> None:
        now = self.loop.wall()
        if now < self.down_until:
            wait = self.down_until - now + self.random.randrange(500)
            self._at(wait, self._arrive, verb, data, key, fault)
            return
        if fault.kind == "lost" or (verb == "cancel" and now < self.mute_until):
            self.reach(f"lost {verb}" if fault.kind == "lost" else "mute cancel")
            return
        leg_id = data["leg_id"]
        fact = self.facts.get(leg_id)
        if verb == "inquire":
            self.reach("inquiry answered " + (fact.outcome if fact else "NOT_RECEIVED"))
        elif verb == "cancel":
            self.cancel(leg_id)
        elif fact is None:
            self._begin(verb, data, key, fault)
        elif fact.verb:
            self._check_repeat(leg_id, fact, data)
        self._answer(verb, leg_id, key, fault)

    def cancel(self, leg_id: str) -> None:
        """Not now, and never; unless it is decided already."""
        fact = self.facts.setdefault(leg_id, Fact())
        if fact.outcome not in DECIDED:
            self.reach("cancel leaves a tombstone" if not fact.verb else "cancel of a pending leg")
            fact.outcome = "CANCELLED"

    def _begin(self, verb: str, data: dict[str, Any], key: bytes | None, fault: Fault) -> None:
        leg_id = data["leg_id"]
        fact = self.facts[leg_id] = Fact(verb, _content(data))
        now = self.loop.wall()
        if "expires_at" in data and moment_of(data["expires_at"]).timestamp() * 1000 <= now:
            fact.outcome, fact.code = "REJECTED", "EXPIRED"
            self.reach(f"expired {verb}")
            return
        if verb == "return":
            self._check_return(leg_id, data)
        may_turn = verb != "return"
        match fault.kind:
            case "refuse":
                self._conclude(fact, 0)
            case "pending_yes":
                fact.outcome = "PENDING"
                self._at(fault.length, self._settle, leg_id, key, fact.asked)
            case "pending_no":
                fact.outcome = "PENDING"
                self._at(fault.length, self._settle, leg_id, key, 0)
            case "less" if verb == "credit" and fact.asked > 1:
                self._conclude(fact, 1 + self.random.randrange(fact.asked - 1))
            case "yes_after_no" if may_turn:
                self._conclude(fact, 0)
                self._at(fault.length, self._turn, leg_id, key, fact.asked)
            case "no_after_yes" if may_turn:
                self._conclude(fact, fact.asked)
                self._at(fault.length, self._turn, leg_id, key, 0)
            case _:
                self._conclude(fact, fact.asked)

    def _conclude(self, fact: Fact, moved: int) -> None:
        fact.outcome, fact.moved = ("CONFIRMED", moved) if moved else ("REJECTED", 0)
        fact.least = moved if fact.least is None else min(fact.least, moved)
        fact.most = max(fact.most, moved)
        if moved and not fact.reference:
            self._replies += 1
            fact.reference = f"{self.name}-{self._replies}"

    def _settle(self, leg_id: str, key: bytes | None, moved: int) -> None:
        fact = self.facts[leg_id]
        if fact.outcome == "PENDING":
            self._conclude(fact, moved)
            self.reach(f"pending {fact.verb} then {'yes' if moved else 'no'}")
            self._answer(fact.verb, leg_id, key, _NO_FAULT)

    def _turn(self, leg_id: str, key: bytes | None, moved: int) -> None:
        """The contradiction: what was said is not so any more."""
        fact = self.facts[leg_id]
        if fact.outcome in ("CONFIRMED", "REJECTED") and not self.healed:
            self._conclude(fact, moved)
            self.reach(f"{'yes after no' if moved else 'no after yes'} of {fact.verb}")
            self._answer(fact.verb, leg_id, key, _NO_FAULT)

    # -- what the platform must never do ----------------------------------------------------------

    def _check_repeat(self, leg_id: str, fact: Fact, data: dict[str, Any]) -> None:
        if fact.content != (content := _content(data)):
            self.complain(f"{leg_id} was asked again in other words: {fact.content} {content}")

    def _check_return(self, leg_id: str, data: dict[str, Any]) -> None:
        """Undo starts from a definite no or an accepted cancel, never from silence (I7).

        What is asked back, in all, must be what was taken less what the lines cost: whole lines,
        while it is not certain that they were not given.
        """
        saga, _ = split_leg_id(leg_id)
        done = self.facts.get(data["deduction_leg_id"])
        if done is None or done.outcome not in DECIDED:
            self.complain(f"{leg_id}: what it returns was never deducted")
        mine = [fact for known, fact in self.facts.items() if known.startswith(saga)]
        left = sum(max(fact.moved, fact.most) for fact in mine if fact.verb == "deduct")
        left -= sum(fact.asked for fact in mine if fact.verb == "return")
        for other in self.peers.values():
            for known, verb in other.asked.items():
                if known.startswith(saga) and verb == "credit":
                    left -= other.reserved(known)
        if left < 0:
            self.complain(f"{leg_id} was sent though {-left} of it may have been spent: {data}")

    def reserved(self, leg_id: str) -> int:
        """What a credit leg may cost, for all that was ever said about it here."""
        fact = self.facts.get(leg_id)
        if fact is None or fact.outcome not in DECIDED:
            return self.price(leg_id, None)
        undo = self.facts.get(f"{leg_id}/reverse")
        given = fact.moved if fact.least is None else fact.least
        # What was taken back, and is denied later, was taken back when the points were returned.
        return self.price(leg_id, max(0, given - (undo.most if undo is not None else 0)))

    # -- answers ----------------------------------------------------------------------------------

    def _answer(self, verb: str, leg_id: str, key: bytes | None, fault: Fault) -> None:
        if fault.kind not in ("none", "lost"):
            self.reach(f"{fault.kind} {verb}")
        if fault.kind == "applied":
            return
        wait = 1 + self.random.randrange(60) + (fault.length if fault.kind == "late" else 0)
        for body in self._words(leg_id, fault):
            self._at(wait, self.say, orjson.dumps(body), key, fault)
            wait += self.random.randrange(3_000)

    def say(self, body: bytes, key: bytes | None, fault: Fault = _NO_FAULT) -> None:
        """Write a reply; a producer repeats it until the broker takes it."""
        if self.broker.away:
            self._at(_RETRY_MS, self.say, body, key, fault)
            return
        name = self.name
        if fault.kind == "elsewhere":
            name = next(other for other in sorted(self.peers) if other != self.name)
        self._replies += 1
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", f"{self.name}!{self._replies}".encode()),
            ("ce_source", f"/participants/{name}".encode()),
            ("ce_type", events.ANSWERED.encode()),
            ("ce_time", text_of(self.loop.wall()).encode()),
            ("content-type", b"application/json"),
        ]
        keyed = None if fault.kind == "keyless" else key
        self.broker.append(topic_of(name, Channel.REPLIES), keyed, body, headers)

    def _words(self, leg_id: str, fault: Fault) -> Iterator[dict[str, Any]]:
        truth = self.knows(leg_id)
        wrong = {"leg_id": leg_id, "outcome": "CONFIRMED", "reference": "X"}
        match fault.kind:
            case "wrong_amount":
                yield wrong | {"points": 10**9, "quantity": 10**9}
            case "unknown_code":
                yield {"leg_id": leg_id, "outcome": "REJECTED", "reason": {"code": "E-51"}}
            case "unknown_outcome":
                yield {"leg_id": leg_id, "outcome": "DONE"}
            case "twice":
                yield truth
                yield truth
            case _:
                yield truth

    def knows(self, leg_id: str) -> dict[str, Any]:
        """What is known about a leg, in the words of the contract."""
        fact = self.facts.get(leg_id)
        if fact is None:
            return {"leg_id": leg_id, "outcome": "NOT_RECEIVED"}
        answer: dict[str, Any] = {"leg_id": leg_id, "outcome": fact.outcome}
        if fact.outcome == "CONFIRMED":
            unit = "points" if "points" in fact.content else "quantity"
            answer |= {"reference": fact.reference, unit: fact.moved}
            if fact.verb == "deduct":
                answer["lots"] = _lots(fact.moved)
        elif fact.outcome == "REJECTED":
            answer["reason"] = {"code": fact.code}
        return answer


def _lots(points: int) -> list[dict[str, Any]]:
    half = points // 2
    lots = (("old", half, "2027-12-31"), ("new", points - half, "2028-12-31"))
    return [{"lot": lot, "points": n, "expires_on": day} for lot, n, day in lots if n]


def _content(data: dict[str, Any]) -> dict[str, Any]:
    """What a repeat must have in common with the first."""
    return {name: value for name, value in data.items() if name not in ("attempt", "issued_at")}
