"""What happens to a saga: one event in, the saga at its next revision out.

Three invariants are kept here (`domain.md` 4.1): nothing is undone because of silence (I7), every
saga in flight has a due timer or is parked (I13), and the first final result is said once (I6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.reasons import Code
from schemas.results import ResultStatus
from schemas.value import but, keyed

from .definition import Definition, Kind, Role, Step
from .instance import Leg, Partial, Saga, Terms, Told
from .machine import DECIDED, IN_FLIGHT, PARKED, TABLE, Cell, Event, Status, Still
from .policy import LegPolicy, Policies, Rung


@keyed
class News:
    """What a reply or a timer says about one leg."""

    event: Event
    amount: int = 0  # Points or pieces, with CONFIRMED.
    reference: str | None = None
    code: str | None = None
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """A definition and the policies under which it runs. Pure: the time is an argument."""

    definition: Definition
    policies: Policies

    def start(self, terms: Terms, now: int) -> Saga:
        """A new saga, with its first leg asked."""
        legs: list[Leg] = []
        for step in self.definition.steps:
            if step.per_line:
                legs.extend(
                    Leg(path=f"{step.name}/{number}", asked=line.quantity)
                    for number, line in enumerate(terms.lines, 1)
                )
            else:
                legs.append(Leg(path=step.name, asked=terms.points))
        return self._settle(Saga(terms=terms, revision=1, legs=tuple(legs)), now)

    def hear(self, saga: Saga, path: str, news: News, now: int) -> Saga | Still:
        """Apply what is known about one leg."""
        leg = saga.leg(path)
        if leg is None:
            return Still.PREMATURE
        cell = self._cell(leg, news)
        if isinstance(cell, Still):
            return cell
        policy = self._policy(saga.terms, leg)
        moved = _move(leg, cell, news, now, policy)
        legs = tuple([moved if known is leg else known for known in saga.legs])
        return self._settle(but(saga, legs=legs, revision=saga.revision + 1), now)

    def tick(self, saga: Saga, now: int) -> Saga | Still:
        """Look at every leg in flight whose time has come."""
        ticked = saga
        for leg in saga.legs:
            if leg.status in IN_FLIGHT and leg.due is not None and leg.due <= now:
                policy = self._policy(saga.terms, leg)
                taken = leg.inquiries - leg.pending_from
                ran_out = policy.exhausted(taken, pending=leg.status is Status.PENDING)
                event = Event.EXHAUSTED if ran_out else Event.TIMED_OUT
                cell = TABLE[leg.status][event]
                if isinstance(cell, Status):
                    news = News(event=event, code=leg.code or Code.TIMEOUT)
                    ticked = ticked.with_leg(_move(leg, cell, news, now, policy))
        if ticked is saga:
            return Still.STALE
        return self._settle(but(ticked, revision=saga.revision + 1), now)

    def withdraw(self, saga: Saga, now: int) -> Saga | Still:
        """The origin takes the request back: turned round unless the pivot was asked for."""
        pivot = self.definition.pivot
        asked = any(leg.status is not Status.WAITING for leg in saga.legs_of(pivot.name))
        if saga.ended or saga.withdrawn or asked:
            return Still.STALE
        return self._settle(but(saga, withdrawn=True, revision=saga.revision + 1), now)

    def asked(self, saga: Saga, now: int) -> Saga | Still:
        """The origin asks how it stands; while nothing was told, it is told PENDING once."""
        if saga.told is not None:
            return Still.STALE
        told = _tell(saga, ResultStatus.PENDING, Code.ACCEPTED, now)
        return but(told, revision=saga.revision + 1)

    def _cell(self, leg: Leg, news: News) -> Cell:
        cell = TABLE[leg.status][news.event]
        if cell is Status.REJECTED and self._may_only_be_late(leg):
            return Status.DISPUTED  # A return may be delayed, not declined (`contract.md` 3).
        if leg.status is Status.CONFIRMED and news.event is Event.CONFIRMED:
            return Still.STALE if news.amount == leg.moved else Status.DISPUTED
        return cell

    def _may_only_be_late(self, leg: Leg) -> bool:
        step = self.definition.step_of(leg.verb)
        is_undo = leg.verb != step.name
        return step.kind is Kind.RETRIABLE or (is_undo and step.kind is Kind.COMPENSABLE)

    def _policy(self, terms: Terms, leg: Leg) -> LegPolicy:
        return self.policies.of(participant(terms, self.definition, leg.verb), leg.verb)

    def _settle(self, saga: Saga, now: int) -> Saga:
        """Ask for whatever can be asked for now, and tell the origin what it must hear."""
        if saga.ended:
            return saga
        settled = self._forward(saga, now)
        if settled is None:
            settled = saga
        elif settled is saga:
            return _ended(saga, self.definition.pivot, now)
        if settled.parked and not _told_of_review(settled):
            code = next(leg.code for leg in settled.legs if leg.status in PARKED)
            return _tell(settled, ResultStatus.MANUAL_REVIEW, Code(code or Code.TIMEOUT), now)
        return settled

    def _forward(self, saga: Saga, now: int) -> Saga | None:
        """The saga with the next legs asked; None while it must wait; itself when all is done."""
        pivot = self.definition.pivot
        for step in self.definition.steps:
            legs = saga.legs_of(step.name)
            if legs[0].status is Status.WAITING:
                if step is pivot and saga.withdrawn:
                    break
                return self._ask(saga, legs, now)
            for leg in legs:
                if leg.status not in DECIDED:
                    return None
            if step.kind is Kind.COMPENSABLE and legs[0].moved == 0:
                return saga  # A definite no before anything was done.
            if step is pivot and all(leg.moved == leg.asked for leg in legs):
                return saga  # Everything was given: nothing to take back.
        return self._backward(saga, pivot, now)

    def _backward(self, saga: Saga, pivot: Step, now: int) -> Saga | None:
        """Take back what the pivot gave in vain, then return what is owed."""
        for step, owed in ((pivot, _in_vain(saga, pivot)), *self._owed(saga, pivot)):
            undo = step.undo
            if undo is None or not owed:
                continue
            if any(saga.leg(leg.path) is None for leg in owed):
                fresh = but(saga, legs=(*saga.legs, *owed))
                return self._ask(fresh, owed, now)
            legs = saga.legs_of(undo.name)
            if any(leg.status not in DECIDED for leg in legs):
                return None
        return saga

    def _owed(self, saga: Saga, pivot: Step) -> list[tuple[Step, tuple[Leg, ...]]]:
        """What each compensable step must give back, last step first."""
        if any(leg.status not in DECIDED for leg in _reversals(saga, pivot)):
            return []  # Not known yet; the loop over the reversals waits.
        owed = saga.terms.points - charged(saga, pivot)
        steps = [step for step in self.definition.steps if step.kind is Kind.COMPENSABLE]
        return [
            (step, (Leg(path=f"{step.name}/{step.undo.name}", asked=owed),))
            for step in reversed(steps)
            if owed and step.undo is not None
        ]

    def _ask(self, saga: Saga, legs: tuple[Leg, ...], now: int) -> Saga:
        """The saga with those legs asked, all together."""
        policy = self._policy(saga.terms, legs[0])
        asked = {
            leg.path: Leg(
                leg.path,
                leg.asked,
                Status.SENT,
                attempt=1,
                sent_at=now,
                said_at=now,
                due=now + policy.response_timeout,
                expires_at=now + policy.expires_after,
            )
            for leg in legs
        }
        return but(saga, legs=tuple([asked.get(leg.path, leg) for leg in saga.legs]))


def participant(terms: Terms, definition: Definition, verb: str) -> str:
    """Who is asked for a verb in this saga."""
    role = definition.step_of(verb).to
    if role is Role.DEBTOR:
        return terms.debtor
    return terms.creditor if role is Role.CREDITOR else terms.origin


def kept(saga: Saga, pivot: Step) -> tuple[int, ...]:
    """For each line, how many pieces the member has: issued and not taken back."""
    pieces = [0] * len(saga.terms.lines)
    for leg in saga.legs_of(pivot.name):
        pieces[leg.line or 0] += leg.moved
    for leg in _reversals(saga, pivot):
        pieces[leg.line or 0] -= leg.moved
    return tuple(pieces)


def charged(saga: Saga, pivot: Step) -> int:
    """The price of what the member has."""
    return price(saga.terms, kept(saga, pivot))


def price(terms: Terms, pieces: tuple[int, ...]) -> int:
    """What so many pieces of each line cost, in points."""
    return sum([line.points_for(n) for line, n in zip(terms.lines, pieces, strict=True)])


def _reversals(saga: Saga, pivot: Step) -> tuple[Leg, ...]:
    return saga.legs_of(pivot.undo.name) if pivot.undo is not None else ()


def _in_vain(saga: Saga, pivot: Step) -> tuple[Leg, ...]:
    """The reversals that an all-or-nothing redemption needs once a line fell short."""
    legs = saga.legs_of(pivot.name)
    short = any(leg.moved < leg.asked for leg in legs)
    if not short or saga.terms.partial is Partial.KEEP_ISSUED or pivot.undo is None:
        return ()
    undo = pivot.undo.name
    return tuple(Leg(path=f"{leg.path}/{undo}", asked=leg.moved) for leg in legs if leg.moved)


def _move(leg: Leg, to: Status, news: News, now: int, policy: LegPolicy) -> Leg:
    """The leg in its next status, with the timer that the status needs."""
    match to:
        case Status.CONFIRMED:
            return but(
                leg,
                status=to,
                moved=news.amount,
                reference=news.reference,
                detail=news.detail,
                code=None,
                due=None,
            )
        case Status.UNKNOWN:
            again = policy.rung is Rung.RESEND
            return but(
                leg,
                status=to,
                attempt=leg.attempt + again,
                inquiries=leg.inquiries + 1,
                said_at=now,
                due=now + policy.every,
                code=news.code,
            )
        case Status.PENDING:
            late = leg.status is Status.PENDING
            return but(
                leg,
                status=to,
                inquiries=leg.inquiries + late,
                pending_from=leg.pending_from if late else leg.inquiries,
                said_at=now if late else leg.said_at,
                due=now + policy.pending_every,
            )
        case Status.DISPUTED:
            return but(leg, status=to, code=Code.REPLY_DISPUTED, due=None)
        case _:
            return but(leg, status=to, code=news.code or leg.code, due=None)


def _told_of_review(saga: Saga) -> bool:
    return saga.told is not None and saga.told.status is ResultStatus.MANUAL_REVIEW


def _tell(saga: Saga, status: ResultStatus, code: Code | None, now: int) -> Saga:
    revision = saga.told.revision + 1 if saga.told else 1
    final = status not in (ResultStatus.MANUAL_REVIEW, ResultStatus.PENDING)
    moved = () if final else tuple(leg.moved for leg in saga.legs)
    return but(saga, told=Told(revision, status, final, code, None, now, moved))


def _ended(saga: Saga, pivot: Step, now: int) -> Saga:
    """The saga with its one final result (`domain.md` I1)."""
    refusal = next((leg.code for leg in saga.legs if leg.status is Status.REJECTED), None)
    code = Code(refusal) if refusal else None
    pieces = kept(saga, pivot)
    if all(n == line.quantity for line, n in zip(saga.terms.lines, pieces, strict=True)):
        return _tell(saga, ResultStatus.SUCCESS, None, now)
    if any(pieces):
        return _tell(saga, ResultStatus.PARTIAL_SUCCESS, code or Code.PARTNER_DECLINED, now)
    if saga.withdrawn:
        return _tell(saga, ResultStatus.CANCELLED, Code.WITHDRAWN, now)
    if not any(leg.moved for leg in saga.legs if leg.line is None):
        return _tell(saga, ResultStatus.FAILED_NOTHING_DEDUCTED, code, now)
    return _tell(saga, ResultStatus.FAILED_POINTS_RETURNED, code or Code.PARTNER_DECLINED, now)


def phase(saga: Saga) -> str:
    """Where a saga stands, in one word for operators: its final status, or what it waits for."""
    if saga.parked:
        return "PARKED"
    if saga.told is not None and saga.told.final:
        return saga.told.status
    for leg in reversed(saga.legs):
        if leg.status in IN_FLIGHT:
            return f"{leg.verb.upper()}_{leg.status.upper()}"
    return "OPEN"
