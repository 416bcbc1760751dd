"""What happens to a saga: one event in, the saga at its next revision out.

Three invariants are kept here (`domain.md` 4.1): nothing is undone because of silence (I7), every
saga in flight has a due timer or is parked (I13), and the first final result is said once, what
comes later as a correction (I6).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.reasons import Code
from schemas.results import ResultStatus
from schemas.value import but

from . import ladder
from .balance import contradicts, in_vain, kept, points, promised, reversible, takings, undoings
from .definition import Definition, Kind, Role
from .instance import Deducted, Leg, Saga, Terms, Told
from .journal import LOSS
from .ladder import Moment, News
from .machine import DECIDED, IN_FLIGHT, TABLE, Event, Status, Still
from .policy import LegPolicy, Policies, Remedy
from .recall import Said, caught_up, stands
from .ruling import Action, Ruling, event_of, news_of
from .telling import ending, remembered, reviewed, spoken, tell
from .verdict import cell_of, says_nothing


@dataclass(frozen=True, slots=True)
class Engine:
    """A definition and the policies under which it runs. Pure: the time is an argument."""

    definition: Definition
    policies: Policies

    # -- how a saga begins ----------------------------------------------------------------------

    def start(self, terms: Terms, now: int, deducted: Deducted | None = None) -> Saga:
        """A new saga, with its first leg asked; `deducted` is what the origin took before."""
        return self._settle(Saga(terms=terms, revision=1, legs=self._legs(terms, deducted)), now)

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
        told = Told(1, ResultStatus.REJECTED, True, code, field, now)
        saga = Saga(terms=terms, revision=1, told=told)
        if deducted is None:
            return saga
        legs = (_given(self.definition.steps[0].name, deducted),)
        return self._settle(but(saga, legs=legs), now)

    def give_back(self, stone: Saga, deducted: Deducted, programme: str, now: int) -> Saga | Still:
        """What an origin took for a request that it had withdrawn before it came (`0009`)."""
        path, told = self.definition.steps[0].name, stone.told
        if not stone.terms.prededucted or stone.leg(path) is not None:
            return Still.STALE
        if told is not None and "return_required" not in (told.words or {}):
            told = but(told, words=None, moved=(0,))  # It spoke of no deduction.
        leg = _given(path, deducted)  # The terms of a tombstone name no programme.
        legs = (but(leg, detail={**(leg.detail or {}), "programme": programme}), *stone.legs)
        found = but(stone, legs=legs, told=told, withdrawn=True, revision=stone.revision + 1)
        return self._settle(found, now)

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
        return self._settle(but(saga, held=0, revision=saga.revision + 1), now)

    def hold_on(self, saga: Saga, until: int) -> Saga:
        """A held saga whose participants still cannot be asked."""
        return but(saga, held=until, revision=saga.revision + 1)

    def refuse_held(self, saga: Saga, code: Code, now: int) -> Saga:
        """A held saga that waited long enough: nothing was asked of anybody."""
        told = tell(saga, ResultStatus.REJECTED, code, now)
        return self._settle(but(told, held=0, revision=saga.revision + 1), now)

    def hear(self, saga: Saga, path: str, news: News, now: int) -> Saga | Still:
        """Apply what is known about one leg."""
        leg = saga.leg(path)
        if leg is None or leg.verb == LOSS:
            return Still.PREMATURE
        if says_nothing(leg, news):
            return Still.STALE
        policy = self._policy(saga.terms, leg)
        only_late = self._may_only_be_late(leg)
        cell = cell_of(saga, leg, news, policy, only_late=only_late)
        if isinstance(cell, Still):
            return cell
        return self._moved(saga, leg, cell, news, now)

    def tick(self, saga: Saga, now: int) -> Saga | Still:
        """Look at every leg in flight whose time has come."""
        ticked = saga
        tells = False
        for leg in saga.legs:
            if leg.status not in IN_FLIGHT:
                continue
            policy = self._policy(saga.terms, leg)
            looked = leg
            if leg.due is not None and leg.due <= now:
                event = ladder.late(leg, policy, now)
                cell = TABLE[leg.status][event]
                assert isinstance(cell, Status), (leg, event)
                news = News(event=event, code=leg.code or Code.TIMEOUT)
                looked = ladder.moved(leg, cell, news, Moment(now, policy, saga.terms.saga_id))
            if ladder.calls(looked, policy, now):
                looked = but(looked, called=now)
            tells = tells or ladder.tells(looked, policy, now)
            if looked is not leg:
                ticked = ticked.with_leg(looked)
        tells = tells and saga.told is None
        if ticked is saga and not tells:
            return Still.STALE
        settled = self._settle(but(ticked, revision=saga.revision + 1), now)
        if tells and settled.told is None:  # A person who is called is told of at once.
            return tell(settled, ResultStatus.PENDING, Code.ACCEPTED, now)
        return settled

    def withdraw(self, saga: Saga, now: int) -> Saga | Still:
        """The origin takes the request back: turned round unless the pivot was asked for."""
        pivot = self.definition.pivot
        asked = any(leg.status is not Status.WAITING for leg in saga.legs_of(pivot.name))
        if saga.answered or saga.withdrawn or asked:
            return Still.STALE
        return self._settle(but(saga, withdrawn=True, held=0, revision=saga.revision + 1), now)

    def asked(self, saga: Saga, now: int) -> Saga | Still:
        """The origin asks how it stands; while nothing was told, it is told PENDING once."""
        if saga.told is not None:
            return Still.STALE
        told = tell(saga, ResultStatus.PENDING, Code.ACCEPTED, now)
        return but(told, revision=saga.revision + 1)

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

    def decided(self, saga: Saga, path: str, ruling: Ruling, now: int) -> Saga | Still:
        """Apply what a person decided about a parked leg; it cannot contradict what is known."""
        leg = saga.leg(path)
        if leg is None or ruling.action not in self.allowed(saga, leg):
            return Still.FORBIDDEN
        if ruling.number <= leg.decision:
            return Still.STALE
        news = news_of(leg, ruling)
        if not self._may_be(saga, leg, news):
            return Still.FORBIDDEN
        cell = TABLE[leg.status][news.event]
        assert isinstance(cell, Status), (leg, ruling)
        if leg.status is Status.OVERTURNED:
            short = -points(saga, self.definition).owed
            if short <= 0:
                return Still.STALE
            settled = saga.with_leg(but(leg, called=0, decision=ruling.number))
            settled = self._lost(settled, short, now)
            return self._settle(but(settled, revision=saga.revision + 1), now)
        number = ruling.number
        if news.event is Event.AGAIN:
            number = leg.decision  # Nothing is said of what became of it.
            if leg.cancels:
                cell = Status.CANCELLING  # After a cancel nothing else is said under this leg.
        ruled = but(leg, decision=number, called=0)
        return self._moved(saga, ruled, cell, news, now)

    def recall(self, saga: Saga, said: Said, now: int) -> Saga:
        """The saga with all that was said of it before its database was lost."""
        caught = caught_up(
            saga, said, self.definition, lambda leg: self._policy(saga.terms, leg), now
        )
        if caught is saga:
            return saga
        return self._settle(but(caught, revision=saga.revision + 1), now)

    def _may_be(self, saga: Saga, leg: Leg, news: News) -> bool:
        """Whether what a person says to have been moved can be true."""
        if news.event is not Event.DONE:
            return True
        fewer = leg.verb == self.definition.pivot.name and 0 < news.amount < leg.asked
        return (fewer or news.amount == leg.asked) and not contradicts(saga, leg, news.amount)

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
                at = ladder.due(leg, policy, told=saga.told is not None)
            if at is not None and (found is None or at < found):
                found = at
        return found

    # -- what follows ---------------------------------------------------------------------------

    def _moved(self, saga: Saga, leg: Leg, cell: Status, news: News, now: int) -> Saga:
        policy = self._policy(saga.terms, leg)
        changed = ladder.moved(leg, cell, news, Moment(now, policy, saga.terms.saga_id))
        was = saga
        told_otherwise = saga.ended and spoken(changed) != spoken(leg)
        if told_otherwise or cell is Status.WRITTEN_OFF:
            was = remembered(saga)
        path = leg.path
        legs = tuple([changed if known.path == path else known for known in was.legs])
        return self._settle(but(was, legs=legs, revision=saga.revision + 1), now)

    def _may_only_be_late(self, leg: Leg) -> bool:
        step = self.definition.step_of(leg.verb)
        return step.kind is Kind.RETRIABLE or (
            step.kind is Kind.COMPENSABLE and leg.undoes is not None
        )

    def _policy(self, terms: Terms, leg: Leg) -> LegPolicy:
        verb = leg.verb
        return self.policies.of(participant(terms, self.definition, verb), verb)

    def _settle(self, saga: Saga, now: int) -> Saga:
        """Ask for whatever can be asked for now, and tell the origin what it must hear."""
        settled = self._forward(saga, now)
        if settled is None:
            return reviewed(saga, now)
        if settled is not saga:
            return settled
        while True:
            restored = self._restored(settled, now)
            if restored is settled:
                break
            settled = restored
        if any(self._awaits(settled, leg) for leg in settled.legs):
            return reviewed(settled, now)
        return self._concluded(settled, now)

    def _forward(self, saga: Saga, now: int) -> Saga | None:
        """The saga with the next step asked; None while it must wait; itself when all were."""
        for step in self.definition.steps:
            legs = saga.legs_of(step.name)
            if not legs:
                return saga  # Refused at once.
            if legs[0].status is Status.WAITING:
                return saga if _turned(saga, now) else self._ask(saga, legs, now)
            if step.kind is Kind.COMPENSABLE:
                if legs[0].status not in DECIDED:
                    return None
                if legs[0].moved == 0:
                    return saga  # A definite no before anything was done.
        return saga

    def _awaits(self, saga: Saga, leg: Leg) -> bool:
        """Whether a leg keeps the saga from its end.

        What an origin took itself it must give back as soon as it hears the result: that is
        tracked until it is acknowledged, but not waited for (`domain.md` 4.4).
        """
        if leg.status in DECIDED:
            return leg.status is Status.OVERTURNED and leg.called > 0
        if leg.status is Status.WAITING:
            return False
        if not saga.terms.prededucted or not self._may_only_be_late(leg):
            return True
        return points(saga, self.definition).owed < 0  # What follows depends on it after all.

    def _restored(self, saga: Saga, now: int) -> Saga:
        """The saga with the next thing asked that brings it into balance; itself when it is."""
        pivot = self.definition.pivot
        vain = in_vain(saga, pivot)
        if vain:
            return self._undo(saga, vain, now)
        now_owed = points(saga, self.definition)
        owed = now_owed.owed
        if owed > 0:
            if now_owed.covered:
                return _recovered(saga, owed)
            asked = self._return(saga, owed, now) if now_owed.certain else saga
            return asked if asked is not saga else _at_rest(saga)
        if owed == 0:
            return _at_rest(saga)
        if any(leg.status not in DECIDED and leg.status is not Status.WAITING for leg in saga.legs):
            return saga
        return self._remedied(saga, -owed, now)

    def _undo(self, saga: Saga, legs: Iterable[Leg], now: int) -> Saga:
        undo = self.definition.pivot.undo
        assert undo is not None, self.definition.name
        return self._added(saga, [Leg(f"{leg.path}/{undo.name}", leg.moved) for leg in legs], now)

    def _return(self, saga: Saga, owed: int, now: int) -> Saga:
        """Give back what is owed, never more than each deduction took (`domain.md` I1).

        What a dispute says was taken is not given back before a person has decided.
        """
        disputed = False
        for leg in takings(saga, self.definition):
            if leg.status not in DECIDED:
                disputed = True
                continue
            undo = self.definition.step_of(leg.verb).undo
            assert undo is not None, leg
            earlier = undoings(saga, leg)
            left = leg.moved - sum([promised(other) for other in earlier])
            if left > 0:
                number = f"/{len(earlier) + 1}" if earlier else ""
                path = f"{leg.path}/{undo.name}{number}"
                return self._added(saga, [Leg(path, min(owed, left))], now)
        if disputed:
            return saga
        raise AssertionError(f"{owed} points are owed that were never taken: {saga}")

    def _remedied(self, saga: Saga, short: int, now: int) -> Saga:
        """Value was given that is not paid for: take the next remedy of the policy's chain."""
        cause = _cause(saga, self.definition.pivot.name)
        policy = self._policy(saga.terms, cause)
        chain = policy.late_yes if cause.moved > (cause.first or 0) else policy.late_no
        pivot = self.definition.pivot
        for remedy in chain:
            if remedy is Remedy.REVERSE:
                given = [leg for leg in saga.legs_of(pivot.name) if reversible(saga, leg)]
                if cause.verb == pivot.name:
                    given = [g for g in given if g.status is Status.OVERTURNED or g is cause]
                if given:
                    return self._undo(saga, given, now)
            elif remedy is Remedy.CHARGE:
                redo = self.definition.steps[0].redo
                if redo is not None and not saga.terms.prededucted and not saga.leg(redo.name):
                    return self._added(saga, [Leg(redo.name, short)], now)
            elif remedy is Remedy.LOSS:
                return self._lost(saga, short, now)
        if cause.called:
            return saga
        return saga.with_leg(but(cause, called=now, code=Code.REPLY_DISPUTED))

    def _lost(self, saga: Saga, short: int, now: int) -> Saga:
        """The saga with a loss booked on whoever bears it; nobody is asked."""
        number = len(saga.legs_of(LOSS)) + 1
        path = LOSS if number == 1 else f"{LOSS}/{number}"
        bearer = saga.terms.loss_bearer
        leg = Leg(path, short, Status.CONFIRMED, sent_at=now, moved=short, reference=bearer)
        return saga.with_leg(leg)

    def _added(self, saga: Saga, legs: list[Leg], now: int) -> Saga:
        return self._ask(but(saga, legs=(*saga.legs, *legs)), legs, now)

    def _ask(self, saga: Saga, legs: Iterable[Leg], now: int) -> Saga:
        """The saga with those legs asked, all together."""
        asked = {leg.path: ladder.asked(leg, self._policy(saga.terms, leg), now) for leg in legs}
        return but(saga, legs=tuple([asked.get(leg.path, leg) for leg in saga.legs]))

    def _concluded(self, saga: Saga, now: int) -> Saga:
        """The saga with its one final result, or with the correction of it (`domain.md` I1)."""
        told = saga.told
        if told is not None and saga.ended and not told.moved:
            return saga
        pieces = kept(saga, self.definition.pivot)
        status, code = ending(saga, pieces)
        if told is not None and stands(saga, self.definition, status):
            return but(saga, told=but(told, words=None))
        return tell(saga, status, code, now)


