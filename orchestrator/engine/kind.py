"""The protocols that a kind of saga implements; `SagaKind` puts them together.

The engine knows legs, the transition table, the ladder, the outbox, decisions of people and how a
saga is rebuilt. A kind adds how a request becomes a saga (`Intake`), what follows from the status
of its legs (`Plan`), the content of its messages (`Wording`) and, if it moves something, its books
(`Books`). All of it is pure: data and functions that get the time as an argument, in milliseconds
since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import blake2b
from typing import Any, ClassVar, Protocol

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
    """An event of an origin: it names the saga by its kind, the account and the request's id."""

    saga_kind: ClassVar[str]  # The name of the kind, or "" for redemptions (`schemas/ids.py`).

    @property
    def request_id(self) -> str:
        """The origin's id of the request."""

    @property
    def account(self) -> str:
        """The account that the request is for."""


class SagaRequested(AccountEvent, Protocol):
    """An event that asks for a saga."""

    @property
    def programme(self) -> str:
        """The id of the programme that is asked for."""

    def content(self) -> tuple[object, ...]:
        """The values that two events must have in common to be the same request."""


LimitKey = tuple[int, str, date]
"""A key hash, the scope's name and the business date: what an account limit is counted under."""
Programmes = Mapping[str, Mapping[str, Any]]
"""What is on offer, by kind of saga and id of the programme."""


@value
class Refusal:
    """Why the rules refuse a request, before any participant is asked."""

    code: Code
    field: str | None = None


def content_digest(request: SagaRequested) -> str:
    """A digest of what a request asks for; equal whenever it is sent again (`domain.md` I9)."""
    return blake2b(repr(request.content()).encode(), digest_size=12).hexdigest()


class Intake(Protocol):
    """How the events of an origin become a saga of the kind, and how they are answered."""

    @property
    def requested(self) -> type[SagaRequested]:
        """The event that asks for a saga."""

    @property
    def inquired(self) -> type[AccountEvent] | None:
        """The event that asks for the current result of a saga; None: there is none."""

    @property
    def withdrawn(self) -> type[AccountEvent] | None:
        """The event that withdraws a request; None: there is none."""

    @property
    def answers(self) -> Mapping[type[AccountEvent], Answer]:
        """The events by which an origin answers a leg whose participant it is itself."""

    def limit(
        self,
        request: Any,
        origin: str,
        programmes: Programmes,
        now: int,
        published: PublishedSaga | None,
    ) -> LimitKey | None:
        """The account limit that must be read before the request can be decided; None: none.

        `published` is what was published about the saga, if its database was lost after it began.
        """

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
        """The terms of a request, as far as it can be understood; `refusal` decides about it.

        Args:
            request: an event of the type `requested`.
            origin: the participant that asks.
            programmes: the programmes on offer.
            now: milliseconds since 1970.
            traceparent: the trace context of the request.
            key: the key hash and the id of the saga, if they were computed before.
            used: how much of the account's limit is used already.
        """

    def refusal(
        self, request: Any, terms: Terms, programmes: Programmes, now: int, used: int
    ) -> Refusal | None:
        """Why the rules refuse the request, the gravest reason first; None: they accept it."""

    def legs(self, terms: Terms, request: Any) -> tuple[Leg, ...]:
        """The legs that an accepted saga begins with."""

    def refused_legs(self, terms: Terms, request: Any) -> tuple[Leg, ...]:
        """The legs of a refused saga: what the origin did before it made the request."""

    def detail(self, terms: Terms) -> Mapping[str, Any]:
        """What the timeline shows about the request."""

    def tombstone(self, withdrawal: Any, origin: str, now: int) -> Saga:
        """A saga for a request that was withdrawn before it arrived; the request will meet it."""

    def is_other(self, tombstone: Saga, request: Any) -> bool:
        """Whether a request that meets a tombstone differs from one that met it before (I9)."""

    def revive(self, tombstone: Saga, request: Any) -> Saga | NoChange:
        """The tombstone with what the origin did for its late request, at the same revision.

        NoChange when there is nothing to give back.
        """

    def not_received(self, inquiry: Any, saga_id: SagaId, now: datetime) -> BaseModel:
        """The answer to an inquiry about a request that is not known."""

    def restored(self, terms: Terms, published: PublishedSaga) -> Terms:
        """The terms of a saga whose row was lost, made to agree with what was published."""


Answer = Callable[[Saga, Any], tuple[str, LegUpdate] | None]
"""Reads an answer of an origin: the path of the leg that it is about, and what it says of it.

None when it is about no leg of the saga.
"""


class Asking(Protocol):
    """What the engine offers to a plan: read the policy of a leg, and ask for further legs."""

    def policy(self, terms: Terms, leg: Leg) -> LegPolicy:
        """The policy that a leg follows while its answer does not come."""

    def ask(self, saga: Saga, legs: Iterable[Leg], now: int) -> Saga:
        """The saga with those legs added, all of them SENT."""


@value
class Interim:
    """An interim result that a plan wants; it is published once after `since`."""

    status: str
    code: Code | None
    since: int  # When it became true, in milliseconds since 1970.


