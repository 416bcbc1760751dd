"""Loads the catalogue, programmes and participants, from TOML files, and checks all of it.

A process does so when it starts, before it connects to anything.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from orchestrator.admission.breaker import HealthPolicy
from orchestrator.catalogue.participant import Participant, ladders_of
from orchestrator.engine.policy import Policies
from orchestrator.engine.programme import Programme
from orchestrator.sagas import KINDS, Kinds
from schemas.events import DEAD_LETTER_TOPIC, INTERNAL_TOPIC, Channel, topic_of


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file."""

    file: str  # Relative to the folder of the catalogue.
    key: str  # The TOML key, dotted from the top.
    why: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.why}"


class CatalogueError(ValueError):
    """The files of the catalogue are wrong; it names every problem that was found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The newest version of each programme, every participant, and the policies of all legs."""

    programmes: Mapping[str, Mapping[str, Any]]  # By kind and id, each of its kind's own class.
    participants: Mapping[str, Participant]  # By id.
    policies: Policies
    kinds: Kinds = field(default_factory=lambda: KINDS)

    @property
    def health(self) -> Mapping[str, HealthPolicy]:
        """The health policy of each participant, by its id."""
        return {
            name: participant.health_policy() for name, participant in self.participants.items()
        }

    def offers(self) -> Iterator[tuple[str, Programme]]:
        """Every programme with a unique name: its id for redemptions, else `<kind>/<id>`."""
        for kind, programmes in self.programmes.items():
            for name, programme in programmes.items():
                yield name if kind == USUAL_KIND else f"{kind}/{name}", programme

    def inbound_topics(self) -> Iterator[str]:
        """The topics that the coordinator reads."""
        yield INTERNAL_TOPIC
        yield from self.request_topics()
        for participant in self.participants:
            yield topic_of(participant, Channel.REPLIES)

    def request_topics(self) -> Iterator[str]:
        """The topics of requests, where sagas begin."""
        for participant in self.participants:
            yield topic_of(participant, Channel.REQUESTS)

    def outbound_topics(self) -> Iterator[str]:
        """The topics that the coordinator writes, without `uprp.internal`, which it also reads."""
        yield DEAD_LETTER_TOPIC
        for participant in self.participants:
            yield topic_of(participant, Channel.COMMANDS)
            yield topic_of(participant, Channel.RESULTS)


def load(folder: Path, kinds: Kinds = KINDS) -> Catalogue:
    """Read `programmes/*.toml` and `participants/*.toml` below the folder.

    Of each programme, the newest version is on offer; all versions are checked.

    Raises:
        CatalogueError: something is wrong; it names every file, key and reason.
    """
    problems: list[Problem] = []
    participants: dict[str, Participant] = {}
    for file, participant in _participants(folder / "participants", kinds, problems):
        if participant.id in participants:
            problems.append(Problem(file, "id", f"{participant.id!r} stands in two files"))
        participants[participant.id] = participant
    all_versions = list(_programmes(folder / "programmes", kinds, problems))
    programmes = _newest(all_versions, kinds, problems)
    for file, programme in all_versions:
        problems += _references(file, programme, participants)
    for file, programme in all_versions:  # One may show in another, so last.
        wrong = programme.problems(programmes, frozenset(participants))
        problems += [Problem(file, key, why) for key, why in wrong]
    if problems:
        raise CatalogueError(problems)
    by_leg = {
        (participant.id, verb): policy
        for participant in participants.values()
        for verb, policy in participant.policies().items()
    }
    return Catalogue(programmes, participants, Policies(by_leg), kinds)


def _newest(
    all_versions: Iterable[tuple[str, Programme]], kinds: Kinds, problems: list[Problem]
) -> dict[str, dict[str, Programme]]:
    """The newest version of each programme, by kind and id; a repeated version is a problem."""
    newest: dict[str, dict[str, Programme]] = {kind.name: {} for kind in kinds.values()}
    versions: set[tuple[str, str, int]] = set()
    for file, programme in all_versions:
        version = (programme.saga, programme.id, programme.version)
        if version in versions:
            problems.append(Problem(file, "version", f"{programme.id} has this version twice"))
        versions.add(version)
        known = newest[programme.saga].get(programme.id)
        if known is None or known.version < programme.version:
            newest[programme.saga][programme.id] = programme
    return newest


def _participants(
    folder: Path, kinds: Kinds, problems: list[Problem]
) -> Iterator[tuple[str, Participant]]:
    ladders = ladders_of(kinds)
    for file, data in _read(folder, problems):
        try:
            yield file, Participant.model_validate(data, context=ladders)
        except ValidationError as error:
            problems += _wrong(file, error)


def _programmes(
    folder: Path, kinds: Kinds, problems: list[Problem]
) -> Iterator[tuple[str, Programme]]:
    for file, data in _read(folder, problems):
        name, version = data.get("saga", USUAL_KIND), data.get("saga_version", 1)
        kind = kinds.get((name, version)) if isinstance(name, str) else None
        if kind is None:
            named = {kind.name for kind in kinds.values()}
            key = "saga_version" if name in named else "saga"
            problems.append(Problem(file, key, f"there is no {name} {version}"))
            continue
        try:
            yield file, kind.programme.model_validate(data)
        except ValidationError as error:
            problems += _wrong(file, error)


USUAL_KIND: Final = "redemption"
"""The kind of saga of a programme that names none."""


def _read(folder: Path, problems: list[Problem]) -> Iterator[tuple[str, dict[str, Any]]]:
    files = sorted(folder.glob("*.toml"))
    if not files:
        problems.append(Problem(str(folder), "*.toml", "there is no file"))
    for path in files:
        file = f"{folder.name}/{path.name}"
        try:
            yield file, tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            problems.append(Problem(file, "(file)", f"is not TOML: {error}"))


def _wrong(file: str, error: ValidationError) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        key = ".".join(str(part) for part in detail["loc"]) or "(file)"
        yield Problem(file, key, detail["msg"])


def _references(
    file: str, programme: Programme, participants: Mapping[str, Participant]
) -> Iterator[Problem]:
    """The problems with the participants that a programme names: missing, or without a ladder."""
    for origin in programme.origins:
        if origin not in participants:
            yield Problem(file, "origins", f"there is no participant {origin!r}")
    for needed in programme.needs():
        key, name = needed.key, needed.participant
        if name not in participants:
            if key != "origins":
                yield Problem(file, key, f"there is no participant {name!r}")
            continue
        for verb in needed.verbs:
            if verb not in participants[name].ladders():
                yield Problem(file, key, f"participant {name!r} has no [legs.{verb}]")
