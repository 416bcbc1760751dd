"""A kind of saga: data and a few pure functions, which make it what it is.

The engine knows legs, the table, the ladder, the outbox, people's decisions and how a saga is
rebuilt. What a kind adds is here as protocols: how a request becomes a saga, what follows from
where its legs stand, what it says, and, where it moves something, its books.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import blake2b
from typing import Any, Protocol

from pydantic import BaseModel

from orchestrator.engine.definition import Definition
from orchestrator.engine.instance import Leg, Saga, Terms
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import NoChange
from orchestrator.engine.outbox import MessageRef
from orchestrator.engine.policy import LegPolicy, Policies
from orchestrator.engine.postings import Transfer
from orchestrator.engine.programme import Programme
from orchestrator.engine.published import PublishedSaga
from orchestrator.engine.statuses import Statuses
from schemas.events import EventType
from schemas.frozen import value
from schemas.ids import SagaId
from schemas.reasons import Code
from schemas.replies import LegAnswered


class AccountEvent(Protocol):
    """An event of an origin: it names the saga by the account and the id of its request."""

    @property
    def request_id(self) -> str:
        """The origin's own id of the request."""

    @property
    def account(self) -> str:
        """The account that the request is for."""


class SagaRequested(AccountEvent, Protocol):
    """An event that asks for a saga."""

    @property
    def programme(self) -> str:
        """Which product on offer."""

    def content(self) -> tuple[object, ...]:
        """What makes two events the same request."""


LimitKey = tuple[int, str, date]
"""A key hash, the scope's name and the business date: what an account limit is counted under."""
Programmes = Mapping[str, Mapping[str, Any]]
"""What is on offer, by kind of saga and id of the programme."""


@value
class Refusal:
    """A definite no by the rules: nothing was asked of anybody."""

    code: Code
    field: str | None = None


def content_digest(request: SagaRequested) -> str:
    """A digest of what is asked; equal for two sendings of the same request (`domain.md` I9)."""
    return blake2b(repr(request.content()).encode(), digest_size=12).hexdigest()


class Intake(Protocol):
    """How an origin's events become a saga of the kind, and what else they say of one."""

    @property
    def requested(self) -> type[SagaRequested]:
        """The event that asks for a saga."""

    @property
    def inquired(self) -> type[AccountEvent] | None:
        """The event that asks how a saga stands."""

    @property
    def withdrawn(self) -> type[AccountEvent] | None:
        """The event that takes a request back."""

    @property
    def answers(self) -> Mapping[type[AccountEvent], Answer]:
        """The events by which an origin answers a leg that was asked of it."""

    def limit(
        self,
        request: Any,
        origin: str,
        programmes: Programmes,
        now: int,
        said: PublishedSaga | None,
    ) -> LimitKey | None:
        """The account limit that must be read before the request can be decided."""

    def draft(
        self,
        request: Any,
        origin: str,
        programmes: Programmes,
        now: int,
        traceparent: str | None = None,
        *,
        key: tuple[int, SagaId] | None = None,
        used: int = 0,
    ) -> Terms:
        """The terms of a request, as far as it can be understood; acceptance is another question.

        Args:
            request: an event of the type `requested`.
            origin: who asks.
            programmes: what is on offer.
            now: milliseconds since 1970.
            traceparent: of the request, carried through.
            key: where the saga lives, when that was computed before.
            used: how much of the account's limit counts already.
        """

    def refusal(
        self, request: Any, terms: Terms, programmes: Programmes, now: int, used: int
    ) -> Refusal | None:
        """Why the rules say no, the gravest first; None when they do not."""

    def legs(self, terms: Terms, request: Any) -> tuple[Leg, ...]:
        """The legs that the saga begins with."""

    def refused_legs(self, terms: Terms, request: Any) -> tuple[Leg, ...]:
        """The legs of a saga that is refused at once: what the origin did before it asked."""

    def detail(self, terms: Terms) -> Mapping[str, Any]:
        """What the timeline shows of a request."""

    def tombstone(self, withdrawal: Any, origin: str, now: int) -> Saga:
        """A saga for a request that was withdrawn before it came; whatever comes finds this."""

    def is_other(self, stone: Saga, request: Any) -> bool:
        """Whether a request that meets a tombstone is another one than what met it before (I9)."""

    def revive(self, stone: Saga, request: Any) -> Saga | NoChange:
        """A tombstone with what its request brought after all; the time has not passed on it."""

    def not_received(self, inquiry: Any, saga_id: SagaId, now: datetime) -> BaseModel:
        """The answer to an inquiry about a request that is not known."""

    def restored(self, terms: Terms, said: PublishedSaga) -> Terms:
        """The terms of a saga that was lost with its database, as it was told of before."""


Answer = Callable[[Saga, Any], tuple[str, LegUpdate] | None]
"""What an origin's event says: about which leg, and what; None when it is about none."""


class Asking(Protocol):
    """What a plan may do: look at the ladder of a leg, and ask."""

    def policy(self, terms: Terms, leg: Leg) -> LegPolicy:
        """The ladder of a leg."""

    def ask(self, saga: Saga, legs: Iterable[Leg], now: int) -> Saga:
        """The saga with further legs, asked all together."""


@value
class Interim:
    """What an origin must do or know before the end: told once since the moment it is true."""

    status: str
    code: Code | None
    since: int  # Milliseconds since 1970.


