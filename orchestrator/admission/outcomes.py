"""What a batch tells of the participants: legs asked, answered, missed, and in flight. Pure.

It runs for every batch, so it looks only at legs that changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from orchestrator.admission.breaker import Counts
from orchestrator.engine.definition import Definition
from orchestrator.engine.instance import Leg, Saga, Terms
from orchestrator.engine.machine import Status
from orchestrator.engine.undo import LOSS
from orchestrator.ports import Change
from orchestrator.sagas import KINDS, Kinds

WAITING, SENT, UNKNOWN = Status.WAITING, Status.SENT, Status.UNKNOWN
CANCELLING: Final = Status.CANCELLING
ANSWERS: Final = frozenset(
    {Status.CONFIRMED, Status.REJECTED, Status.CANCELLED, Status.PENDING, Status.REFUSED}
)
"""What a leg that was sent becomes by a usable answer."""


@dataclass(slots=True)
class ParticipantOutcomes:
    """What was seen of each participant, and how its legs in flight changed."""

    seen: dict[str, Counts] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)


class _Roles(dict[str, int]):
    """Whose a leg is, by its path: there are few paths, asked for often."""

    def __init__(self, definition: Definition) -> None:
        super().__init__()
        self._definition = definition
        self.readings: set[str] = set()  # Whose silence says nothing of what moves something.

    def __missing__(self, path: str) -> int:
        verb = Leg(path, 0).verb
        role = _NOBODY if verb == LOSS else int(self._definition.role_of(verb))
        if role != _NOBODY and self._definition.changes_nothing(verb):
            self.readings.add(path)
        self[path] = role
        return role


_NOBODY: Final = -1  # The last of `_names`.


_ROLES: Final[dict[tuple[str, int], _Roles]] = {}


def _roles_of(terms: Terms, kinds: Kinds) -> _Roles:
    """Whose the legs of a kind are; worked out once."""
    version = (terms.definition, terms.definition_version)
    found = _ROLES.get(version)
    if found is None:
        found = _ROLES[version] = _Roles(kinds[version].definition)
    return found


def in_flight(saga: Saga, kinds: Kinds = KINDS) -> dict[str, int]:
    """How many of a saga's legs each participant owes an answer to, or soon will.

    A function of the saga alone, so that the changes of every commit add up to the sum over all.
    """
    found: dict[str, int] = {}
    names, coming = _names(saga.terms), bool(saga.legs) and _on_its_way(saga)
    roles = _roles_of(saga.terms, kinds)
    for leg in saga.legs:
        if _counts(leg.status, coming):
            name = names[roles[leg.path]]
            found[name] = found.get(name, 0) + 1
    return found


def observe(
    changes: Iterable[Change],
    since: Mapping[str, int],
    listening: Mapping[str, int],
    kinds: Kinds = KINDS,
) -> ParticipantOutcomes:
    """What the changes of one batch tell.

    Args:
        since: by participant; what was asked before says nothing about it as it is now.
        listening: by participant; since when all of its answers were read without delay. Silence
            about what was asked before may be our own deafness, and does not count.
    """
    counts: dict[str, list[int]] = {}
    for change in changes:
        saga = change.now
        if saga.legs:
            roles = _roles_of(saga.terms, kinds)
            _compare(change.was, saga, roles, counts, since, listening)
    return ParticipantOutcomes(
        {name: Counts(*n[:3]) for name, n in counts.items() if any(n[:3])},
        {name: n[3] for name, n in counts.items() if n[3]},
    )


def _compare(  # noqa: PLR0917  # Runs for every change: keywords cost.
    was: Saga | None,
    now: Saga,
    roles: _Roles,
    counts: dict[str, list[int]],
    since: Mapping[str, int],
    listening: Mapping[str, int],
) -> None:
    names = _names(now.terms)
    before = was.legs if was is not None else ()
    came, comes = was is not None and bool(before) and _on_its_way(was), _on_its_way(now)
    known = len(before)
    for at, leg in enumerate(now.legs):
        old = before[at] if at < known else None
        if came is comes and old is not None and old.status is leg.status:
            continue
        status, earlier = leg.status, old.status if old is not None else WAITING
        name = names[roles[leg.path]]
        if not name:
            continue  # A loss: nobody was asked.
        count = counts.get(name) or counts.setdefault(name, [0, 0, 0, 0])
        count[3] += _counts(status, comes) - (old is not None and _counts(earlier, came))
        if status is earlier or leg.path in roles.readings:
            continue
        if earlier is WAITING:
            count[0] += status is SENT
        elif earlier is SENT and leg.sent_at >= since.get(name, 0):
            if status in ANSWERS:
                count[1] += 1
            elif leg.sent_at >= listening.get(name, 0):
                count[2] += 1


def _counts(status: Status, coming: bool) -> bool:
    """Whether a leg counts as in flight. `PENDING` is an answer, though the saga waits on."""
    if status is SENT or status is UNKNOWN or status is CANCELLING:
        return True
    return coming and status is WAITING


def _on_its_way(saga: Saga) -> bool:
    """Whether the legs that still wait will be asked for as soon as the first one is answered.

    They count from the start: else a burst of new sagas would find room at the creditor for each,
    and fill it many times over once their points are deducted.
    """
    return saga.legs[0].status is SENT and not saga.withdrawn and not saga.ended


def _names(terms: Terms) -> tuple[str, ...]:
    """The participants in the order of their roles, and nobody behind them."""
    return (*terms.participants, "")
