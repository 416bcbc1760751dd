"""Which fault a delivery meets: by script (the first rule that matches), magic account or seed.

Pure: the same delivery meets the same fault in every run, since a seed is hashed with it.
"""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeAlias

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from adapters.sandbox.commands import Verb
from adapters.sandbox.companies import explain
from adapters.sandbox.fault_kinds import KINDS, UNDO_VERBS, Kind, Need

SEEDED_KINDS: Final[tuple[Kind, ...]] = tuple(KINDS)
SEEDED_REPEATS: Final = 3
SEEDED_DELAY_MS_MAX: Final = 2_000
SEEDED_CODE: Final = "PARTNER_DECLINED"
MAGIC_PREFIX: Final = "magic-"

Scope: TypeAlias = Literal["company", "leg"]


class FaultsError(ValueError):
    """The faults' file or the rates cannot be used; the message says where and why."""


class Delivery(NamedTuple):
    """One arrival of a command, as faults see it; `nth` is 1 the first time for its leg and verb.

    An inquiry or a cancel names only its leg; account and item are then those that the company
    remembers, or empty.
    """

    participant: str
    verb: Verb
    account: str
    item: str
    leg: str
    attempt: int
    nth: int


class Fault(NamedTuple):
    """What to do instead of applying once and answering once."""

    kind: Kind
    code: str = ""  # The reason's code of a no (`domain.md` 2.7).
    ms: int = 0  # How long what is put off is put off.
    times: int = 1  # repeat: how many answers.
    scope: Scope = "company"  # down: who does not hear; one leg, or all.


class Match(BaseModel):
    """Which deliveries a rule is for: all by default. `account` and `leg` are globs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    participant: str | None = None
    verb: Verb | None = None
    account: str | None = None
    item: str | None = None
    leg: str | None = None
    attempt: Annotated[int, Field(ge=1)] | None = None
    first_n: Annotated[int, Field(ge=1)] | None = None

    def covers(self, delivery: Delivery) -> bool:
        """Whether the rule is for this delivery."""
        return (
            self.participant in (None, delivery.participant)
            and self.verb in (None, delivery.verb)
            and self.item in (None, delivery.item)
            and self.attempt in (None, delivery.attempt)
            and (self.first_n is None or delivery.nth <= self.first_n)
            and (self.account is None or fnmatchcase(delivery.account, self.account))
            and (self.leg is None or fnmatchcase(delivery.leg, self.leg))
        )


class Rule(BaseModel):
    """One line of a script: a match, an action, and what the action needs to know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    match: Match = Match()
    action: Kind
    code: Annotated[str, Field(pattern=r"^[A-Z][A-Z_]{2,39}$")] | None = None
    ms: Annotated[int, Field(ge=1, le=86_400_000)] | None = None
    times: Annotated[int, Field(ge=1, le=1_000)] | None = None
    scope: Scope | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        form = KINDS[self.action]
        names: tuple[Need, ...] = ("code", "ms", "times")
        for name in names:
            needed = name in form.needs
            if (getattr(self, name) is not None) != needed:
                raise ValueError(f"{self.action} {'needs' if needed else 'takes no'} {name}")
        if self.scope is not None and self.action not in ("down", "down_after"):
            raise ValueError(f"{self.action} takes no scope")
        if self.match.verb is not None and self.match.verb not in form.verbs:
            raise ValueError(f"{self.action} is for {', '.join(form.verbs)}")
        return self

    def covers(self, delivery: Delivery) -> bool:
        """Whether the fault is for such a command, and the rule for this delivery."""
        return delivery.verb in KINDS[self.action].verbs and self.match.covers(delivery)

    def fault(self) -> Fault:
        """The fault that the rule brings about."""
        times, scope = self.times or 1, self.scope or "company"
        return Fault(self.action, self.code or "", self.ms or 0, times, scope)


