"""One coordinator process, put together: the same on real servers and in a simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from orchestrator.admission.controller import Gatekeeper
from orchestrator.admission.sync import HealthLoop
from orchestrator.batch.decide import Decider
from orchestrator.ports import Share
from orchestrator.runtime.cache import Recent
from orchestrator.runtime.coordinator import Coordinator
from orchestrator.runtime.dependencies import World
from orchestrator.runtime.watchdog import Watchdog
from orchestrator.settings import CoordinatorSettings
from orchestrator.timers.decisions import Courier
from orchestrator.timers.fired import Ringing
from orchestrator.timers.sweeper import Sweeper


@dataclass(frozen=True, slots=True)
class Assembly:
    """Everything that runs in one coordinator process."""

    coordinator: Coordinator
    sweeper: Sweeper
    courier: Courier
    watchdog: Watchdog
    health: HealthLoop

    async def run(self, *beside: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run until the coordinator ends, or any part of it or what is `beside` it fails.

        Raises:
            Stop: the process must end with the error's exit code.
        """
        await self.health.begin()  # An open breaker is known before the first request is read.
        parts = (self.sweeper.run, self.courier.run, self.watchdog.run, self.health.run)
        await _first_of(self.coordinator.run(), *(run() for run in (*parts, *beside)))


def assembled(
    world: World, decider: Decider, gatekeeper: Gatekeeper, settings: CoordinatorSettings
) -> Assembly:
    """The parts of a process, which share what is at hand and what rings."""
    recent, ringing = Recent(settings.recent_sagas_max), Ringing()
    store, bus, clock, log = world.store, world.bus, world.clock, world.log
    coordinator = Coordinator(
        world, decider, settings, gatekeeper=gatekeeper, recent=recent, ringing=ringing
    )
    sweeper = Sweeper(
        settings=settings,
        store=store,
        bus=bus,
        clock=clock,
        log=log,
        offer=recent.offer,
        ringing=ringing,
        share=lambda: Share(world.partitions, coordinator.numbers),
        behind=lambda: coordinator.behind or coordinator.recovering,
    )
    return Assembly(
        coordinator,
        sweeper,
        Courier(settings=settings, store=store, bus=bus, clock=clock, log=log),
        _watchdog(world, coordinator, settings),
        _health(world, gatekeeper, settings),
    )


def _watchdog(world: World, coordinator: Coordinator, settings: CoordinatorSettings) -> Watchdog:
    return Watchdog(
        coordinator=coordinator,
        source=world.source,
        clock=world.clock,
        metrics=world.metrics,
        progress_s=settings.progress_s,
    )


def _health(world: World, gatekeeper: Gatekeeper, settings: CoordinatorSettings) -> HealthLoop:
    return HealthLoop(
        gatekeeper=gatekeeper,
        board=world.board,
        clock=world.clock,
        log=world.log,
        metrics=world.metrics,
        every_s=settings.health_s,
    )


async def _first_of(main: Coroutine[Any, Any, None], *others: Coroutine[Any, Any, None]) -> None:
    """Run until the main one ends or any of them fails."""
    tasks = [asyncio.create_task(main), *(asyncio.create_task(other) for other in others)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:  # The main one first, and not by chance.
            if task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
