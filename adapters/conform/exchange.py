"""Commands as the platform writes them, replies as it reads them, and what scripts yield. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias
from uuid import NAMESPACE_URL, uuid5

from pydantic import ValidationError

from adapters.conform.terms import Terms
from schemas import events
from schemas.balance import ReadBalance
from schemas.commands import (
    CancelLeg,
    Command,
    CreditValue,
    DeductPoints,
    InquireLeg,
    ReturnPoints,
    ReverseValue,
)
from schemas.envelope import PLATFORM_SOURCE, Envelope, Unreadable, json_object, read, rfc3339
from schemas.ids import command_event_id, partition_key
from schemas.reasons import Code
from schemas.replies import LegAnswered, Outcome

ORIGIN: Final = "conform"
"""Stands for the origin in keys and ids; no participant has this name."""

EXPIRES_S: Final = 600.0

Verb: TypeAlias = Literal["deduct", "credit", "return", "reverse", "balance", "inquire", "cancel"]

TYPES: Final[Mapping[Verb, str]] = {
    "deduct": events.DEDUCT,
    "credit": events.CREDIT,
    "return": events.RETURN,
    "reverse": events.REVERSE,
    "balance": events.READ_BALANCE,
    "inquire": events.INQUIRE,
    "cancel": events.CANCEL,
}
MODELS: Final[Mapping[Verb, type[Command]]] = {
    "deduct": DeductPoints,
    "credit": CreditValue,
    "return": ReturnPoints,
    "reverse": ReverseValue,
    "balance": ReadBalance,
    "inquire": InquireLeg,
    "cancel": CancelLeg,
}


@dataclass(frozen=True, slots=True)
class SentCommand:
    """One command as it is published.

    `amount` (points or pieces) and `of` (the leg that is undone) are set where the verb has them.
    """

    verb: Verb
    envelope: Envelope
    topic: str
    key: str
    leg_id: str
    data: Command
    amount: int = 0
    of: str = ""

    @property
    def value(self) -> bytes:
        """The record's value."""
        return self.data.model_dump_json(exclude_none=True).encode()

    def __str__(self) -> str:
        return f"{self.envelope.type} {self.value.decode()}"


@dataclass(frozen=True, slots=True)
class ReceivedReply:
    """One reply as it was received. Without `data` it could not be read, and `fault` says why.

    `leg_id` is read from anything that is a JSON object, so that a bad reply finds its cell; it is
    empty when there is none.
    """

    topic: str
    key: str | None
    value: str
    leg_id: str = ""
    envelope: Envelope | None = None
    data: LegAnswered | None = None
    fault: str = ""

    @property
    def cause(self) -> str:
        """The id of the command that it says it answers; empty when it says none."""
        return (self.envelope.causation_id or "") if self.envelope else ""

    @property
    def outcome(self) -> Outcome | None:
        """The outcome that it states; None for one that the contract does not know."""
        return self.data.stated if self.data else None

    def __str__(self) -> str:
        return self.value + (f"   ({self.fault})" if self.fault else "")


def read_reply(
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
) -> ReceivedReply:
    """A record of a replies topic, read as strictly as the platform reads it."""
    name = None if key is None else key.decode("utf-8", "replace")
    text = (value or b"").decode("utf-8", "replace")
    try:
        envelope, body = read(headers, value)
    except Unreadable as error:
        return ReceivedReply(topic, name, text, _leg_of(value or b""), fault=str(error))
    try:
        if envelope.type != events.ANSWERED:
            raise Unreadable("ce_type", f"is {envelope.type!r}, expected {events.ANSWERED}")
        data = LegAnswered.model_validate_json(body)
    except Unreadable as error:
        return ReceivedReply(topic, name, text, _leg_of(body), envelope, fault=str(error))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "value"
        why = f"{where}: {first['msg']}"
        return ReceivedReply(topic, name, text, _leg_of(body), envelope, fault=why)
    return ReceivedReply(topic, name, text, data.leg_id, envelope, data)


def _leg_of(body: bytes) -> str:
    try:
        found = json_object(body, "value").get("leg_id")
    except Unreadable:
        return ""
    return found if isinstance(found, str) else ""


# -- what a script yields ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Publish commands and wait for an answer to each; with `settle`, until it is not PENDING."""

    commands: tuple[SentCommand, ...]
    settle: bool = True


@dataclass(frozen=True, slots=True)
class Pause:
    """Let time pass until a moment."""

    until: datetime


Answers: TypeAlias = Sequence[ReceivedReply | None]
"""One for each command of the last Ask, in its order; None where nothing came in time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a promise is kept; if it is not, why, and what was expected."""

    verdict: Literal["kept", "broken", "not offered", "undecided"]
    why: str = ""
    expected: str = ""


KEPT: Final = Finding("kept")

Steps: TypeAlias = Generator[Ask | Pause, Answers, Finding]


def ask(*commands: SentCommand, settle: bool = True) -> Ask:
    """What a script yields to publish commands and wait for their answers."""
    return Ask(commands, settle)


