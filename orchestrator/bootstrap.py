"""The composition root: the one place that knows both the shell and the world."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

from adapters.clock import SystemClock
from adapters.http import HealthServer
from adapters.kafka.archive import KafkaArchive
from adapters.kafka.bus import KafkaBus
from adapters.kafka.source import KafkaSource
from adapters.kafka.topics import TopicAdmin, wanted
from adapters.postgres.health import PostgresHealth
from adapters.postgres.store import PostgresStore
from orchestrator.admission.controller import AdmissionController
from orchestrator.batch.decide import Decider
from orchestrator.catalogue.loader import load
from orchestrator.errors import Unavailable
from orchestrator.pacing import Backoff, periodically, retry
from orchestrator.runtime.coordinator import Coordinator
from orchestrator.runtime.dependencies import Dependencies
from orchestrator.runtime.process import assembled
from orchestrator.runtime.publisher import Probe, no_probe
from orchestrator.settings import CoordinatorSettings, FaultSettings, Phase, Settings
from orchestrator.telemetry import Metrics, configure_logs

_COLLECT_S = 60.0


async def run_coordinator(settings: Settings) -> None:
    """Run one coordinator until SIGTERM or SIGINT.

    Raises:
        Stop: the process must end with the error's exit code.
        CatalogueError: the files below `deploy/` cannot be run.
    """
    catalogue, kafka = load(settings.deploy), settings.kafka
    log, metrics = configure_logs(settings.log), Metrics()
    store, bus = _store(settings, metrics), KafkaBus(kafka, log)
    world = Dependencies(
        store=store,
        board=PostgresHealth(store),
        source=KafkaSource(kafka, catalogue.inbound_topics(), last=catalogue.request_topics()),
        bus=bus,
        archive=KafkaArchive(kafka),
        clock=SystemClock(),
        log=log,
        metrics=metrics,
        probe=_probe(settings.fault),
        partitions=kafka.partitions,
        session_timeout_s=kafka.session_timeout_s,
    )
    decider, admission = Decider(catalogue, kafka.group), AdmissionController(catalogue.health)
    process = assembled(world, decider, admission, settings.coordinator)
    health = _health(settings, process.coordinator, metrics)
    async with AsyncExitStack() as stack:
        port = await health.start()
        stack.push_async_callback(health.stop)
        stack.push_async_callback(bus.close)
        stack.push_async_callback(store.close)
        log.info("coordinator.starting", port=port, pid=os.getpid())
        topics, admin = wanted(catalogue, kafka.partitions), TopicAdmin(kafka)
        await _patiently(partial(_connected, store), settings.coordinator)
        await _patiently(partial(admin.check, topics), settings.coordinator)
        _drain_on_signals(process.coordinator)
        _collect_seldom()
        await process.run(partial(periodically, _collect, _COLLECT_S, wait_first=True))
        log.info("coordinator.stopped")


def _store(settings: Settings, metrics: Metrics) -> PostgresStore:
    return PostgresStore(
        settings.postgres.dsn.get_secret_value(),
        pool_max=settings.postgres.pool_max,
        statement_timeout_s=settings.postgres.statement_timeout_s,
        idle_in_transaction_s=settings.kafka.session_timeout_s,
        metrics=metrics,
    )


def _health(settings: Settings, coordinator: Coordinator, metrics: Metrics) -> HealthServer:
    async def live() -> str | None:
        return None  # It answers, so the event loop turns; the watchdog ends what does not move.

    async def ready() -> str | None:
        return None if coordinator.ready else "no assignment, or the last attempt failed"

    return HealthServer(
        host=settings.http.host,
        port=settings.http.port,
        live=live,
        ready=ready,
        registry=metrics.registry,
    )


def _collect_seldom() -> None:
    """Let the collector alone.

    A batch makes thousands of objects that die with it; looking through those that live as long as
    the process, again and again, costs a tenth of the time and finds nothing. Cycles are rare here:
    they are looked for once a minute instead.
    """
    gc.collect()
    gc.freeze()
    gc.disable()


async def _collect() -> None:
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
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.progress_s

    def give_up_after_deadline(error: Unavailable) -> None:
        if loop.time() > deadline:
            raise error

    # The wait does not grow: a server that is started together with this process is there soon.
    pause_s = settings.backoff_max_s / 4
    await retry(act, Backoff(pause_s, pause_s), give_up_after_deadline)


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
        return no_probe
    passes = 0

    def probe(phase: Phase) -> None:
        nonlocal passes
        if phase == fault.phase:
            passes += 1
            if passes == fault.after + 1:
                os.kill(os.getpid(), signal.Signals[fault.signal])

    return probe
