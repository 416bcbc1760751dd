"""A participant: a company on the platform, its ladders and limits (`domain.md` 4.3, 4.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from orchestrator.admission.breaker import HealthPolicy, WhenUnavailable
from orchestrator.engine.definition import Kind
from orchestrator.engine.durations import Duration, Window, known_zone
from orchestrator.engine.policy import LegPolicy, Remedy, Rung, Until
from orchestrator.sagas import KINDS, Kinds
from schemas.base import refuse
from schemas.values import Slug


def _only_park(found: Any) -> Any:
    """The value, which must be "park", as nothing may be concluded from a missing answer."""
    if found != "park":
        raise ValueError(
            f"{found!r} would conclude from silence; nothing is undone because nobody answered,"
            ' so only "park" is possible (domain.md I7)'
        )
    return found


Times = Annotated[int, Field(ge=0, le=100_000)]
"""How many times something is done."""
Chain = Annotated[tuple[Remedy, ...], Field(min_length=1, max_length=4)]
"""Remedies in the order in which they are tried."""


class Verbs(BaseModel):
    """What else the participant can do with a leg; ladders do without what it cannot."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inquire: bool = True  # It answers inquiries about a leg.
    cancel: bool = True  # It answers cancels of a leg.
    tombstones: bool = True  # An accepted cancel stops the command for ever (`contract.md` 3).
    idempotent: bool = True  # A repeated command has no second effect and the same answer.

    @model_validator(mode="after")
    def _a_cancel_that_decides(self) -> Self:
        if self.cancel and not self.tombstones:
            refuse(
                "cancel",
                "cancel_undecided",
                "a cancel that leaves no tombstone decides nothing, for the command may still"
                " arrive: undoing on it would be undoing on silence; set cancel = false",
            )
        return self


class Ladder(BaseModel):
    """What is done for one verb while its answer does not come; see `LegPolicy` for the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    response_timeout: Duration = 5_000
    expires_after: Duration = 60_000
    rungs: tuple[Rung, ...] | None = None  # None: those that the participant's verbs allow.
    every: Duration = 3_000
    times: Times | None = 20
    cancel: bool | None = None  # None: if the participant offers it.
    cancel_every: Duration = 10_000
    cancel_quick: Times = 6
    cancel_slowest: Duration = 3_600_000
    cancel_until: Window = Until(days=1, minute=15)
    pending_every: Duration = 3_600_000
    pending_times: Times | None = None
    pending_until: Window | None = None
    tell_after: Duration = 60_000
    call_after: Window | None = None
    on_silence: Annotated[Literal["park"], BeforeValidator(_only_park)] = "park"
    late_yes: Chain = (Remedy.REVERSE, Remedy.CHARGE, Remedy.LOSS)
    late_no: Chain = (Remedy.PARK,)

    @field_validator("late_yes", "late_no")
    @classmethod
    def _ends_somewhere(cls, chain: tuple[Remedy, ...]) -> tuple[Remedy, ...]:
        ends = (Remedy.LOSS, Remedy.PARK)
        if chain[-1] not in ends or any(remedy in ends for remedy in chain[:-1]):
            raise ValueError("must end with loss or park, and have neither before its end")
        if len(set(chain)) != len(chain):
            raise ValueError("has a remedy twice")
        return chain

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.tell_after < self.response_timeout:
            refuse("tell_after", "told_early", "is shorter than response_timeout")
        return self

    def policy(self, verbs: Verbs, zone: str) -> LegPolicy:
        """The ladder as the engine has it: complete, with windows in the participant's zone."""
        fields = self.model_dump(exclude={"on_silence", "rungs", "cancel"})
        for name in ("cancel_until", "pending_until", "call_after"):
            window = getattr(self, name)
            fields[name] = window and Until(window.after, window.days, window.minute, zone)
        rungs = self.rungs
        if rungs is None:
            rungs = self._rungs(verbs)
        cancel = verbs.cancel if self.cancel is None else self.cancel
        return LegPolicy(**fields, rungs=rungs, cancel=cancel)

    def _rungs(self, verbs: Verbs) -> tuple[Rung, ...]:
        """The rungs of a ladder that names none."""
        if verbs.inquire:
            return (Rung.INQUIRE,)
        return (Rung.RESEND,) if verbs.idempotent else ()

    def problems(self, verbs: Verbs) -> list[tuple[str, str]]:
        """What the ladder uses and the participant does not offer: the key, and why it is wrong."""
        wrong = []
        if Rung.INQUIRE in (self.rungs or ()) and not verbs.inquire:
            wrong.append(("rungs", "names inquire, but [verbs] inquire is false"))
        if Rung.RESEND in (self.rungs or ()) and not verbs.idempotent:
            wrong.append(("rungs", "names resend, but [verbs] idempotent is false: twice is twice"))
        if self.cancel and not verbs.cancel:
            wrong.append(("cancel", "is true, but [verbs] cancel is false"))
        return wrong


class UndoLadder(Ladder):
    """The ladder of an undo, which is never cancelled."""

    cancel: Literal[False] = False


class ReturnLadder(UndoLadder):
    """The ladder of an undo that may only be late: it goes on until an answer (`contract.md` 3)."""

    every: Duration = 15_000
    times: None = None

    def _rungs(self, verbs: Verbs) -> tuple[Rung, ...]:
        if verbs.idempotent:
            return (Rung.RESEND,)
        return (Rung.INQUIRE,) if verbs.inquire else ()


