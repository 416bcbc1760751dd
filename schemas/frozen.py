"""`@value`: a dataclass that the type checker holds to be frozen, at the price of one that is not.

A frozen dataclass sets each field through `object.__setattr__`, which makes building one three
times as dear; the engine builds some fifty for every redemption. mypy refuses every assignment to
a field of a value, in the tests too, so nothing is lost but the run-time error.
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
    """A closed set of words that is looked up often: it hashes as the text that it is.

    An Enum hashes its members' names in Python, at ten times the price.
    """

    __hash__ = str.__hash__


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(kind: type[T]) -> type[T]:
    """Make a class a value: compared and hashed by its fields, never changed."""
    return dataclass(slots=True, unsafe_hash=True)(kind)


@cache
def _shape(kind: Any) -> tuple[Callable[[Any], tuple[Any, ...]], dict[str, int]]:
    names = [found.name for found in fields(kind)]
    return attrgetter(*names), {name: at for at, name in enumerate(names)}


def replaced(was: T, **changes: Any) -> T:
    """The value with some fields changed: `dataclasses.replace`, at half its price.

    For values whose fields are given by position; a name that is no field is a KeyError.
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
    """A value whose fields are given by name."""
    return dataclass(slots=True, unsafe_hash=True, kw_only=True)(kind)
