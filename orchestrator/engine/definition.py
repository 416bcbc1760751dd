"""How a kind of saga is declared: as data, which is checked when its module is imported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from orchestrator.engine.instance import Terms
from orchestrator.engine.undo import LOSS


class DefinitionError(TypeError):
    """A definition that cannot run as it is declared."""


class Kind(StrEnum):
    """What may happen to a step once it is done."""

    QUERY = "query"  # Changes nothing at the participant, so it may end without an answer.
    COMPENSABLE = "compensable"  # Is undone if a later step fails.
    PIVOT = "pivot"  # The point of no return: what it gave may be kept.


class Role(IntEnum):
    """The roles of participants in one kind of saga; each kind has a subclass of its own.

    Which company has which role is up to the programme. Roles count from 0, and 0 is the origin:
    the participant that makes the request and gets the result.
    """

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing that can be asked of a participant; its name ends the leg id."""

    name: str
    command: str | None  # The event type of its command; None: a result asks the origin for it.
    ladder: str = ""  # The verb whose ladder it follows; empty: its own.
    for_ever: bool = False  # Resent until it is answered, where the participant gives no ladder.


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One effect at one participant, and how it is undone."""

    kind: Kind
    to: Role
    do: Verb
    undo: Verb | None = None
    redo: Verb | None = None  # The same effect once more, as a leg of its own (`domain.md` 4.4).
    per_line: bool = False  # One leg for each line of the request, all sent together.

    @property
    def name(self) -> str:
        """The name of the step, which is that of its verb."""
        return self.do.name


def query(do: Verb, *, to: Role) -> Step:
    """A step that changes nothing at the participant.

    If no answer comes before its ladder ends, it counts as rejected: there is nothing to undo.
    """
    return Step(kind=Kind.QUERY, to=to, do=do)


def compensable(do: Verb, *, to: Role, undo: Verb, redo: Verb | None = None) -> Step:
    """A step that is undone when a later one fails, and done again if that was a mistake."""
    return Step(kind=Kind.COMPENSABLE, to=to, do=do, undo=undo, redo=redo)


def pivot(do: Verb, *, to: Role, undo: Verb | None = None, per_line: bool = False) -> Step:
    """The step that decides whether the saga succeeds.

    Its undo is for programmes that are `all_or_nothing`, where what some lines gave is taken back
    because another line was refused. It is the only undo that a participant may refuse.
    """
    return Step(kind=Kind.PIVOT, to=to, do=do, undo=undo, per_line=per_line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A kind of saga: queries and compensable steps in order, at most one pivot, one answer.

    Raises:
        DefinitionError: when it is created, if it cannot run.
    """

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
        kinds = [step.kind for step in self.steps if step.kind is not Kind.QUERY]
        if kinds.count(Kind.PIVOT) > 1:
            raise DefinitionError(f"{self.name}: a saga turns at most once")
        if Kind.PIVOT in kinds[:-1]:
            raise DefinitionError(f"{self.name}: nothing but queries can follow the pivot")
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
        """All verbs, in the order of the steps."""
        for step in self.steps:
            yield from (verb for verb in (step.do, step.undo, step.redo) if verb is not None)

    def step_of(self, verb: str) -> Step:
        """The step to which a verb belongs, as its do, its undo or its redo; KeyError if none."""
        return self._by_verb[verb][0]

    def verb(self, name: str) -> Verb:
        """The verb of that name; KeyError if there is none."""
        return self._by_verb[name][1]

    def role_of(self, verb: str) -> Role:
        """The role of the participant that a verb is asked of."""
        return self._by_verb[verb][0].to

    def only_late(self, verb: str) -> bool:
        """Whether it may be done late but not declined: it is the undo of a compensable step."""
        return verb in self._only_late

    def may_give_fewer(self, verb: str) -> bool:
        """Whether a participant may confirm less than was asked for, as its final answer."""
        step, known = self._by_verb[verb]
        return step.per_line and known is step.do

    def changes_nothing(self, verb: str) -> bool:
        """Whether the verb belongs to a query."""
        return self._by_verb[verb][0].kind is Kind.QUERY


def participant(terms: Terms, definition: Definition, verb: str) -> str:
    """The participant that a verb is asked of in this saga; empty for a loss, which asks nobody."""
    return "" if verb == LOSS else terms.participants[definition.role_of(verb)]
