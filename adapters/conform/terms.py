"""Whom the kit examines, with which accounts and items: a TOML table, completed by options."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.base import refuse
from schemas.values import Id, Money, Quantity, Slug

Role: TypeAlias = Literal["debtor", "creditor"]
Lacking: TypeAlias = Literal["repeat", "inquire", "cancel", "undo", "balance"]

RUN: Final = "{run}"
"""Stands in an account's name for the name of the run, where each run is to have a fresh one."""


class TermsError(ValueError):
    """The terms cannot be used; the message says which key, why, and how to mend it."""


class Terms(BaseModel):
    """What to ask of a participant: accounts and items of its test environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    participant: Slug
    role: Role
    programme: Slug
    account: Id
    """A member's account, good for whatever is asked; what is taken or given is undone."""

    amount: Annotated[Quantity, Field(ge=2)]
    """How many points to deduct, or pieces to credit: at least two, since parts are undone too."""

    refused_account: Id | None = None
    """An account for which the participant must refuse."""

    item: Id | None = None
    kind: Id = "CASH_COUPON"
    face: Money | None = None
    exact_account: Id | None = None
    """Debtor: an account for this kit alone, with exactly `exact_amount` points."""

    exact_item: Id | None = None
    """Creditor: an item for this kit alone, of which exactly `exact_amount` pieces are left."""

    exact_amount: Annotated[Quantity, Field(ge=2)] | None = None
    balance_account: Id | None = None
    """Debtor: an account for this kit alone with at least `amount` points, whose balance is asked
    for before and after a deduction."""

    lacking: frozenset[Lacking] = frozenset()
    """What the participant does not offer."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.role == "creditor" and self.item is None:
            refuse("item", "item_missing", "Field required of a creditor")
        exact = self.exact_account if self.role == "debtor" else self.exact_item
        if (exact is None) != (self.exact_amount is None):
            what = "goes with exact_account (debtor) or exact_item (creditor)"
            refuse("exact_amount", "exact_half", what)
        return self

    def for_run(self, run: str) -> Terms:
        """The terms with the accounts of one run."""
        named = {
            name: found.replace(RUN, run)
            for name in ("account", "refused_account", "exact_account", "balance_account")
            if (found := getattr(self, name)) is not None
        }
        return self.model_copy(update=named)


def read_terms(path: Path, participant: str, given: Mapping[str, Any]) -> Terms:
    """The section of a file that is the participant's, with what was given in its place.

    Raises:
        TermsError: with the file, the key, the reason and the option that gives it.
    """
    try:
        sections = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise TermsError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TermsError(f"{path}: not TOML: {error}") from None
    section = sections.get(participant, {})
    if not isinstance(section, dict):
        raise TermsError(f"{path}: {participant}: expected a table")
    try:
        # As JSON, so that strictness takes tables and arrays for what they are.
        found = orjson.dumps({**section, **given, "participant": participant})
        return Terms.model_validate_json(found)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        lines = [_mistake(path, participant, one) for one in mistakes]
        raise TermsError("\n".join(lines)) from None


def _mistake(path: Path, participant: str, found: Any) -> str:
    key = ".".join(str(part) for part in found["loc"]) or "(all)"
    option = f"--{key.partition('.')[0].replace('_', '-')}"
    return f"{path}: {participant}.{key}: {found['msg']}; set it there or by {option}"
