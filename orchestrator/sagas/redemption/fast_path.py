"""The fast path of redemptions: their most frequent transitions, computed without the engine.

Nearly always a redemption begins and has each of its legs confirmed in full; and a leg that waits
is inquired about many times. The engine can do every transition, but looks at every possibility
each time. Here are the few frequent ones, without that search; everything else is left to the
engine. The two give the same: a test compares them over every state that the engine can reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from orchestrator.engine.definition import Definition, Kind, participant
from orchestrator.engine.instance import Leg, ResultRevision, Saga, Terms, next_wake
from orchestrator.engine.kind import Transition
from orchestrator.engine.ladder import (
    LegUpdate,
    TransitionContext,
    escalates,
    sent,
    timeout_event,
    transitioned,
)
from orchestrator.engine.ladder import next_look as due_of
from orchestrator.engine.machine import Event, Status
from orchestrator.engine.outbox import MessageKind, MessageRef
from orchestrator.engine.policy import LegPolicy, Policies
from orchestrator.engine.postings import Transfer
from orchestrator.engine.results import phase, phase_of
from orchestrator.sagas.redemption.definition import DEFINITION
from orchestrator.sagas.redemption.journal import SUSPENSE, member
from orchestrator.sagas.redemption.terms import RedemptionTerms
from schemas.reasons import Code
from schemas.results import ResultStatus

_WAITING: Final = Status.WAITING
_SENT: Final = Status.SENT
_CONFIRMED: Final = Status.CONFIRMED
_SETTLED: Final = frozenset({Status.WAITING, Status.CONFIRMED})
"""The statuses without a timer in which the fast path takes a leg."""


@dataclass(frozen=True, slots=True)
class RedemptionFastPath:
    """The fast path for a definition of one compensable step and a pivot with lines. Pure."""

    policies: Policies
    definition: Definition = DEFINITION
    _takes: str = field(init=False)
    _gives: str = field(init=False)
    _first: tuple[MessageRef, ...] = field(init=False)

    def __post_init__(self) -> None:
        steps = self.definition.steps
        plain = len(steps) == 2 and not steps[0].per_line and steps[1].per_line
        assert plain, f"{self.definition.name} has another shape"
        assert (steps[0].kind, steps[1].kind) == (Kind.COMPENSABLE, Kind.PIVOT), self.definition
        object.__setattr__(self, "_takes", steps[0].name)
        object.__setattr__(self, "_gives", steps[1].name)
        object.__setattr__(self, "_first", (MessageRef(MessageKind.DO, steps[0].name, 1),))

    def begun(self, terms: Terms, now: int) -> Transition | None:
        """A new saga, with its first leg SENT; `now` in milliseconds."""
        fresh = terms.fresh_until
        if terms.body.prededucted or (fresh is not None and now >= fresh):
            return None
        takes = self._takes
        policy = self._policy(terms, takes)
        body: RedemptionTerms = terms.body
        legs = [sent(Leg(takes, body.points), policy, now)]
        for number, line in enumerate(body.lines, 1):
            legs.append(Leg(f"{self._gives}/{number}", line.quantity))
        saga = Saga(terms, 1, tuple(legs), None, False, legs[0].due)
        return Transition(saga, self._first, (), phase_of(takes, _SENT))

    def confirmed(
        self,
        saga: Saga,
        leg: Leg,
        reference: str | None,
        detail: Mapping[str, Any] | None,
        now: int,
    ) -> Transition | None:
        """The saga with that leg confirmed in full."""
        other = len(saga.legs) != 1 + len(saga.terms.body.lines)
        if other or saga.told is not None or saga.withdrawn or leg.status is not _SENT:
            return None
        first = saga.legs[0]
        if leg is first:
            if saga.legs[1].status is not _WAITING:
                return None  # The credits were sent already, before a database was restored.
            return self._taken(saga, _done(leg, reference, detail), now)
        if first.status is not _CONFIRMED:
            return None
        done = _done(leg, reference, detail)
        legs = []
        due: int | None = None
        for known in saga.legs:
            if known is leg:
                legs.append(done)
                continue
            legs.append(known)
            if known.status is _SENT:
                due = known.due  # The same for all lines, which were sent together.
            elif known.status is not _CONFIRMED or known.moved != known.asked:
                return None
        return self._given(saga, tuple(legs), done, due, now)

    def waiting(self, saga: Saga, now: int) -> Transition | None:
        """The saga with its one due leg on its next rung: inquired about, or waited for longer.

        None unless the origin has an interim result already and no person must be called.
        """
        told = saga.told
        if told is None or told.final or saga.withdrawn or saga.held or saga.parked:
            return None
        refs: tuple[MessageRef, ...] = ()
        legs, due, due_legs = [], None, 0
        for leg in saga.legs:
            changed = leg
            if leg.due is not None:
                policy = self._policy(saga.terms, leg.verb)
                if leg.due <= now:
                    rung = self._rung(saga, leg, policy, now)
                    if rung is None:
                        return None
                    changed, refs = rung
                    due_legs += 1
                if escalates(changed, policy, now):
                    return None
                at = due_of(changed, policy, told=True)
                due = at if due is None or (at is not None and at < due) else due
            elif leg.status not in _SETTLED:
                return None
            legs.append(changed)
        if due_legs != 1:
            return None
        after = Saga(saga.terms, saga.revision + 1, tuple(legs), told, False, due)
        return Transition(after, refs, (), phase(after))

    def _rung(
        self, saga: Saga, leg: Leg, policy: LegPolicy, now: int
    ) -> tuple[Leg, tuple[MessageRef, ...]] | None:
        """The leg on its next rung, and the message that this sends.

        None if the next rung is a resend or begins another stage of the ladder.
        """
        status = leg.status
        if status is not Status.UNKNOWN and status is not Status.PENDING:
            return None
        if timeout_event(leg, policy, now) is not Event.TIMED_OUT:
            return None
        update = _silence(leg.code or Code.TIMEOUT)
        changed = transitioned(
            leg, status, update, TransitionContext(now, policy, saga.terms.saga_id)
        )
        if changed.attempt != leg.attempt:
            return None
        if changed.inquiries == leg.inquiries:
            return changed, ()
        return changed, (MessageRef(MessageKind.INQUIRE, leg.path, changed.inquiries),)

    def _taken(self, saga: Saga, done: Leg, now: int) -> Transition | None:
        """The saga with the points deducted, and the credits of all lines SENT."""
        terms = saga.terms
        fresh = terms.fresh_until
        if fresh is not None and now >= fresh:
            return None
        policy = self._policy(terms, self._gives)
        legs, refs = [done], []
        for leg in saga.legs[1:]:
            legs.append(sent(leg, policy, now))
            refs.append(MessageRef(MessageKind.DO, leg.path, 1))
        due = now + policy.response_timeout
        after = Saga(terms, saga.revision + 1, tuple(legs), None, False, next_wake(saga, due, now))
        to = self.definition.steps[0].to
        taken = Transfer(member(terms, to), SUSPENSE, terms.body.unit, done.moved)
        return Transition(after, tuple(refs), (taken,), phase_of(self._gives, _SENT))

    def _given(
        self, saga: Saga, legs: tuple[Leg, ...], done: Leg, due: int | None, now: int
    ) -> Transition:
        """The saga with one line issued; with the last line, the redemption has succeeded."""
        terms = saga.terms
        body: RedemptionTerms = terms.body
        line = body.lines[done.line or 0]
        to = self.definition.steps[1].to
        _, debtor, creditor = terms.participants
        moved = (
            Transfer(SUSPENSE, f"{debtor}/redeemed", body.unit, line.points),
            Transfer(
                f"{creditor}/issued", member(terms, to), f"{creditor}:{line.item}", done.moved
            ),
        )
        if due is None:
            result = ResultRevision(1, ResultStatus.SUCCESS, True, None, None, now)
            ended = Saga(terms, saga.revision + 1, legs, result)
            return Transition(ended, _LAST, moved, ResultStatus.SUCCESS)
        after = Saga(terms, saga.revision + 1, legs, None, False, next_wake(saga, due, now))
        return Transition(after, (), moved, phase_of(self._gives, _SENT))

    def _policy(self, terms: Terms, verb: str) -> LegPolicy:
        definition = self.definition
        return self.policies.of(participant(terms, definition, verb), definition.verb(verb))


_LAST: Final = (MessageRef(MessageKind.RESULT, "", 1),)


def _done(leg: Leg, reference: str | None, detail: Mapping[str, Any] | None) -> Leg:
    """A leg that was only sent so far, confirmed in full."""
    return Leg(
        leg.path,
        leg.asked,
        _CONFIRMED,
        leg.attempt,
        leg.inquiries,
        leg.sent_at,
        leg.said_at,
        None,
        leg.asked,
        reference,
        None,
        detail,
        leg.expires_at,
    )


@lru_cache(maxsize=256)
def _silence(code: str) -> LegUpdate:
    """The update that no answer came, for a leg with that reason code; there are few codes."""
    return LegUpdate(event=Event.TIMED_OUT, code=code)
