"""The two bases of the contract: what the platform says, and what it hears."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NoReturn, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError


class Outbound(BaseModel):
    """What the platform writes: frozen, strict, and nothing beyond the contract."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True
    )


class Inbound(BaseModel):
    """What partners send: as strict about known fields, but unknown ones are kept and reported.

    A known field with a wrong type is an error; a field that the contract does not know is not
    (`contract.md` 1).
    """

    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", use_attribute_docstrings=True
    )

    def unknown_fields(self) -> Iterator[str]:
        """The names of fields that the contract does not know, dotted from the top."""
        if self.model_extra:
            yield from self.model_extra
        for name, value in self.__dict__.items():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Inbound):
                    yield from (f"{name}.{field}" for field in part.unknown_fields())

    def has_unknown(self) -> bool:
        """Whether there is any such field; runs for every record, so it looks only where needed."""
        if self.__pydantic_extra__ is None:
            return False  # It was read by a parser that takes none.
        if self.__pydantic_extra__:
            return True
        for name in _nesting(type(self)):
            value = getattr(self, name)
            for part in value if isinstance(value, tuple) else (value,):
                if part is not None and part.has_unknown():
                    return True
        return False

    def known(self) -> Self:
        """Itself without unknown fields, so that what one partner adds never reaches another."""
        if not self.has_unknown():
            return self
        told = self.model_fields_set
        nested = {name: _known(value) for name, value in self.__dict__.items() if name in told}
        copied = self.model_copy(update=nested)
        if copied.model_extra:
            copied.model_extra.clear()
        return copied


@cache
def _nesting(model: type[Inbound]) -> tuple[str, ...]:
    """The fields of a model that hold other models that partners send."""
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
    """Refuse a model because of one field, so that the error names the field.

    Raises:
        ValidationError: always; inside a model's validator it becomes part of the model's own.
    """
    error = PydanticCustomError(kind, message)
    raise ValidationError.from_exception_data(
        kind, [InitErrorDetails(type=error, loc=(field,), input=None)]
    )
