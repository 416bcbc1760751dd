"""Small worlds: what companies know of one redemption, what was said to them, what they answered.

Nothing that was said is ever forgotten: each command may be worked on and each answer heard at any
time, once, again or never. That is loss, delay, doubling, overtaking and being said again after a
crash in one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.outbox import MessageKind


class Fact(NamedTuple):
    """What became of one leg at its company: `moved` is None while it is pending."""

    moved: int | None
    says: str  # "confirmed", "rejected", "cancelled", "pending".
    stated: int  # What it says was moved.
    turns: int = 0  # How often it said something else than before.

    @property
    def lies(self) -> bool:
        """Whether it says something else than what is true."""
        return self.moved is not None and self.stated != self.moved


def true(moved: int, turns: int = 0) -> Fact:
    """What a company that does not lie knows, and says."""
    return Fact(moved, "confirmed" if moved else "rejected", moved, turns)


PENDING: Final = Fact(None, "pending", 0)


class Answer(NamedTuple):
    """Something that a company said."""

    path: str
    says: str
    amount: int


class Order(NamedTuple):
    """Something that was said to a company; a repeat has the same content."""

    kind: MessageKind
    path: str


class World(NamedTuple):
    """Everything there is."""

    saga: int  # Its number in the search.
    facts: tuple[tuple[str, Fact], ...] = ()
    said: frozenset[Order] = frozenset()
    air: frozenset[Answer] = frozenset()
    lies: int = 0  # How many more companies may tell.
    errors: int = 0  # How many more people may make.
    misled: frozenset[str] = frozenset()  # The legs of which the truth was heard before the lie.

    def fact(self, path: str) -> Fact | None:
        """What the company knows of a leg."""
        for known, fact in self.facts:
            if known == path:
                return fact
        return None

    def knowing(self, path: str, fact: Fact) -> World:
        """With that known; a new lie is one of those that may be told."""
        facts = tuple(sorted((dict(self.facts) | {path: fact}).items()))
        told = fact.lies and fact != self.fact(path)
        return self._replace(facts=facts, lies=self.lies - told)

    def answered(self, path: str, fact: Fact) -> World:
        """With the company's answer said."""
        return self._replace(air=self.air | {Answer(path, fact.says, fact.stated)})


class Step(NamedTuple):
    """What happened, and everything there is then."""

    what: tuple[object, ...]
    world: World


def outcomes(was: World, leg: Leg, kind: MessageKind) -> Iterator[Fact | None]:
    """What may become of a leg with a command; the same again once it is decided."""
    fact = was.fact(leg.path)
    if fact is not None:
        yield fact
        if kind is MessageKind.CANCEL and fact.moved is None:
            yield Fact(0, "cancelled", 0)
        if kind is MessageKind.INQUIRE and was.lies and fact.moved is not None and not fact.lies:
            other = true(0 if fact.moved else leg.asked)  # Another result than before.
            yield Fact(fact.moved, other.says, other.stated, fact.turns + 1)
        return
    if kind is MessageKind.CANCEL:
        yield Fact(0, "cancelled", 0)
        if was.lies:  # The tombstone is forgotten, and the command executed all the same.
            yield Fact(leg.asked, "cancelled", 0)
        return
    if kind is MessageKind.INQUIRE:
        yield None
        if not was.lies:
            return
    yield from _anew(was, leg)


def _anew(was: World, leg: Leg) -> Iterator[Fact]:
    done = was.fact(leg.undoes or "")
    if leg.undoes is not None and (done is None or (done.moved or 0) < leg.asked):
        yield true(0)
        return
    for moved in amounts(leg):
        yield true(moved)
        if was.lies:
            yield Fact(moved, "rejected", 0)
            yield from (
                Fact(other, "confirmed", moved) for other in (0, *amounts(leg)) if other != moved
            )
    yield PENDING
    if leg.verb != "return":
        yield true(0)


def comes_out(was: World, saga: Saga, path: str, fact: Fact) -> Iterator[Step]:
    """What was pending is settled; who lied says what is true, once the lie was said."""
    leg = saga.leg(path)
    if leg is None or (fact.moved is not None and not fact.lies):
        return
    if fact.moved is not None:
        truths = [true(fact.moved, fact.turns + 1)]
    else:
        truths = [true(leg.asked)] if leg.verb == "return" else [true(leg.asked), true(0)]
    for truth in truths:
        yield Step(("comes out", path, truth), was.knowing(path, truth).answered(path, truth))


def amounts(leg: Leg) -> tuple[int, ...]:
    """What a company may do of what was asked: of a credit of several pieces also fewer."""
    return (leg.asked, 1) if leg.verb == "credit" and leg.asked > 1 else (leg.asked,)
