"""Promises about every reply, whichever cell it belongs to (`contract.md` 1 and 2). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from adapters.conform.exchange import KEPT, Finding, ReceivedReply, SentCommand
from adapters.conform.terms import Terms
from adapters.conform.verdicts import broken, contradicts
from schemas.envelope import source_of
from schemas.events import Channel, topic_of


@dataclass(frozen=True, slots=True)
class RunRecords:
    """The records of a whole run: commands by event id, and replies in the order of their arrival.

    `blamed` are the legs of cells that are broken already: what they show is not reported twice.
    """

    terms: Terms
    sent: Mapping[str, SentCommand]
    replies: Sequence[ReceivedReply]
    blamed: frozenset[str] = frozenset()

    def command_of(self, reply: ReceivedReply) -> SentCommand | None:
        """The command that a reply says it answers, else any of its leg."""
        if reply.cause in self.sent:
            return self.sent[reply.cause]
        return next((one for one in self.sent.values() if one.leg_id == reply.leg_id), None)


@dataclass(frozen=True, slots=True)
class Monitor:
    """One promise about all replies; with `warning_only`, breaking it is reported as a warning.

    `violations` yields each reply that breaks it, and why.
    """

    name: str
    promise: str
    expected: str
    violations: Callable[[RunRecords], Iterator[tuple[ReceivedReply, str]]]
    warning_only: bool = False

    @property
    def id(self) -> str:
        """As it is printed."""
        return f"reply.{self.name}"

    def judge(self, records: RunRecords) -> tuple[Finding, tuple[ReceivedReply, ...]]:
        """Whether the promise is kept, and the first replies that break it."""
        if not records.replies:
            return Finding("undecided", "no reply was heard"), ()
        violations = list(self.violations(records))
        if not violations:
            return KEPT, ()
        why = f"{len(violations)} of {len(records.replies)} replies, first: {violations[0][1]}"
        return broken(why, self.expected), tuple(reply for reply, _ in violations[:_SHOWN_MAX])


_SHOWN_MAX: Final = 3


def _unreadable(records: RunRecords) -> Iterator[tuple[ReceivedReply, str]]:
    for reply in records.replies:
        if reply.data is None:
            yield reply, reply.fault


def _elsewhere(records: RunRecords) -> Iterator[tuple[ReceivedReply, str]]:
    topic = topic_of(records.terms.participant, Channel.REPLIES)
    for reply in records.replies:
        if reply.topic != topic:
            yield reply, f"it came on {reply.topic}"


def _of_another_source(records: RunRecords) -> Iterator[tuple[ReceivedReply, str]]:
    source = source_of(records.terms.participant)
    for reply in records.replies:
        if reply.envelope is not None and reply.envelope.source != source:
            yield reply, f"ce_source is {reply.envelope.source}"


def _reused_ids(records: RunRecords) -> Iterator[tuple[ReceivedReply, str]]:
    seen: dict[str, str] = {}
    for reply in records.replies:
        if reply.envelope is None:
            continue
        before = seen.setdefault(reply.envelope.id, reply.value)
        if before != reply.value:
            yield reply, f"ce_id {reply.envelope.id} stood on another reply before"


def _of_another_key(records: RunRecords) -> Iterator[tuple[ReceivedReply, str]]:
    for reply in records.replies:
        command = records.command_of(reply)
        if command is not None and reply.key != command.key:
            yield reply, f"the key is {reply.key}, the command's was {command.key}"


def _contradicting(records: RunRecords) -> Iterator[tuple[ReceivedReply, str]]:
    by_leg: dict[str, list[ReceivedReply]] = {}
    for reply in records.replies:
        if reply.leg_id and reply.leg_id not in records.blamed:
            by_leg.setdefault(reply.leg_id, []).append(reply)
    for leg_id, replies in by_leg.items():
        command = records.command_of(replies[0])
        if command is not None and command.verb == "balance":
            continue  # What is so now may differ from what was so a moment ago.
        for one, other in combinations(replies, 2):
            if contradicts(one, other):
                yield other, f"{leg_id} had another verdict before"
                break


def _unknown_fields(records: RunRecords) -> Iterator[tuple[ReceivedReply, str]]:
    for reply in records.replies:
        if reply.data is not None and reply.data.has_unknown():
            yield reply, f"unknown: {', '.join(reply.data.unknown_fields())}"


MONITORS: Final = (
    Monitor(
        "readable",
        "Every reply is a CloudEvent of the contract.",
        "`uprp.leg.answered.v1`, with every field as the schema has it",
        _unreadable,
    ),
    Monitor(
        "topic",
        "Replies come on your own topic, and on no other.",
        "`uprp.<you>.replies`",
        _elsewhere,
    ),
    Monitor(
        "source", "Replies name you as their source.", "`/participants/<you>`", _of_another_source
    ),
    Monitor(
        "id",
        "A `ce_id` belongs to one reply; a reply that is sent again keeps it.",
        "another `ce_id` for every other content",
        _reused_ids,
    ),
    Monitor(
        "consistent",
        "No leg ever gets a second, differing verdict.",
        "one verdict a leg",
        _contradicting,
    ),
    Monitor(
        "key",
        "A reply has the key of its command.",
        "the same key: another is slower, not wrong",
        _of_another_key,
        warning_only=True,
    ),
    Monitor(
        "fields",
        "A reply has no field that the contract does not know.",
        "fields of the contract: others are ignored",
        _unknown_fields,
        warning_only=True,
    ),
)
"""Every promise about all replies, in the order in which they are printed."""
