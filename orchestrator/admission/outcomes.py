"""What a batch shows of the participants: legs sent, answered, missed, and in flight. Pure.

It runs for every batch, so only legs that changed are looked at.
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
"""The statuses that a usable answer gives to a leg that was sent."""


@dataclass(slots=True)
class ParticipantOutcomes:
    """What was seen of each participant."""

    seen: dict[str, Counts] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)  # By how many the legs changed.


class _Roles(dict[str, int]):
    """The role that a leg is asked of, by its path; there are few paths, looked up often."""

    def __init__(self, definition: Definition) -> None:
        super().__init__()
        self._definition = definition
        self.queries: set[str] = set()  # The paths whose outcomes are no samples of health.

    def __missing__(self, path: str) -> int:
        verb = Leg(path, 0).verb
        role = _NOBODY if verb == LOSS else int(self._definition.role_of(verb))
        if role != _NOBODY and self._definition.changes_nothing(verb):
            self.queries.add(path)
        self[path] = role
        return role


_NOBODY: Final = -1  # For a loss, which asks nobody: the index of the last of `_names`.


_ROLES: Final[dict[tuple[str, int], _Roles]] = {}


def _roles_of(terms: Terms, kinds: Kinds) -> _Roles:
    """The roles of the legs of the saga's kind; made once for each version of a kind."""
    version = (terms.definition, terms.definition_version)
    roles = _ROLES.get(version)
    if roles is None:
        roles = _ROLES[version] = _Roles(kinds[version].definition)
    return roles


def in_flight(saga: Saga, kinds: Kinds = KINDS) -> dict[str, int]:
    """How many of a saga's legs are in flight, or soon will be, at each participant.

    It depends on nothing but the saga, so the changes of all commits add up to the sum over all
    sagas.
    """
    by_participant: dict[str, int] = {}
    names, coming = _names(saga.terms), bool(saga.legs) and _on_its_way(saga)
    roles = _roles_of(saga.terms, kinds)
    for leg in saga.legs:
        if _counts(leg.status, coming):
            name = names[roles[leg.path]]
            by_participant[name] = by_participant.get(name, 0) + 1
    return by_participant


def observe(
    changes: Iterable[Change],
    since: Mapping[str, int],
    listening: Mapping[str, int],
    kinds: Kinds = KINDS,
) -> ParticipantOutcomes:
    """What the changes of one batch show of the participants.

    Args:
        changes: the sagas of the batch, before and after.
        since: by participant, when its breaker last moved; outcomes of commands sent before that do
            not count. In milliseconds, as `listening`.
        listening: by participant, since when its replies are read without delay. A missing answer
            to a command sent before that does not count: its reply may be there, not read yet.
        kinds: the kinds of saga.
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
            continue  # A loss, which asks nobody.
        count = counts.get(name) or counts.setdefault(name, [0, 0, 0, 0])
        count[3] += _counts(status, comes) - (old is not None and _counts(earlier, came))
        if status is earlier or leg.path in roles.queries:
            continue
        if earlier is WAITING:
            count[0] += status is SENT
        elif earlier is SENT and leg.sent_at >= since.get(name, 0):
            if status in ANSWERS:
                count[1] += 1
            elif leg.sent_at >= listening.get(name, 0):
                count[2] += 1


def _counts(status: Status, coming: bool) -> bool:
    """Whether a leg counts as in flight. PENDING does not: it is an answer, if not the last."""
    if status is SENT or status is UNKNOWN or status is CANCELLING:
        return True
    return coming and status is WAITING


def _on_its_way(saga: Saga) -> bool:
    """Whether the waiting legs will be sent as soon as the first leg is answered.

    They count as in flight from the start. Otherwise there would be room at the creditor for each
    saga of a burst, and far too many legs once their points are deducted.
    """
    return saga.legs[0].status is SENT and not saga.withdrawn and not saga.ended


def _names(terms: Terms) -> tuple[str, ...]:
    """The participants in the order of their roles, and an empty name at the end."""
    return (*terms.participants, "")
