"""Promises about every reply, whatever cell it belongs to (`contract.md` 1 and 2). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from adapters.conform.exchange import KEPT, Came, Finding, Sent
from adapters.conform.terms import Terms
from adapters.conform.verdicts import broken, contradicts
from schemas.envelope import source_of
from schemas.events import Channel, topic_of


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said in a whole run: commands by event id, and replies in the order they came.

    `blamed` are the legs of cells that are broken already: what they show is not told twice.
    """

    terms: Terms
    sent: Mapping[str, Sent]
    came: Sequence[Came]
    blamed: frozenset[str] = frozenset()

    def command_of(self, came: Came) -> Sent | None:
        """The command that a reply says it answers, else any of its leg."""
        if came.cause in self.sent:
            return self.sent[came.cause]
        return next((one for one in self.sent.values() if one.leg_id == came.leg_id), None)


@dataclass(frozen=True, slots=True)
class Watch:
    """One promise about all replies; a mild one is a warning where it is not kept."""

    name: str
    promise: str
    expected: str
    wrongs: Callable[[Heard], Iterator[tuple[Came, str]]]
    mild: bool = False

    @property
    def id(self) -> str:
        """As it is printed."""
        return f"reply.{self.name}"

    def judge(self, heard: Heard) -> tuple[Finding, tuple[Came, ...]]:
        """What became of it, and the replies that show it."""
        if not heard.came:
            return Finding("undecided", "no reply was heard"), ()
        wrongs = list(self.wrongs(heard))
        if not wrongs:
            return KEPT, ()
        why = f"{len(wrongs)} of {len(heard.came)} replies, first: {wrongs[0][1]}"
        return broken(why, self.expected), tuple(came for came, _ in wrongs[:_SHOWN_MAX])


_SHOWN_MAX: Final = 3


def _unreadable(heard: Heard) -> Iterator[tuple[Came, str]]:
    for came in heard.came:
        if came.data is None:
            yield came, came.fault


def _elsewhere(heard: Heard) -> Iterator[tuple[Came, str]]:
    topic = topic_of(heard.terms.participant, Channel.REPLIES)
    for came in heard.came:
        if came.topic != topic:
            yield came, f"it came on {came.topic}"


def _of_another_source(heard: Heard) -> Iterator[tuple[Came, str]]:
    source = source_of(heard.terms.participant)
    for came in heard.came:
        if came.envelope is not None and came.envelope.source != source:
            yield came, f"ce_source is {came.envelope.source}"


def _ids_twice(heard: Heard) -> Iterator[tuple[Came, str]]:
    seen: dict[str, str] = {}
    for came in heard.came:
        if came.envelope is None:
            continue
        before = seen.setdefault(came.envelope.id, came.value)
        if before != came.value:
            yield came, f"ce_id {came.envelope.id} stood on another reply before"


def _of_another_key(heard: Heard) -> Iterator[tuple[Came, str]]:
    for came in heard.came:
        command = heard.command_of(came)
        if command is not None and came.key != command.key:
            yield came, f"the key is {came.key}, the command's was {command.key}"


def _contradicting(heard: Heard) -> Iterator[tuple[Came, str]]:
    by_leg: dict[str, list[Came]] = {}
    for came in heard.came:
        if came.leg_id and came.leg_id not in heard.blamed:
            by_leg.setdefault(came.leg_id, []).append(came)
    for leg_id, replies in by_leg.items():
        for one, other in combinations(replies, 2):
            if contradicts(one, other):
                yield other, f"{leg_id} had another verdict before"
                break


def _unknown_fields(heard: Heard) -> Iterator[tuple[Came, str]]:
    for came in heard.came:
        if came.data is not None and came.data.has_unknown():
            yield came, f"unknown: {', '.join(came.data.unknown_fields())}"


WATCHES: Final = (
    Watch(
        "readable",
        "Every reply is a CloudEvent of the contract.",
        "`uprp.leg.answered.v1`, with every field as the schema has it",
        _unreadable,
    ),
    Watch(
        "topic",
        "Replies come on your own topic, and on no other.",
        "`uprp.<you>.replies`",
        _elsewhere,
    ),
    Watch(
        "source", "Replies name you as their source.", "`/participants/<you>`", _of_another_source
    ),
    Watch(
        "id",
        "A `ce_id` belongs to one reply; a reply that is sent again keeps it.",
        "another `ce_id` for every other content",
        _ids_twice,
    ),
    Watch(
        "consistent",
        "No leg ever gets a second, differing verdict.",
        "one verdict a leg",
        _contradicting,
    ),
    Watch(
        "key",
        "A reply has the key of its command.",
        "the same key: another is slower, not wrong",
        _of_another_key,
        mild=True,
    ),
    Watch(
        "fields",
        "A reply has no field that the contract does not know.",
        "fields of the contract: others are ignored",
        _unknown_fields,
        mild=True,
    ),
)
"""Every promise about all replies, in the order in which they are printed."""
