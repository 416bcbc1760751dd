"""Assembles one coordinator process: the same on real servers and in a simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from orchestrator.admission.controller import AdmissionController
from orchestrator.admission.sync import HealthSync
from orchestrator.batch.decide import Decider
from orchestrator.ports import PartitionShare
from orchestrator.runtime.cache import SagaCache
from orchestrator.runtime.coordinator import Coordinator
from orchestrator.runtime.dependencies import Dependencies
from orchestrator.runtime.watchdog import Watchdog
from orchestrator.settings import CoordinatorSettings
from orchestrator.timers.decisions import DecisionPublisher
from orchestrator.timers.fired import FiredTimers
from orchestrator.timers.sweeper import Sweeper


@dataclass(frozen=True, slots=True)
class Process:
    """Everything that runs in one coordinator process."""

    coordinator: Coordinator
    sweeper: Sweeper
    decisions: DecisionPublisher
    watchdog: Watchdog
    health: HealthSync

    async def run(self, *beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run until the coordinator ends, or any part of the process or of `beside` fails.

        Raises:
            Stop: the process must end with the error's exit code.
        """
        await self.health.begin()  # Open breakers must be known before the first request is read.
        parts = (self.sweeper.run, self.decisions.run, self.watchdog.run, self.health.run)
        await _first_of(self.coordinator.run(), *(run() for run in (*parts, *beside)))


def assembled(
    dependencies: Dependencies,
    decider: Decider,
    admission: AdmissionController,
    settings: CoordinatorSettings,
) -> Process:
    """The parts of a process, which share its cache and its fired timers."""
    cache, fired = SagaCache(settings.recent_sagas_max), FiredTimers()
    store, bus, clock, log = (
        dependencies.store,
        dependencies.bus,
        dependencies.clock,
        dependencies.log,
    )
    coordinator = Coordinator(
        dependencies, decider, settings, admission=admission, cache=cache, fired=fired
    )
    sweeper = Sweeper(
        settings=settings,
        store=store,
        bus=bus,
        clock=clock,
        log=log,
        offer=cache.offer,
        fired=fired,
        share=lambda: PartitionShare(dependencies.partitions, coordinator.numbers),
        behind=lambda: coordinator.behind or coordinator.recovering,
    )
    return Process(
        coordinator,
        sweeper,
        DecisionPublisher(settings=settings, store=store, bus=bus, clock=clock, log=log),
        _watchdog(dependencies, coordinator, settings),
        _health(dependencies, admission, settings),
    )


def _watchdog(
    dependencies: Dependencies, coordinator: Coordinator, settings: CoordinatorSettings
) -> Watchdog:
    return Watchdog(
        coordinator=coordinator,
        source=dependencies.source,
        clock=dependencies.clock,
        metrics=dependencies.metrics,
        progress_s=settings.progress_s,
    )


def _health(
    dependencies: Dependencies, admission: AdmissionController, settings: CoordinatorSettings
) -> HealthSync:
    return HealthSync(
        admission=admission,
        board=dependencies.board,
        clock=dependencies.clock,
        log=dependencies.log,
        metrics=dependencies.metrics,
        every_s=settings.health_s,
    )


async def _first_of(main: Coroutine[Any, Any, None], *others: Coroutine[Any, Any, None]) -> None:
    """Run until the main coroutine ends or any of them fails."""
    tasks = [asyncio.create_task(main), *(asyncio.create_task(other) for other in others)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:  # In a fixed order, so that the failure reported is always the same.
            if task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
