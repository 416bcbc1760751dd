"""What was said about a saga before its database was lost, and the saga that must have said it.

Nothing leaves the platform before it is committed, so what is on the platform's own topics is what
the lost rows implied. A saga that is brought up to it has asked whom it had asked, remembers what
its origin was told, and decides nothing differently (`docs/decisions/0017`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

from orchestrator.engine import ladder
from orchestrator.engine.balance import issued, points
from orchestrator.engine.definition import Definition
from orchestrator.engine.instance import Leg, ResultRevision, Saga
from orchestrator.engine.machine import Status
from orchestrator.engine.outbox import MessageKind, MessageRef
from orchestrator.engine.policy import LegPolicy
from schemas.frozen import replaced, value
from schemas.reasons import Code
from schemas.results import ResultStatus


@value
class PublishedLeg:
    """What one participant was told about one leg; the highest number of each kind."""

    path: str
    asked: int = 0  # Points or pieces; 0 while no command was read, only questions about it.
    attempt: int = 0
    inquiries: int = 0
    cancels: int = 0
    sent_at: int = 0
    said_at: int = 0  # The latest inquiry or cancel.
    expires_at: int = 0
    reference: str | None = None  # Of the leg that it undoes.
    withdrawn: bool = False  # It undoes because the origin took its request back.
    lots: tuple[Mapping[str, Any], ...] = ()  # Into which it gives back.


@value
class PublishedSaga:
    """Everything that was said about one saga, each leg in the order in which it was asked."""

    legs: tuple[PublishedLeg, ...] = ()
    result: Mapping[str, Any] | None = None  # The latest, word for word.
    result_at: int = 0
    first_at: int = 0  # When its origin was told the first of what is known; 0: of nothing.

    @property
    def began(self) -> int:
        """When the saga first spoke: that is when its request was decided."""
        times = [leg.sent_at for leg in self.legs if leg.attempt]
        return min(times) if times else self.result_at

    @property
    def withdrawn_at(self) -> int:
        """When a request that had not come was withdrawn: its origin was told so at once.

        What was taken for it all the same may have been asked back since, in a later result.
        """
        return self.first_at or self.began

    def day(self, began: date) -> date:
        """The business date, which began at `began` unless the origin was told of another.

        A saga that was held when it was accepted first spoke later, perhaps past midnight.
        """
        told = self.result.get("business_date") if self.result is not None else None
        return date.fromisoformat(told) if told else began

    @property
    def refused(self) -> bool:
        """Whether the request was refused by the rules."""
        return self.result is not None and self.result["status"] == ResultStatus.REJECTED

    def contains(self, utterance: MessageRef) -> bool:
        """Whether that was said."""
        if utterance.kind is MessageKind.RESULT:
            return self.result is not None and self.result["revision"] >= utterance.number
        leg = next((leg for leg in self.legs if leg.path == utterance.path), None)
        if leg is None:
            return False
        numbers = {
            MessageKind.DO: leg.attempt,
            MessageKind.INQUIRE: leg.inquiries,
            MessageKind.CANCEL: leg.cancels,
        }
        return numbers[utterance.kind] >= utterance.number

    def differs(self, saga: Saga) -> str | None:
        """How a saga asks for something else than was asked for, in words."""
        for said in self.legs:
            leg = saga.leg(said.path)
            if leg is not None and said.asked not in (0, leg.asked):
                return (
                    f"{saga.terms.saga_id}/{leg.path} asked for {said.asked}, now for {leg.asked}"
                )
        return None


def replayed(
    saga: Saga,
    said: PublishedSaga,
    definition: Definition,
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
    _ask_siblings(legs, definition, policy_of, now)
    withdrawn = saga.withdrawn or any(leg.withdrawn for leg in said.legs)
    if tuple(legs.values()) != saga.legs or withdrawn is not saga.withdrawn:
        saga = replaced(saga, legs=tuple(legs.values()), withdrawn=withdrawn, held=0)
    revision = saga.told.revision if saga.told is not None else 0
    if said.result is None or said.result["revision"] <= revision:
        return saga
    told_then = _told(said.result, said.result_at)
    withdrawn = saga.withdrawn or told_then.status is ResultStatus.CANCELLED
    return replaced(saga, told=told_then, withdrawn=withdrawn, held=0)


def still_holds(saga: Saga, definition: Definition, status: ResultStatus) -> bool:
    """Whether what the origin was told before is what it would be told now."""
    words = saga.told.as_published if saga.told is not None else None
    if words is None or not words["final"]:
        return False
    pieces = issued(saga, definition.pivot)
    now = points(saga, definition)
    returning = now.returning if saga.terms.prededucted else 0
    charged = now.taken - now.returned - returning
    return (
        words["status"] == status
        and words["points"]["charged"] == charged
        and [line["issued"] for line in words["lines"]] == list(pieces)
    )


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
        detail=leg.detail or ({"lots": list(said.lots)} if said.lots else None),
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


def _told(words: Mapping[str, Any], at: int) -> ResultRevision:
    why = words.get("reason")
    return ResultRevision(
        words["revision"],
        ResultStatus(words["status"]),
        words["final"],
        Code(why["code"]) if why else None,
        why.get("field") if why else None,
        at,
        words["corrected"],
        (),
        words,
    )
