"""The composition root: the one place that knows both the shell and the world."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from adapters.clock import SystemClock
from adapters.http import HealthServer
from adapters.kafka.archive import KafkaArchive
from adapters.kafka.bus import KafkaBus
from adapters.kafka.source import KafkaSource
from adapters.kafka.topics import TopicAdmin, wanted
from adapters.postgres.health import PostgresHealth
from adapters.postgres.store import PostgresStore
from orchestrator.catalogue import Catalogue, load
from orchestrator.coordinator import Coordinator
from orchestrator.courier import Courier
from orchestrator.decide import Decider
from orchestrator.errors import Unavailable
from orchestrator.gatekeeper import Gatekeeper
from orchestrator.health import HealthLoop
from orchestrator.ports import Share
from orchestrator.publisher import Probe, unharmed
from orchestrator.recent import Recent
from orchestrator.ringing import Ringing
from orchestrator.settings import CoordinatorSettings, FaultSettings, Phase, Settings
from orchestrator.sweeper import Sweeper
from orchestrator.telemetry import Log, Metrics, configure_logs
from orchestrator.watchdog import Watchdog

_COLLECT_S = 60.0


async def run_coordinator(settings: Settings) -> None:
    """Run one coordinator until SIGTERM or SIGINT.

    Raises:
        Stop: the process must end with the error's exit code.
        CatalogueError: the files below `deploy/` cannot be run.
    """
    catalogue = load(settings.deploy)
    parts = _parts(settings, catalogue)
    coordinator, log = parts.coordinator, parts.log
    health = _health(settings, parts)
    async with AsyncExitStack() as stack:
        port = await health.start()
        stack.push_async_callback(health.stop)
        stack.push_async_callback(parts.bus.close)
        stack.push_async_callback(parts.store.close)
        log.info("coordinator.starting", port=port, pid=os.getpid())
        topics, admin = wanted(catalogue, settings.kafka.partitions), TopicAdmin(settings.kafka)
        await _patiently(partial(_connected, parts.store), settings.coordinator)
        await _patiently(partial(admin.check, topics), settings.coordinator)
        _drain_on_signals(coordinator)
        # A batch makes thousands of objects that die with it; looking through those that live as
        # long as the process, again and again, costs a tenth of the time and finds nothing.
        # Cycles are rare here: they are looked for once a minute instead.
        gc.collect()
        gc.freeze()
        gc.disable()
        await parts.health.begin()  # An open breaker is known before the first request is read.
        others = (parts.sweeper, parts.courier, parts.watchdog, parts.health)
        await _first_of(
            coordinator.run(), *(other.run() for other in others), _collect_now_and_then()
        )
        log.info("coordinator.stopped")


@dataclass(frozen=True, slots=True)
class _Parts:
    """Everything that one coordinator is made of."""

    coordinator: Coordinator
    sweeper: Sweeper
    courier: Courier
    watchdog: Watchdog
    health: HealthLoop
    store: PostgresStore
    bus: KafkaBus
    log: Log
    metrics: Metrics


def _parts(settings: Settings, catalogue: Catalogue) -> _Parts:
    log, metrics, clock = configure_logs(settings.log), Metrics(), SystemClock()
    store = PostgresStore(
        settings.postgres.dsn.get_secret_value(),
        pool_max=settings.postgres.pool_max,
        statement_timeout_s=settings.postgres.statement_timeout_s,
        idle_in_transaction_s=settings.kafka.session_timeout_s,
        metrics=metrics,
    )
    bus = KafkaBus(settings.kafka, log)
    source = KafkaSource(
        settings.kafka, catalogue.inbound_topics(), last=catalogue.request_topics()
    )
    loop = settings.coordinator
    gatekeeper = Gatekeeper(catalogue.health)
    recent, ringing = Recent(loop.recent_sagas_max), Ringing()
    coordinator = Coordinator(
        settings=loop,
        session_timeout_s=settings.kafka.session_timeout_s,
        decider=Decider(catalogue, settings.kafka.group),
        store=store,
        source=source,
        bus=bus,
        archive=KafkaArchive(settings.kafka),
        clock=clock,
        log=log,
        metrics=metrics,
        probe=_probe(settings.fault),
        gatekeeper=gatekeeper,
        recent=recent,
        ringing=ringing,
    )
    shared = HealthLoop(
        gatekeeper=gatekeeper,
        board=PostgresHealth(store),
        clock=clock,
        log=log,
        metrics=metrics,
        every_s=loop.health_s,
    )
    sweeper = Sweeper(
        settings=loop,
        store=store,
        bus=bus,
        clock=clock,
        log=log,
        recent=recent,
        ringing=ringing,
        share=lambda: Share(settings.kafka.partitions, coordinator.numbers),
        behind=lambda: coordinator.behind or coordinator.recovering,
    )
    courier = Courier(settings=loop, store=store, bus=bus, clock=clock, log=log)
    watchdog = Watchdog(
        coordinator=coordinator,
        source=source,
        clock=clock,
        metrics=metrics,
        progress_s=loop.progress_s,
    )
    return _Parts(coordinator, sweeper, courier, watchdog, shared, store, bus, log, metrics)


def _health(settings: Settings, parts: _Parts) -> HealthServer:
    async def live() -> str | None:
        return None  # It answers, so the event loop turns; the watchdog ends what does not move.

    async def ready() -> str | None:
        return None if parts.coordinator.ready else "no assignment, or the last attempt failed"

    return HealthServer(
        host=settings.http.host,
        port=settings.http.port,
        live=live,
        ready=ready,
        registry=parts.metrics.registry,
    )


async def _collect_now_and_then() -> None:
    while True:
        await asyncio.sleep(_COLLECT_S)
        gc.collect()
        gc.freeze()


async def _connected(store: PostgresStore) -> None:
    """Connect to the database and check its schema."""
    try:
        await store.open()
        await store.check_schema()
    except Unavailable:
        await store.close()
        raise


async def _patiently(act: Callable[[], Awaitable[None]], settings: CoordinatorSettings) -> None:
    """Act, again while what it needs is away, for as long as progress may take."""
    deadline = asyncio.get_running_loop().time() + settings.progress_s
    while True:
        try:
            return await act()
        except Unavailable:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(settings.backoff_max_s / 4)


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


def _drain_on_signals(coordinator: Coordinator) -> None:
    """The first signal drains; a second one stops at once."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if coordinator.draining:
            os._exit(130)
        coordinator.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)


def _probe(fault: FaultSettings) -> Probe:
    """In crash tests, a probe that sends this very process a signal at the phase asked for."""
    if fault.phase is None:
        return unharmed
    passes = 0

    def probe(phase: Phase) -> None:
        nonlocal passes
        if phase == fault.phase:
            passes += 1
            if passes == fault.after + 1:
                os.kill(os.getpid(), signal.Signals[fault.signal])

    return probe
