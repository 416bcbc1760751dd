"""One batch decided: arrivals and loaded rows in, changes and records to publish out. Pure.

Arrivals of one account in one batch see each other, in offset order (`design.md` 2).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from orchestrator.admission.gate import Allowance, Gate
from orchestrator.batch.decode import InboundEvent
from orchestrator.batch.effects import BatchResult, Kits, place_of
from orchestrator.batch.events import Batch
from orchestrator.catalogue.loader import Catalogue
from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Saga
from orchestrator.engine.rebuild import PublishedSaga
from orchestrator.ports import (
    DeadLetterReason,
    DecisionKey,
    DecisionRow,
    LimitKey,
    RecordPosition,
    SagaKey,
)
from orchestrator.sagas import SAGAS
from orchestrator.sagas.redemption import acceptance
from orchestrator.sagas.redemption.fast_path import FastPath
from orchestrator.sagas.redemption.messages import Messages
from schemas.decisions import OperatorDecided
from schemas.events import Channel
from schemas.ids import SagaId, bucket
from schemas.requests import RedemptionRequested

_NONE: Final[Mapping[int, DecisionRow]] = {}
_NOWHERE: Final[Mapping[RecordPosition, DeadLetterReason]] = {}
_ANY: Final[Mapping[str, Allowance]] = {}

NOTHING: Final[Mapping[SagaId, PublishedSaga]] = {}
"""What was said before the database was lost, when none was."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be read before a batch can be decided."""

    keys: Collection[SagaKey]  # In the order in which they were named, as everything follows it.
    strays: Collection[SagaId]
    limits: frozenset[LimitKey]
    decisions: frozenset[DecisionKey] = frozenset()
    places: frozenset[RecordPosition] = (
        frozenset()
    )  # Of what comes again, and may have been set aside.


@dataclass(frozen=True, slots=True)
class Decider:
    """The rules, bound to what is on offer."""

    catalogue: Catalogue
    group: str  # The consumer group, for dead letters.
    kits: Kits = field(init=False)
    ways: Mapping[tuple[str, int], FastPath] = field(init=False)

    def __post_init__(self) -> None:
        """Build the engine and the vocabulary of every version once; they hold no state."""
        kits = {
            version: (
                Engine(saga, self.catalogue.policies),
                Messages(saga, self.catalogue.policies),
            )
            for version, saga in SAGAS.items()
        }
        object.__setattr__(self, "kits", kits)
        ways = {version: FastPath(saga, self.catalogue.policies) for version, saga in SAGAS.items()}
        object.__setattr__(self, "ways", ways)

    def needs(
        self,
        arrivals: Sequence[InboundEvent],
        now: int,
        said: Mapping[SagaId, PublishedSaga] = NOTHING,
    ) -> Needs:
        """Which sagas and limits the batch touches."""
        keys: dict[SagaKey, None] = {}
        strays: dict[SagaId, None] = {}
        limits: set[LimitKey] = set()
        decisions: set[DecisionKey] = set()
        places = {place_of(one) for one in arrivals if one.redelivered and one.problem is None}
        for arrival in arrivals:
            if arrival.key is not None:
                keys[arrival.key] = None
            event = arrival.event
            if arrival.saga is not None and arrival.route.channel is not Channel.REQUESTS:
                strays[arrival.saga] = None  # Must exist: sought everywhere if it is not there.
                if type(event) is OperatorDecided and arrival.key is not None:
                    decisions.add((arrival.key[0], event.decision))
            elif type(event) is RedemptionRequested and not arrival.redelivered:
                programme = self.catalogue.programmes.get(event.programme)
                if programme is not None and programme.limit is not None:
                    origin, account = arrival.route.participant, event.account
                    scope = acceptance.limit_scope(programme, origin, account)
                    before = said.get(arrival.saga) if said and arrival.saga else None
                    at = now if before is None else before.began
                    day = acceptance.business_date(at, programme.zone)
                    day = day if before is None else before.day(day)
                    limits.add((bucket(origin, account), scope, day))
        return Needs(
            keys,
            strays,
            frozenset(limits),
            frozenset(decisions),
            frozenset(places),
        )

    def decide(
        self,
        arrivals: Sequence[InboundEvent],
        loaded: Mapping[SagaId, Saga],
        used: Mapping[LimitKey, int],
        now: int,
        *,
        made: Mapping[int, DecisionRow] = _NONE,
        allowances: Mapping[str, Allowance] = _ANY,
        aside: Mapping[RecordPosition, DeadLetterReason] = _NOWHERE,
        said: Mapping[SagaId, PublishedSaga] = NOTHING,
    ) -> BatchResult:
        """Apply the arrivals in order.

        `made` are the decisions of people that they name; `allowances` bound what participants get
        that is new; `aside` is what was set aside when it first came; `said` is what was said
        before the database was lost.
        """
        batch = Batch(self, dict(loaded), dict(used), now, said)
        batch.admit(dict(made), Gate(allowances))
        batch.aside = aside
        for arrival in arrivals:
            batch.apply(arrival)
        return batch.finish(loaded)

    def is_behind(
        self, said: Mapping[SagaId, PublishedSaga], loaded: Mapping[SagaId, Saga], now: int
    ) -> bool:
        """Whether something was said that these sagas do not imply: their database is older."""
        for saga_id, words in said.items():
            saga = loaded.get(saga_id)
            if saga is None:
                return True
            engine, _ = self.kits[saga.terms.definition, saga.terms.definition_version]
            if engine.recall(saga, words, now) is not saga:
                return True
        return False

    def recall(
        self,
        said: Mapping[SagaId, PublishedSaga],
        loaded: Mapping[SagaId, Saga],
        used: Mapping[LimitKey, int],
        now: int,
    ) -> BatchResult:
        """Bring sagas that survived the loss of a database up to what was said of them since."""
        batch = Batch(self, dict(loaded), dict(used), now, said)
        for saga_id, saga in loaded.items():
            batch.recall(saga, said[saga_id])
        return batch.finish(loaded)
