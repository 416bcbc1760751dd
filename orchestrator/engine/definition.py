"""How a saga is declared: data only, checked when the module is imported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from orchestrator.engine.instance import Terms
from orchestrator.engine.undo import LOSS


class DefinitionError(TypeError):
    """The saga cannot run as declared."""


class Kind(StrEnum):
    """What may happen to a step once it is done."""

    READING = "reading"  # Changes nothing where it is asked, so that silence may end it.
    COMPENSABLE = "compensable"  # Can be undone.
    PIVOT = "pivot"  # Point of no return: what it gave can be kept.


class Role(IntEnum):
    """The parts that participants play in one kind of saga; each kind has roles of its own.

    Roles belong to programmes, not to companies. They count from 0, which is the origin: whoever
    asks and is answered.
    """

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing that can be asked of a participant; its name ends the leg id."""

    name: str
    command: str | None  # The event type that asks it; None: the origin learns it from a result.
    ladder: str = ""  # The verb by whose ladder it goes; its own if none is named.
    for_ever: bool = False  # Said again until it is answered, where no ladder is given.


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One effect at one participant, and how it is taken back."""

    kind: Kind
    to: Role
    do: Verb
    undo: Verb | None = None
    redo: Verb | None = None  # The same effect once more, under an id of its own (`domain.md` 4.4).
    per_line: bool = False  # One leg for each line of the request, all asked together.

    @property
    def name(self) -> str:
        """The step is called as what it does."""
        return self.do.name


def reading(do: Verb, *, to: Role) -> Step:
    """A step that changes nothing where it is asked.

    An answer that does not come within the ladder counts as a no, for there is nothing to undo.
    """
    return Step(kind=Kind.READING, to=to, do=do)


def compensable(do: Verb, *, to: Role, undo: Verb, redo: Verb | None = None) -> Step:
    """A step that is undone when a later one fails, and redone when the undo was in error."""
    return Step(kind=Kind.COMPENSABLE, to=to, do=do, undo=undo, redo=redo)


def pivot(do: Verb, *, to: Role, undo: Verb | None = None, per_line: bool = False) -> Step:
    """The step that decides.

    Its undo serves `all_or_nothing` programmes: what some lines gave is asked back because another
    line was refused. It is the one undo that may be refused.
    """
    return Step(kind=Kind.PIVOT, to=to, do=do, undo=undo, per_line=per_line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A saga: readings and compensable steps in order, at most one pivot, and one answer."""

    name: str
    version: int
    roles: type[Role]
    steps: Sequence[Step]
    answer: str  # The event type of the answer to the origin.
    pivot: Step | None = field(init=False, repr=False, compare=False)
    _by_verb: dict[str, tuple[Step, Verb]] = field(init=False, repr=False, compare=False)
    _only_late: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [verb.name for verb in self.verbs()]
        if len(set(names)) != len(names):
            raise DefinitionError(f"{self.name}: verbs repeat: {names}")
        for name in names:
            if not name.isalpha() or not name.islower() or name == LOSS:
                raise DefinitionError(f"{self.name}: {name!r} cannot stand in a leg id")
        self._check_order()
        self._check_roles()
        by_verb = {
            verb.name: (step, verb)
            for step in self.steps
            for verb in (step.do, step.undo, step.redo)
            if verb
        }
        late = [step.undo.name for step in self._of(Kind.COMPENSABLE) if step.undo is not None]
        object.__setattr__(self, "pivot", next(iter(self._of(Kind.PIVOT)), None))
        object.__setattr__(self, "_by_verb", by_verb)
        object.__setattr__(self, "_only_late", frozenset(late))

    def _check_order(self) -> None:
        kinds = [step.kind for step in self.steps if step.kind is not Kind.READING]
        if kinds.count(Kind.PIVOT) > 1:
            raise DefinitionError(f"{self.name}: a saga turns at most once")
        if Kind.PIVOT in kinds[:-1]:
            raise DefinitionError(f"{self.name}: nothing but readings can follow the pivot")
        if not self.steps:
            raise DefinitionError(f"{self.name}: a saga has a step")

    def _check_roles(self) -> None:
        if [int(role) for role in self.roles] != list(range(len(self.roles))):
            raise DefinitionError(f"{self.name}: roles count from 0, the origin")
        for step in self.steps:
            if type(step.to) is not self.roles:
                raise DefinitionError(f"{self.name}: {step.name} is not asked of a role of its")
            if step.do.command is None and step.to != 0:
                raise DefinitionError(f"{self.name}: {step.name} must be commanded")

    def _of(self, kind: Kind) -> list[Step]:
        return [step for step in self.steps if step.kind is kind]

    def verbs(self) -> Iterator[Verb]:
        """Everything that this saga can ask, in the order of its steps."""
        for step in self.steps:
            yield from (verb for verb in (step.do, step.undo, step.redo) if verb is not None)

    def step_of(self, verb: str) -> Step:
        """The step to which a verb belongs, as its do, its undo or its redo."""
        return self._by_verb[verb][0]

    def verb(self, name: str) -> Verb:
        """The verb of that name."""
        return self._by_verb[name][1]

    def role_of(self, verb: str) -> Role:
        """Whom a verb is asked of."""
        return self._by_verb[verb][0].to

    def only_late(self, verb: str) -> bool:
        """Whether what it asks may be late and not declined: the undo of a compensable step."""
        return verb in self._only_late

    def may_give_fewer(self, verb: str) -> bool:
        """Whether a participant may do a part of what was asked, and be done with it."""
        step, found = self._by_verb[verb]
        return step.per_line and found is step.do

    def changes_nothing(self, verb: str) -> bool:
        """Whether it is a reading."""
        return self._by_verb[verb][0].kind is Kind.READING


def participant(terms: Terms, definition: Definition, verb: str) -> str:
    """Who is asked for a verb in this saga; nobody for a loss."""
    return "" if verb == LOSS else terms.participants[definition.role_of(verb)]
