"""The composition root: the only module that knows both the orchestrator and its adapters."""

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
from orchestrator.catalogue.loader import Catalogue, load
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
    dependencies = Dependencies(
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
    decider, admission = (
        Decider(catalogue, kafka.group),
        AdmissionController(catalogue.health, catalogue.kinds),
    )
    process = assembled(dependencies, decider, admission, settings.coordinator)
    health = _health(settings, process.coordinator, metrics)
    async with AsyncExitStack() as stack:
        port = await health.start()
        stack.push_async_callback(health.stop)
        stack.push_async_callback(bus.close)
        stack.push_async_callback(store.close)
        log.info("coordinator.starting", port=port, pid=os.getpid())
        await _wait_for_servers(store, catalogue, settings)
        _drain_on_signals(process.coordinator)
        _disable_automatic_collection()
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
        return None  # An answer shows that the event loop runs; the watchdog checks progress.

    async def ready() -> str | None:
        return None if coordinator.ready else "no assignment, or the last attempt failed"

    return HealthServer(
        host=settings.http.host,
        port=settings.http.port,
        live=live,
        ready=ready,
        registry=metrics.registry,
    )


def _disable_automatic_collection() -> None:
    """Disable the automatic garbage collection of cycles.

    A batch creates thousands of objects, which triggers collections; each one scans all objects
    that live as long as the process and finds nothing. That costs a tenth of the time. Cycles are
    rare here, so that a collection once a minute is enough.
    """
    gc.collect()
    gc.freeze()
    gc.disable()


async def _collect() -> None:
    gc.collect()
    gc.freeze()  # The survivors are long-lived: the next collection need not scan them.


async def _wait_for_servers(store: PostgresStore, catalogue: Catalogue, settings: Settings) -> None:
    """Check the schema and the topics as soon as the database and the broker can be reached."""
    topics, admin = wanted(catalogue, settings.kafka.partitions), TopicAdmin(settings.kafka)
    await _retried(partial(_connect, store), settings.coordinator)
    await _retried(partial(admin.check, topics), settings.coordinator)


async def _connect(store: PostgresStore) -> None:
    """Connect to the database and check its schema."""
    try:
        await store.open()
        await store.check_schema()
    except Unavailable:
        await store.close()
        raise


async def _retried(act: Callable[[], Awaitable[None]], settings: CoordinatorSettings) -> None:
    """Try until it succeeds; give up when servers are unavailable for `progress_s`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.progress_s

    def give_up_after_deadline(error: Unavailable) -> None:
        if loop.time() > deadline:
            raise error

    # The wait does not grow: a server that is started together with this process is there soon.
    pause_s = settings.backoff_max_s / 4
    await retry(act, Backoff(pause_s, pause_s), give_up_after_deadline)


def _drain_on_signals(coordinator: Coordinator) -> None:
    """On the first signal, drain; on the second, stop at once."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if coordinator.draining:
            os._exit(130)
        coordinator.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)


def _probe(fault: FaultSettings) -> Probe:
    """In crash tests, a probe that sends this process the signal of the settings at their phase."""
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
