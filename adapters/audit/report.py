"""The findings of an audit: what was checked, how much of it, and what is broken. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from adapters.audit.invariants import INVARIANTS, Invariant, wrong_with
from adapters.audit.shape import Group, QuestionGroup, Shape

GUARDED: Final = ("timeline", "transfer")
"""The tables that only grow."""


@dataclass(frozen=True, slots=True)
class Named:
    """Something that breaks an invariant: a saga, a limit, a partition; and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One invariant: how much was checked, how much of it is broken, and the first of those."""

    invariant: str
    says: str
    of: str
    checked: int
    broken: int
    named: tuple[Named, ...] = ()
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Suspense:
    """Points of one unit that are neither consumed nor returned, by who must act."""

    unit: str
    total: int
    cases: int  # A person's.
    flights: int  # An answer is awaited.

    @property
    def others(self) -> int:
        """Points of sagas that ended, for which nobody acts; it must be 0."""
        return self.total - self.cases - self.flights


@dataclass(slots=True)
class Surveyed:
    """What was counted in all parts of the database, added up."""

    groups: list[Group] = field(default_factory=list)
    limits: int = 0
    limits_differ: int = 0
    limits_above: int = 0
    suspense: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """By unit, of the sagas: in all, in cases, in flight."""
    journal: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By unit, of the journal by itself: movements, and what is in suspense."""
    odd_movements: int = 0
    strays: list[str] = field(default_factory=list)
    twins: list[Sequence[str]] = field(default_factory=list)
    positions: list[tuple[str, bool]] = field(default_factory=list)
    guards: tuple[str, ...] = ()
    questions: list[QuestionGroup] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit: every finding, and what the database held at that moment."""

    at: datetime
    findings: tuple[Finding, ...]
    sagas: int
    legs: int
    movements: int
    events: int
    suspense: tuple[Suspense, ...]
    waiting: int  # Sagas that wait for an answer.
    parked: int  # Sagas that wait for a person.
    unreturned: int  # Ended, and the channel has not acknowledged its return: open, not broken.
    questions: int  # Sagas beside those that only read something and are soon forgotten.
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether every invariant does."""
        return not any(finding.broken for finding in self.findings)


def broken_by(shape: Shape) -> dict[str, str]:
    """Which invariants a saga of that shape breaks, and why."""
    found = {}
    for invariant in INVARIANTS:
        if invariant.applies_to(shape) and (why := "; ".join(invariant.broken(shape))):
            found[invariant.id] = why
    return found


def judged(
    surveyed: Surveyed, named: Mapping[str, Sequence[Named]], at: datetime, seconds: float
) -> Audit:
    """The audit; `named` are the first sagas and limits that break an invariant, by invariant."""
    groups = surveyed.groups
    findings = [_finding(invariant, groups, named) for invariant in INVARIANTS]
    findings = [_with_rows(finding, surveyed) for finding in findings]
    findings += [_limits(surveyed, named), _journal(surveyed), _questions(surveyed, named)]
    findings.sort(key=lambda finding: int(finding.invariant[1:]))
    return Audit(
        at=at,
        findings=tuple(findings),
        sagas=sum(group.sagas for group in groups),
        legs=sum(group.legs for group in groups),
        movements=sum(count for count, _ in surveyed.journal.values()),
        events=sum(group.events for group in groups),
        suspense=tuple(Suspense(unit, *sums) for unit, sums in sorted(surveyed.suspense.items())),
        waiting=_count(groups, lambda shape: shape.flying or shape.held),
        parked=_count(groups, lambda shape: shape.parked),
        unreturned=_count(groups, lambda shape: shape.ended and shape.unreturned),
        questions=sum(group.count for group in surveyed.questions),
        seconds=round(seconds, 1),
    )


def _count(groups: Iterable[Group], wanted: Callable[[Shape], bool]) -> int:
    return sum(group.sagas for group in groups if wanted(group.shape))


