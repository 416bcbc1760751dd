"""A made-up third kind: a member proves to a host who they are, with a code that the host sends.

It has no points, no lines and no pivot; it waits for its origin as for any participant, tells it
what to do before the end, more than once, and ends in statuses of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal

from orchestrator.engine import definition, programme
from orchestrator.engine.definition import Definition, Verb, compensable, query
from orchestrator.engine.instance import Leg, ResultRevision, Saga, Terms
from orchestrator.engine.kind import (
    AccountEvent,
    Answer,
    Asking,
    Interim,
    LimitKey,
    PlainPlan,
    Programmes,
    Refusal,
    SagaKind,
    content_digest,
)
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import Event, NoChange, Status
from orchestrator.engine.programme import Needed
from orchestrator.engine.published import PublishedSaga
from orchestrator.engine.statuses import Statuses
from schemas.base import Inbound, Outbound
from schemas.events import Channel, EventType
from schemas.ids import SagaId, saga_key
from schemas.reasons import Code
from schemas.replies import LegAnswered, Outcome
from schemas.values import Id

REQUESTED: Final = "test.passcode.requested.v1"
ENTERED: Final = "test.passcode.entered.v1"
WITHDRAWN: Final = "test.passcode.withdrawn.v1"
SEND: Final = "test.passcode.send.v1"
VOID: Final = "test.passcode.void.v1"
CHECK: Final = "test.passcode.check.v1"
RESULT: Final = "test.passcode.result.v1"
TRIES_MAX: Final = 3


class Requested(Inbound):
    """Ask for a code."""

    saga_kind = "passcode"

    request_id: Id
    programme: Id
    account: Id

    def content(self) -> tuple[object, ...]:
        return (self.programme,)


class Entered(Inbound):
    """The code that the member typed, sealed for the host."""

    saga_kind = "passcode"

    request_id: Id
    account: Id
    sealed: Id


class Withdrawn(Inbound):
    """The member does not want it any more."""

    saga_kind = "passcode"

    request_id: Id
    account: Id


class Told(Outbound):
    """The answer to an inquiry, which this kind does not have."""


class Role(definition.Role):
    ORIGIN = 0
    HOST = 1


class Words(StrEnum):
    CODE_REQUIRED = "CODE_REQUIRED"
    PROVEN = "PROVEN"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    DROPPED = "DROPPED"


DEFINITION: Final = Definition(
    name="passcode",
    version=1,
    roles=Role,
    steps=(
        compensable(
            Verb(name="send", command=SEND),
            to=Role.HOST,
            undo=Verb(name="void", command=VOID, for_ever=True),
        ),
        query(Verb(name="enter", command=None), to=Role.ORIGIN),
        query(Verb(name="check", command=CHECK), to=Role.HOST),
    ),
    answer=RESULT,
)


class Programme(programme.Programme):
    saga: Literal["passcode"]
    host: str

    def needs(self) -> Iterator[Needed]:
        yield Needed("host", self.host, ("send", "void", "check"))
        for origin in self.origins:
            yield Needed("origins", origin, ("enter",))


class Intake:
    requested = Requested
    inquired = None
    withdrawn = Withdrawn

    @property
    def answers(self) -> Mapping[type[AccountEvent], Answer]:
        return ANSWERS

    def limit(self, *_: Any) -> LimitKey | None:
        return None

    def draft(
        self,
        request: Requested,
        origin: str,
        programmes: Programmes,
        now: int,
        traceparent: str | None = None,
        *,
        key: tuple[int, SagaId] | None = None,
        used: int = 0,
    ) -> Terms:
        where = key or saga_key(origin, request.account, request.request_id, "passcode")
        found: Programme | None = programmes["passcode"].get(request.programme)
        return Terms(
            saga_id=where[1],
            key_hash=where[0],
            programme=request.programme,
            origin=origin,
            account=request.account,
            request_id=request.request_id,
            content=content_digest(request),
            accepted_at=now,
            definition="passcode",
            definition_version=1,
            participants=(origin, found.host if found else ""),
            traceparent=traceparent,
        )

    def refusal(
        self, request: Requested, terms: Terms, programmes: Programmes, now: int, used: int
    ) -> Refusal | None:
        known = request.programme in programmes["passcode"]
        return None if known else Refusal(Code.UNKNOWN_PRODUCT, "programme")

    def legs(self, terms: Terms, request: Requested) -> tuple[Leg, ...]:
        return (Leg("send", 1), Leg("enter", 1), Leg("check", 1))

    def refused_legs(self, terms: Terms, request: Requested) -> tuple[Leg, ...]:
        return ()

    def detail(self, terms: Terms) -> Mapping[str, Any]:
        return {}

    def tombstone(self, withdrawal: Withdrawn, origin: str, now: int) -> Saga:
        where = saga_key(origin, withdrawal.account, withdrawal.request_id, "passcode")
        terms = Terms(
            saga_id=where[1],
            key_hash=where[0],
            programme="",
            origin=origin,
            account=withdrawal.account,
            request_id=withdrawal.request_id,
            content="",
            accepted_at=now,
            definition="passcode",
            definition_version=1,
            participants=(origin, ""),
        )
        return Saga(
            terms, 1, told=ResultRevision(1, Words.DROPPED, True, Code.WITHDRAWN, None, now)
        )

    def is_other(self, stone: Saga, request: Any) -> bool:
        return False

    def revive(self, stone: Saga, request: Any) -> NoChange:
        return NoChange.STALE

    def not_received(self, inquiry: Any, saga_id: SagaId, now: datetime) -> Told:
        return Told()

    def restored(self, terms: Terms, said: PublishedSaga) -> Terms:
        return terms


def _entered(saga: Saga, event: Entered) -> tuple[str, LegUpdate] | None:
    waiting = [leg for leg in saga.legs if leg.verb == "enter"]
    if not waiting:
        return None
    seal = {"sealed": event.sealed}
    return waiting[-1].path, LegUpdate(
        event=Event.CONFIRMED, amount=1, reference="member", detail=seal
    )


ANSWERS: Final[Mapping[type[AccountEvent], Answer]] = MappingProxyType({Entered: _entered})


class Plan(PlainPlan):
    def interim(self, saga: Saga) -> Interim | None:
        asked = [leg for leg in saga.legs if leg.verb == "enter" and leg.status is Status.SENT]
        if not asked:
            return None
        again = Code.PARTNER_DECLINED if asked[-1].path != "enter" else None
        return Interim(Words.CODE_REQUIRED, again, asked[-1].sent_at)

    def rebalance(self, saga: Saga, asking: Asking, now: int) -> Saga:
        checks = [leg for leg in saga.legs if leg.verb == "check"]
        enters = [leg for leg in saga.legs if leg.verb == "enter"]
        if any(leg.moved for leg in checks):
            return saga
        last, entry = checks[-1], enters[-1]
        if len(enters) > len(checks) and entry.moved:
            return asking.ask(saga, [Leg(f"check/{len(checks) + 1}", 1)], now)
        used_up = len(checks) >= TRIES_MAX
        if last.status is Status.REJECTED and len(enters) == len(checks) and not used_up:
            return asking.ask(saga, [Leg(f"enter/{len(enters) + 1}", 1)], now)
        waiting = entry.status is Status.SENT or last.status is Status.SENT
        if saga.legs[0].moved and not waiting and saga.leg("send/void") is None:
            return asking.ask(saga, [Leg("send/void", 1)], now)
        return saga

    def ending(self, saga: Saga) -> tuple[Words, Code | None]:
        if any(leg.moved for leg in saga.legs if leg.verb == "check"):
            return Words.PROVEN, None
        if saga.withdrawn:
            return Words.DROPPED, Code.WITHDRAWN
        return Words.FAILED, Code.PARTNER_DECLINED


class Wording:
    def command(self, saga: Saga, leg: Leg) -> dict[str, Any]:
        if leg.verb != "check":
            return {"account": saga.terms.account}
        entry = next(one for one in reversed(saga.legs) if one.verb == "enter" and one.moved)
        return {"sealed": (entry.detail or {})["sealed"]}

    def read_reply(self, saga: Saga, leg: Leg, reply: LegAnswered) -> LegUpdate:
        if reply.stated is Outcome.CONFIRMED:
            return LegUpdate(event=Event.CONFIRMED, amount=1, reference=reply.reference)
        return LegUpdate(event=Event.REJECTED, code=Code.PARTNER_DECLINED)

    def read_command(self, data: Mapping[str, Any]) -> tuple[int, Mapping[str, Any] | None]:
        return 1, None

    def result(self, saga: Saga) -> dict[str, Any]:
        told = saga.told
        assert told is not None
        tries = sum(leg.verb == "check" and leg.status is Status.REJECTED for leg in saga.legs)
        return {
            "saga_id": saga.terms.saga_id,
            "request_id": saga.terms.request_id,
            "account": saga.terms.account,
            "revision": told.revision,
            "status": told.status,
            "final": told.final,
            "tries_left": TRIES_MAX - tries,
        }


class TermsCodec:
    def encode(self, terms: Terms) -> list[Any]:
        return [terms.participants, terms.traceparent]

    def decode(self, found: list[Any], **header: Any) -> Terms:
        return Terms(**header, participants=tuple(found[0]), traceparent=found[1])


PASSCODE: Final = SagaKind(
    definition=DEFINITION,
    statuses=Statuses(
        of=Words,
        refused=Words.REFUSED,
        interim=frozenset({Words.CODE_REQUIRED}),
        withdrawn=Words.DROPPED,
    ),
    programme=Programme,
    intake=Intake(),
    plan=Plan(),
    wording=Wording(),
    terms=TermsCodec(),
    events=(
        EventType(REQUESTED, Requested, Channel.REQUESTS),
        EventType(ENTERED, Entered, Channel.REQUESTS),
        EventType(WITHDRAWN, Withdrawn, Channel.REQUESTS),
    ),
)
