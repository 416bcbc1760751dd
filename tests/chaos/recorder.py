"""A tape for long runs: of every record that the platform says, what must be remembered of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b

import orjson

from schemas import events
from tests.support import wait_until
from tests.wire import Heard, Tape, ends

SHOWN_MAX = 12


@dataclass(frozen=True, slots=True)
class Told:
    """The result of the highest revision that an origin read about one saga."""

    revision: int
    status: str
    final: bool
    corrected: bool
    charged: int
    issued: tuple[int, ...]


@dataclass
class Ear(Tape):
    """Hears everything, and keeps a digest of each word, the last result of each saga, counts."""

    told: dict[str, Told] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    _digests: dict[bytes, bytes] = field(default_factory=dict)
    _finals: dict[str, int] = field(default_factory=dict)
    _at: dict[tuple[str, int], int] = field(default_factory=dict)

    def finals(self) -> set[str]:
        """The sagas of which a final result was heard."""
        return set(self._finals)

    def caught_up(self, within_s: float = 60.0) -> None:
        """Wait until everything was heard that is on the topics now."""
        wanted = ends(self.servers)
        wait_until(
            lambda: all(self._at.get(place, 0) >= end for place, end in wanted.items()),
            within_s,
            "the ear has heard every record",
        )

    def _take(self, heard: list[Heard]) -> None:
        for one in heard:
            self._at[one.topic, one.partition] = one.offset + 1
            self.counts[one.channel] += 1
            if one.channel in ("commands", "results") and not one.event_id.endswith("#r0"):
                self._word(one)
                if one.type == events.RESULT:
                    self._result(one)
                else:
                    self._command(one)

    def _word(self, one: Heard) -> None:
        """What is said again is said in the same words."""
        if one.type == events.REFUSED:
            return
        name = blake2b(one.event_id.encode(), digest_size=12).digest()
        words = blake2b(one.value, digest_size=8).digest()
        known = self._digests.setdefault(name, words)
        if known is not words:
            self.counts["said again"] += 1
        if known != words:
            self._problem(f"{one.event_id}: was said in two ways")

    def _result(self, one: Heard) -> None:
        data = orjson.loads(one.value)
        told = Told(
            data["revision"],
            data["status"],
            data["final"],
            data["corrected"],
            data["points"]["charged"],
            tuple(line["issued"] for line in data["lines"]),
        )
        self.counts[f"told {told.status}"] += 1
        self.counts["told a correction"] += told.corrected
        if told.final and not told.corrected:
            first = self._finals.setdefault(one.subject, told.revision)
            if first != told.revision:
                self._problem(f"{one.subject}: final at {first} and at {told.revision}")
        known = self.told.get(one.subject)
        if known is None or known.revision < told.revision:
            self.told[one.subject] = told

    def _command(self, one: Heard) -> None:
        _, _, number = one.event_id.rpartition("#")
        if number.startswith("inquire"):
            self.counts["inquiry"] += 1
        elif number.startswith("cancel"):
            self.counts["cancel" if number == "cancel1" else "repeated cancel"] += 1
        elif number != "1":
            self.counts["resend"] += 1

    def _problem(self, text: str) -> None:
        self.counts["problems"] += 1
        if len(self.problems) < SHOWN_MAX:
            self.problems.append(text)
