"""A world whose database is lost now and then and comes back as an older backup."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.batch.decode import InboundEvent
from orchestrator.batch.effects import BatchResult
from orchestrator.engine.machine import Status
from orchestrator.engine.published import PublishedSaga
from orchestrator.ports import Partition, Record
from orchestrator.recovery.published import PublishedLog
from orchestrator.sagas.redemption.books import limit_key_of
from schemas.frozen import replaced
from schemas.ids import SagaId, partition_key, saga_id, split_leg_id
from tests.engine.memory import LIMIT, Platform, TooMuch
from tests.engine.world import World

DATABASE: Final = (
    "rows",
    "used",
    "books",
    "positions",
    "timeline",
    "movements",
    "letters",
    "cases",
)
"""What of a platform is in its database; the topics and the offsets are Kafka's."""
TURNS: Final = ("requests", "replies", "internal")


@dataclass
class LosingPlatform(Platform):
    """A coordinator and a database that can be backed up, lost and restored."""

    said: Mapping[SagaId, PublishedSaga] = field(default_factory=dict)
    until: dict[Partition, int] = field(default_factory=dict)
    backup: dict[str, Any] = field(default_factory=dict)
    recalled: int = 0
    survived: int = 0

    def back_up(self) -> None:
        """Keep a copy of the database."""
        self.backup = {name: copy.deepcopy(getattr(self, name)) for name in DATABASE}

    def lose(self) -> None:
        """The database is gone; its backup takes its place, and what was said is read back."""
        for name, kept in copy.deepcopy(self.backup).items():
            setattr(self, name, kept)
        self.until = {part: len(log) for part, log in self.log.items()}
        for part in self.log:
            self.offsets[part] = min(self.offsets[part], self.positions[part])
        memory = PublishedLog()
        for at, out in enumerate(self.outgoing):
            record = Record(out.topic, 0, at, out.key, out.value, tuple(out.headers))
            if out.topic.endswith((".commands", ".results")):
                memory.add(record)
        self.said = memory.said()
        self._recall()

    def _recall(self) -> None:
        loaded = {saga: self.saga(saga) for saga in self.said if saga in self.rows}
        limits = {limit_key_of(saga.terms) for saga in loaded.values()}
        used = {key: self.used[key] for key in limits if key is not None}
        decision = self.decider.recall(self.said, loaded, used, self.now)
        self.survived += decision.counts["recalled_sagas"]
        self.commit(decision, [])
        self._publish(decision.outgoing)

    def waiting(self) -> list[Partition]:
        """Of what was lost, first the requests, then the replies, then the timers."""
        waiting = super().waiting()
        for turn in TURNS:
            lacks = any(
                part[0].endswith(turn) and self.offsets[part] < until
                for part, until in self.until.items()
            )
            if lacks:
                upto = TURNS[: TURNS.index(turn) + 1]
                return [part for part in waiting if part[0].endswith(upto)]
        return waiting

    def _decode(self, record: Record) -> list[InboundEvent]:
        until = self.until.get((record.topic, record.partition), 0)
        restored = record.offset < until
        return [replaced(arrival, restored=restored) for arrival in super()._decode(record)]

    def decide(self, arrivals: Sequence[InboundEvent]) -> BatchResult:
        """The decisions; also upon what was said."""
        needs = self.decider.needs(arrivals, self.now, self.said)
        wanted = {saga for _, saga in needs.keys}.union(needs.strays)
        loaded = {saga_id: self.saga(saga_id) for saga_id in wanted if saga_id in self.rows}
        used = {key: self.used[key] for key in needs.limits if key in self.used}
        decision = self.decider.decide(arrivals, loaded, used, self.now, published=self.said)
        self.recalled += len(decision.recalled)
        return decision

    def _check_limits(self) -> None:
        """As ever, but what was accepted before the loss counts whole until it is known again."""
        with suppress(TooMuch):
            super()._check_limits()


@dataclass
class LosingWorld(World):
    """A world in which the database is backed up, and lost, at any time."""

    platform: LosingPlatform = field(default_factory=LosingPlatform)
    losses: int = 0

    def _key(self, leg_id: str) -> str:
        saga, _ = split_leg_id(leg_id)
        for origin, data in self.asked:
            if saga_id(origin, data["account"], data["request_id"]) == saga:
                return partition_key(origin, data["account"])
        return super()._key(leg_id)

    def check(self) -> None:
        super().check()
        assert all(used <= LIMIT for used in self.platform.used.values()), self.platform.used
        for saga in self.platform.sagas():
            asked = {leg.status is not Status.WAITING for leg in saga.legs_of("credit")}
            assert len(asked) < 2, f"lines are asked for together: {saga.legs}"

    def _wait(self) -> None:
        """Time passes; sometimes a backup is taken, sometimes the database is lost."""
        match self.choose(5):
            case 0 | 1:
                super()._wait()
            case 2 | 3 if not self.platform.backup:
                self.platform.back_up()
            case 4 if self.platform.backup:
                self.platform.lose()
                self.losses += 1
                if self.choose(2):  # The next loss needs a backup of its own.
                    self.platform.backup = {}
            case _:
                super()._wait()