@dataclass(frozen=True, slots=True)
class Faults:
    """A script, magic accounts, a seed with rates, any of them, or nothing.

    `pace` multiplies every wait: tests are quick with a small one.
    """

    rules: tuple[Rule, ...] = ()
    seed: int = 0
    rates: Mapping[Kind, float] | None = None
    magic: Mapping[str, tuple[Rule, ...]] | None = None
    pace: float = 1.0

    def concern(self, account: str) -> bool:
        """Whether anything can happen to a command for this account; asked for every command."""
        return bool(self.rules or self.rates) or (
            self.magic is not None and account.startswith(MAGIC_PREFIX)
        )

    def decide(self, delivery: Delivery) -> Fault | None:
        """The fault that this delivery meets, if any."""
        fault = self._decide(delivery)
        if fault is None or not fault.ms:
            return fault
        return fault._replace(ms=max(1, round(fault.ms * self.pace)))

    def _decide(self, delivery: Delivery) -> Fault | None:
        for rule in self.rules:
            if rule.covers(delivery):
                return rule.fault()
        if self.magic is not None and delivery.account.startswith(MAGIC_PREFIX):
            # What a partner provokes by name is not mixed with what is drawn.
            rules = self.magic.get(magic_name(delivery.account, self.magic), ())
            return next((rule.fault() for rule in rules if rule.covers(delivery)), None)
        # Only the first delivery, so that whoever asks again learns the truth.
        return self._drawn(delivery) if self.rates and delivery.nth == 1 else None

    def _drawn(self, delivery: Delivery) -> Fault | None:
        name = f"{self.seed}/{delivery.verb}/{delivery.leg}".encode()
        digest = hashlib.blake2b(name, digest_size=16).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        assert self.rates is not None
        for kind in SEEDED_KINDS:
            share -= self.rates.get(kind, 0.0)
            if share < 0:
                break
        else:
            return None
        # That a return is refused must be asked for by its own name.
        refused = kind == "refuse" and delivery.verb in UNDO_VERBS
        if refused or delivery.verb not in KINDS[kind].verbs:
            return None
        needs = KINDS[kind].needs
        wait_ms = 1 + int.from_bytes(digest[8:], "big") % SEEDED_DELAY_MS_MAX
        return Fault(
            kind,
            code=SEEDED_CODE if "code" in needs else "",
            ms=wait_ms if "ms" in needs else 0,
            times=SEEDED_REPEATS if "times" in needs else 1,
        )


def magic_name(account: str, names: Iterable[str]) -> str:
    """The magic name that an account is, or begins with before a hyphen; empty when none."""
    return next((name for name in names if f"{account}-".startswith(f"{name}-")), "")


_RULES: Final = TypeAdapter(tuple[Rule, ...])
_MISTAKES_SHOWN_MAX: Final = 20


def load_rules(path: Path) -> tuple[Rule, ...]:
    """The rules of a TOML file (`[[rule]]`) or of a file of JSON lines. Raises FaultsError."""
    try:
        text = path.read_text(encoding="utf-8")
        return _RULES.validate_python(_read_rules(path, text), strict=False)
    except OSError as error:
        raise FaultsError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, orjson.JSONDecodeError, UnicodeDecodeError) as error:
        raise FaultsError(f"{path}: unreadable: {error}") from error
    except ValidationError as error:
        lines = explain(path, error).splitlines()[:_MISTAKES_SHOWN_MAX]
        raise FaultsError("\n".join(lines)) from error


def _read_rules(path: Path, text: str) -> list[Any]:
    if path.suffix != ".toml":
        return [orjson.loads(line) for line in text.splitlines() if line.strip()]
    data = tomllib.loads(text)
    if data and set(data) != {"rule"}:
        strange = ", ".join(sorted(set(data) - {"rule"}))
        raise FaultsError(f"{path}: {strange}: expected only [[rule]] tables")
    rules: list[Any] = data.get("rule", [])
    return rules


def parse_rates(text: str) -> Mapping[Kind, float]:
    """Rates as on the command line: `silence=0.02,repeat=0.05`. Raises FaultsError."""
    rates: dict[Kind, float] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        kind = next((one for one in SEEDED_KINDS if one == name.strip()), None)
        if kind is None:
            raise FaultsError(f"--rates: {name!r} is none of {', '.join(SEEDED_KINDS)}")
        try:
            rates[kind] = float(number)
        except ValueError as error:
            raise FaultsError(f"--rates: {kind}: {number!r} is not a number") from error
        if not 0 <= rates[kind] <= 1:
            raise FaultsError(f"--rates: {kind}: {number} is not between 0 and 1")
    if sum(rates.values()) > 1:
        raise FaultsError(f"--rates: they add up to {sum(rates.values()):g}, more than 1")
    return rates
