"""What follows for a saga from the status of its legs: the next commands and results.

Two invariants are kept here (`domain.md` 4.1): nothing is undone because an answer is missing (I7),
and there is one final result, which later results only correct (I6). What differs between kinds,
such as compensation and the final status, is in the plan of the kind (`SagaKind.plan`).
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
    """The planner of one kind of saga under given policies.

    Pure: the time is an argument, in milliseconds since 1970.
    """

    kind: SagaKind
    policies: Policies

    def plan(self, saga: Saga, now: int) -> Saga:
        """The saga with the commands sent and the result added that are due now.

        Every change of a saga ends here. It is the saga itself if nothing is due.
        """
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
        """The policy that a leg follows while its answer does not come."""
        definition, verb = self.kind.definition, leg.verb
        if verb == LOSS:
            return DEFAULT  # A loss asks nobody, so no ladder matters.
        return self.policies.of(participant(terms, definition, verb), definition.verb(verb))

    def ask(self, saga: Saga, legs: Iterable[Leg], now: int) -> Saga:
        """The saga with those legs added, all of them SENT."""
        added = list(legs)
        return self._sent(replaced(saga, legs=(*saga.legs, *added)), added, now)

    def _sent(self, saga: Saga, legs: Iterable[Leg], now: int) -> Saga:
        """The saga with those of its legs SENT."""
        verb = self.kind.definition.verb
        sent_legs = {}
        for leg in legs:
            sent = ladder.sent(leg, self.policy(saga.terms, leg), now)
            if verb(leg.verb).command is None:  # A result asks for it: there is no command to send.
                sent = replaced(sent, attempt=0)
            sent_legs[leg.path] = sent
        return replaced(saga, legs=tuple([sent_legs.get(leg.path, leg) for leg in saga.legs]))

    def _forward(self, saga: Saga, now: int) -> Saga | None:
        """The saga with its next step sent.

        None while it must wait for an answer; the same object when no further step will be sent.
        """
        for step in self.kind.definition.steps:
            legs = saga.legs_of(step.name)
            if not legs:
                return saga  # The request was refused, so the saga has no legs for its steps.
            if legs[0].status is Status.WAITING:
                return saga if _abandoned(saga, now) else self._sent(saga, legs, now)
            if step.kind is not Kind.PIVOT:
                if any(leg.status not in DECIDED for leg in legs):
                    return None
                if not any(leg.moved for leg in legs):
                    return saga  # Definitely not done: the steps behind it are never sent.
        return saga

    def _awaits(self, saga: Saga, leg: Leg) -> bool:
        """Whether the saga cannot end before more is known about the leg."""
        if leg.status in DECIDED:
            return leg.status is Status.OVERTURNED and leg.escalated_at > 0
        if leg.status is Status.WAITING:
            return False
        return self.kind.plan.holds_up(saga, leg)

    def _with_interim_result(self, saga: Saga, now: int) -> Saga:
        """The saga with the interim result that its plan wants, unless it has that already."""
        if saga.answered:
            return saga
        wanted = self.kind.plan.interim(saga)
        if wanted is None:
            return saga
        told = saga.told
        known = told is not None and (told.status, told.code) == (wanted.status, wanted.code)
        if known and told is not None and told.at >= wanted.since:
            return saga
        return add_result(saga, self.kind.statuses, wanted.status, wanted.code, now)

    def _with_final_result(self, saga: Saga, now: int) -> Saga:
        """The saga with its one final result, or with a correction of it (`domain.md` I6)."""
        told = saga.told
        if told is not None and saga.ended and not told.superseded:
            return saga
        status, code = self.kind.plan.ending(saga)
        if told is not None and self.kind.plan.still_holds(saga, status):
            return replaced(saga, told=replaced(told, as_published=None))
        return add_result(saga, self.kind.statuses, status, code, now)


def _abandoned(saga: Saga, now: int) -> bool:
    """Whether the steps that were not sent yet never will be.

    This holds on even if the clock steps back: a leg that undoes another is proof of it.
    """
    if saga.withdrawn or saga.answered or any(leg.undoes is not None for leg in saga.legs):
        return True
    fresh = saga.terms.fresh_until
    return fresh is not None and now >= fresh