class QueryLadder(Ladder):
    """The ladder of a query; if it ends without an answer, so does the leg: nobody is called."""

    response_timeout: Duration = 3_000
    expires_after: Duration = 10_000
    rungs: tuple[Literal[Rung.RESEND], ...] = ()
    times: Times | None = 0
    cancel: Literal[False] = False
    call_after: None = None


LadderTypes = Mapping[str, type[Ladder]]
"""The types of ladder that a participant can have, by verb."""


def ladders_of(kinds: Kinds) -> LadderTypes:
    """The type of ladder of every verb of every kind of saga."""
    types: dict[str, type[Ladder]] = {}
    for kind in kinds.values():
        for step in kind.definition.steps:
            reads = step.kind is Kind.QUERY
            types[step.do.name] = QueryLadder if reads else Ladder
            if step.undo is not None:
                returns = step.kind is Kind.COMPENSABLE
                types[step.undo.name] = ReturnLadder if returns else UndoLadder
    return types


_USUAL = HealthPolicy()


class Health(BaseModel):
    """When the participant gets no new sagas, and what is done with those (`domain.md` 4.4).

    See `HealthPolicy` for the fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    breaker: bool = _USUAL.breaker
    breaker_window: Duration = _USUAL.breaker_window
    breaker_min_samples: Annotated[int, Field(ge=1, le=100_000)] = _USUAL.breaker_min_samples
    breaker_failure_percent: Annotated[int, Field(ge=1, le=100)] = _USUAL.breaker_failure_percent
    open_for: Duration = _USUAL.open_for
    probes: Annotated[int, Field(ge=1, le=1_000)] = _USUAL.probes
    in_flight_max: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    rate_per_s: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    when_unavailable: WhenUnavailable = _USUAL.when_unavailable
    hold_for: Duration = _USUAL.hold_for

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.burst is not None and self.rate_per_s is None:
            refuse("burst", "burst_alone", "means nothing without rate_per_s")
        if "hold_for" in self.model_fields_set and self.when_unavailable is WhenUnavailable.REFUSE:
            refuse("hold_for", "hold_alone", 'means nothing unless when_unavailable is "hold"')
        return self

    def policy(self, patience: int) -> HealthPolicy:
        """The health policy; `patience` is the longest response time-out, in milliseconds."""
        fields = self.model_dump() | {"burst": self.burst or self.rate_per_s or 1}
        return HealthPolicy(**fields, patience=patience)


def _below(verb: str, detail: ErrorDetails) -> InitErrorDetails:
    """The same error, with a key that begins with the verb in whose table it is."""
    message = detail["msg"].replace("{", "{{").replace("}", "}}")
    error = PydanticCustomError(detail["type"], message)
    return InitErrorDetails(type=error, loc=(verb, *detail["loc"]), input=detail["input"])


class Participant(BaseModel):
    """One participant: a company and what the platform must know to work with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Slug  # Part of the names of its topics.
    version: Annotated[int, Field(ge=1)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    zone: str = "Asia/Hong_Kong"  # The IANA time zone of the times of day in its ladders.
    verbs: Verbs = Verbs()
    legs: Mapping[str, SerializeAsAny[Ladder]] = {}  # The ladder of each verb that it serves.
    health: Health = Health()

    @field_validator("legs", mode="before")
    @classmethod
    def _a_ladder_for_each_verb(cls, legs: Any, info: ValidationInfo) -> Any:
        """Read each ladder as the type that its verb has; the kinds of saga say which that is."""
        types: LadderTypes = info.context if info.context is not None else ladders_of(KINDS)
        if not isinstance(legs, Mapping):
            return legs
        ladders: dict[str, Ladder] = {}
        wrong: list[InitErrorDetails] = []
        for verb, data in legs.items():
            if verb not in types:
                unknown = PydanticCustomError("extra_forbidden", "Extra inputs are not permitted")
                wrong.append(InitErrorDetails(type=unknown, loc=(verb,), input=data))
                continue
            try:
                ladders[verb] = types[verb].model_validate(data)
            except ValidationError as error:
                wrong += [_below(verb, detail) for detail in error.errors(include_url=False)]
        if wrong:
            raise ValidationError.from_exception_data("legs", wrong)
        return ladders

    @field_validator("zone")
    @classmethod
    def _a_known_zone(cls, zone: str) -> str:
        return known_zone(zone)

    @model_validator(mode="after")
    def _offers_what_its_ladders_use(self) -> Self:
        for verb, ladder in self.ladders().items():
            for key, why in ladder.problems(self.verbs):
                refuse(f"legs.{verb}.{key}", "verb_missing", why)
        return self

    def ladders(self) -> Mapping[str, Ladder]:
        """The ladders, by verb."""
        return self.legs

    def policies(self) -> Mapping[str, LegPolicy]:
        """The policies of its legs, by verb."""
        return {
            verb: ladder.policy(self.verbs, self.zone) for verb, ladder in self.ladders().items()
        }

    def health_policy(self) -> HealthPolicy:
        """The health policy; its `patience` is the longest response time-out of all ladders."""
        waits = [ladder.response_timeout for ladder in self.ladders().values()]
        return self.health.policy(max(waits, default=_USUAL.patience))
