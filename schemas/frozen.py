"""`@value`: dataclasses that are frozen for the type checker, but not at run time.

A frozen dataclass sets each field through `object.__setattr__`, so creating one takes three times
as long, and the engine creates some fifty for every redemption. mypy refuses every assignment to a
field of a value, in the tests too, so only the error at run time is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


class TextEnum(StrEnum):
    """A StrEnum whose members hash as the strings that they are.

    The hash of Enum is computed in Python and takes ten times as long.
    """

    __hash__ = str.__hash__


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(kind: type[T]) -> type[T]:
    """Make a class a value: its instances never change, and are compared and hashed by fields."""
    return dataclass(slots=True, unsafe_hash=True)(kind)


@cache
def _shape(kind: Any) -> tuple[Callable[[Any], tuple[Any, ...]], dict[str, int]]:
    names = [found.name for found in fields(kind)]
    return attrgetter(*names), {name: at for at, name in enumerate(names)}


def replaced(was: T, **changes: Any) -> T:
    """The value with some fields changed, like `dataclasses.replace`, but twice as fast.

    It is for classes made with `value`, whose fields can be given by position.

    Raises:
        KeyError: a name is not a field.
    """
    kind: Any = type(was)
    read, places = _shape(kind)
    content = list(read(was))
    for name, changed in changes.items():
        content[places[name]] = changed
    changed_value: T = kind(*content)
    return changed_value


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def keyed(kind: type[T]) -> type[T]:
    """Make a class a value whose fields are given by name only."""
    return dataclass(slots=True, unsafe_hash=True, kw_only=True)(kind)
