"""Logs and metrics: closed lists of all log events and metrics, and how they are written."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, BinaryIO, Final, Literal

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from orchestrator.settings import LogSettings

LogEvent = Literal[
    "coordinator.starting",
    "coordinator.assigned",
    "coordinator.revoked",
    "coordinator.draining",
    "coordinator.stopped",
    "batch.retried",
    "batch.dropped",
    "publish.retried",
    "producer.remade",
    "consumer.remade",
    "saga.moved",
    "record.set_aside",
    "sweep.retried",
    "decisions.retried",
    "offsets.not_committed",
    "health.retried",
    "breaker.opened",
    "breaker.probing",
    "breaker.closed",
    "recovery.begun",
    "recovery.recalled",
    "recovery.stage",
    "recovery.unexplained",
    "recovery.done",
]
"""Every event that may be logged, so that a misspelt one is a type error."""

_MOVED: Final[LogEvent] = "saga.moved"


class _Lines:
    """A logger for structlog that buffers lines until a flush, so that a batch needs one write."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lines: list[bytes] = []

    def msg(self, line: bytes) -> None:
        self._lines.append(line)

    debug = info = warning = error = msg

    def flush(self) -> None:
        if self._lines:
            self._lines.append(b"")
            self._file.write(b"\n".join(self._lines))
            self._file.flush()
            self._lines = []


class Log:
    """A structured logger that accepts only the events in LogEvent."""

    def __init__(self, logger: Any, lines: _Lines | None = None) -> None:
        self._logger = logger
        self._lines = lines
        self.logs_moves = True  # False when the level suppresses saga.moved.

    def flush(self) -> None:
        """Write the buffered lines."""
        if self._lines is not None:
            self._lines.flush()

    def moved(
        self,
        ts: str,
        *,
        saga_id: str,
        revision: int,
        on: str,
        leg: str | None,
        outcome: str | None,
        status: str,
    ) -> None:
        """Log one event of a saga. The line is buffered; the caller flushes after its batch.

        As JSON, the line is formatted here and equals what structlog would write: there are three
        such lines for every redemption, and structlog is slower. Only text that comes from partners
        is escaped; our own needs no escapes.
        """
        if self._lines is None:
            fields: dict[str, Any] = {"saga_id": saga_id, "revision": revision, "on": on}
            self._logger.info(_MOVED, **fields, leg=leg, outcome=outcome, status=status)
        else:
            self._lines.msg(
                f'{{"saga_id":"{saga_id}","revision":{revision},"on":"{on}","leg":{_quoted(leg)},'
                f'"outcome":{_quoted(outcome)},"status":"{status}","event":"{_MOVED}",'
                f'"level":"info","ts":"{ts}"}}'.encode()
            )

    def info(self, event: LogEvent, **fields: Any) -> None:
        """Log an event of normal operation."""
        self._logger.info(event, **fields)
        self.flush()

    def warning(self, event: LogEvent, **fields: Any) -> None:
        """Log a problem that should resolve itself soon."""
        self._logger.warning(event, **fields)
        self.flush()

    def error(self, event: LogEvent, **fields: Any) -> None:
        """Log a problem that an operator must look at."""
        self._logger.error(event, **fields)
        self.flush()


@lru_cache(maxsize=1_024)
def _quoted(text: str | None) -> str:
    """The text as a JSON string, or null."""
    return orjson.dumps(text).decode()


def _dumps(fields: Mapping[str, Any], **_: Any) -> bytes:
    return orjson.dumps(fields, default=str)


def configure_logs(settings: LogSettings) -> Log:
    """Configure structlog: JSON lines on stderr, or readable lines on a terminal."""
    level = getattr(logging, settings.level.upper())
    as_json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts")
    shared: list[Any] = [structlog.stdlib.add_log_level, stamp]
    lines = _Lines(sys.stderr.buffer)
    if as_json:
        structlog.configure(
            processors=[*shared, structlog.processors.JSONRenderer(serializer=_dumps)],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=lambda *_: lines,
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=[*shared, structlog.dev.ConsoleRenderer()],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
            cache_logger_on_first_use=True,
        )
    # The drivers have loggers of their own, of which only warnings and errors are useful.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    log = Log(structlog.get_logger(), lines if as_json else None)
    log.logs_moves = level <= logging.INFO
    return log


_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Every metric of the coordinator. Labels have few values and are never ids."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        known: dict[str, Any] = {"registry": self.registry}
        self._add_counters(known)
        self._add_histograms_and_gauges(known)

    def _add_counters(self, known: dict[str, Any]) -> None:
        self.records = Counter(
            "uprp_records_total", "Records committed, by channel.", ["channel"], **known
        )
        self.timers = Counter(
            "uprp_timers_total", "Timers committed; some share a record.", **known
        )
        self.started = Counter("uprp_sagas_started_total", "Requests that became a saga.", **known)
        self.finished = Counter(
            "uprp_sagas_finished_total", "Final results, by status.", ["status"], **known
        )
        self.parked = Counter(
            "uprp_sagas_parked_total", "Sagas that began to wait for a person.", **known
        )
        self.notable = Counter(
            "uprp_notable_total", "Duplicates, stale and unknown things.", ["kind"], **known
        )
        self.published = Counter("uprp_published_total", "Records published.", **known)
        self.batches = Counter("uprp_batches_total", "Batches committed.", **known)
        self.statements = Counter(
            "uprp_statements_total", "Statements sent to PostgreSQL.", **known
        )
        self.rows = Counter("uprp_rows_total", "Rows written, by table.", ["table"], **known)
        self.retries = Counter(
            "uprp_retries_total", "Batches retried, by cause.", ["cause"], **known
        )
        self.dropped = Counter("uprp_batches_dropped_total", "Batches dropped as fenced.", **known)
        self.rebalances = Counter("uprp_rebalances_total", "Assignments received.", **known)

    def _add_histograms_and_gauges(self, known: dict[str, Any]) -> None:
        self.batch_records = Histogram(
            "uprp_batch_records", "Records a batch.", buckets=(1, 4, 16, 64, 256, 1024), **known
        )
        self.stage = Histogram(
            "uprp_stage_seconds",
            "How long each stage of the loop takes a batch.",
            ["stage"],
            buckets=_SECONDS,
            **known,
        )
        self.ready = Gauge("uprp_ready", "1 while the coordinator can work.", **known)
        self.lag = Gauge("uprp_lag_records", "Records that wait to be read.", **known)
        self.participant_state = Gauge(
            "uprp_participant_state",
            "Each participant's breaker: 0 closed, 1 half-open, 2 open.",
            ["participant"],
            **known,
        )
        self.participant_in_flight = Gauge(
            "uprp_participant_in_flight_legs",
            "Legs that each participant owes an answer to, of all coordinators.",
            ["participant"],
            **known,
        )
        self.health_learned = Gauge(
            "uprp_health_learned_timestamp_seconds",
            "When the participants' health was last read from the database.",
            **known,
        )
        self.last_commit = Gauge(
            "uprp_last_commit_timestamp_seconds", "When a batch was last committed.", **known
        )
