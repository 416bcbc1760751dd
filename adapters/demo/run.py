"""One request after the other, each compared with its expectation when it has ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from adapters.demo.monitor import Sight, Watch
from adapters.demo.scenarios import Expectation, Scene
from adapters.kafka.partner import open_producer
from adapters.kafka.requests import RequestLine, publish
from schemas import events
from schemas.events import Channel

END_WITHIN_S: Final = 30.0
LOOK_S: Final = 0.05
QUIET_S: Final = 0.4  # So long nothing passes after the last request: nothing more will come.

Before: TypeAlias = Callable[[RequestLine], RequestLine]
"""What an origin does before it publishes a line; the line as it is published then."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a request, in the words of an expectation."""

    status: str | None = None
    code: str | None = None
    charged: int = 0
    returned: int = 0
    return_required: int = 0
    issued: tuple[tuple[str, int], ...] = ()
    again: bool = False
    refused: str | None = None
    dead_letter: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A scene that was played: what was seen, and every difference from what was expected."""

    scene: Scene
    seen: Seen
    problems: tuple[str, ...]
    seconds: float


class Audience(Protocol):
    """Whoever watches."""

    def begins(self, scene: Scene) -> None:
        """A request is about to be published."""

    def passes(self, sight: Sight) -> None:
        """A record passed."""

    def ended(self, outcome: Outcome) -> None:
        """A request has ended, or nothing came of it in time."""


@dataclass(frozen=True, slots=True)
class Played:
    """Everything that happened."""

    outcomes: tuple[Outcome, ...]
    sights: tuple[Sight, ...]

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """The last final result of every saga, by its id."""
        return {
            str(sight.data["saga_id"]): dict(sight.data)
            for sight in self.sights
            if sight.type == events.RESULT and sight.data.get("final")
        }

    def surprises(self) -> Iterator[str]:
        """What no expectation speaks of and should not have happened."""
        commands = Counter(s.id for s in self.sights if s.channel is Channel.COMMANDS)
        for event_id, count in commands.items():
            if count > 1:
                yield f"the command {event_id} was said {count} times"
        letters = sum(s.channel is Channel.DEAD_LETTERS for s in self.sights)
        expected = sum(o.scene.expect.dead_letter is not None for o in self.outcomes)
        if letters != expected:
            yield f"{letters} records were set aside, expected were {expected}"


def play(
    scenes: Iterable[Scene], servers: str, watch: Watch, audience: Audience, before: Before
) -> Played:
    """Publish each request when the one before has ended. Raises KafkaException."""
    sights: list[Sight] = []

    def look(wait_s: float) -> list[Sight]:
        fresh = watch.look(wait_s)
        for sight in fresh:
            audience.passes(sight)
        sights.extend(fresh)
        return fresh

    producer = open_producer(servers)
    outcomes = []
    for scene in scenes:
        audience.begins(scene)
        begun, began = len(sights), time.monotonic()
        publish(producer, [before(scene.line)])
        while not _ended(scene, sights, begun) and time.monotonic() - began < END_WITHIN_S:
            look(LOOK_S)
        seen = _seen(scene, sights[begun:], sights[:begun])
        outcome = Outcome(scene, seen, tuple(_differences(scene.expect, seen)), _since(began))
        outcomes.append(outcome)
        audience.ended(outcome)
    while look(QUIET_S):
        pass
    return Played(tuple(outcomes), tuple(sights))


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def _ended(scene: Scene, sights: Sequence[Sight], begun: int) -> bool:
    """Whether the origin has its answer, and what follows from it was seen.

    What was refused is set aside, too; what the origin must give back, it acknowledges.
    """
    fresh = sights[begun:]
    for sight in fresh:
        if _is_result(scene, sight):
            return not sight.data.get("return_required") or _given_back(sight, sights)
    refused = any(_is_refusal(scene, sight) for sight in fresh)
    return refused and any(_is_dead_letter(scene, sight) for sight in fresh)


def _given_back(result: Sight, sights: Sequence[Sight]) -> bool:
    """Whether the origin acknowledged every return of a redemption."""
    saga_id = result.data["saga_id"]
    returns = {s.data["leg_id"] for s in sights if s.type == events.RETURN}
    asked = {leg_id for leg_id in returns if leg_id.startswith(saga_id)}
    done = {s.data.get("leg_id") for s in sights if s.data.get("outcome") == "CONFIRMED"}
    return bool(asked) and asked <= done


def _is_result(scene: Scene, sight: Sight) -> bool:
    return (
        sight.type == events.RESULT
        and sight.receiver == scene.line.origin
        and sight.data.get("request_id") == scene.request_id
        and bool(sight.data.get("final"))
    )


def _is_refusal(scene: Scene, sight: Sight) -> bool:
    about = sight.data.get("event_id")
    return sight.type == events.REFUSED and about == scene.line.event_id


def _is_dead_letter(scene: Scene, sight: Sight) -> bool:
    return sight.channel is Channel.DEAD_LETTERS and sight.id == scene.line.event_id


def _seen(scene: Scene, sights: Sequence[Sight], earlier: Sequence[Sight]) -> Seen:
    letter = next((s for s in sights if _is_dead_letter(scene, s)), None)
    disposition = letter.headers.get("x-dlq-disposition") if letter else None
    refusal = next((s for s in sights if _is_refusal(scene, s)), None)
    if refusal is not None:
        return Seen(refused=refusal.data["reason"]["code"], dead_letter=disposition)
    result = next((s for s in sights if _is_result(scene, s)), None)
    if result is None:
        return Seen(dead_letter=disposition)
    spoke = any(s.channel is Channel.COMMANDS for s in sights)
    data = result.data
    return Seen(
        status=data["status"],
        code=(data.get("reason") or {}).get("code"),
        charged=data["points"]["charged"],
        returned=data["points"]["returned"],
        return_required=(data.get("return_required") or {}).get("points", 0),
        issued=tuple((one["item"], one["issued"]) for one in data["lines"] if one["issued"]),
        again=not spoke and any(s.id == result.id and s.data == data for s in earlier),
        dead_letter=disposition,
    )


def _differences(expect: Expectation, seen: Seen) -> Iterator[str]:
    if seen == Seen():
        yield f"nothing came of it in {END_WITHIN_S:.0f} s"
        return
    for name in Expectation.model_fields:
        wanted, found = getattr(expect, name), getattr(seen, name)
        if name == "issued":
            found = dict(found)
        if wanted != found:
            yield f"{name} is {found}, expected was {wanted}"
