"""One coordinator process, put together as on real servers, over a broker and rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final, cast

from orchestrator.admission.breaker import HealthPolicy
from orchestrator.admission.controller import AdmissionController
from orchestrator.batch.decide import Decider
from orchestrator.runtime.coordinator import Coordinator
from orchestrator.runtime.dependencies import Dependencies
from orchestrator.runtime.process import assembled
from orchestrator.settings import CoordinatorSettings, Phase
from orchestrator.telemetry import Log, Metrics
from tests.simulation.broker import SESSION_S, Broker
from tests.simulation.clients import MemoryArchive, MemoryBus, MemorySource
from tests.simulation.companies import Reach
from tests.simulation.database import Database
from tests.simulation.line import Line
from tests.simulation.loop import PROCESS, Life, VirtualLoop
from tests.simulation.store import MemoryBoard, MemoryStore

_DATABASE_S: Final = 0.004
_BROKER_S: Final = 0.006


class Silence:
    """Metrics that count nothing, but tell which notable things there were."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self.notable = self

    def __getattr__(self, _name: str) -> Any:
        return _NOTHING

    def labels(self, kind: str) -> Any:
        """A notable thing of that kind."""
        self._reach(f"notable {kind}")
        return _NOTHING


class _Nothing:
    def labels(self, *_: object) -> Any:
        return self

    def inc(self, *_: object) -> None:
        return None

    set = observe = inc

    def time(self) -> Any:
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_NOTHING: Final = _Nothing()


class Ear:
    """A logger that nobody reads, but what was logged is known to have happened."""

    def __init__(self, reach: Reach, write: Callable[[str], None]) -> None:
        self._reach = reach
        self._write = write

    def info(self, event: str, **fields: Any) -> None:
        """What is logged."""
        self._reach(f"log {event}")
        self._write(f"{event} {fields}")

    warning = error = info


@dataclass
class ProcessClock:
    """A process's clock: the world's, and wrong by so much."""

    loop: VirtualLoop
    skew: int = 0  # Milliseconds.

    def now(self) -> int:
        """Milliseconds since 1970."""
        return self.loop.wall() + self.skew

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return self.loop.time()


@dataclass
class Surroundings:
    """What all processes of a run share."""

    loop: VirtualLoop
    broker: Broker
    database: Database
    decider: Decider
    health: Mapping[str, HealthPolicy]
    settings: CoordinatorSettings
    reach: Reach
    write: Callable[[str], None]
    trouble: Callable[[str, str], str | None]  # Of a process, of an operation.
    passing: Callable[[str, str], None]  # A process passes a phase.


class Process:
    """One incarnation of a coordinator."""

    def __init__(self, name: str, around: Surroundings, clock: ProcessClock, seed: str) -> None:
        self.name = name
        self.life = Life(name)
        self.phase = "start"
        self._around = around
        self._clock = clock
        self._random = Random(seed)
        self.source: MemorySource
        self.coordinator: Coordinator
        self._lines: list[Line] = []
        context = copy_context()
        context.run(PROCESS.set, self.life)
        self.main = around.loop.create_task(self._run(), name=name, context=context)

    @property
    def doing(self) -> str:
        """Where it stands: what it passed last, and what it last asked of whom."""
        asked = " ".join(line.operation for line in self._lines)
        return f"{self.phase} ({asked})"

    async def _run(self) -> None:
        """As `orchestrator.bootstrap` runs it."""
        around = self._around
        log = Log(Ear(around.reach, lambda text: around.write(f"{self.name}: {text}")))
        log.logs_moves = False
        trouble = partial(around.trouble, self.name)
        base = Line(around.database, self._random, trouble, _DATABASE_S)
        wire = Line(around.broker, self._random, trouble, _BROKER_S)
        out = Line(around.broker, self._random, trouble, _BROKER_S)
        self._lines = [base, wire, out]
        self.source = MemorySource(around.broker, wire, self._random)
        world = Dependencies(
            store=MemoryStore(around.database, base),
            board=MemoryBoard(around.database, base),
            source=self.source,
            bus=MemoryBus(around.broker, out, self._random),
            archive=MemoryArchive(around.broker, wire),
            clock=self._clock,
            log=log,
            metrics=cast("Metrics", Silence(around.reach)),
            probe=self._pass,
            partitions=around.broker.partitions,
            session_timeout_s=SESSION_S,
        )
        process = assembled(
            world,
            around.decider,
            AdmissionController(around.health, around.decider.catalogue.kinds),
            around.settings,
        )
        self.coordinator = process.coordinator
        await process.run()

    def _pass(self, phase: Phase) -> None:
        self.phase = phase
        self._around.passing(self.name, phase)

    @property
    def quiet(self) -> bool:
        """Whether it runs, and has done all that it could read."""
        return (
            not self.life.dead
            and not self.life.frozen
            and hasattr(self, "source")
            and self.coordinator.assigned
            and self.source.satisfied(self.coordinator.done_offsets)
        )
