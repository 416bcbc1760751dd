"""Questions about balances, beside the redemptions of a run: who asks, who answers, what must hold.

They are drawn apart from all else, so that a seed's redemptions are what they always were.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import orjson

from orchestrator.ports import Record
from schemas import events
from schemas.events import Channel, topic_of
from schemas.ids import partition_key, saga_id
from schemas.times import text_of
from tests.simulation.broker import Broker
from tests.simulation.loop import VirtualLoop

FAULTS: Final = ("none", "lost", "late", "twice", "garbled", "no", "elsewhere", "keyless")
"""What happens to an answer; those of the second half say something else than the figures."""
ANSWERED: Final = frozenset({"ANSWERED", "UNAVAILABLE", "REJECTED"})
_RETRY_MS: Final = 500
_DEBTORS: Final = {"alipayhk": "citi", "harbour": "harbour"}
_PROGRAMMES: Final = {
    "alipayhk": ("citi-alipayhk-coupons", "no-such-programme"),
    "harbour": ("uprp-harbour-miles", "uprp-harbour-miles"),
}


@dataclass(frozen=True, slots=True)
class Question:
    """One question, `at` milliseconds after the start, and what becomes of the debtor's answer."""

    number: int
    at: int
    origin: str
    programme: str
    account: str
    fault: str
    length: int


def questions(seed: int) -> tuple[Question, ...]:
    """The questions of a seed; the same number twice is the same question again."""
    random = Random(f"{seed}/questions")
    found = []
    for _ in range(random.choice((0, 1, 3))):
        origin = random.choice(tuple(_DEBTORS))
        found.append(
            Question(
                number=random.randrange(3),
                at=random.randrange(random.choice((3_000, 25_000))),
                origin=origin,
                programme=_PROGRAMMES[origin][random.random() < 0.1],
                account=f"w-{random.randrange(2)}",
                fault=random.choice(FAULTS),
                length=random.choice((700, 4_000, 1_200_000)),
            )
        )
    return tuple(found)


@dataclass
class Balances:
    """Both ends of the questions of a run."""

    asked: tuple[Question, ...]
    loop: VirtualLoop
    broker: Broker
    random: Random
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # By saga.
    sent: dict[str, list[Record]] = field(default_factory=dict)  # By saga.
    _faults: dict[str, list[Question]] = field(default_factory=dict)  # By saga, not used yet.

    def begin(self) -> None:
        """Put every question on the calendar."""
        for question in self.asked:
            self.loop.at(self.loop.wall() + question.at, self._ask, question)

    def _ask(self, question: Question) -> None:
        if self.broker.away:
            self.loop.at(self.loop.wall() + _RETRY_MS, self._ask, question)
            return
        data = {
            # The number says all that is asked for, so that the same id never asks for two things.
            "request_id": f"b-{question.number}-{question.programme}",
            "programme": question.programme,
            "account": question.account,
            "debtor_account": f"card-{question.account}",
        }
        saga = saga_id(question.origin, question.account, data["request_id"], "balance")
        self._faults.setdefault(saga, []).append(question)
        key = partition_key(question.origin, question.account).encode()
        record = self._say(question.origin, Channel.REQUESTS, events.BALANCE_INQUIRED, data, key)
        self.sent.setdefault(saga, []).append(record)

    def command(self, debtor: str, record: Record) -> None:
        """A debtor is asked for a balance."""
        data = orjson.loads(record.value or b"")
        waiting = self._faults.get(data["saga_id"])
        question = waiting.pop(0) if waiting else None
        fault, length = (question.fault, question.length) if question else ("none", 0)
        if fault == "lost":
            return
        wait = 5 + self.random.randrange(80) + (length if fault == "late" else 0)
        for _ in range(2 if fault == "twice" else 1):
            self.loop.at(self.loop.wall() + wait, self._answer, debtor, data, record.key, fault)
            wait += self.random.randrange(2_000)

    def _answer(self, debtor: str, data: dict[str, Any], key: bytes | None, fault: str) -> None:
        if self.broker.away:
            self.loop.at(self.loop.wall() + _RETRY_MS, self._answer, debtor, data, key, fault)
            return
        now = self.loop.wall()
        answer: dict[str, Any] = {"leg_id": data["leg_id"], "outcome": "CONFIRMED"}
        answer |= {"reference": "B", "available": now % 90_000, "held": 0, "as_of": text_of(now)}
        if fault == "garbled":
            del answer["as_of"]
        elif fault == "no":
            reason = {"code": "MEMBER_UNKNOWN"}
            answer = {"leg_id": data["leg_id"], "outcome": "REJECTED", "reason": reason}
        who = "pacificair" if fault == "elsewhere" else debtor
        keyed = None if fault == "keyless" else key
        self._say(who, Channel.REPLIES, events.ANSWERED, answer, keyed)

    def _say(
        self, who: str, channel: Channel, type_: str, data: dict[str, Any], key: bytes | None
    ) -> Record:
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", f"balance?{self.random.getrandbits(48):012x}".encode()),
            ("ce_source", f"/participants/{who}".encode()),
            ("ce_type", type_.encode()),
            ("ce_time", text_of(self.loop.wall()).encode()),
            ("content-type", b"application/json"),
        ]
        return self.broker.append(topic_of(who, channel), key, orjson.dumps(data), headers)

    def hear(self, data: dict[str, Any]) -> None:
        """An origin reads an answer."""
        self.answers.setdefault(data["saga_id"], []).append(data)

    def complaints(self, letters: set[str]) -> Iterator[str]:
        """What is wrong once all is at rest; `letters` are the places of what was set aside."""
        for saga, records in self.sent.items():
            places = {f"{one.topic}/{one.partition}/{one.offset}" for one in records}
            if places <= letters:
                continue
            answers = self.answers.get(saga, [])
            if not answers:
                yield f"{saga}: a question about a balance was never answered"
            for answer in answers:
                if answer["status"] not in ANSWERED or not answer["final"]:
                    yield f"{saga}: a balance was answered with {answer}"
                if (answer["status"] == "ANSWERED") is not ("available" in answer):
                    yield f"{saga}: figures or a reason, not {answer}"
