"""What follows for a saga from where its legs stand: what is asked next, what the origin is told.

Two invariants are kept here (`domain.md` 4.1): nothing is undone because of silence (I7), and the
first final result is said once, what comes later as a correction (I6). What is the kind's own, from
compensation to the way it ends, is its plan (`SagaKind.plan`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.engine import ladder
from orchestrator.engine.definition import Kind, participant
from orchestrator.engine.instance import Leg, Saga, Terms
from orchestrator.engine.kind import SagaKind
from orchestrator.engine.machine import DECIDED, Status
from orchestrator.engine.policy import DEFAULT, LegPolicy, Policies
from orchestrator.engine.results import add_result, with_review_result
from orchestrator.engine.undo import LOSS
from schemas.frozen import replaced


@dataclass(frozen=True, slots=True)
class Planner:
    """A kind of saga and the policies under which it runs. Pure: the time is an argument."""

    kind: SagaKind
    policies: Policies

    def plan(self, saga: Saga, now: int) -> Saga:
        """Ask for whatever can be asked for now, and tell the origin what it must hear."""
        statuses = self.kind.statuses
        planned = self._forward(saga, now)
        if planned is None:
            return with_review_result(saga, statuses, now)
        if planned is not saga:
            return self._with_interim_result(planned, now)
        while True:
            balanced = self.kind.plan.rebalance(planned, self, now)
            if balanced is planned:
                break
            planned = balanced
        if any(self._awaits(planned, leg) for leg in planned.legs):
            return with_review_result(self._with_interim_result(planned, now), statuses, now)
        return self._with_final_result(planned, now)

    def policy(self, terms: Terms, leg: Leg) -> LegPolicy:
        """The ladder of a leg."""
        definition, verb = self.kind.definition, leg.verb
        if verb == LOSS:
            return DEFAULT  # Nobody is asked.
        return self.policies.of(participant(terms, definition, verb), definition.verb(verb))

    def ask(self, saga: Saga, legs: Iterable[Leg], now: int) -> Saga:
        """The saga with further legs, asked all together."""
        added = list(legs)
        return self._sent(replaced(saga, legs=(*saga.legs, *added)), added, now)

    def _sent(self, saga: Saga, legs: Iterable[Leg], now: int) -> Saga:
        """The saga with those of its legs asked, all together."""
        verb = self.kind.definition.verb
        asked = {}
        for leg in legs:
            sent = ladder.sent(leg, self.policy(saga.terms, leg), now)
            if verb(leg.verb).command is None:  # A result asks it, so there is no attempt to say.
                sent = replaced(sent, attempt=0)
            asked[leg.path] = sent
        return replaced(saga, legs=tuple([asked.get(leg.path, leg) for leg in saga.legs]))

    def _forward(self, saga: Saga, now: int) -> Saga | None:
        """The saga with the next step asked; None while it must wait; itself when all were."""
        for step in self.kind.definition.steps:
            legs = saga.legs_of(step.name)
            if not legs:
                return saga  # Refused at once.
            if legs[0].status is Status.WAITING:
                return saga if _abandoned(saga, now) else self._sent(saga, legs, now)
            if step.kind is not Kind.PIVOT:
                if any(leg.status not in DECIDED for leg in legs):
                    return None
                if not any(leg.moved for leg in legs):
                    return saga  # A definite no before anything was done.
        return saga

    def _awaits(self, saga: Saga, leg: Leg) -> bool:
        """Whether a leg keeps the saga from its end."""
        if leg.status in DECIDED:
            return leg.status is Status.OVERTURNED and leg.escalated_at > 0
        if leg.status is Status.WAITING:
            return False
        return self.kind.plan.holds_up(saga, leg)

    def _with_interim_result(self, saga: Saga, now: int) -> Saga:
        """The saga with the origin told what it must do or know meanwhile, if it does not yet."""
        if saga.answered:
            return saga
        found = self.kind.plan.interim(saga)
        if found is None:
            return saga
        told = saga.told
        known = told is not None and (told.status, told.code) == (found.status, found.code)
        if known and told is not None and told.at >= found.since:
            return saga
        return add_result(saga, self.kind.statuses, found.status, found.code, now)

    def _with_final_result(self, saga: Saga, now: int) -> Saga:
        """The saga with its one final result, or with the correction of it (`domain.md` I6)."""
        told = saga.told
        if told is not None and saga.ended and not told.superseded:
            return saga
        status, code = self.kind.plan.ending(saga)
        if told is not None and self.kind.plan.still_holds(saga, status):
            return replaced(saga, told=replaced(told, as_published=None))
        return add_result(saga, self.kind.statuses, status, code, now)


def _abandoned(saga: Saga, now: int) -> bool:
    """Whether what was not asked yet will never be; not undone by a clock that steps back."""
    if saga.withdrawn or saga.answered or any(leg.undoes is not None for leg in saga.legs):
        return True
    fresh = saga.terms.fresh_until
    return fresh is not None and now >= fresh
