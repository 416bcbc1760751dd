"""The engine: applies one event to a saga and returns the saga at its next revision. Pure.

Every method that takes `now` takes milliseconds since 1970. Every saga in flight has a timer or is
parked (`domain.md` I13). Which commands and results follow from the new status of the legs is
decided in `planner.py` and in the plan of the kind.
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
    """Everything that can happen to sagas of one kind, under the policies of the participants."""

    kind: SagaKind
    policies: Policies
    planner: Planner = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "planner", Planner(self.kind, self.policies))

    @property
    def definition(self) -> Definition:
        """The definition of the kind: its steps, verbs and roles."""
        return self.kind.definition

    def policy(self, terms: Terms, leg: Leg) -> LegPolicy:
        """The policy that a leg follows while its answer does not come."""
        return self.planner.policy(terms, leg)

    # -- how a saga begins ----------------------------------------------------------------------

    def start(self, terms: Terms, legs: tuple[Leg, ...], now: int) -> Saga:
        """Start a saga: the legs of its first step that still waits become SENT."""
        return self.planner.plan(Saga(terms=terms, revision=1, legs=legs), now)

    def hold(self, terms: Terms, legs: tuple[Leg, ...], now: int, until: int) -> Saga:
        """Accept a saga that sends nothing before `until`, as a participant is unavailable."""
        assert until > now, (until, now)
        return Saga(terms=terms, revision=1, legs=legs, held=until)

    def refuse(
        self, terms: Terms, legs: tuple[Leg, ...], code: Code, field: str | None, now: int
    ) -> Saga:
        """Create a saga whose request is refused, with the final result that says so.

        Args:
            terms: the terms, as far as the request could be understood.
            legs: what the origin did before it made the request, and must give back.
            code: why the request is refused.
            field: the field of the request that is wrong, if there is one.
            now: the time.
        """
        result = ResultRevision(1, self.kind.statuses.refused, True, code, field, now)
        saga = Saga(terms=terms, revision=1, legs=legs, told=result)
        return self.planner.plan(saga, now) if legs else saga

    def revive(self, tombstone: Saga, revived: Saga, now: int) -> Saga:
        """Have the late request of a tombstone compensated.

        Args:
            tombstone: the saga of a request that was withdrawn before it arrived.
            revived: the same saga with what the origin did for that request, as a leg.
            now: the time.
        """
        return self.planner.plan(replaced(revived, revision=tombstone.revision + 1), now)

    # -- what can happen to it ------------------------------------------------------------------

    def release(self, saga: Saga, now: int) -> Saga:
        """Start a held saga, now that its participants are available."""
        return self.planner.plan(replaced(saga, held=0, revision=saga.revision + 1), now)

    def hold_on(self, saga: Saga, until: int) -> Saga:
        """Keep a saga held until `until`, as its participants are still unavailable."""
        return replaced(saga, held=until, revision=saga.revision + 1)

    def refuse_held(self, saga: Saga, code: Code, now: int) -> Saga:
        """End a held saga that has waited as long as it may; no participant was ever asked."""
        refused = add_result(saga, self.kind.statuses, self.kind.statuses.refused, code, now)
        return self.planner.plan(replaced(refused, held=0, revision=saga.revision + 1), now)

    def apply_reply(self, saga: Saga, path: str, update: LegUpdate, now: int) -> Saga | NoChange:
        """Apply what a participant says about the leg of that path.

        Returns:
            The saga at its next revision, or the reason why nothing changes.
        """
        leg = saga.leg(path)
        if leg is None or leg.verb == LOSS:
            return NoChange.PREMATURE
        if inconclusive(leg, update):
            return NoChange.STALE
        if leg.status in DECIDED and self.definition.changes_nothing(leg.verb):
            return NoChange.STALE  # The answer to a query that is already decided.
        policy = self.policy(saga.terms, leg)
        only_late = self.definition.only_late(leg.verb)
        cell = cell_of(saga, leg, update, policy, only_late=only_late)
        if isinstance(cell, NoChange):
            return cell
        return self._moved(saga, leg, cell, update, now)

    def apply_timer(self, saga: Saga, now: int) -> Saga | NoChange:
        """Act on every leg in flight whose timer is due: next rung, escalation, interim result."""
        ticked = saga
        reports_delay = False
        for leg in saga.legs:
            if leg.status not in IN_FLIGHT:
                continue
            policy = self.policy(saga.terms, leg)
            changed = leg
            if leg.due is not None and leg.due <= now:
                event = self._timeout_event(leg, policy, now)
                cell = TABLE[leg.status][event]
                assert isinstance(cell, Status), (leg, event)
                update = LegUpdate(event=event, code=leg.code or Code.TIMEOUT)
                changed = ladder.transitioned(
                    leg, cell, update, TransitionContext(now, policy, saga.terms.saga_id)
                )
            if ladder.escalates(changed, policy, now):
                changed = replaced(changed, escalated_at=now)
            reports_delay = reports_delay or ladder.reports_delay(changed, policy, now)
            if changed is not leg:
                ticked = ticked.with_leg(changed)
        pending = self.kind.statuses.pending
        reports_delay = reports_delay and saga.told is None and pending is not None
        if ticked is saga and not reports_delay:
            return NoChange.STALE
        planned = self.planner.plan(replaced(ticked, revision=saga.revision + 1), now)
        if reports_delay and planned.told is None and pending is not None:
            # After planning: if a person is called now, the origin gets that result instead.
            return add_result(planned, self.kind.statuses, pending, Code.ACCEPTED, now)
        return planned

    def _timeout_event(self, leg: Leg, policy: LegPolicy, now: int) -> Event:
        """The event that a due timer means; for a query, the end of the ladder is a rejection."""
        event = ladder.timeout_event(leg, policy, now)
        if event is not Event.TIMED_OUT and self.definition.changes_nothing(leg.verb):
            return Event.REJECTED
        return event

    def withdraw(self, saga: Saga, now: int) -> Saga | NoChange:
        """Apply a withdrawal by the origin: compensate, unless the pivot's command was sent."""
        pivot = self.definition.pivot
        pivot_sent = pivot is not None and any(
            leg.status is not Status.WAITING for leg in saga.legs_of(pivot.name)
        )
        if saga.answered or saga.withdrawn or pivot_sent:
            return NoChange.STALE
        withdrawn = replaced(saga, withdrawn=True, held=0, revision=saga.revision + 1)
        return self.planner.plan(withdrawn, now)

    def status_requested(self, saga: Saga, now: int) -> Saga | NoChange:
        """Apply an inquiry by the origin: while there is no result yet, add PENDING as the first.

        Returns NoChange when there is a result already: that one is published again.
        """
        pending = self.kind.statuses.pending
        if saga.told is not None or pending is None:
            return NoChange.STALE
        with_result = add_result(saga, self.kind.statuses, pending, Code.ACCEPTED, now)
        return replaced(with_result, revision=saga.revision + 1)

    def allowed(self, saga: Saga, leg: Leg) -> tuple[Action, ...]:
        """The actions that a person may decide on for a leg now; none unless it is parked.

        There are none for a query either: when its ladder ends, so does the leg.
        """
        if not leg.parked or self.definition.changes_nothing(leg.verb):
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
        self, saga: Saga, path: str, decision: OperatorDecision, now: int
    ) -> Saga | NoChange:
        """Apply what a person decided about a parked leg.

        Returns:
            The saga at its next revision; STALE when a later decision about the leg was applied, or
            a write-off has nothing to write off; FORBIDDEN when the action is not allowed or
            contradicts what is known.
        """
        leg = saga.leg(path)
        if leg is None or decision.action not in self.allowed(saga, leg):
            return NoChange.FORBIDDEN
        if decision.number <= leg.decision:
            return NoChange.STALE
        update = update_of(leg, decision)
        if not self._may_be(saga, leg, update):
            return NoChange.FORBIDDEN
        cell = TABLE[leg.status][update.event]
        assert isinstance(cell, Status), (leg, decision)
        if leg.status is Status.OVERTURNED:
            decided = saga.with_leg(replaced(leg, escalated_at=0, decision=decision.number))
            written_off = self.kind.plan.write_off(decided, leg, self.planner, now)
            if written_off is None:
                return NoChange.STALE
            return self.planner.plan(replaced(written_off, revision=saga.revision + 1), now)
        number = decision.number
        if update.event is Event.AGAIN:
            number = leg.decision  # A retry decides nothing about the outcome of the leg.
            if leg.cancels:
                cell = Status.CANCELLING  # After a cancel, no other command is sent for this leg.
        decided_leg = replaced(leg, decision=number, escalated_at=0)
        return self._moved(saga, decided_leg, cell, update, now)

    def recall(self, saga: Saga, published: PublishedSaga, now: int) -> Saga:
        """Bring a saga up to what was published about it before its database was lost.

        Returns the very same object when the saga implies all of that already.
        """
        caught = replayed(saga, published, self.kind, lambda leg: self.policy(saga.terms, leg), now)
        if caught is saga:
            return saga
        return self.planner.plan(replaced(caught, revision=saga.revision + 1), now)

    def _may_be(self, saga: Saga, leg: Leg, update: LegUpdate) -> bool:
        """Whether the amount that a person states for a leg can be true."""
        if update.event is not Event.DONE:
            return True
        fewer = self.definition.may_give_fewer(leg.verb) and 0 < update.amount < leg.asked
        return (fewer or update.amount == leg.asked) and not contradicts(saga, leg, update.amount)

    def due(self, saga: Saga) -> int | None:
        """When the saga's timer must fire, in milliseconds since 1970; None: no timer (I13)."""
        if saga.held:
            return saga.held
        earliest: int | None = None
        for leg in saga.legs:
            if leg.due is None:
                continue
            at: int | None = leg.due
            if leg.status is not Status.SENT:
                policy = self.policy(saga.terms, leg)
                at = ladder.next_look(leg, policy, told=saga.told is not None)
            if at is not None and (earliest is None or at < earliest):
                earliest = at
        return earliest

    # -- what follows ---------------------------------------------------------------------------

    def _moved(self, saga: Saga, leg: Leg, cell: Status, update: LegUpdate, now: int) -> Saga:
        """The saga with the leg in status `cell`, and with all that follows from it."""
        policy = self.policy(saga.terms, leg)
        changed = ladder.transitioned(
            leg, cell, update, TransitionContext(now, policy, saga.terms.saga_id)
        )
        was = saga
        needs_correction = saga.ended and reported_amount(changed) != reported_amount(leg)
        if needs_correction or cell is Status.WRITTEN_OFF:
            was = with_superseded(saga)
        path = leg.path
        legs = tuple([changed if known.path == path else known for known in was.legs])
        return self.planner.plan(replaced(was, legs=legs, revision=saga.revision + 1), now)


def _can_be(saga: Saga, leg: Leg, action: Action) -> bool:
    """Whether a decision with that action would agree with what is known about the saga.

    A refused undo can be rejected, which says that there was nothing to undo, only if the leg that
    it undoes turned out not to have been done.
    """
    if action is not Action.REJECT:
        return not contradicts(saga, leg, leg.asked)
    if leg.status is Status.REFUSED:
        return contradicts(saga, leg, leg.asked)
    return not contradicts(saga, leg, 0)
