"""The two base classes of the contract's models: what the platform writes, and what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import ClassVar, NoReturn, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError


class Outbound(BaseModel):
    """The base of what the platform writes: frozen, strict, without unknown fields."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True
    )


class Inbound(BaseModel):
    """The base of what partners send: frozen, strict about known fields, open to unknown ones.

    A known field with a wrong type is an error. A field that the contract does not have is not: it
    is kept, so that it can be counted (`contract.md` 1).
    """

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", use_attribute_docstrings=True
    )

    saga_kind: ClassVar[str] = ""
    """For an event of an origin: the kind of saga it is about, as in the saga's id."""

    def unknown_fields(self) -> Iterator[str]:
        """The names of the fields that the contract does not have, dotted from the top."""
        if self.model_extra:
            yield from self.model_extra
        for name, value in self.__dict__.items():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Inbound):
                    yield from (f"{name}.{field}" for field in part.unknown_fields())

    def has_unknown(self) -> bool:
        """Whether there is an unknown field; it runs for every record, so it is made to be fast."""
        if self.__pydantic_extra__ is None:
            return False  # It was parsed with unknown fields forbidden.
        if self.__pydantic_extra__:
            return True
        for name in _nesting(type(self)):
            value = getattr(self, name)
            for part in value if isinstance(value, tuple) else (value,):
                if part is not None and part.has_unknown():
                    return True
        return False

    def known(self) -> Self:
        """The same without unknown fields, so that nothing a partner adds reaches another one."""
        if not self.has_unknown():
            return self
        given = self.model_fields_set
        nested = {name: _known(value) for name, value in self.__dict__.items() if name in given}
        copied = self.model_copy(update=nested)
        if copied.model_extra:
            copied.model_extra.clear()
        return copied


@cache
def _nesting(model: type[Inbound]) -> tuple[str, ...]:
    """The fields of a model that hold other models of what partners send."""
    return tuple(name for name, field in model.model_fields.items() if _holds(field.annotation))


def _holds(annotation: object) -> bool:
    if isinstance(annotation, type) and not get_args(annotation):
        return issubclass(annotation, Inbound)
    return any(_holds(part) for part in get_args(annotation))


def _known(value: object) -> object:
    if isinstance(value, Inbound):
        return value.known()
    return tuple(map(_known, value)) if isinstance(value, tuple) else value


def refuse(field: str, kind: str, message: str) -> NoReturn:
    """Refuse a model because of one field, with an error that names the field.

    Args:
        field: the field, dotted from the top of the model.
        kind: pydantic's type of the error.
        message: what is wrong.

    Raises:
        ValidationError: always; in a validator of a model it becomes part of the model's error.
    """
    error = PydanticCustomError(kind, message)
    raise ValidationError.from_exception_data(
        kind, [InitErrorDetails(type=error, loc=(field,), input=None)]
    )
