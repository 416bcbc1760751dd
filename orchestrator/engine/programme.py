"""The base of programmes: products on offer, as versioned data; each kind of saga extends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.frozen import value
from schemas.values import Slug


class Data(BaseModel):
    """The base of what is read from TOML: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@value
class Needed:
    """A participant that a programme names, and the verbs that it must serve."""

    key: str  # The key of the programme that names it.
    participant: str
    verbs: tuple[str, ...] = ()  # It must have a ladder for each of them.


class Programme(Data):
    """The keys that every programme has, whatever its kind of saga."""

    id: Slug
    version: Annotated[int, Field(ge=1)]
    saga: str  # The name of its kind of saga.
    saga_version: Annotated[int, Field(ge=1)] = 1
    origins: Annotated[tuple[Slug, ...], Field(min_length=1)]

    def needs(self) -> Iterator[Needed]:
        """The participants that it names beside its origins, and what each of them must offer."""
        yield from ()

    def problems(
        self,
        others: Mapping[str, Mapping[str, Programme]],  # noqa: ARG002
        participants: frozenset[str],  # noqa: ARG002
    ) -> Iterator[tuple[str, str]]:
        """What is wrong with it in view of all programmes and participants.

        Args:
            others: all programmes, by kind of saga and by id.
            participants: the ids of all participants.

        Yields:
            The key that is wrong, and why.
        """
        yield from ()
