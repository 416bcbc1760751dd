"""The saga that must have said what was published before its database was lost.

Nothing leaves the platform before it is committed, so what is on the platform's own topics is what
the lost rows implied. A saga that is brought up to it has asked whom it had asked, remembers what
its origin was told, and decides nothing differently (`docs/decisions/0017`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from orchestrator.engine import ladder
from orchestrator.engine.definition import Definition
from orchestrator.engine.instance import Leg, ResultRevision, Saga
from orchestrator.engine.kind import SagaKind
from orchestrator.engine.machine import Status
from orchestrator.engine.policy import LegPolicy
from orchestrator.engine.published import PublishedLeg, PublishedSaga
from orchestrator.engine.statuses import Statuses
from schemas.frozen import replaced
from schemas.reasons import Code


def replayed(
    saga: Saga,
    said: PublishedSaga,
    kind: SagaKind,
    policy_of: Callable[[Leg], LegPolicy],
    now: int,
) -> Saga:
    """The saga with every leg asked that was asked, and told what it was told.

    The very same object when it had said all of that already. What was decided is not touched:
    the answers to what was asked are on their way, or will be asked for.
    """
    legs = {leg.path: leg for leg in saga.legs}
    for told in said.legs:
        leg = legs.get(told.path) or Leg(told.path, told.asked)
        if leg.asked:
            legs[told.path] = _caught_up(leg, told, policy_of(leg), now)
        done = legs.get(leg.undoes or "")
        if done is not None and done.reference is None and told.reference is not None:
            legs[done.path] = replaced(done, reference=told.reference)
    _ask_siblings(legs, kind.definition, policy_of, now)
    withdrawn = saga.withdrawn or any(leg.withdrawn for leg in said.legs)
    if tuple(legs.values()) != saga.legs or withdrawn is not saga.withdrawn:
        saga = replaced(saga, legs=tuple(legs.values()), withdrawn=withdrawn, held=0)
    revision = saga.told.revision if saga.told is not None else 0
    if said.result is None or said.result["revision"] <= revision:
        return saga
    told_then = _told(said.result, kind.statuses, said.result_at)
    withdrawn = saga.withdrawn or told_then.status == kind.statuses.withdrawn
    return replaced(saga, told=told_then, withdrawn=withdrawn, held=0)


_OPEN: Final = frozenset(
    {
        Status.WAITING,
        Status.SENT,
        Status.UNKNOWN,
        Status.PENDING,
        Status.CANCELLING,
        Status.SILENT,
        Status.REFUSED,
    }
)
"""Where more can have been said since."""


def _caught_up(leg: Leg, said: PublishedLeg, policy: LegPolicy, now: int) -> Leg:
    attempt = max(leg.attempt, said.attempt)
    inquiries = max(leg.inquiries, said.inquiries)
    cancels = max(leg.cancels, said.cancels)
    if not attempt:  # Asked what became of it, though the command was cut off.
        attempt = 1
    known = (leg.attempt, leg.inquiries, leg.cancels) == (attempt, inquiries, cancels)
    if known or leg.status not in _OPEN:
        return leg
    status = Status.SENT
    if cancels:
        status = Status.CANCELLING
    elif leg.status is Status.PENDING:
        status = Status.PENDING
    elif inquiries or attempt > 1:
        status = Status.UNKNOWN
    return replaced(
        leg,
        status=status,
        attempt=attempt,
        inquiries=inquiries,
        cancels=cancels,
        sent_at=leg.sent_at or said.sent_at or said.said_at,
        said_at=max(leg.said_at, said.said_at, said.sent_at),
        expires_at=leg.expires_at or said.expires_at or now + policy.expires_after,
        due=now + policy.response_timeout,
        detail=leg.detail or said.detail,
        code=leg.code if status is Status.SENT else leg.code or Code.TIMEOUT,
        rungs=max(leg.rungs, inquiries + attempt - 1),
        since=leg.since or (said.said_at if cancels else 0),
    )


def _ask_siblings(
    legs: dict[str, Leg],
    definition: Definition,
    policy_of: Callable[[Leg], LegPolicy],
    now: int,
) -> None:
    """Lines are asked for together: one that was not said was cut off in the middle of it."""
    for step in definition.steps:
        mine = [leg for leg in legs.values() if leg.verb == step.name]
        if any(leg.status is not Status.WAITING for leg in mine):
            for leg in mine:
                if leg.status is Status.WAITING:
                    legs[leg.path] = ladder.sent(leg, policy_of(leg), now)


def _told(words: Mapping[str, Any], statuses: Statuses, at: int) -> ResultRevision:
    why = words.get("reason")
    return ResultRevision(
        words["revision"],
        statuses.by_text[words["status"]],
        words["final"],
        Code(why["code"]) if why else None,
        why.get("field") if why else None,
        at,
        words["corrected"],
        (),
        words,
    )