# -- how a script writes commands --------------------------------------------------------------


@dataclass(slots=True)
class CommandBuilder:
    """Writes the commands of one cell, under a saga id that no saga has; counts the attempts."""

    terms: Terms
    run: str
    cell: str
    now: datetime
    _attempts: Counter[tuple[Verb, str]] = field(default_factory=Counter)

    @property
    def saga_id(self) -> str:
        """Computed from the run and the cell: another run has others."""
        return str(uuid5(NAMESPACE_URL, f"uprp:{ORIGIN}:{self.run}:{self.cell}"))

    @property
    def do_verb(self) -> Verb:
        """The verb by which the participant's role takes or gives."""
        return "deduct" if self.terms.role == "debtor" else "credit"

    @property
    def undo_verb(self) -> Verb:
        """The verb that undoes it."""
        return "return" if self.terms.role == "debtor" else "reverse"

    def do(
        self,
        number: int = 1,
        *,
        amount: int | None = None,
        account: str | None = None,
        item: str | None = None,
        expires_s: float = EXPIRES_S,
    ) -> SentCommand:
        """A deduct or a credit, the cell's first or a later one."""
        terms = self.terms
        count = amount or terms.amount
        fields: dict[str, Any] = {
            "account": account or terms.account,
            "expires_at": self.now + timedelta(seconds=expires_s),
        }
        if self.do_verb == "deduct":
            step = "deduct" if number == 1 else f"deduct{number}"
            fields |= {"points": count}
        else:
            step = f"credit/{number}"
            fields |= {"item": item or terms.item, "kind": terms.kind, "quantity": count}
            fields |= {"face": terms.face}
        return self._write(self.do_verb, f"{self.saga_id}/{step}", fields, amount=count)

    def undo(
        self,
        do: SentCommand,
        reference: str,
        number: int = 1,
        *,
        amount: int | None = None,
        lots: Any = None,
    ) -> SentCommand:
        """A return or a reverse of what `do` did, in whole unless an amount is given."""
        count = amount or do.amount
        account = getattr(do.data, "account", self.terms.account)
        fields: dict[str, Any] = {"account": account, "reference": reference}
        fields |= {"reason": Code.PARTNER_DECLINED}
        if self.undo_verb == "return":
            fields |= {"points": count, "deduction_leg_id": do.leg_id, "lots": lots}
        else:
            fields |= {"quantity": count, "credit_leg_id": do.leg_id}
        step = self.undo_verb if number == 1 else f"{self.undo_verb}{number}"
        leg_id = f"{do.leg_id}/{step}"
        return self._write(self.undo_verb, leg_id, fields, amount=count, of=do.leg_id)

    def balance(self, number: int = 1, *, account: str | None = None) -> SentCommand:
        """A question for a balance; a later number is another question, not a repeat."""
        fields = {
            "account": account or self.terms.account,
            "expires_at": self.now + timedelta(seconds=EXPIRES_S),
        }
        step = "balance" if number == 1 else f"balance{number}"
        return self._write("balance", f"{self.saga_id}/{step}", fields)

    def inquire(self, about: SentCommand) -> SentCommand:
        """An inquiry about a leg."""
        return self._write("inquire", about.leg_id, {})

    def cancel(self, about: SentCommand) -> SentCommand:
        """A cancel of a leg."""
        return self._write("cancel", about.leg_id, {"reason": Code.TIMEOUT})

    def again(self, first: SentCommand) -> SentCommand:
        """A repeat: the same leg and content, the next attempt."""
        attempt = self._attempt(first.verb, first.leg_id)
        data = first.data.model_copy(update={"attempt": attempt})
        envelope = self._envelope(first.verb, first.leg_id, attempt)
        return replace(first, envelope=envelope, data=data)

    def _write(
        self, verb: Verb, leg_id: str, fields: Mapping[str, Any], *, amount: int = 0, of: str = ""
    ) -> SentCommand:
        attempt = self._attempt(verb, leg_id)
        data = MODELS[verb](
            leg_id=leg_id,
            saga_id=self.saga_id,
            programme=self.terms.programme,
            attempt=attempt,
            issued_at=self.now,
            **fields,
        )
        key = partition_key(ORIGIN, f"{self.run}-{self.cell}")
        envelope = self._envelope(verb, leg_id, attempt)
        topic = events.topic_of(self.terms.participant, events.Channel.COMMANDS)
        return SentCommand(verb, envelope, topic, key, leg_id, data, amount, of)

    def _attempt(self, verb: Verb, leg_id: str) -> int:
        self._attempts[verb, leg_id] += 1
        return self._attempts[verb, leg_id]

    def _envelope(self, verb: Verb, leg_id: str, attempt: int) -> Envelope:
        word = verb if verb in ("inquire", "cancel") else "do"
        event_id = command_event_id(leg_id, word, attempt)
        time = rfc3339(self.now)
        return Envelope(event_id, PLATFORM_SOURCE, TYPES[verb], time, subject=self.saga_id)
