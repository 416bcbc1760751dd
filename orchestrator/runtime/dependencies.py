"""Everything outside a coordinator process that it uses: real servers or simulated ones."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.admission.board import HealthBoard
from orchestrator.ports import Archive, Bus, Clock, Source, Store
from orchestrator.runtime.publisher import Probe, no_probe
from orchestrator.telemetry import Log, Metrics


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The ports and environment of a process; its parts know nothing else of the outside."""

    store: Store
    board: HealthBoard
    source: Source
    bus: Bus
    archive: Archive
    clock: Clock
    log: Log
    metrics: Metrics
    partitions: int  # Of each topic.
    session_timeout_s: float
    probe: Probe = no_probe
