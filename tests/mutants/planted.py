"""Bugs that somebody might write, and the checkers that must find them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from orchestrator import consequences, decide
from orchestrator.saga import instance, journal, progress, utterance
from orchestrator.saga.definition import Definition, Step
from orchestrator.saga.instance import Leg, PricedLine, Saga
from orchestrator.saga.ladder import News
from orchestrator.saga.machine import DECIDED, TABLE, Cell, Event, Status, Still
from orchestrator.saga.progress import Engine
from orchestrator.sagas import words

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutant:
    """One planted bug, and who must catch it."""

    name: str
    plant: Callable[[Patch], None]
    caught_by: tuple[str, ...]


def _cells(patch: Patch, to: Cell, *cells: tuple[Status, Event]) -> None:
    table = {status: dict(row) for status, row in TABLE.items()}
    for status, event in cells:
        table[status][event] = to
    patch.setattr(progress, "TABLE", table)


def _silence_is_a_no(patch: Patch) -> None:
    _cells(patch, Status.REJECTED, (Status.UNKNOWN, Event.EXHAUSTED))


def _a_reading_is_a_no(patch: Patch) -> None:
    asked = (Status.SENT, Status.UNKNOWN)
    _cells(patch, Status.REJECTED, *((status, Event.NOT_RECEIVED) for status in asked))


def _a_contradiction_wins(patch: Patch) -> None:
    _cells(patch, Status.CONFIRMED, (Status.REJECTED, Event.CONFIRMED))


def _nonsense_is_a_yes(patch: Patch) -> None:
    def read(saga: Saga, leg: Leg, reply: Any) -> News:
        news = words.read_reply(saga, leg, reply)
        if news.event is Event.UNUSABLE:
            return News(event=Event.CONFIRMED, amount=leg.asked, reference="X")
        return news

    patch.setattr(decide, "read_reply", read)


def _undo_on_silence(patch: Patch) -> None:
    patch.setattr(progress, "DECIDED", DECIDED | {Status.SILENT})


def _returns_the_whole_price(patch: Patch) -> None:
    right = Engine._owed

    def owed(self: Engine, saga: Saga, pivot: Step) -> list[tuple[Step, tuple[Leg, ...]]]:
        return [
            (step, tuple(replace(leg, asked=saga.terms.points) for leg in legs))
            for step, legs in right(self, saga, pivot)
        ]

    patch.setattr(Engine, "_owed", owed)


def _rounds_for_the_member(patch: Patch) -> None:
    def points_for(self: PricedLine, issued: int) -> int:
        return self.points * issued // self.quantity

    patch.setattr(PricedLine, "points_for", points_for)


def _final_said_twice(patch: Patch) -> None:
    right = Engine._settle

    def settle(self: Engine, saga: Saga, now: int) -> Saga:
        if saga.told is not None and saga.ended:
            return progress._tell(saga, saga.told.status, saga.told.code, now)
        return right(self, saga, now)

    patch.setattr(Engine, "_settle", settle)


def _a_return_may_be_refused(patch: Patch) -> None:
    patch.setattr(Engine, "_may_only_be_late", lambda self, leg: False)


def _withdrawn_after_the_pivot(patch: Patch) -> None:
    def withdraw(self: Engine, saga: Saga, now: int) -> Saga | Still:
        if saga.ended or saga.withdrawn:
            return Still.STALE
        return self._settle(replace(saga, withdrawn=True, revision=saga.revision + 1), now)

    patch.setattr(Engine, "withdraw", withdraw)


def _booked_again(patch: Patch) -> None:
    right = journal.transfers

    def transfers(
        definition: Definition, _was: Saga | None, now: Saga
    ) -> Iterator[journal.Transfer]:
        return right(definition, None, now)

    patch.setattr(journal, "transfers", transfers)
    patch.setattr(consequences, "transfers", transfers)


def _pending_is_forgotten(patch: Patch) -> None:
    right = utterance._of_leg

    def of_leg(leg: Leg) -> list[utterance.Utterance]:
        return [] if leg.status is Status.PENDING else right(leg)

    patch.setattr(utterance, "_of_leg", of_leg)


def _inquiries_count_anew(patch: Patch) -> None:
    def inquired(leg: Leg) -> int:
        return leg.inquiries - leg.pending_from

    patch.setattr(instance.Leg, "inquired", property(inquired))


def _the_limit_is_kept(patch: Patch) -> None:
    patch.setattr(decide._Batch, "_release", lambda self, engine, saga: None)


def _the_limit_is_freed_in_doubt(patch: Patch) -> None:
    right = decide._Batch._accept

    def accept(self: Any, arrival: Any, was: Any, now: Saga, event: str, **detail: Any) -> None:
        right(self, arrival, was, now, event, **detail)
        if now.parked and not (was is not None and was.parked):
            self._release(self._tools(now.terms)[0], now)

    patch.setattr(decide._Batch, "_accept", accept)


def _a_batch_is_blind(patch: Patch) -> None:
    right = decide._Batch._use

    def use(self: Any, limit: Any, delta: int) -> None:
        right(self, limit, delta)
        self.used[limit] -= delta

    patch.setattr(decide._Batch, "_use", use)


def _redelivery_is_ignored(patch: Patch) -> None:
    patch.setattr(decide._Batch, "_repeat", lambda self, arrival, saga: None)


def _redelivery_is_new(patch: Patch) -> None:
    right = decide._Batch.apply
    patch.setattr(
        decide._Batch, "apply", lambda self, found: right(self, replace(found, redelivered=False))
    )


def _a_duplicate_is_new(patch: Patch) -> None:
    patch.setattr(decide._Batch, "_requested", decide._Batch._begin)


def _an_echo_is_answered(patch: Patch) -> None:
    right = decide._Batch._answered

    def answered(self: Any, arrival: Any, reply: Any) -> None:
        before = self.sagas.get(arrival.saga)
        right(self, arrival, reply)
        if before is not None and self.sagas[arrival.saga] is before:
            self._repeat(arrival, before)

    patch.setattr(decide._Batch, "_answered", answered)


def _repeats_say_the_time(patch: Patch) -> None:
    right = words.Words.message

    def message(self: words.Words, saga: Saga, said: utterance.Utterance) -> words.Message:
        fresh = tuple(replace(leg, sent_at=leg.said_at) for leg in saga.legs)
        return right(self, replace(saga, legs=fresh), said)

    patch.setattr(words.Words, "message", message)


MUTANTS: Final = (
    Mutant("an exhausted time-out is read as a no", _silence_is_a_no, ("walk", "worlds")),
    Mutant("NOT_RECEIVED is read as a no", _a_reading_is_a_no, ("walk", "worlds")),
    Mutant("an unusable reply is read as confirmed", _nonsense_is_a_yes, ("worlds",)),
    Mutant("a contradiction replaces the verdict", _a_contradiction_wins, ("walk",)),
    Mutant("undo starts from silence", _undo_on_silence, ("walk", "worlds")),
    Mutant("the whole price is returned", _returns_the_whole_price, ("walk", "worlds")),
    Mutant("a return is rounded up", _rounds_for_the_member, ("walk",)),
    Mutant("the final result is said twice", _final_said_twice, ("walk",)),
    Mutant("a refused return ends the saga", _a_return_may_be_refused, ("walk",)),
    Mutant("withdrawn after the pivot", _withdrawn_after_the_pivot, ("walk",)),
    Mutant("a confirmation is booked again", _booked_again, ("walk", "worlds")),
    Mutant("nobody asks about a pending leg", _pending_is_forgotten, ("walk",)),
    Mutant("inquiries count anew when pending", _inquiries_count_anew, ("worlds",)),
    Mutant("the limit is never released", _the_limit_is_kept, ("worlds",)),
    Mutant("the limit is released in doubt", _the_limit_is_freed_in_doubt, ("worlds",)),
    Mutant("a batch does not see its own limits", _a_batch_is_blind, ("limits", "worlds")),
    Mutant("a redelivered record says nothing", _redelivery_is_ignored, ("worlds",)),
    Mutant("a redelivered record counts as new", _redelivery_is_new, ("worlds",)),
    Mutant("a duplicate begins again", _a_duplicate_is_new, ("worlds",)),
    Mutant("an echo is answered", _an_echo_is_answered, ("amplification",)),
    Mutant("a repeat carries another time", _repeats_say_the_time, ("worlds",)),
)