def _finding(
    invariant: Invariant, groups: Sequence[Group], named: Mapping[str, Sequence[Named]]
) -> Finding:
    checked = [group for group in groups if invariant.applies_to(group.shape)]
    broken = sum(group.sagas for group in checked if any(invariant.broken(group.shape)))
    examples = tuple(named.get(invariant.id, ()))
    step = invariant.next.format(saga=examples[0].name if examples else "SAGA")
    return Finding(
        invariant.id,
        invariant.says,
        invariant.of,
        sum(group.sagas for group in checked),
        broken,
        examples,
        step if broken else None,
    )


def _with_rows(finding: Finding, surveyed: Surveyed) -> Finding:
    """The finding together with what is broken outside the sagas."""
    more = tuple(_BESIDE[finding.invariant](surveyed)) if finding.invariant in _BESIDE else ()
    if not more:
        return finding
    return Finding(
        finding.invariant,
        finding.says,
        finding.of,
        finding.checked,
        finding.broken + len(more),
        (*finding.named, *more),
        finding.next or _STEPS[finding.invariant],
    )


def _strays(surveyed: Surveyed) -> Iterator[Named]:
    for saga_id in surveyed.strays:
        yield Named(saga_id, "has movements and is no saga")


def _twins(surveyed: Surveyed) -> Iterator[Named]:
    for sagas in surveyed.twins:
        yield Named(sagas[0], f"is the same request as {', '.join(sagas[1:])}")


def _positions(surveyed: Surveyed) -> Iterator[Named]:
    for name, forward in surveyed.positions:
        if not forward:
            yield Named(name, "was moved back")


def _suspense(surveyed: Surveyed) -> Iterator[Named]:
    """The journal by itself has in suspense what the sagas have."""
    sums: dict[str, int] = defaultdict(int)
    for unit, (total, _, _) in surveyed.suspense.items():
        sums[unit] -= total
    for unit, (_, total) in surveyed.journal.items():
        sums[unit] += total
    for unit, difference in sorted(sums.items()):
        if difference:
            yield Named(unit, f"{difference:,} in suspense that belong to no saga of that unit")


_BESIDE: Final = {"I3": _strays, "I9": _twins, "I11": _suspense, "I12": _positions}
_STEPS: Final = {
    "I3": "look for the saga in a backup: rows of it were deleted",
    "I9": "compare both with the origin's own record of the request",
    "I11": "look at I3: rows are missing, or stand under another unit",
    "I12": "was the table restored alone? compare with the topic's offsets",
}


def _limits(surveyed: Surveyed, named: Mapping[str, Sequence[Named]]) -> Finding:
    broken = surveyed.limits_differ + surveyed.limits_above
    return Finding(
        "I5",
        "What an account used of its limit is what its sagas count, and within the limit",
        "account limits",
        surveyed.limits,
        broken,
        tuple(named.get("I5", ())),
        "uprp saga show for its sagas; correct the row of account_limit" if broken else None,
    )


def named_questions(surveyed: Surveyed) -> Iterator[Named]:
    """The questions that are not as they must be, as far as their ids were read."""
    for group in surveyed.questions:
        if why := "; ".join(wrong_with(group.question)):
            yield from (Named(saga_id, why) for saga_id in group.first)


def _questions(surveyed: Surveyed, named: Mapping[str, Sequence[Named]]) -> Finding:
    broken = sum(group.count for group in surveyed.questions if any(wrong_with(group.question)))
    examples = tuple(named.get("I14", ()))
    saga = examples[0].name if examples else "SAGA"
    return Finding(
        "I14",
        "A question changes nothing, calls nobody, is answered once, and is soon forgotten",
        "questions",
        sum(group.count for group in surveyed.questions),
        broken,
        examples,
        f"uprp saga show {saga}; uprp status, and the coordinators' /readyz" if broken else None,
    )


def _journal(surveyed: Surveyed) -> Finding:
    missing = [name for name in GUARDED if name not in surveyed.guards]
    named = [Named(name, "the database would allow changes: no append_only") for name in missing]
    if surveyed.odd_movements:
        named.append(Named("transfer", f"{surveyed.odd_movements:,} move nothing, or nowhere"))
    return Finding(
        "I10",
        "Every movement gives to one account what it takes from another; no row is ever changed",
        "movements",
        sum(count for count, _ in surveyed.journal.values()),
        len(missing) + surveyed.odd_movements,
        tuple(named),
        "uprp db migrate, and ask who dropped it" if named else None,
    )
