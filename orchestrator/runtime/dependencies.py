"""What a coordinator process reaches: real servers, or those of a simulation."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.admission.board import HealthBoard
from orchestrator.ports import Archive, Bus, Clock, Source, Store
from orchestrator.runtime.publisher import Probe, no_probe
from orchestrator.telemetry import Log, Metrics


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What a process reaches, and through what; none of its parts knows more of the world."""

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