class Plan(Protocol):
    """What follows for a saga of the kind from the status of its legs."""

    def rebalance(self, saga: Saga, asking: Asking, now: int) -> Saga:
        """The saga with the next leg asked that must follow; the same object if none must.

        Called when every step was asked or never will be, and again until nothing follows.
        """

    def holds_up(self, saga: Saga, leg: Leg) -> bool:
        """Whether the saga cannot end while that leg is asked and not decided."""

    def ending(self, saga: Saga) -> tuple[str, Code | None]:
        """The final status of the saga, and the reason if it is not what was asked for."""

    def still_holds(self, saga: Saga, status: str) -> bool:
        """Whether the result that was published before a database was lost is right as it is.

        `status` is the final status that the saga has now.
        """

    def interim(self, saga: Saga) -> Interim | None:
        """The interim result that the origin needs now; None: none."""

    def write_off(self, saga: Saga, leg: Leg, asking: Asking, now: int) -> Saga | None:
        """The saga with the value written off that an overturned leg left unpaid; None: none is."""


class PlainPlan:
    """The plan of a kind that asks its steps in order and undoes nothing."""

    def rebalance(self, saga: Saga, asking: Asking, now: int) -> Saga:  # noqa: ARG002
        """Nothing follows after the steps."""
        return saga

    def holds_up(self, saga: Saga, leg: Leg) -> bool:  # noqa: ARG002
        """The saga waits for every leg."""
        return True

    def still_holds(self, saga: Saga, status: str) -> bool:
        """A published final result is right as long as its status is."""
        data = saga.told.as_published if saga.told is not None else None
        return data is not None and bool(data["final"]) and data["status"] == status

    def interim(self, saga: Saga) -> Interim | None:  # noqa: ARG002
        """There is no interim result."""
        return None

    def write_off(self, saga: Saga, leg: Leg, asking: Asking, now: int) -> Saga | None:  # noqa: ARG002
        """There is nothing to write off."""
        return None


class Wording(Protocol):
    """The content of a kind's messages: the data of its commands and results, reading replies."""

    def command(self, saga: Saga, leg: Leg) -> dict[str, Any]:
        """The fields of a command beyond those that every command has."""

    def result(self, saga: Saga) -> dict[str, Any]:
        """The data of the latest result; the same each time it is published."""

    def read_reply(self, saga: Saga, leg: Leg, reply: LegAnswered) -> LegUpdate:
        """What a reply says about a leg; a reply that does not fit the command is unusable."""

    def read_command(self, data: Mapping[str, Any]) -> tuple[int, Mapping[str, Any] | None]:
        """The amount that a published command asked for, and the detail that its leg had."""


class Books(Protocol):
    """What a kind moves: journal entries, the amount in suspense, the use of account limits."""

    def transfers(self, was: Saga | None, now: Saga) -> Iterator[Transfer]:
        """The movements between two revisions of a saga; `was` is None for a new one."""

    def stake(self, saga: Saga) -> tuple[int, str]:
        """The amount that is neither consumed nor returned yet, and its unit (`domain.md` I11)."""

    def limit(self, terms: Terms) -> LimitKey | None:
        """The account limit that counts the saga; None: its programme has none."""

    def reserved(self, terms: Terms) -> int:
        """How much of the account limit a saga uses when it is accepted."""

    def counted(self, saga: Saga) -> int:
        """How much of the account limit the saga uses at this revision (`domain.md` I5)."""


class TermsCodec(Protocol):
    """The kind's part of the terms as a row stores them."""

    def encode(self, terms: Terms) -> list[Any]:
        """The terms beyond those that every kind stores, in an order that never changes."""

    def decode(self, found: list[Any], **header: Any) -> Terms:
        """The terms, from what any version of `encode` wrote, and the fields every kind stores."""


@value
class Transition:
    """A saga at its next revision, with its timer set, and what it causes."""

    saga: Saga
    messages: tuple[MessageRef, ...]  # To be published.
    transfers: tuple[Transfer, ...]  # To be added to the journal.
    phase: str


class FastPath(Protocol):
    """Shortcuts for the most frequent transitions of a kind; None means: use the engine.

    A shortcut must give exactly what the engine would give.
    """

    def begun(self, terms: Terms, now: int) -> Transition | None:
        """A new saga, with its first leg SENT."""

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
        """The saga with its one due leg on its next rung: inquired about, or waited for longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaKind:
    """One version of a kind of saga: its definition and the parts that implement it."""

    definition: Definition
    statuses: Statuses
    programme: type[Programme]
    intake: Intake
    plan: Plan
    wording: Wording
    terms: TermsCodec
    books: Books | None = None  # None: the kind moves nothing.
    fast_path: Callable[[Policies], FastPath] | None = None
    events: tuple[EventType, ...] = ()  # Event types of its own, which the contract does not list.
    keep_for: int | None = None  # Milliseconds from its end until its row is deleted; None: never.
    waits: bool = True  # Whether it may be held where an unavailable participant allows that.

    @property
    def name(self) -> str:
        """The name of the kind."""
        return self.definition.name

    @property
    def version(self) -> int:
        """The version of its definition."""
        return self.definition.version
