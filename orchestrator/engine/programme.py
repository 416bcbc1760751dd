"""A programme: a product on offer, as versioned data, with a schema for each kind of saga."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.frozen import value
from schemas.values import Slug


class Data(BaseModel):
    """Read from TOML: frozen, and nothing that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@value
class Needed:
    """A participant that a programme names, and the ladders that it must have there."""

    key: str  # Where the programme names it.
    participant: str
    verbs: tuple[str, ...] = ()


class Programme(Data):
    """What every programme has."""

    id: Slug
    version: Annotated[int, Field(ge=1)]
    saga: str
    saga_version: Annotated[int, Field(ge=1)] = 1
    origins: Annotated[tuple[Slug, ...], Field(min_length=1)]

    def needs(self) -> Iterator[Needed]:
        """The participants beside its origins, and what the programme needs of each."""
        yield from ()

    def problems(
        self,
        others: Mapping[str, Mapping[str, Programme]],  # noqa: ARG002
        participants: frozenset[str],  # noqa: ARG002
    ) -> Iterator[tuple[str, str]]:
        """What is wrong with it beside the others on offer: key and why."""
        yield from ()
