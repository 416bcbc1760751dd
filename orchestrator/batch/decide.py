"""Decides a batch: events and loaded rows in, changes and records to publish out. Pure.

The events of a batch are applied in the order of their offsets, each to the sagas as the earlier
ones left them (`design.md` 2).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from orchestrator.admission.gate import Allowance, Gate
from orchestrator.batch.decode import InboundEvent
from orchestrator.batch.effects import BatchResult, EffectRecorder, position_of
from orchestrator.batch.events import BatchProcessor, Handler, handlers_of
from orchestrator.batch.kinds import BoundKinds
from orchestrator.catalogue.loader import Catalogue
from orchestrator.engine.instance import Saga
from orchestrator.engine.kind import LimitKey
from orchestrator.engine.published import PublishedSaga
from orchestrator.ports import (
    DeadLetterReason,
    DecisionKey,
    DecisionRow,
    RecordPosition,
    SagaKey,
)
from schemas import events
from schemas.decisions import OperatorDecided
from schemas.events import Channel
from schemas.ids import SagaId

_NONE: Final[Mapping[int, DecisionRow]] = {}
_NOWHERE: Final[Mapping[RecordPosition, DeadLetterReason]] = {}
_ANY: Final[Mapping[str, Allowance]] = {}

NOTHING: Final[Mapping[SagaId, PublishedSaga]] = {}
"""What was published before a database was lost, when none was lost."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be read before a batch can be decided."""

    keys: Collection[SagaKey]  # In the order of the events, on which the order of writes depends.
    strays: Collection[SagaId]  # Sagas to be sought in every bucket if they are not at their key.
    limits: frozenset[LimitKey]
    decisions: frozenset[DecisionKey] = frozenset()
    # Where redelivered records stand, which may have become dead letters when they first came.
    places: frozenset[RecordPosition] = frozenset()


@dataclass(frozen=True, slots=True)
class Decider:
    """Decides batches, with the kinds of saga bound to the catalogue."""

    catalogue: Catalogue
    group: str  # The consumer group, for dead letters.
    kinds: BoundKinds = field(init=False)
    inbound: events.Models = field(init=False)  # The events that may be read.
    _handlers: Mapping[type, Handler] = field(init=False)

    def __post_init__(self) -> None:
        """Bind every kind of saga to the policies, once; the bound kinds hold no state."""
        kinds = BoundKinds(self.catalogue.kinds, self.catalogue.policies)
        object.__setattr__(self, "kinds", kinds)
        object.__setattr__(self, "_handlers", handlers_of(kinds))
        more = [event for bound in kinds for event in bound.kind.events]
        object.__setattr__(self, "inbound", events.INBOUND | events.inbound(more))

    def needs(
        self,
        arrivals: Sequence[InboundEvent],
        now: int,
        published: Mapping[SagaId, PublishedSaga] = NOTHING,
    ) -> Needs:
        """What must be read before the events can be decided.

        Args:
            arrivals: the events of the batch.
            now: milliseconds since 1970.
            published: what was published before a database was lost, by saga.
        """
        keys: dict[SagaKey, None] = {}
        strays: dict[SagaId, None] = {}
        limits: set[LimitKey] = set()
        decisions: set[DecisionKey] = set()
        places = {position_of(one) for one in arrivals if one.redelivered and one.problem is None}
        by_request = self.kinds.by_request
        for arrival in arrivals:
            if arrival.key is not None:
                keys[arrival.key] = None
            event = arrival.event
            if arrival.saga is not None and arrival.route.channel is not Channel.REQUESTS:
                strays[arrival.saga] = None  # It must exist, wherever its row is.
                if type(event) is OperatorDecided and arrival.key is not None:
                    decisions.add((arrival.key[0], event.decision))
            elif not arrival.redelivered and (bound := by_request.get(type(event))) is not None:
                origin, programmes = arrival.route.participant, self.catalogue.programmes
                before = published.get(arrival.saga) if published and arrival.saga else None
                limit = bound.kind.intake.limit(event, origin, programmes, now, before)
                if limit is not None:
                    limits.add(limit)
        return Needs(keys, strays, frozenset(limits), frozenset(decisions), frozenset(places))

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
        published: Mapping[SagaId, PublishedSaga] = NOTHING,
    ) -> BatchResult:
        """Apply the events in order.

        Args:
            arrivals: the events of the batch.
            loaded: the sagas that exist, by id.
            used: how much of each account limit is used.
            now: milliseconds since 1970.
            made: the audited rows of the decisions that the events name, by number.
            allowances: what new sagas may ask of participants; one that is missing is unlimited.
            aside: why redelivered records became dead letters when they first came.
            published: what was published before a database was lost, by saga.
        """
        recorder = self._recorder(loaded, used, now, published)
        batch = BatchProcessor(
            recorder,
            self._handlers,
            self.catalogue.programmes,
            made=made,
            gate=Gate(allowances),
            aside=aside,
        )
        for arrival in arrivals:
            batch.apply(arrival)
        return recorder.finish(loaded)

    def is_behind(
        self,
        published: Mapping[SagaId, PublishedSaga],
        loaded: Mapping[SagaId, Saga],
        now: int,
    ) -> bool:
        """Whether more was published than these sagas imply, so that their database is older."""
        for saga_id, known in published.items():
            saga = loaded.get(saga_id)
            if saga is None:
                return True
            if self.kinds.of(saga.terms).engine.recall(saga, known, now) is not saga:
                return True
        return False

    def recall(
        self,
        published: Mapping[SagaId, PublishedSaga],
        loaded: Mapping[SagaId, Saga],
        used: Mapping[LimitKey, int],
        now: int,
    ) -> BatchResult:
        """Bring sagas of a restored database up to what was published about them since."""
        recorder = self._recorder(loaded, used, now, published)
        for saga_id, saga in loaded.items():
            recorder.recall(saga, published[saga_id])
        return recorder.finish(loaded)

    def limit_of(self, saga: Saga) -> LimitKey | None:
        """The account limit that counts a saga; None: there is none."""
        books = self.kinds.of(saga.terms).kind.books
        return books.limit(saga.terms) if books is not None else None

    def _recorder(
        self,
        loaded: Mapping[SagaId, Saga],
        used: Mapping[LimitKey, int],
        now: int,
        published: Mapping[SagaId, PublishedSaga],
    ) -> EffectRecorder:
        return EffectRecorder(
            self.kinds, self.group, dict(loaded), dict(used), now, published=published
        )
