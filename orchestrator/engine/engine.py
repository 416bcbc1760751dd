"""What happens to a saga: one event in, the saga at its next revision out.

Every saga in flight has a due timer or is parked (`domain.md` I13). What follows from where its
legs then stand is in `planner.py` and in the plan of its kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.engine import ladder
from orchestrator.engine.definition import Definition
from orchestrator.engine.instance import Leg, ResultRevision, Saga, Terms
from orchestrator.engine.kind import SagaKind
from orchestrator.engine.ladder import LegUpdate, TransitionContext
from orchestrator.engine.machine import DECIDED, IN_FLIGHT, TABLE, Event, NoChange, Status
from orchestrator.engine.operator import Action, OperatorDecision, event_of, update_of
from orchestrator.engine.planner import Planner
from orchestrator.engine.policy import LegPolicy, Policies
from orchestrator.engine.published import PublishedSaga
from orchestrator.engine.rebuild import replayed
from orchestrator.engine.results import add_result, reported_amount, with_superseded
from orchestrator.engine.transition import cell_of, inconclusive
from orchestrator.engine.undo import LOSS, contradicts
from schemas.frozen import replaced
from schemas.reasons import Code


@dataclass(frozen=True, slots=True)
class Engine:
    """What can happen to the sagas of a kind, under the policies of those who take part."""

    kind: SagaKind
    policies: Policies
    planner: Planner = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "planner", Planner(self.kind, self.policies))

    @property
    def definition(self) -> Definition:
        """How the kind is declared."""
        return self.kind.definition

    def policy(self, terms: Terms, leg: Leg) -> LegPolicy:
        """The ladder of a leg."""
        return self.planner.policy(terms, leg)

    # -- how a saga begins ----------------------------------------------------------------------

    def start(self, terms: Terms, legs: tuple[Leg, ...], now: int) -> Saga:
        """A new saga, with the first of its legs asked that waits to be."""
        return self.planner.plan(Saga(terms=terms, revision=1, legs=legs), now)

    def hold(self, terms: Terms, legs: tuple[Leg, ...], now: int, until: int) -> Saga:
        """A new saga of which nothing is asked before `until`: participants are unavailable."""
        assert until > now, (until, now)
        return Saga(terms=terms, revision=1, legs=legs, held=until)

    def refuse(
        self, terms: Terms, legs: tuple[Leg, ...], code: Code, field: str | None, now: int
    ) -> Saga:
        """A saga that ended when it began; `legs` are what the origin did before it asked."""
        told = ResultRevision(1, self.kind.statuses.refused, True, code, field, now)
        saga = Saga(terms=terms, revision=1, legs=legs, told=told)
        return self.planner.plan(saga, now) if legs else saga

    def revive(self, stone: Saga, revived: Saga, now: int) -> Saga:
        """A tombstone with what its request brought after all, which must be given back."""
        return self.planner.plan(replaced(revived, revision=stone.revision + 1), now)

    # -- what can happen to it ------------------------------------------------------------------

    def release(self, saga: Saga, now: int) -> Saga:
        """A held saga whose participants can be asked."""
        return self.planner.plan(replaced(saga, held=0, revision=saga.revision + 1), now)

    def hold_on(self, saga: Saga, until: int) -> Saga:
        """A held saga whose participants still cannot be asked."""
        return replaced(saga, held=until, revision=saga.revision + 1)

    def refuse_held(self, saga: Saga, code: Code, now: int) -> Saga:
        """A held saga that waited long enough: nothing was asked of anybody."""
        told = add_result(saga, self.kind.statuses, self.kind.statuses.refused, code, now)
        return self.planner.plan(replaced(told, held=0, revision=saga.revision + 1), now)

    def apply_reply(self, saga: Saga, path: str, update: LegUpdate, now: int) -> Saga | NoChange:
        """Apply what is known about one leg."""
        leg = saga.leg(path)
        if leg is None or leg.verb == LOSS:
            return NoChange.PREMATURE
        if inconclusive(leg, update):
            return NoChange.STALE
        if leg.status in DECIDED and self.definition.changes_nothing(leg.verb):
            return NoChange.STALE  # The answer to a question that was closed meanwhile.
        policy = self.policy(saga.terms, leg)
        only_late = self.definition.only_late(leg.verb)
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
            policy = self.policy(saga.terms, leg)
            looked = leg
            if leg.due is not None and leg.due <= now:
                event = self._timeout_event(leg, policy, now)
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
        pending = self.kind.statuses.pending
        tells = tells and saga.told is None and pending is not None
        if ticked is saga and not tells:
            return NoChange.STALE
        settled = self.planner.plan(replaced(ticked, revision=saga.revision + 1), now)
        if tells and settled.told is None and pending is not None:
            # Only now: a person who is called is told of at once.
            return add_result(settled, self.kind.statuses, pending, Code.ACCEPTED, now)
        return settled

    def _timeout_event(self, leg: Leg, policy: LegPolicy, now: int) -> Event:
        """Which event it is that the leg's time has come: silence ends what changes nothing."""
        event = ladder.timeout_event(leg, policy, now)
        if event is not Event.TIMED_OUT and self.definition.changes_nothing(leg.verb):
            return Event.REJECTED
        return event

    def withdraw(self, saga: Saga, now: int) -> Saga | NoChange:
        """The origin takes the request back: turned round unless the pivot was asked for."""
        pivot = self.definition.pivot
        asked = pivot is not None and any(
            leg.status is not Status.WAITING for leg in saga.legs_of(pivot.name)
        )
        if saga.answered or saga.withdrawn or asked:
            return NoChange.STALE
        withdrawn = replaced(saga, withdrawn=True, held=0, revision=saga.revision + 1)
        return self.planner.plan(withdrawn, now)

    def status_requested(self, saga: Saga, now: int) -> Saga | NoChange:
        """The origin asks how it stands; while nothing was told, it is told PENDING once."""
        pending = self.kind.statuses.pending
        if saga.told is not None or pending is None:
            return NoChange.STALE
        told = add_result(saga, self.kind.statuses, pending, Code.ACCEPTED, now)
        return replaced(told, revision=saga.revision + 1)

    def allowed(self, saga: Saga, leg: Leg) -> tuple[Action, ...]:
        """What a person may decide about a leg now; nothing while nobody was called."""
        if not leg.parked:
            return ()
        policy = self.policy(saga.terms, leg)
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
            decided = saga.with_leg(replaced(leg, escalated_at=0, decision=ruling.number))
            given_up = self.kind.plan.write_off(decided, leg, self.planner, now)
            if given_up is None:
                return NoChange.STALE
            return self.planner.plan(replaced(given_up, revision=saga.revision + 1), now)
        number = ruling.number
        if update.event is Event.AGAIN:
            number = leg.decision  # Nothing is said of what became of it.
            if leg.cancels:
                cell = Status.CANCELLING  # After a cancel nothing else is said under this leg.
        ruled = replaced(leg, decision=number, escalated_at=0)
        return self._moved(saga, ruled, cell, update, now)

    def recall(self, saga: Saga, said: PublishedSaga, now: int) -> Saga:
        """The saga with all that was said of it before its database was lost."""
        caught = replayed(saga, said, self.kind, lambda leg: self.policy(saga.terms, leg), now)
        if caught is saga:
            return saga
        return self.planner.plan(replaced(caught, revision=saga.revision + 1), now)

    def _may_be(self, saga: Saga, leg: Leg, update: LegUpdate) -> bool:
        """Whether what a person says to have been moved can be true."""
        if update.event is not Event.DONE:
            return True
        fewer = self.definition.may_give_fewer(leg.verb) and 0 < update.amount < leg.asked
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
                policy = self.policy(saga.terms, leg)
                at = ladder.next_look(leg, policy, told=saga.told is not None)
            if at is not None and (found is None or at < found):
                found = at
        return found

    # -- what follows ---------------------------------------------------------------------------

    def _moved(self, saga: Saga, leg: Leg, cell: Status, update: LegUpdate, now: int) -> Saga:
        policy = self.policy(saga.terms, leg)
        changed = ladder.transitioned(
            leg, cell, update, TransitionContext(now, policy, saga.terms.saga_id)
        )
        was = saga
        told_otherwise = saga.ended and reported_amount(changed) != reported_amount(leg)
        if told_otherwise or cell is Status.WRITTEN_OFF:
            was = with_superseded(saga)
        path = leg.path
        legs = tuple([changed if known.path == path else known for known in was.legs])
        return self.planner.plan(replaced(was, legs=legs, revision=saga.revision + 1), now)


def _can_be(saga: Saga, leg: Leg, action: Action) -> bool:
    """Whether what a person would say does not contradict what is known.

    There was nothing to give back where what was taken turned out not to be; and only there.
    """
    if action is not Action.REJECT:
        return not contradicts(saga, leg, leg.asked)
    if leg.status is Status.REFUSED:
        return contradicts(saga, leg, leg.asked)
    return not contradicts(saga, leg, 0)
