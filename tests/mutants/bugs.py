"""Bugs that somebody might write: each changes one thing, for the length of a test."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.batch.effects import EffectRecorder
from orchestrator.batch.events import BatchProcessor
from orchestrator.batch.requests import RequestHandler
from orchestrator.engine import engine as engines
from orchestrator.engine import ladder, outbox, planner, results, transition
from orchestrator.engine.definition import Definition, Step
from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import DECIDED, PARKED, TABLE, Cell, Event, NoChange, Status
from orchestrator.engine.messages import Message, Messages
from orchestrator.engine.planner import Planner
from orchestrator.engine.policy import LegPolicy
from orchestrator.engine.postings import Transfer
from orchestrator.engine.undo import LOSS
from orchestrator.sagas.redemption import balance, journal, plan
from orchestrator.sagas.redemption import messages as wording
from orchestrator.sagas.redemption.books import limit_key_of
from orchestrator.sagas.redemption.plan import RedemptionPlan
from orchestrator.sagas.redemption.terms import PricedLine

Patch = pytest.MonkeyPatch


def _cells(patch: Patch, to: Cell, *cells: tuple[Status, Event]) -> None:
    table = {status: dict(row) for status, row in TABLE.items()}
    for status, event in cells:
        table[status][event] = to
    for module in (engines, transition):
        patch.setattr(module, "TABLE", table)


def silence_is_a_no(patch: Patch) -> None:
    _cells(patch, Status.REJECTED, (Status.UNKNOWN, Event.EXHAUSTED))


def late_is_a_no(patch: Patch) -> None:
    _cells(patch, Status.REJECTED, (Status.SENT, Event.TIMED_OUT))


def a_reading_is_a_no(patch: Patch) -> None:
    asked = (Status.SENT, Status.UNKNOWN, Status.CANCELLING)
    _cells(patch, Status.REJECTED, *((status, Event.NOT_RECEIVED) for status in asked))


def unheard_cancels_count(patch: Patch) -> None:
    _cells(patch, Status.CANCELLED, (Status.CANCELLING, Event.EXHAUSTED))


def a_contradiction_wins(patch: Patch) -> None:
    _cells(patch, Status.CONFIRMED, (Status.REJECTED, Event.CONFIRMED))


def a_late_yes_is_dropped(patch: Patch) -> None:
    _cells(patch, NoChange.STALE, (Status.CANCELLED, Event.CONFIRMED))
    right = transition._after_one

    def after_one(saga: Saga, leg: Leg, *rest: Any) -> Cell:
        return NoChange.STALE if leg.status is Status.CANCELLED else right(saga, leg, *rest)

    patch.setattr(transition, "_after_one", after_one)


def a_dispute_is_overwritten(patch: Patch) -> None:
    _cells(patch, Status.OVERTURNED, (Status.DISPUTED, Event.CONFIRMED))


def a_decided_dispute_comes_again(patch: Patch) -> None:
    right = transition._after_one

    def after_one(saga: Saga, leg: Leg, *rest: Any) -> Cell:
        return right(saga, replace(leg, claim=None), *rest)

    patch.setattr(transition, "_after_one", after_one)


def a_reply_overrules_people(patch: Patch) -> None:
    right = transition._after_one

    def after_one(saga: Saga, leg: Leg, *rest: Any) -> Cell:
        return right(saga, replace(leg, decision=0), *rest)

    patch.setattr(transition, "_after_one", after_one)


def there_was_nothing_to_give_back(patch: Patch) -> None:
    patch.setattr(engines, "_can_be", lambda saga, leg, action: True)


def what_was_undone_was_never_done(patch: Patch) -> None:
    for module in (transition, engines):
        patch.setattr(module, "contradicts", lambda saga, leg, amount: False)


def a_pending_deadline_is_ignored(patch: Patch) -> None:
    patch.setattr(LegPolicy, "overdue", lambda self, inquiries, since, now: False)


def asked_after_the_cancel(patch: Patch) -> None:
    right = outbox._of_leg

    def of_leg(leg: Leg) -> list[outbox.MessageRef]:
        said = right(leg)
        if leg.status is Status.CANCELLING:
            said.append(outbox.MessageRef(outbox.MessageKind.DO, leg.path, leg.attempt))
        return said

    patch.setattr(outbox, "_of_leg", of_leg)


def resent_after_an_accepted_cancel(patch: Patch) -> None:
    right = outbox._of_leg

    def of_leg(leg: Leg) -> list[outbox.MessageRef]:
        if leg.status is Status.CANCELLED:
            return [outbox.MessageRef(outbox.MessageKind.DO, leg.path, leg.attempt)]
        return right(leg)

    patch.setattr(outbox, "_of_leg", of_leg)


def a_cancel_is_said_once(patch: Patch) -> None:
    _cells(patch, Status.SILENT, (Status.CANCELLING, Event.TIMED_OUT))


def a_cancelled_leg_may_be_called_pending(patch: Patch) -> None:
    _cells(patch, Status.PENDING, (Status.CANCELLING, Event.PENDING))

    def cell_of(saga: Saga, leg: Leg, update: LegUpdate, *rest: Any, **more: Any) -> Cell:
        return right(saga, replace(leg, cancels=0), update, *rest, **more)

    right = transition.cell_of
    patch.setattr(engines, "cell_of", cell_of)


def nonsense_is_a_yes(patch: Patch) -> None:
    def read(self: Any, saga: Saga, leg: Leg, reply: Any) -> LegUpdate:
        update = wording.read_reply(saga, leg, reply)
        if update.event is Event.UNUSABLE:
            return LegUpdate(event=Event.CONFIRMED, amount=leg.asked, reference="X")
        return update

    patch.setattr(wording.RedemptionWording, "read_reply", read)


def undo_on_silence(patch: Patch) -> None:
    for module in (planner, plan, balance):
        patch.setattr(module, "DECIDED", DECIDED | {Status.SILENT})


def undone_twice(patch: Patch) -> None:
    patch.setattr(plan, "undo_legs", lambda saga, leg: [])


def returns_the_whole_price(patch: Patch) -> None:
    right = RedemptionPlan._return

    def give_back(self: RedemptionPlan, saga: Saga, _owed: int, *rest: Any) -> Saga:
        return right(self, saga, saga.terms.body.points, *rest)

    patch.setattr(RedemptionPlan, "_return", give_back)


def a_loss_is_not_booked(patch: Patch) -> None:
    right = journal._of_leg

    def of_leg(*found: Any) -> Iterator[Transfer]:
        return iter(()) if found[3].verb == LOSS else right(*found)

    patch.setattr(journal, "_of_leg", of_leg)


def a_loss_stays_though_it_was_none(patch: Patch) -> None:
    patch.setattr(plan, "_reduce_loss", lambda saga, owed: saga)


def a_correction_has_the_old_revision(patch: Patch) -> None:
    right = results.add_result

    def tell(saga: Saga, *rest: Any) -> Saga:
        told = right(saga, *rest)
        assert told.told is not None
        if not told.told.corrected:
            return told
        return replace(told, told=replace(told.told, revision=told.told.revision - 1))

    patch.setattr(planner, "add_result", tell)


def corrections_are_not_told(patch: Patch) -> None:
    patch.setattr(engines, "with_superseded", lambda saga: saga)


def a_written_off_return_is_returned(patch: Patch) -> None:
    right = journal.transfers

    def transfers(*found: Any) -> Iterator[Transfer]:
        return (one for one in right(*found) if not one.credit.endswith("/forgone"))

    patch.setattr(journal, "transfers", transfers)


def people_are_called_and_nobody_knows(patch: Patch) -> None:
    patch.setattr(ladder, "escalates", lambda leg, policy, now: False)


def a_call_outlives_its_answer(patch: Patch) -> None:
    right = ladder.transitioned

    def moved(leg: Leg, to: Status, update: LegUpdate, at: ladder.TransitionContext) -> Leg:
        return replace(right(leg, to, update, at), escalated_at=leg.escalated_at)

    patch.setattr(ladder, "transitioned", moved)


def an_unknown_line_is_not_reserved(patch: Patch) -> None:
    right = balance._reserved

    def reserved(saga: Saga, pivot: Step) -> tuple[int, bool]:
        certain = right(saga, pivot)[1]
        return balance.price(saga.terms, balance.issued(saga, pivot)), certain

    patch.setattr(balance, "_reserved", reserved)


def rounds_for_the_member(patch: Patch) -> None:
    def points_for(self: PricedLine, issued: int) -> int:
        return self.points * issued // self.quantity

    patch.setattr(PricedLine, "points_for", points_for)


def final_said_twice(patch: Patch) -> None:
    right = Planner.plan

    def settle(self: Planner, saga: Saga, now: int) -> Saga:
        if saga.told is not None and saga.ended:
            told, statuses = saga.told, self.kind.statuses
            return results.add_result(saga, statuses, told.status, told.code, now)
        return right(self, saga, now)

    patch.setattr(Planner, "plan", settle)


def a_return_may_be_refused(patch: Patch) -> None:
    patch.setattr(Definition, "only_late", lambda self, verb: False)


def withdrawn_after_the_pivot(patch: Patch) -> None:
    def withdraw(self: Engine, saga: Saga, now: int) -> Saga | NoChange:
        if saga.ended or saga.withdrawn:
            return NoChange.STALE
        return self.planner.plan(replace(saga, withdrawn=True, revision=saga.revision + 1), now)

    patch.setattr(Engine, "withdraw", withdraw)


def booked_again(patch: Patch) -> None:
    right = journal.transfers

    def transfers(definition: Definition, _was: Saga | None, now: Saga) -> Iterator[Transfer]:
        return right(definition, None, now)

    patch.setattr(journal, "transfers", transfers)


def pending_is_forgotten(patch: Patch) -> None:
    right = outbox._of_leg

    def of_leg(leg: Leg) -> list[outbox.MessageRef]:
        return [] if leg.status is Status.PENDING else right(leg)

    patch.setattr(outbox, "_of_leg", of_leg)


def a_retry_says_the_command_again(patch: Patch) -> None:
    right = outbox._count

    def count(leg: Leg, kind: outbox.MessageKind) -> int:
        parked = leg.status in PARKED and kind is outbox.MessageKind.DO
        return right(leg, kind) - parked

    patch.setattr(outbox, "_count", count)


def the_clock_steps_back_into_freshness(patch: Patch) -> None:
    def turned(saga: Saga, now: int) -> bool:
        fresh = saga.terms.fresh_until
        return saga.withdrawn or saga.answered or (fresh is not None and now >= fresh)

    patch.setattr(planner, "_abandoned", turned)


def the_limit_is_kept(patch: Patch) -> None:
    patch.setattr(EffectRecorder, "_count", lambda self, bound, was, saga: None)


def the_limit_is_freed_in_doubt(patch: Patch) -> None:
    right = EffectRecorder.accept

    def accept(self: Any, arrival: Any, was: Any, now: Saga, *rest: Any, **detail: Any) -> None:
        right(self, arrival, was, now, *rest, **detail)
        unsure = any(leg.status is Status.UNKNOWN for leg in now.legs)
        if unsure and not any(leg.status is Status.UNKNOWN for leg in was.legs):
            limit = limit_key_of(now.terms)
            if limit is not None:
                self.use(limit, -now.terms.body.worth)

    patch.setattr(EffectRecorder, "accept", accept)


def a_correction_leaves_the_limit(patch: Patch) -> None:
    right = EffectRecorder._count

    def count(self: Any, bound: Any, was: Saga, saga: Saga) -> None:
        if not was.ended:
            right(self, bound, was, saga)

    patch.setattr(EffectRecorder, "_count", count)


def a_batch_is_blind(patch: Patch) -> None:
    right = EffectRecorder.use

    def use(self: Any, limit: Any, delta: int, **more: Any) -> None:
        right(self, limit, delta, **more)
        self.used[limit] -= delta

    patch.setattr(EffectRecorder, "use", use)


def redelivery_is_ignored(patch: Patch) -> None:
    patch.setattr(EffectRecorder, "resend", lambda self, arrival, saga: None)


def redelivery_is_new(patch: Patch) -> None:
    right = BatchProcessor.apply
    patch.setattr(
        BatchProcessor, "apply", lambda self, found: right(self, replace(found, redelivered=False))
    )


def a_duplicate_is_new(patch: Patch) -> None:
    def requested(self: Any, bound: Any, arrival: Any, request: Any) -> None:
        self._begin(bound, arrival, request)

    patch.setattr(RequestHandler, "requested", requested)


def an_echo_is_answered(patch: Patch) -> None:
    right = BatchProcessor.answered

    def answered(self: Any, arrival: Any, reply: Any) -> bool:
        sagas = self.recorder.sagas
        before = sagas.get(arrival.saga)
        inconclusive = right(self, arrival, reply)
        if before is not None and sagas[arrival.saga] is before:
            self.recorder.resend(arrival, before)
        return inconclusive

    patch.setattr(BatchProcessor, "answered", answered)


def repeats_say_the_time(patch: Patch) -> None:
    right = Messages.message

    def message(self: Messages, saga: Saga, said: outbox.MessageRef) -> Message:
        fresh = tuple(replace(leg, sent_at=leg.said_at) for leg in saga.legs)
        return right(self, replace(saga, legs=fresh), said)

    patch.setattr(Messages, "message", message)


def a_repeat_counts_what_began_since(patch: Patch) -> None:
    def as_told(saga: Saga) -> Saga:
        if saga.told is None or not saga.told.superseded:
            return saga
        moved = saga.told.superseded + (0,) * (len(saga.legs) - len(saga.told.superseded))
        legs = [replace(leg, moved=was) for leg, was in zip(saga.legs, moved, strict=True)]
        return replace(saga, legs=tuple(legs))

    patch.setattr(Saga, "as_told", property(as_told))
