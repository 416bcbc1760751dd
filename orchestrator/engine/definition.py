"""How a saga is declared: data only, checked when the module is imported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class DefinitionError(TypeError):
    """The saga cannot run as declared."""


class Kind(StrEnum):
    """What may happen to a step once it is done."""

    COMPENSABLE = "compensable"  # Can be undone.
    PIVOT = "pivot"  # Point of no return: what it gave can be kept.
    RETRIABLE = "retriable"  # Cannot fail, only be late.


class Role(StrEnum):
    """Who a participant is in one programme; roles belong to programmes, not to companies."""

    ORIGIN = "origin"
    DEBTOR = "debtor"
    CREDITOR = "creditor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing that can be asked of a participant; its name ends the leg id."""

    name: str
    command: str  # The event type that asks it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One effect at one participant, and how it is taken back."""

    kind: Kind
    to: Role
    do: Verb
    undo: Verb | None
    redo: Verb | None  # The same effect once more, under an id of its own (`domain.md` 4.4).
    per_line: bool  # One leg for each line of the request, all asked together.

    @property
    def name(self) -> str:
        """The step is called as what it does."""
        return self.do.name


def compensable(do: Verb, *, to: Role, undo: Verb, redo: Verb) -> Step:
    """A step that is undone when a later one fails, and redone when the undo was in error."""
    return Step(kind=Kind.COMPENSABLE, to=to, do=do, undo=undo, redo=redo, per_line=False)


def pivot(do: Verb, *, to: Role, undo: Verb, per_line: bool) -> Step:
    """The step that decides.

    Its undo serves `all_or_nothing` programmes: what some lines gave is asked back because another
    line was refused. It is the one undo that may be refused.
    """
    return Step(kind=Kind.PIVOT, to=to, do=do, undo=undo, redo=None, per_line=per_line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A saga: ordered steps, compensable before the pivot before retriable, and one answer."""

    name: str
    version: int
    steps: Sequence[Step]
    answer: str  # The event type of the answer to the origin.
    _by_verb: dict[str, tuple[Step, Verb]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [verb.name for verb in self.verbs()]
        if len(set(names)) != len(names):
            raise DefinitionError(f"{self.name}: verbs repeat: {names}")
        order = [list(Kind).index(step.kind) for step in self.steps]
        if order != sorted(order):
            raise DefinitionError(f"{self.name}: order must be compensable, pivot, retriable")
        if order.count(1) != 1:
            raise DefinitionError(f"{self.name}: a saga turns exactly once")
        for name in names:
            if not name.isalpha() or not name.islower():
                raise DefinitionError(f"{self.name}: {name!r} cannot stand in a leg id")
        by_verb = {
            verb.name: (step, verb)
            for step in self.steps
            for verb in (step.do, step.undo, step.redo)
            if verb
        }
        pivot = next(step for step in self.steps if step.kind is Kind.PIVOT)
        object.__setattr__(self, "_by_verb", by_verb | {"": (pivot, pivot.do)})

    def verbs(self) -> Iterator[Verb]:
        """Everything that this saga can ask, in the order of its steps."""
        for step in self.steps:
            yield from (verb for verb in (step.do, step.undo, step.redo) if verb is not None)

    @property
    def pivot(self) -> Step:
        """The step that decides."""
        return self._by_verb[""][0]

    def step_of(self, verb: str) -> Step:
        """The step to which a verb belongs, as its do, its undo or its redo."""
        return self._by_verb[verb][0]

    def verb(self, name: str) -> Verb:
        """The verb of that name."""
        return self._by_verb[name][1]