def _can_be(saga: Saga, leg: Leg, action: Action) -> bool:
    """Whether what a person would say does not contradict what is known.

    There was nothing to give back where what was taken turned out not to be; and only there.
    """
    if action is not Action.REJECT:
        return not contradicts(saga, leg, leg.asked)
    if leg.status is Status.REFUSED:
        return contradicts(saga, leg, leg.asked)
    return not contradicts(saga, leg, 0)


def _cause(saga: Saga, pivot: str) -> Leg:
    """The leg of which a later verdict is believed.

    There is none where points were returned before the database was lost and the answer to what
    led to it is another one now: then it is what was given, or what was taken.
    """
    late = (leg for leg in reversed(saga.legs) if leg.status is Status.OVERTURNED)
    given = (leg for leg in reversed(saga.legs_of(pivot)) if leg.moved)
    return next(late, None) or next(given, saga.legs[0])


def _at_rest(saga: Saga) -> Saga:
    """The saga without a call for a person about what is not missing any more."""
    for leg in saga.legs:
        if leg.called and leg.status is Status.OVERTURNED:
            return saga.with_leg(but(leg, called=0))
    return saga


def _recovered(saga: Saga, owed: int) -> Saga:
    """The saga with a loss taken back as far as it turned out to be none: the bearer comes first.

    What was given for it was paid for otherwise, or was not given.
    """
    leg = next(leg for leg in saga.legs_of(LOSS) if leg.moved)
    return saga.with_leg(but(leg, moved=leg.moved - min(owed, leg.moved)))


def _turned(saga: Saga, now: int) -> bool:
    """Whether what was not asked yet will never be; not undone by a clock that steps back."""
    if saga.withdrawn or saga.answered or any(leg.undoes is not None for leg in saga.legs):
        return True
    fresh = saga.terms.fresh_until
    return fresh is not None and now >= fresh


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


def participant(terms: Terms, definition: Definition, verb: str) -> str:
    """Who is asked for a verb in this saga; nobody for a loss."""
    if verb == LOSS:
        return ""
    role = definition.step_of(verb).to
    if role is Role.DEBTOR:
        return terms.debtor
    return terms.creditor if role is Role.CREDITOR else terms.origin
