"""The companies as data: who they are, their members, and what they offer.

One TOML file, a table per participant. A mistake is reported with the file, the key and the reason.
"""

import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Account: TypeAlias = Annotated[str, Field(pattern=r"^[!-?A-~][!-~]{0,126}$")]  # Not `@...`: ours.
Amount: TypeAlias = Annotated[int, Field(gt=0, le=2**53)]
Status: TypeAlias = Literal["active", "suspended"]


class CompaniesError(ValueError):
    """The companies' file cannot be used; the message says which key of which file, and why."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Lot(_Model):
    """Points that were earned together and expire together."""

    lot: Annotated[str, Field(min_length=1, max_length=128)]
    points: Amount
    expires_on: date


class BankMember(_Model):
    """A points account at a bank."""

    account: Account
    status: Status = "active"
    lots: Annotated[tuple[Lot, ...], Field(min_length=1, strict=False)]


class Person(_Model):
    """A named customer of a wallet or an airline; `miles` counts at an airline only."""

    account: Account
    status: Status = "active"
    miles: Annotated[int, Field(ge=0, le=2**53)] = 0


class Face(_Model):
    """A coupon's face value, in minor units."""

    amount: Amount
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Item(_Model):
    """A coupon on offer; without `stock` there is no end of it."""

    face: Face | None = None
    coded: bool = True  # Whether a cashier scans it; an instant discount has no code.
    valid_days: Annotated[int, Field(gt=0, le=3650)] = 90
    spend_above_face: Annotated[int, Field(ge=0)] = 100  # Minor units; `domain.md` C13.
    stock: Annotated[int, Field(ge=0)] | None = None


class _Company(_Model):
    name: str
    unknown: Annotated[
        tuple[str, ...], Field(strict=False)
    ] = ()  # Globs; the rest opens on first use.


class Bank(_Company):
    """A bank: members with points lots. `default_points` opens any other account on first use."""

    kind: Literal["bank"]
    default_points: Amount | None = None
    default_expires_on: date = date(2036, 12, 31)
    members: Annotated[tuple[BankMember, ...], Field(strict=False)] = ()


class Wallet(_Company):
    """A wallet or another issuer of coupons: to any account that it does not know as suspended."""

    kind: Literal["wallet", "issuer"]
    coupon_prefix: Annotated[str, Field(pattern=r"^[A-Z]{2,8}$")]
    items: Annotated[dict[str, Item], Field(min_length=1)]
    members: Annotated[tuple[Person, ...], Field(strict=False)] = ()


class Airline(_Company):
    """An airline: mileage accounts. An account that is not listed opens with nothing."""

    kind: Literal["airline"]
    members: Annotated[tuple[Person, ...], Field(strict=False)] = ()


Company: TypeAlias = Bank | Wallet | Airline
Companies: TypeAlias = Mapping[str, Company]

_FILE: Final[TypeAdapter[dict[str, Company]]] = TypeAdapter(
    Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")],
            Annotated[Company, Field(discriminator="kind")],
        ],
        Field(min_length=1),
    ]
)


def load_companies(path: Path, only: Iterable[str] = ()) -> Companies:
    """The companies of a file by participant, or those named in `only`. Raises CompaniesError."""
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        companies = _FILE.validate_python(data)
    except OSError as error:
        raise CompaniesError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CompaniesError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        raise CompaniesError(explain(path, error)) from error
    for participant, company in companies.items():
        _refuse_repeats(path, participant, company)
    wanted = tuple(only) or tuple(companies)
    for name in wanted:
        if name not in companies:
            raise CompaniesError(f"{path}: no company {name!r}; it has {', '.join(companies)}")
    return {name: companies[name] for name in wanted}


def explain(path: Path, error: ValidationError) -> str:
    """One line per mistake: file, key, reason."""
    return "\n".join(
        f"{path}: {'.'.join(str(part) for part in one['loc']) or '(file)'}: {one['msg']}"
        for one in error.errors(include_url=False)
    )


def _refuse_repeats(path: Path, participant: str, company: Company) -> None:
    accounts = [member.account for member in company.members]
    lots = [(member.account, lot.lot) for member in _bank_members(company) for lot in member.lots]
    for what, names in (("account", accounts), ("lot", lots)):
        for index, name in enumerate(names):
            if name in names[:index]:
                raise CompaniesError(f"{path}: {participant}.members: {what} {name!r} comes twice")


def _bank_members(company: Company) -> tuple[BankMember, ...]:
    return company.members if isinstance(company, Bank) else ()
