"""What is on offer and who takes part: read from TOML, checked before any socket opens."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.admission.breaker import HealthPolicy
from orchestrator.catalogue.participant import Participant
from orchestrator.engine.policy import Policies
from orchestrator.sagas import SAGAS
from orchestrator.sagas.redemption.programme import Programme
from schemas.events import DEAD_LETTER_TOPIC, INTERNAL_TOPIC, Channel, topic_of

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file: which key, and why."""

    file: str
    key: str
    why: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.why}"


class CatalogueError(ValueError):
    """The files cannot be run as they are; every problem that was found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The newest version of each programme, every participant, and the policies of all."""

    programmes: Mapping[str, Programme]
    participants: Mapping[str, Participant]
    policies: Policies

    @property
    def health(self) -> Mapping[str, HealthPolicy]:
        """When each participant gets no new sagas."""
        return {name: found.health_policy() for name, found in self.participants.items()}

    def inbound_topics(self) -> Iterator[str]:
        """What the coordinator reads."""
        yield INTERNAL_TOPIC
        yield from self.request_topics()
        for participant in self.participants:
            yield topic_of(participant, Channel.REPLIES)

    def request_topics(self) -> Iterator[str]:
        """Where sagas begin."""
        for participant in self.participants:
            yield topic_of(participant, Channel.REQUESTS)

    def outbound_topics(self) -> Iterator[str]:
        """What it writes, beside `uprp.internal`."""
        yield DEAD_LETTER_TOPIC
        for participant in self.participants:
            yield topic_of(participant, Channel.COMMANDS)
            yield topic_of(participant, Channel.RESULTS)


def load(folder: Path) -> Catalogue:
    """Read `programmes/*.toml` and `participants/*.toml` below the folder.

    Raises:
        CatalogueError: with every file, key and reason.
    """
    problems: list[Problem] = []
    participants: dict[str, Participant] = {}
    for file, participant in _read(folder / "participants", Participant, problems):
        if participant.id in participants:
            problems.append(Problem(file, "id", f"{participant.id!r} stands in two files"))
        participants[participant.id] = participant
    programmes: dict[str, Programme] = {}
    versions: set[tuple[str, int]] = set()
    for file, programme in _read(folder / "programmes", Programme, problems):
        if (programme.id, programme.version) in versions:
            problems.append(Problem(file, "version", f"{programme.id} has this version twice"))
        versions.add((programme.id, programme.version))
        known = programmes.get(programme.id)
        if known is None or known.version < programme.version:
            programmes[programme.id] = programme
        problems += _references(file, programme, participants)
    if problems:
        raise CatalogueError(problems)
    by_leg = {
        (participant.id, verb): policy
        for participant in participants.values()
        for verb, policy in participant.policies().items()
    }
    return Catalogue(programmes, participants, Policies(by_leg))


def _read(folder: Path, model: type[Model], problems: list[Problem]) -> Iterator[tuple[str, Model]]:
    files = sorted(folder.glob("*.toml"))
    if not files:
        problems.append(Problem(str(folder), "*.toml", "there is no file"))
    for path in files:
        file = f"{folder.name}/{path.name}"
        try:
            yield file, model.model_validate(tomllib.loads(path.read_text("utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            problems.append(Problem(file, "(file)", f"is not TOML: {error}"))
        except ValidationError as error:
            for found in error.errors(include_url=False):
                key = ".".join(str(part) for part in found["loc"]) or "(file)"
                problems.append(Problem(file, key, found["msg"]))


def _references(
    file: str, programme: Programme, participants: Mapping[str, Participant]
) -> Iterator[Problem]:
    """What a programme needs of the participants that it names."""
    for origin in programme.origins:
        if origin not in participants:
            yield Problem(file, "origins", f"there is no participant {origin!r}")
    needed: list[tuple[str, str, tuple[str, ...]]] = [
        ("creditor", programme.creditor, ("credit", "reverse"))
    ]
    if programme.debtor is not None:
        needed.insert(0, ("debtor", programme.debtor, ("deduct", "return")))
    else:  # Whoever asks has deducted already; it may have to return.
        needed += [("origins", origin, ("return",)) for origin in programme.origins]
    for role, name, verbs in needed:
        if name not in participants:
            if role != "origins":
                yield Problem(file, role, f"there is no participant {name!r}")
            continue
        for verb in verbs:
            if verb not in participants[name].legs.ladders():
                yield Problem(file, role, f"participant {name!r} has no [legs.{verb}]")
    if programme.loss_bearer not in {*participants, "platform"}:
        yield Problem(file, "loss_bearer", f"there is no participant {programme.loss_bearer!r}")
    if (programme.saga, programme.saga_version) not in SAGAS:
        yield Problem(
            file, "saga_version", f"there is no {programme.saga} {programme.saga_version}"
        )
