"""All settings in one frozen model, read from `UPRP_*` and checked before any socket opens."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "UPRP_"
ROOT = Path(__file__).resolve().parent.parent
Phase = Literal[
    "before_commit", "after_commit", "half_published", "before_offsets", "after_offsets"
]
Seconds = Annotated[float, Field(gt=0, le=3_600)]


def _power_of_two(number: int) -> int:
    if number & (number - 1):
        raise ValueError(f"{number} is not a power of two")
    return number


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Group):
    """The broker, and the membership in its consumer group."""

    bootstrap_servers: str = "127.0.0.1:9092"
    group: str = "uprp-coordinator"
    instance_id: str | None = None  # Static membership; unique and stable, or unset.
    client_id: str = "uprp-coordinator"
    session_timeout_s: Seconds = 10.0
    heartbeat_s: Seconds = 1.0
    rebalance_timeout_s: Seconds = 30.0
    request_timeout_s: Seconds = 10.0
    partitions: Annotated[int, Field(ge=1, le=4_096), AfterValidator(_power_of_two)] = 8
    """Of every inbound topic. A power of two, so that a saga's bucket determines its partition."""
    replication: Annotated[int, Field(ge=1, le=10)] = 1


class PostgresSettings(_Group):
    """The database and the connections to it."""

    dsn: SecretStr = SecretStr("postgresql://uprp@127.0.0.1:5432/uprp")
    pool_max: Annotated[int, Field(ge=2, le=50)] = 4
    statement_timeout_s: Seconds = 30.0


class CoordinatorSettings(_Group):
    """The limits and intervals of the main loop and of the loops beside it."""

    batch_records_max: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    poll_s: Seconds = 0.2
    recent_sagas_max: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000  # In the cache.
    publish_ahead: Annotated[int, Field(ge=0, le=4)] = 1  # Batches committed but not yet published.
    backoff_min_s: Seconds = 0.05
    backoff_max_s: Seconds = 2.0
    progress_s: Seconds = 60.0  # Exit when records wait for so long and none is processed.
    drain_s: Seconds = 20.0  # To finish the current batch after SIGTERM.
    dead_letter_batch_min: Annotated[int, Field(ge=1)] = 20
    dead_letter_share_max: Annotated[float, Field(gt=0, le=1)] = 0.5
    sweep_s: Seconds = 0.5
    sweep_count_max: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    sweep_lease_s: Seconds = 10.0  # After that, an unread record of `uprp.internal` is lost.
    health_s: Seconds = 0.5  # Interval of sharing health.
    sweep_patience_s: Seconds = 10.0  # Longest pause of sweeping while replies wait.
    decisions_s: Seconds = 1.0  # Interval of looking for operators' decisions.


class FaultSettings(_Group):
    """For crash tests only: the process sends itself a signal at a phase of the main loop."""

    phase: Phase | None = None
    after: Annotated[int, Field(ge=0)] = 0  # How many times it passes the phase without a signal.
    signal: Literal["SIGKILL", "SIGSTOP"] = "SIGKILL"


class HttpSettings(_Group):
    """Where `/livez`, `/readyz` and `/metrics` are served; port 0 takes any free port."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8_080


class LogSettings(_Group):
    """Level and format; `auto` means readable lines on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(BaseSettings):
    """All settings; nested names are joined by two underscores."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    deploy: Path = ROOT / "deploy"
    kafka: KafkaSettings = KafkaSettings()
    postgres: PostgresSettings = PostgresSettings()
    coordinator: CoordinatorSettings = CoordinatorSettings()
    fault: FaultSettings = FaultSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()


_READ_ELSEWHERE = frozenset({"UPRP_CACHE_DIR", "UPRP_ACTOR"})
"""Variables with our prefix that Settings does not read."""


def names() -> Iterator[str]:
    """The name of every variable that Settings reads."""
    for name, found in Settings.model_fields.items():
        group = found.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            yield from (f"{PREFIX}{name}__{inner}".upper() for inner in group.model_fields)
        else:
            yield f"{PREFIX}{name}".upper()


def unknown_variables(environment: Mapping[str, str] | None = None) -> Iterator[tuple[str, str]]:
    """Variables with our prefix that are not read, each with the most similar name that is."""
    known = list(names())
    found = os.environ if environment is None else environment
    for name in sorted(found):
        if name.startswith(PREFIX) and name not in known and name not in _READ_ELSEWHERE:
            near = difflib.get_close_matches(name, known, 1, 0.0)
            yield name, near[0]
