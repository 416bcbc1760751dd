"""Brings a saga up to what was published about it before its database was lost. Pure.

Nothing is published before it is committed, so the platform's own topics hold what the lost rows
implied. A saga that is rebuilt from them has sent the same commands, has the same result for its
origin, and decides nothing differently (`docs/decisions/0017`).
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
    published: PublishedSaga,
    kind: SagaKind,
    policy_of: Callable[[Leg], LegPolicy],
    now: int,
) -> Saga:
    """The saga with every leg sent that was sent, and with the result that was published.

    It is the very same object when the saga implies all of that already. Legs that are decided do
    not change: the answers to what was sent are on their way, or the ladder will ask for them.

    Args:
        saga: the saga as the restored database has it.
        published: what was published about it.
        kind: its kind.
        policy_of: gives the policy of a leg.
        now: milliseconds since 1970.
    """
    legs = {leg.path: leg for leg in saga.legs}
    for sent in published.legs:
        leg = legs.get(sent.path) or Leg(sent.path, sent.asked)
        if leg.asked:
            legs[sent.path] = _caught_up(leg, sent, policy_of(leg), now)
        done = legs.get(leg.undoes or "")
        if done is not None and done.reference is None and sent.reference is not None:
            legs[done.path] = replaced(done, reference=sent.reference)
    _ask_siblings(legs, kind.definition, policy_of, now)
    withdrawn = saga.withdrawn or any(leg.withdrawn for leg in published.legs)
    if tuple(legs.values()) != saga.legs or withdrawn is not saga.withdrawn:
        saga = replaced(saga, legs=tuple(legs.values()), withdrawn=withdrawn, held=0)
    revision = saga.told.revision if saga.told is not None else 0
    if published.result is None or published.result["revision"] <= revision:
        return saga
    result = _told(published.result, kind.statuses, published.result_at)
    withdrawn = saga.withdrawn or result.status == kind.statuses.withdrawn
    return replaced(saga, told=result, withdrawn=withdrawn, held=0)


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
"""The statuses in which a leg may have had more messages sent since the backup."""


def _caught_up(leg: Leg, sent: PublishedLeg, policy: LegPolicy, now: int) -> Leg:
    """The leg with as many attempts, inquiries and cancels as were published."""
    attempt = max(leg.attempt, sent.attempt)
    inquiries = max(leg.inquiries, sent.inquiries)
    cancels = max(leg.cancels, sent.cancels)
    if not attempt:  # An inquiry or a cancel was found, though the command itself was not.
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
        sent_at=leg.sent_at or sent.sent_at or sent.said_at,
        said_at=max(leg.said_at, sent.said_at, sent.sent_at),
        expires_at=leg.expires_at or sent.expires_at or now + policy.expires_after,
        due=now + policy.response_timeout,
        detail=leg.detail or sent.detail,
        code=leg.code if status is Status.SENT else leg.code or Code.TIMEOUT,
        rungs=max(leg.rungs, inquiries + attempt - 1),
        since=leg.since or (sent.said_at if cancels else 0),
    )


def _ask_siblings(
    legs: dict[str, Leg],
    definition: Definition,
    policy_of: Callable[[Leg], LegPolicy],
    now: int,
) -> None:
    """Send the waiting legs of every step of which one leg was sent.

    The legs of a step are sent together, so their commands were about to be published as well.
    """
    for step in definition.steps:
        siblings = [leg for leg in legs.values() if leg.verb == step.name]
        if any(leg.status is not Status.WAITING for leg in siblings):
            for leg in siblings:
                if leg.status is Status.WAITING:
                    legs[leg.path] = ladder.sent(leg, policy_of(leg), now)


def _told(data: Mapping[str, Any], statuses: Statuses, at: int) -> ResultRevision:
    """The result with that published data, which counts until the saga agrees with it again."""
    why = data.get("reason")
    return ResultRevision(
        data["revision"],
        statuses.by_text[data["status"]],
        data["final"],
        Code(why["code"]) if why else None,
        why.get("field") if why else None,
        at,
        data["corrected"],
        (),
        data,
    )
