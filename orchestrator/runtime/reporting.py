"""Reports a committed batch to operators: counters, and one log line for each saga event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from orchestrator.batch.decode import InboundEvent
from orchestrator.batch.effects import BatchResult
from orchestrator.telemetry import Log, Metrics
from schemas.envelope import rfc3339
from schemas.events import Channel
from schemas.results import TimerFired
from schemas.times import moment


class BatchReport:
    """Counts and logs. It is called after the commit, so the batch is not affected."""

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics

    def committed(self, arrivals: Sequence[InboundEvent], decision: BatchResult, now: int) -> None:
        """Report a batch that was committed; `now` in milliseconds."""
        metrics = self._metrics
        metrics.batches.inc()
        metrics.last_commit.set(now / 1000)
        records: Counter[Channel] = Counter()
        timers, last = 0, None
        for arrival in arrivals:
            timers += type(arrival.event) is TimerFired
            if arrival.record is not last:  # The arrivals of one record are adjacent.
                last = arrival.record
                records[arrival.route.channel] += 1
        metrics.batch_records.observe(records.total())
        for channel, count in records.items():
            metrics.records.labels(channel).inc(count)
        metrics.timers.inc(timers)
        for kind, count in decision.counts.items():
            metrics.notable.labels(kind).inc(count)
        for letter in decision.changes.dead_letters:
            self._log.warning(
                "record.set_aside", id=letter.id, field=letter.field, why=letter.disposition.value
            )
        self._moves(decision, rfc3339(moment(now)))

    def _moves(self, decision: BatchResult, at: str) -> None:
        started = parked = 0
        ended: Counter[str] = Counter()
        for moved in decision.accepted:
            saga = moved.saga
            started += moved.event in ("requested", "held")
            parked += moved.parked
            if moved.ended and saga.told is not None:
                ended[saga.told.status] += 1
            if self._log.logs_moves:
                self._log.moved(
                    at,
                    saga_id=saga.terms.saga_id,
                    revision=saga.revision,
                    on=moved.event,
                    leg=moved.leg,
                    outcome=moved.outcome,
                    status=moved.phase,
                )
        self._log.flush()
        self._metrics.started.inc(started)
        self._metrics.parked.inc(parked)
        for status, count in ended.items():
            self._metrics.finished.labels(status).inc(count)
