"""What happens to a saga: one event in, the saga at its next revision out.

Every saga in flight has a due timer or is parked (`domain.md` I13). What follows from where its
legs then stand is in `settling.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.engine import ladder
from orchestrator.engine.balance import points
from orchestrator.engine.definition import Kind
from orchestrator.engine.instance import Deducted, Leg, ResultRevision, Saga, Terms
from orchestrator.engine.ladder import LegUpdate, TransitionContext
from orchestrator.engine.machine import IN_FLIGHT, TABLE, Event, NoChange, Status
from orchestrator.engine.operator import Action, OperatorDecision, event_of, update_of
from orchestrator.engine.planner import Planner
from orchestrator.engine.rebuild import PublishedSaga, replayed
from orchestrator.engine.results import add_result, reported_amount, with_superseded
from orchestrator.engine.transition import cell_of, inconclusive
from orchestrator.engine.undo import LOSS, contradicts
from schemas.frozen import replaced
from schemas.reasons import Code
from schemas.results import ResultStatus


@dataclass(frozen=True, slots=True)
class Engine(Planner):
    """What can happen to the sagas of a definition, under the policies of those who take part."""

    # -- how a saga begins ----------------------------------------------------------------------

    def start(self, terms: Terms, now: int, deducted: Deducted | None = None) -> Saga:
        """A new saga, with its first leg asked; `deducted` is what the origin took before."""
        return self._plan(Saga(terms=terms, revision=1, legs=self._legs(terms, deducted)), now)

    def hold(self, terms: Terms, now: int, until: int, deducted: Deducted | None = None) -> Saga:
        """A new saga of which nothing is asked before `until`: participants are unavailable."""
        assert until > now, (until, now)
        return Saga(terms=terms, revision=1, legs=self._legs(terms, deducted), held=until)

    def refuse(
        self,
        terms: Terms,
        code: Code,
        field: str | None,
        now: int,
        deducted: Deducted | None = None,
    ) -> Saga:
        """A saga that ended when it began. What the origin took before, it must give back."""
        told = ResultRevision(1, ResultStatus.REJECTED, True, code, field, now)
        saga = Saga(terms=terms, revision=1, told=told)
        if deducted is None:
            return saga
        legs = (_given(self.definition.steps[0].name, deducted),)
        return self._plan(replaced(saga, legs=legs), now)

    def return_deduction(
        self, stone: Saga, deducted: Deducted, programme: str, now: int
    ) -> Saga | NoChange:
        """What an origin took for a request that it had withdrawn before it came (`0009`)."""
        path, told = self.definition.steps[0].name, stone.told
        if not stone.terms.prededucted or stone.leg(path) is not None:
            return NoChange.STALE
        if told is not None and "return_required" not in (told.as_published or {}):
            told = replaced(told, as_published=None, superseded=(0,))  # It spoke of no deduction.
        leg = _given(path, deducted)  # The terms of a tombstone name no programme.
        legs = (replaced(leg, detail={**(leg.detail or {}), "programme": programme}), *stone.legs)
        found = replaced(stone, legs=legs, told=told, withdrawn=True, revision=stone.revision + 1)
        return self._plan(found, now)

    def _legs(self, terms: Terms, deducted: Deducted | None) -> tuple[Leg, ...]:
        legs: list[Leg] = []
        for step in self.definition.steps:
            if step.per_line:
                legs.extend(
                    Leg(f"{step.name}/{number}", line.quantity)
                    for number, line in enumerate(terms.lines, 1)
                )
            elif deducted is not None and step.kind is Kind.COMPENSABLE:
                legs.append(_given(step.name, deducted))
            else:
                legs.append(Leg(step.name, terms.points))
        return tuple(legs)

    # -- what can happen to it ------------------------------------------------------------------

    def release(self, saga: Saga, now: int) -> Saga:
        """A held saga whose participants can be asked."""
        return self._plan(replaced(saga, held=0, revision=saga.revision + 1), now)

    def hold_on(self, saga: Saga, until: int) -> Saga:
        """A held saga whose participants still cannot be asked."""
        return replaced(saga, held=until, revision=saga.revision + 1)

    def refuse_held(self, saga: Saga, code: Code, now: int) -> Saga:
        """A held saga that waited long enough: nothing was asked of anybody."""
        told = add_result(saga, ResultStatus.REJECTED, code, now)
        return self._plan(replaced(told, held=0, revision=saga.revision + 1), now)

    def apply_reply(self, saga: Saga, path: str, update: LegUpdate, now: int) -> Saga | NoChange:
        """Apply what is known about one leg."""
        leg = saga.leg(path)
        if leg is None or leg.verb == LOSS:
            return NoChange.PREMATURE
        if inconclusive(leg, update):
            return NoChange.STALE
        policy = self._policy(saga.terms, leg)
        only_late = self._may_only_be_late(leg)
        cell = cell_of(saga, leg, update, policy, only_late=only_late)
        if isinstance(cell, NoChange):
            return cell
        return self._moved(saga, leg, cell, update, now)

    def apply_timer(self, saga: Saga, now: int) -> Saga | NoChange:
        """Look at every leg in flight whose time has come."""
        ticked = saga
        tells = False
        for leg in saga.legs:
            if leg.status not in IN_FLIGHT:
                continue
            policy = self._policy(saga.terms, leg)
            looked = leg
            if leg.due is not None and leg.due <= now:
                event = ladder.timeout_event(leg, policy, now)
                cell = TABLE[leg.status][event]
                assert isinstance(cell, Status), (leg, event)
                update = LegUpdate(event=event, code=leg.code or Code.TIMEOUT)
                looked = ladder.transitioned(
                    leg, cell, update, TransitionContext(now, policy, saga.terms.saga_id)
                )
            if ladder.escalates(looked, policy, now):
                looked = replaced(looked, escalated_at=now)
            tells = tells or ladder.reports_delay(looked, policy, now)
            if looked is not leg:
                ticked = ticked.with_leg(looked)
        tells = tells and saga.told is None
        if ticked is saga and not tells:
            return NoChange.STALE
        settled = self._plan(replaced(ticked, revision=saga.revision + 1), now)
        if tells and settled.told is None:  # A person who is called is told of at once.
            return add_result(settled, ResultStatus.PENDING, Code.ACCEPTED, now)
        return settled

    def withdraw(self, saga: Saga, now: int) -> Saga | NoChange:
        """The origin takes the request back: turned round unless the pivot was asked for."""
        pivot = self.definition.pivot
        asked = any(leg.status is not Status.WAITING for leg in saga.legs_of(pivot.name))
        if saga.answered or saga.withdrawn or asked:
            return NoChange.STALE
        return self._plan(replaced(saga, withdrawn=True, held=0, revision=saga.revision + 1), now)

    def status_requested(self, saga: Saga, now: int) -> Saga | NoChange:
        """The origin asks how it stands; while nothing was told, it is told PENDING once."""
        if saga.told is not None:
            return NoChange.STALE
        told = add_result(saga, ResultStatus.PENDING, Code.ACCEPTED, now)
        return replaced(told, revision=saga.revision + 1)

    def allowed(self, saga: Saga, leg: Leg) -> tuple[Action, ...]:
        """What a person may decide about a leg now; nothing while nobody was called."""
        if not leg.parked:
            return ()
        policy = self._policy(saga.terms, leg)
        retries = policy.rungs or (leg.cancels and policy.cancel)
        return tuple(
            action
            for action in Action
            if isinstance(TABLE[leg.status][event_of(action)], Status)
            and (retries or action is not Action.RETRY)
            and _can_be(saga, leg, action)
        )

    def apply_decision(
        self, saga: Saga, path: str, ruling: OperatorDecision, now: int
    ) -> Saga | NoChange:
        """Apply what a person decided about a parked leg; it cannot contradict what is known."""
        leg = saga.leg(path)
        if leg is None or ruling.action not in self.allowed(saga, leg):
            return NoChange.FORBIDDEN
        if ruling.number <= leg.decision:
            return NoChange.STALE
        update = update_of(leg, ruling)
        if not self._may_be(saga, leg, update):
            return NoChange.FORBIDDEN
        cell = TABLE[leg.status][update.event]
        assert isinstance(cell, Status), (leg, ruling)
        if leg.status is Status.OVERTURNED:
            short = -points(saga, self.definition).owed
            if short <= 0:
                return NoChange.STALE
            settled = saga.with_leg(replaced(leg, escalated_at=0, decision=ruling.number))
            settled = self._with_loss(settled, short, now)
            return self._plan(replaced(settled, revision=saga.revision + 1), now)
        number = ruling.number
        if update.event is Event.AGAIN:
            number = leg.decision  # Nothing is said of what became of it.
            if leg.cancels:
                cell = Status.CANCELLING  # After a cancel nothing else is said under this leg.
        ruled = replaced(leg, decision=number, escalated_at=0)
        return self._moved(saga, ruled, cell, update, now)

    def recall(self, saga: Saga, said: PublishedSaga, now: int) -> Saga:
        """The saga with all that was said of it before its database was lost."""
        caught = replayed(
            saga, said, self.definition, lambda leg: self._policy(saga.terms, leg), now
        )
        if caught is saga:
            return saga
        return self._plan(replaced(caught, revision=saga.revision + 1), now)

    def _may_be(self, saga: Saga, leg: Leg, update: LegUpdate) -> bool:
        """Whether what a person says to have been moved can be true."""
        if update.event is not Event.DONE:
            return True
        fewer = leg.verb == self.definition.pivot.name and 0 < update.amount < leg.asked
        return (fewer or update.amount == leg.asked) and not contradicts(saga, leg, update.amount)

    def due(self, saga: Saga) -> int | None:
        """When the saga must be looked at, whatever happens until then (I13)."""
        if saga.held:
            return saga.held
        found: int | None = None
        for leg in saga.legs:
            if leg.due is None:
                continue
            at: int | None = leg.due
            if leg.status is not Status.SENT:
                policy = self._policy(saga.terms, leg)
                at = ladder.next_look(leg, policy, told=saga.told is not None)
            if at is not None and (found is None or at < found):
                found = at
        return found

    # -- what follows ---------------------------------------------------------------------------

    def _moved(self, saga: Saga, leg: Leg, cell: Status, update: LegUpdate, now: int) -> Saga:
        policy = self._policy(saga.terms, leg)
        changed = ladder.transitioned(
            leg, cell, update, TransitionContext(now, policy, saga.terms.saga_id)
        )
        was = saga
        told_otherwise = saga.ended and reported_amount(changed) != reported_amount(leg)
        if told_otherwise or cell is Status.WRITTEN_OFF:
            was = with_superseded(saga)
        path = leg.path
        legs = tuple([changed if known.path == path else known for known in was.legs])
        return self._plan(replaced(was, legs=legs, revision=saga.revision + 1), now)


def _can_be(saga: Saga, leg: Leg, action: Action) -> bool:
    """Whether what a person would say does not contradict what is known.

    There was nothing to give back where what was taken turned out not to be; and only there.
    """
    if action is not Action.REJECT:
        return not contradicts(saga, leg, leg.asked)
    if leg.status is Status.REFUSED:
        return contradicts(saga, leg, leg.asked)
    return not contradicts(saga, leg, 0)


def _given(path: str, deducted: Deducted) -> Leg:
    """The deduction that the origin made itself, as a leg that was never asked."""
    return Leg(
        path,
        deducted.points,
        Status.CONFIRMED,
        moved=deducted.points,
        reference=deducted.reference,
        detail={"lots": list(deducted.lots)} if deducted.lots else None,
    )
