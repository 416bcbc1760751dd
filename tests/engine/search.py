"""One redemption, and every fault in every order: a search for what is believed and not true.

Beside what `small.py` has, pendings are settled either way, companies lie, and people decide.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final, NamedTuple

from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import NoChange, Status
from orchestrator.engine.operator import Action, OperatorDecision
from orchestrator.engine.outbox import MessageRef, new_messages, outstanding
from schemas.frozen import replaced
from schemas.reasons import Code
from tests.engine import laws
from tests.engine.cases import NOW
from tests.engine.edge import Edge, shown
from tests.engine.laws import rests
from tests.engine.shapes import CALLED, CANCEL_ENDS, PENDING_ENDS, TOLD, Shape
from tests.engine.small import Answer, Fact, Order, Step, World, amounts, comes_out, outcomes, true
from tests.engine.sums import FLYING, is_parked, pieces, sums
from tests.engine.walk import SOON, folded, key_of, update

LOUD: Final = frozenset({"confirmed", "rejected", "cancelled"})


class Move(NamedTuple):
    """What an event makes of a saga, and what it newly says."""

    saga: int
    said: frozenset[Order]


@dataclass(slots=True)
class Explored:
    """How much was seen."""

    worlds: int = 0
    steps: int = 0
    rests: int = 0  # In which all is quiet, so that what is believed must be what is true.
    depth: int = 0  # How many things happened, at most.
    whole: bool = False  # Nothing is new beyond that depth.
    orders: int = 0  # In how many orders, up to that depth.
    seen: set[str] = field(default_factory=set)  # Every verb in every status, every result.


@dataclass(slots=True)
class Search:
    """Everything that may happen to one redemption, breadth first: a failure is the shortest."""

    shape: Shape
    lies: int = 0
    errors: int = 0
    deducted: bool = False  # Whether all begins when the deduction was heard to be done.
    given: tuple[int, ...] = ()  # What of the first lines was heard to be given by then.
    told: bool = False  # Whether the origin asks how it stands, and hears when it takes long.
    sagas: list[Saga] = field(default_factory=list)
    _numbers: dict[Hashable, int] = field(default_factory=dict)
    _moves: dict[Hashable, Move | None] = field(default_factory=dict)
    _from: dict[World, tuple[World, tuple[object, ...]]] = field(default_factory=dict)

    def explore(self, depth: int) -> Explored:
        """Try everything, so many things one after the other."""
        start = self._start()
        places, layer, found = {start: 0}, [start], Explored(worlds=1)
        onward: list[list[int]] = []  # For each world, in the order of `places`, where it leads.
        self._check(start)
        while layer and found.depth < depth:
            following: list[World] = []
            for was in layer:
                leads: list[int] = []
                for what, now in self._steps(was):
                    found.steps += 1
                    if now == was:
                        continue
                    place = places.get(now)
                    if place is None:
                        place = places[now] = len(places)
                        self._from[now] = (was, what)
                        following.append(now)
                        found.rests += self._check(now)
                    leads.append(place)
                onward.append(leads)
            found.depth += 1
            layer = following
        found.worlds, found.whole = len(places), not layer
        found.orders = _orders(onward, found.depth)
        found.seen = {mark for saga in self.sagas for mark in _marks(saga)}
        return found

    @property
    def _fresh(self) -> int:
        return self.shape.terms.fresh_until or 0

    def _start(self) -> World:
        begun = self.shape.begun()
        said = _orders_of(outstanding(begun))
        start = World(self._number(begun), said=said, lies=self.lies, errors=self.errors)
        done = {"deduct": self.shape.terms.body.points}
        if begun.terms.body.prededucted:
            return start.knowing("deduct", true(done["deduct"]))
        done |= {f"credit/{line}": moved for line, moved in enumerate(self.given, 1)}
        for path, moved in done.items() if self.deducted else ():
            fact = true(moved)
            start = start.knowing(path, fact).answered(path, fact)
            start = self._heard(start, Answer(path, fact.says, fact.stated)).world
        return start

    # -- everything that may happen -----------------------------------------------------------

    def _steps(self, was: World) -> Iterator[Step]:
        saga = self.sagas[was.saga]
        for order in was.said:
            yield from self._worked(was, saga, order)
        for answer in was.air:
            yield self._heard(was, answer)
            if self._fresh and answer.path == "deduct":
                yield self._heard(was, answer, "heard late")
        for path, fact in was.facts:
            yield from comes_out(was, saga, path, fact)
        for leg in saga.legs:
            if leg.status in FLYING:
                yield self._heard(was, Answer(leg.path, "unusable", 0))
                for at in self._moments(saga, leg):
                    yield self._after(was, "time", leg.path, at)
            if is_parked(leg):
                yield from self._decided(was, leg)
        yield from self._of_the_whole(was, saga)

    def _of_the_whole(self, was: World, saga: Saga) -> Iterator[Step]:
        yield self._after(was, "withdraw")
        if self.told:
            yield self._after(was, "asked")
        if saga.held:
            yield self._after(was, "release")
            if self._fresh:
                yield self._after(was, "release late")
            yield self._after(was, "refuse_held")

    def _worked(self, was: World, saga: Saga, order: Order) -> Iterator[Step]:
        leg = _leg(saga, order.path)
        if leg.undoes is not None and not (self.lies or self.errors):
            done = was.fact(leg.undoes)
            enough = done is not None and (done.moved or 0) >= leg.asked
            self._demand(enough, "undoes what was not done", leg, was)
        for fact in outcomes(was, leg, order.kind):
            what = ("answered", *order, fact)
            if fact is None:
                yield Step(what, self._heard(was, Answer(leg.path, "not_received", 0)).world)
            else:
                yield Step(what, was.knowing(leg.path, fact).answered(leg.path, fact))

    def _heard(self, was: World, answer: Answer, how: str = "heard") -> Step:
        step = self._after(was, how, answer.path, answer.says, answer.amount)
        if step.world is was or answer.says not in LOUD:
            return step
        fact = was.fact(answer.path)
        if fact is None or not fact.turns or fact.lies or fact.moved == answer.amount:
            return step
        misled = was.misled | {answer.path}
        return Step(step.what, step.world._replace(misled=misled))

    def _moments(self, saga: Saga, leg: Leg) -> Iterator[int]:
        policy = self.shape.engine.policy(saga.terms, leg)
        yield SOON
        if self.told and saga.told is None and leg.status is not Status.SENT:
            yield NOW + TOLD
        if policy.cancel:
            yield NOW + CANCEL_ENDS
        if policy.call_after is not None and not leg.escalated_at:
            yield NOW + CALLED
        if policy.pending_until is not None:
            yield NOW + PENDING_ENDS

    def _decided(self, was: World, leg: Leg) -> Iterator[Step]:
        """What a person may decide who knows the truth, and what one may who does not.

        Who finds that nothing was received has it stopped there.
        """
        fact = was.fact(leg.path)
        stopped = was
        if fact is None and leg.status in FLYING | {"silent"}:
            fact = Fact(0, "cancelled", 0)
            stopped = was.knowing(leg.path, fact)
        hows = ("decided", "decided late") if self._fresh else ("decided",)
        for how, action in product(hows, Action):
            for amount in amounts(leg) if action is Action.CONFIRM else (0,):
                says = {Action.CONFIRM: amount, Action.REJECT: 0}.get(action)
                right = says is None or (fact is not None and fact.moved == says)
                step = self._after(was, how, leg.path, action, amount)
                if step.world is was or not (right or was.errors):
                    continue
                if not right:
                    yield Step(step.what, step.world._replace(errors=was.errors - 1))
                elif says is None:
                    yield step
                else:
                    yield Step(step.what, step.world._replace(facts=stopped.facts))

    # -- what becomes of the saga -------------------------------------------------------------

    def _after(self, was: World, *event: object) -> Step:
        key = (was.saga, event)
        if key not in self._moves:
            self._moves[key] = self._moved(self.sagas[was.saga], event)
        move = self._moves[key]
        if move is None:
            return Step(event, was)
        return Step(event, was._replace(saga=move.saga, said=was.said | move.said))

    def _moved(self, saga: Saga, event: tuple[object, ...]) -> Move | None:
        engine = self.shape.engine
        # Late is past the moment up to which a deduction is built upon; clocks step back from it.
        what, late = str(event[0]).removesuffix(" late"), str(event[0]).endswith(" late")
        at = self._fresh if late else NOW
        now: Saga | NoChange
        match (what, *event[1:]):
            case ("heard", str(path), str(name), int(amount)):
                now = engine.apply_reply(saga, path, update(name, amount), at)
            case ("time", str(path), int(at)):
                name, amount, saga = "tick", 0, saga.with_leg(replaced(_leg(saga, path), due=at))
                now = engine.apply_timer(saga, at)
            case ("decided", str(path), Action() as action, int(amount)):
                name = action.value
                ruling = OperatorDecision(_leg(saga, path).decision + 1, action, amount or None)
                now = engine.apply_decision(saga, path, ruling, at)
            case (str(name),):
                path, amount = "", 0
                now = _OF_THE_WHOLE[name](engine, saga, at)
            case _:
                raise AssertionError(event)
        if isinstance(now, NoChange):
            if what == "heard":
                laws.check_still(saga, _leg(saga, path), name, amount, now)
            return None
        laws.check(Edge(engine, saga, name, path, amount, at, now))
        return Move(self._number(now), _orders_of(new_messages(saga, now)))

    def _number(self, saga: Saga) -> int:
        fold = folded(self.shape.engine, saga)
        legs = zip(fold.legs, saga.legs, strict=True)  # Of every leg: whether people decided it.
        ruled = tuple([replaced(leg, decision=min(of.decision, 1)) for leg, of in legs])
        fold = replaced(fold, legs=ruled)
        number = self._numbers.setdefault(key_of(fold), len(self.sagas))
        if number == len(self.sagas):
            self.sagas.append(fold)
            for leg in fold.legs:
                may = self.shape.engine.allowed(fold, leg) or not is_parked(leg)
                assert may, f"a person was called and may decide nothing: {leg} {shown(fold)}"
        return number

    # -- what must hold -----------------------------------------------------------------------

    def _rests(self, world: World) -> bool:
        """Whether all is quiet, and all that companies have to say was heard."""
        if not rests(self.sagas[world.saga]) or any(fact.lies for _, fact in world.facts):
            return False
        loud = (answer for answer in world.air if answer.says in LOUD)
        return all(self._heard(world, answer).world is world for answer in loud)

    def _check(self, world: World) -> bool:
        """Belief equals fact; where somebody lied or erred, once the truth was heard."""
        saga, at_rest = self.sagas[world.saga], self._rests(world)
        for leg in saga.legs:
            if leg.verb == "loss" or leg.status in FLYING or is_parked(leg):
                continue
            fact = world.fact(leg.path)
            truth = (fact.moved if fact is not None else 0) or 0
            if leg.moved == truth:
                continue
            said = {one.amount for one in world.air if one.path == leg.path and one.says in LOUD}
            self._demand(leg.moved in said or leg.decision > 0, "nobody said so", leg, world)
            recorded = truth in (leg.first, leg.claim)
            twice = (fact is not None and fact.turns > 1) or leg.path in world.misled
            unheard = leg.decision > 0 and truth not in said
            if at_rest and not (recorded and (twice or leg.decision)) and not unheard:
                self._demand(False, f"believed, and {truth} is true", leg, world)
        flying = any(leg.status in FLYING for leg in saga.legs)
        owned = saga.ended or flying or saga.parked or saga.held
        self._demand(bool(owned), "nobody's turn", None, world)
        if at_rest:
            found = sums(saga)
            gone = found.returned + found.forgone + found.price
            self._demand(found.taken + found.covered == gone, f"{found}", None, world)
            self._demand(min(pieces(saga), default=0) >= 0, "less than nothing", None, world)
        return at_rest

    def _demand(self, holds: bool, why: str, leg: Leg | None, world: World) -> None:
        if holds:
            return
        about = f"{leg.path} is {leg.status} {leg.moved}: " if leg is not None else ""
        schedule = "\n  ".join(self.schedule(world))
        facts = "; ".join(f"{path}: {fact}" for path, fact in world.facts)
        raise AssertionError(
            f"{self.shape.name}: {about}{why}, after\n  {schedule}\n"
            f"  believed {shown(self.sagas[world.saga])}\n  true {facts}"
        )

    def schedule(self, world: World) -> list[str]:
        """How the search came there."""
        found: list[str] = []
        while world in self._from:
            world, what = self._from[world]
            found.insert(0, " ".join(str(word) for word in what))
        return found


_OF_THE_WHOLE: Final[Mapping[str, Callable[[Engine, Saga, int], Saga | NoChange]]] = {
    "withdraw": lambda engine, saga, at: engine.withdraw(saga, at),
    "asked": lambda engine, saga, at: engine.status_requested(saga, at),
    "release": lambda engine, saga, at: engine.release(saga, at),
    "refuse_held": lambda engine, saga, at: engine.refuse_held(saga, Code.NO_ANSWER, at),
}


def _marks(saga: Saga) -> Iterator[str]:
    """What a saga shows."""
    yield from (f"{leg.verb} {leg.status}" for leg in saga.legs)
    if saga.told is None:
        return
    yield f"told {saga.told.status}{' again' if saga.told.corrected else ''}"
    waits = saga.legs[1].status is Status.WAITING and not saga.withdrawn
    if waits and saga.terms.fresh_until and saga.told.status == "FAILED_POINTS_RETURNED":
        yield "too late to be built upon"


def _leg(saga: Saga, path: str) -> Leg:
    leg = saga.leg(path)
    assert leg is not None, path
    return leg


def _orders_of(said: tuple[MessageRef, ...]) -> frozenset[Order]:
    return frozenset(Order(one.kind, one.path) for one in said if one.path)


def _orders(onward: list[list[int]], depth: int) -> int:
    """In how many orders so many things, or fewer, can happen, each of which changes something."""
    ways, total = {0: 1}, 0
    for _ in range(depth):
        following: dict[int, int] = {}
        for place, count in ways.items():
            for leads in onward[place] if place < len(onward) else ():
                following[leads] = following.get(leads, 0) + count
        total += sum(following.values())
        ways = following
    return total
