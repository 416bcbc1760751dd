"""Publishes one request after the other, and compares each with its expectation as it ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias

from adapters.demo.monitor import ObservedRecord, TopicMonitor
from adapters.demo.scenarios import Expectation, Scenario
from adapters.kafka.partner import open_producer
from adapters.kafka.requests import RequestLine, publish
from schemas import events
from schemas.events import Channel

END_WITHIN_S: Final = 30.0
POLL_S: Final = 0.05
QUIET_S: Final = 0.4  # When no record comes for so long after the last request, none will.

_RESULTS: Final = (events.RESULT, events.BALANCE)

Before: TypeAlias = Callable[[RequestLine], RequestLine]
"""What an origin does before it publishes a request line; returns the line to publish."""


@dataclass(frozen=True, slots=True)
class Observed:
    """How a request ended, in the fields of an `Expectation`."""

    status: str | None = None
    code: str | None = None
    charged: int = 0
    returned: int = 0
    return_required: int = 0
    issued: tuple[tuple[str, int], ...] = ()
    available: int | None = None
    daily_remaining: int | None = None
    max_redeemable_now: int | None = None
    again: bool = False
    refused: str | None = None
    dead_letter: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A scenario that was run: how it ended, and every difference from what was expected."""

    scenario: Scenario
    observed: Observed
    problems: tuple[str, ...]
    seconds: float


class Observer(Protocol):
    """Is told how the demo goes on."""

    def started(self, scenario: Scenario) -> None:
        """A request is about to be published."""

    def observed(self, record: ObservedRecord) -> None:
        """A record was read from a topic."""

    def finished(self, outcome: Outcome) -> None:
        """A request has ended, or nothing came of it in time."""


@dataclass(frozen=True, slots=True)
class DemoRun:
    """Everything that happened: how each scenario ended, and every record in its order."""

    outcomes: tuple[Outcome, ...]
    records: tuple[ObservedRecord, ...]

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """The last final result of every saga, by its id."""
        return {
            str(record.data["saga_id"]): dict(record.data)
            for record in self.records
            if record.type in _RESULTS and record.data.get("final")
        }

    def surprises(self) -> Iterator[str]:
        """What should not have happened and no expectation covers, in words."""
        commands = Counter(s.id for s in self.records if s.channel is Channel.COMMANDS)
        for event_id, count in commands.items():
            if count > 1:
                yield f"the command {event_id} was said {count} times"
        letters = sum(s.channel is Channel.DEAD_LETTERS for s in self.records)
        expected = sum(o.scenario.expect.dead_letter is not None for o in self.outcomes)
        if letters != expected:
            yield f"{letters} records were set aside, expected were {expected}"


def run_scenarios(
    scenarios: Iterable[Scenario],
    servers: str,
    monitor: TopicMonitor,
    observer: Observer,
    before: Before,
) -> DemoRun:
    """Publish each scenario's request when the one before has ended, or has taken too long.

    Raises:
        KafkaException: the broker is away, or a request could not be delivered.
    """
    records: list[ObservedRecord] = []

    def poll(wait_s: float) -> list[ObservedRecord]:
        fresh = monitor.poll(wait_s)
        for record in fresh:
            observer.observed(record)
        records.extend(fresh)
        return fresh

    producer = open_producer(servers)
    outcomes = []
    for scenario in scenarios:
        observer.started(scenario)
        first, began = len(records), time.monotonic()
        publish(producer, [before(scenario.line)])
        while not _ended(scenario, records, first) and time.monotonic() - began < END_WITHIN_S:
            poll(POLL_S)
        observed = _observed(scenario, records[first:], records[:first])
        outcome = Outcome(
            scenario, observed, tuple(_differences(scenario.expect, observed)), _since(began)
        )
        outcomes.append(outcome)
        observer.finished(outcome)
    while poll(QUIET_S):
        pass
    return DemoRun(tuple(outcomes), tuple(records))


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def _ended(scenario: Scenario, records: Sequence[ObservedRecord], first: int) -> bool:
    """Whether the origin has its answer, and what must follow from it was observed.

    A refused request must also become a dead letter; a return that a result asks of the origin must
    be acknowledged.
    """
    fresh = records[first:]
    for record in fresh:
        if _is_result(scenario, record):
            return not record.data.get("return_required") or _given_back(record, records)
    refused = any(_is_refusal(scenario, record) for record in fresh)
    return refused and any(_is_dead_letter(scenario, record) for record in fresh)


def _given_back(result: ObservedRecord, records: Sequence[ObservedRecord]) -> bool:
    """Whether the origin acknowledged every return of a redemption."""
    saga_id = result.data["saga_id"]
    returns = {s.data["leg_id"] for s in records if s.type == events.RETURN}
    asked = {leg_id for leg_id in returns if leg_id.startswith(saga_id)}
    done = {s.data.get("leg_id") for s in records if s.data.get("outcome") == "CONFIRMED"}
    return bool(asked) and asked <= done


def _is_result(scenario: Scenario, record: ObservedRecord) -> bool:
    return (
        record.type in _RESULTS
        and record.receiver == scenario.line.origin
        and record.data.get("request_id") == scenario.request_id
        and bool(record.data.get("final"))
    )


def _is_refusal(scenario: Scenario, record: ObservedRecord) -> bool:
    about = record.data.get("event_id")
    return record.type == events.REFUSED and about == scenario.line.event_id


def _is_dead_letter(scenario: Scenario, record: ObservedRecord) -> bool:
    return record.channel is Channel.DEAD_LETTERS and record.id == scenario.line.event_id


def _observed(
    scenario: Scenario, records: Sequence[ObservedRecord], earlier: Sequence[ObservedRecord]
) -> Observed:
    letter = next((s for s in records if _is_dead_letter(scenario, s)), None)
    disposition = letter.headers.get("x-dlq-disposition") if letter else None
    refusal = next((s for s in records if _is_refusal(scenario, s)), None)
    if refusal is not None:
        return Observed(refused=refusal.data["reason"]["code"], dead_letter=disposition)
    result = next((s for s in records if _is_result(scenario, s)), None)
    if result is None:
        return Observed(dead_letter=disposition)
    spoke = any(s.channel is Channel.COMMANDS for s in records)
    again = not spoke and any(s.id == result.id and s.data == result.data for s in earlier)
    return replace(_told(result), again=again, dead_letter=disposition)


def _told(result: ObservedRecord) -> Observed:
    """What a final result says, of a redemption or of a balance."""
    data = result.data
    code = (data.get("reason") or {}).get("code")
    if result.type == events.BALANCE:
        return Observed(
            status=data["status"],
            code=code,
            available=data.get("available"),
            daily_remaining=(data.get("daily_remaining") or {}).get("amount"),
            max_redeemable_now=(data.get("max_redeemable_now") or {}).get("amount"),
        )
    return Observed(
        status=data["status"],
        code=code,
        charged=data["points"]["charged"],
        returned=data["points"]["returned"],
        return_required=(data.get("return_required") or {}).get("points", 0),
        issued=tuple((one["item"], one["issued"]) for one in data["lines"] if one["issued"]),
    )


def _differences(expect: Expectation, observed: Observed) -> Iterator[str]:
    if observed == Observed():
        yield f"nothing came of it in {END_WITHIN_S:.0f} s"
        return
    for name in Expectation.model_fields:
        wanted, found = getattr(expect, name), getattr(observed, name)
        if name == "issued":
            found = dict(found)
        if wanted != found:
            yield f"{name} is {found}, expected was {wanted}"