class Plan(Protocol):
    """What follows for a saga of the kind from where its legs stand. Pure."""

    def rebalance(self, saga: Saga, asking: Asking, now: int) -> Saga:
        """The saga with the next thing asked that must follow; itself when nothing must.

        Called once every step was asked, or will never be, and again until nothing follows.
        """

    def holds_up(self, saga: Saga, leg: Leg) -> bool:
        """Whether a leg that was asked and is not decided keeps the saga from its end."""

    def ending(self, saga: Saga) -> tuple[str, Code | None]:
        """How it ended, and why if not as was asked for."""

    def still_holds(self, saga: Saga, status: str) -> bool:
        """Whether what the origin was told before its database was lost is what it would be now."""

    def interim(self, saga: Saga) -> Interim | None:
        """What the origin is to be told meanwhile; None: nothing."""

    def write_off(self, saga: Saga, leg: Leg, asking: Asking, now: int) -> Saga | None:
        """The saga with what a believed contradiction left unpaid given up; None: nothing is."""


class PlainPlan:
    """The plan of a kind that asks its steps in order and takes nothing back."""

    def rebalance(self, saga: Saga, asking: Asking, now: int) -> Saga:  # noqa: ARG002
        """Nothing follows beside the steps."""
        return saga

    def holds_up(self, saga: Saga, leg: Leg) -> bool:  # noqa: ARG002
        """Every leg is waited for."""
        return True

    def still_holds(self, saga: Saga, status: str) -> bool:
        """A result holds while its status does."""
        said = saga.told.as_published if saga.told is not None else None
        return said is not None and bool(said["final"]) and said["status"] == status

    def interim(self, saga: Saga) -> Interim | None:  # noqa: ARG002
        """Nothing is told before the end."""
        return None

    def write_off(self, saga: Saga, leg: Leg, asking: Asking, now: int) -> Saga | None:  # noqa: ARG002
        """There is nothing to give up."""
        return None


class Wording(Protocol):
    """What a kind says and hears: the data of its commands and results, what replies mean."""

    def command(self, saga: Saga, leg: Leg) -> dict[str, Any]:
        """The fields of a command beyond those that every command has."""

    def result(self, saga: Saga) -> dict[str, Any]:
        """The data of the latest result; the same whenever it is said."""

    def read_reply(self, saga: Saga, leg: Leg, reply: LegAnswered) -> LegUpdate:
        """What a reply says about a leg; whatever does not fit what was asked is unusable."""

    def read_command(self, data: Mapping[str, Any]) -> tuple[int, Mapping[str, Any] | None]:
        """How much a command of the kind asked for, and the detail that its leg had."""


class Books(Protocol):
    """What a kind moves: journal entries, what is in suspense, what counts on account limits."""

    def transfers(self, was: Saga | None, now: Saga) -> Iterator[Transfer]:
        """The movements that a step caused."""

    def stake(self, saga: Saga) -> tuple[int, str]:
        """What is neither consumed nor returned yet, and its unit (`domain.md` I11)."""

    def limit(self, terms: Terms) -> LimitKey | None:
        """The account limit that the saga counts on, if its programme has one."""

    def reserved(self, terms: Terms) -> int:
        """How much of the account limit a saga uses when it is accepted."""

    def counted(self, saga: Saga) -> int:
        """How much of the account limit the saga uses as it stands (`domain.md` I5)."""


class TermsCodec(Protocol):
    """The kind's part of what a row stores of the terms."""

    def encode(self, terms: Terms) -> list[Any]:
        """The terms beyond those that every kind stores, in an order that never changes."""

    def decode(self, found: list[Any], **header: Any) -> Terms:
        """The terms, from what `encode` wrote in whatever version, and the header."""


@value
class Transition:
    """A saga at its next revision, with its timer, and all that follows from it."""

    saga: Saga
    messages: tuple[MessageRef, ...]
    transfers: tuple[Transfer, ...]
    phase: str


class FastPath(Protocol):
    """The commonest transitions of a kind; None means: use the engine.

    What it says must be what the engine would have said.
    """

    def begun(self, terms: Terms, now: int) -> Transition | None:
        """A new saga, with its first leg asked."""

    def confirmed(
        self,
        saga: Saga,
        leg: Leg,
        reference: str | None,
        detail: Mapping[str, Any] | None,
        now: int,
    ) -> Transition | None:
        """The saga with that leg confirmed in full."""

    def waiting(self, saga: Saga, now: int) -> Transition | None:
        """The saga with the one leg whose time has come asked about again, or just waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaKind:
    """Everything that makes one kind of saga, in one version of it."""

    definition: Definition
    statuses: Statuses
    programme: type[Programme]
    intake: Intake
    plan: Plan
    wording: Wording
    terms: TermsCodec
    books: Books | None = None  # None: it moves nothing.
    fast_path: Callable[[Policies], FastPath] | None = None
    events: tuple[EventType, ...] = ()  # Its own, where the contract does not list them.
    keep_for: int | None = None  # Milliseconds after its end until it is forgotten; None: never.
    waits: bool = True  # Held while a participant cannot take it, where that one says so.

    @property
    def name(self) -> str:
        """The name of the kind."""
        return self.definition.name

    @property
    def version(self) -> int:
        """The version of its definition."""
        return self.definition.version
