"""Handles commands as a participant must (`domain.md` 4.6), unless a fault is to be shown.

Each leg is carried out at most once. When it has a verdict, every further command about it gets
that same answer, whatever the command asks. A balance changes nothing: it is not written down, and
each time it is answered with what is so then.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias
from zlib import crc32

import orjson

from adapters.sandbox.business import Business, Verdict, denial, refused
from adapters.sandbox.commands import ID_CHARS_MAX, Command, Verb
from adapters.sandbox.fault_kinds import Kind
from adapters.sandbox.faults import Delivery, Fault, Faults
from adapters.sandbox.ledger import HeldCommand, How, Leg, UnitOfWork
from adapters.sandbox.misreport import misstated
from adapters.sandbox.outages import Outages

ReplyHeaders: TypeAlias = list[tuple[str, str | bytes]]

_CANCELLED: Final = Verdict("CANCELLED")
_PENDING: Final = Verdict("PENDING")
_NO_FAULT: Final = Fault("repeat", times=1)  # Answering once is what happens without a fault.
_NOT_PROCESSED: Final[Collection[Kind]] = ("silence", "apply_late", "done_after_cancel", "down")
_NOT_ANSWERED: Final[Collection[Kind]] = ("apply_silent", "reply_after_cancel", "down_after")
_MISSTATED: Final[Collection[Kind]] = ("wrong_amount", "wrong_unit", "wrong_item", "garbled")


class Reply(NamedTuple):
    """One record for the company's replies topic."""

    key: bytes | None
    value: bytes
    headers: ReplyHeaders


class CommandHandler:
    """Handles the commands of one batch within one unit of work.

    `replies` are to be sent once the unit of work is committed. A reply that is sent late or
    without a command is added to the unit of work instead, as owed.
    """

    def __init__(
        self,
        participant: str,
        business: Business,
        faults: Faults,
        work: UnitOfWork,
        now: datetime,
        *,
        outages: Outages | None = None,
    ) -> None:
        self.replies: list[Reply] = []
        self._outages = Outages() if outages is None else outages
        self._participant = participant
        self._business = business
        self._faults = faults
        self._begin = work
        self._now = now
        self._constant_headers: ReplyHeaders = [
            ("ce_specversion", b"1.0"),
            ("ce_type", b"uprp.leg.answered.v1"),
            ("ce_source", f"/participants/{participant}"),
            ("ce_time", now.isoformat(timespec="milliseconds")),
            ("content-type", b"application/json"),
        ]

    def handle(self, command: Command) -> None:
        """Carry out a command and answer it, unless a fault says otherwise."""
        leg = self._leg_of(command)
        number = _count(command, leg)
        if self._outages and (until := self._outages.until(command.leg_id, self._now)) is not None:
            self._defer(command, "hear", until)
            return
        fault = self._fault(command, leg, number)
        if fault is not _NO_FAULT and fault.kind in _NOT_PROCESSED:
            self._skip(command, leg, fault)
            return
        self._process(command, leg, fault)

    def resume(self, held: HeldCommand, command: Command) -> None:
        """Go on with a command that a fault deferred; the reply is owed, since nobody waits for it.

        A verdict that was given stands, except where the fault is a lie: `insist` and `deny`.
        """
        leg = self._leg_of(command)
        self._begin.resumed.append((held.seq,))
        mark = f"h{held.seq}"
        if held.how == "hear" or command.verb == "balance":
            self._process(command, leg, _NO_FAULT, mark)
            return
        match held.how:
            case "settle" if leg.outcome == "PENDING":
                self._carry_out(command, leg)
            case "refuse" if leg.outcome == "PENDING":
                _decide(leg, refused(held.code, "refused by script, in the end"))
            case "insist" if leg.outcome != "CONFIRMED":
                _note(command, leg)  # It may have been cancelled before it was ever processed.
                self._carry_out(command, leg)
            case "deny" if leg.outcome == "CONFIRMED":
                self._deny(leg, held.code)
            case _:
                return
        self._reply(command, leg, _NO_FAULT, mark)

    def _leg_of(self, command: Command) -> Leg:
        """The leg that a command is about, to be written; that of a query is not."""
        if command.verb == "balance":
            return Leg(command.leg_id, command.verb, command.account)
        return self._begin.touch(command.leg_id)

    def _process(self, command: Command, leg: Leg, fault: Fault, mark: str = "") -> None:
        match command.verb:
            case "inquire":
                pass
            case "balance":
                self._read(command, leg, fault)
            case "cancel":
                self._cancel(leg)
            case _:
                self._do(command, leg, fault)
        if fault is _NO_FAULT:
            self._reply(command, leg, fault, mark)
            return
        match fault.kind:
            case "reply_after_cancel":
                self._defer(command, "hear", None)  # It is a repeat then, and is answered.
            case "down_after":
                self._defer(command, "hear", self._outages.begin(leg.leg_id, fault, self._now))
        if fault.kind not in _NOT_ANSWERED:
            self._reply(command, leg, fault, mark)

    def _skip(self, command: Command, leg: Leg, fault: Fault) -> None:
        if not leg.verb and command.account:
            # An inquiry names neither: with these, rules can still match it.
            leg.account, leg.item = command.account, command.item
        match fault.kind:
            case "apply_late":
                self._defer(command, "hear", self._after(fault))
            case "done_after_cancel":
                self._defer(command, "insist", None, wait_ms=fault.ms)
            case "down":
                self._defer(command, "hear", self._outages.begin(leg.leg_id, fault, self._now))

    def _defer(
        self, command: Command, how: How, due: float | None, *, code: str = "", wait_ms: int = 0
    ) -> None:
        wire = (command.key, command.type, command.body, command.event_id)
        self._begin.held.append((command.leg_id, due, wait_ms, how, code, *wire))

    def _after(self, fault: Fault) -> float:
        return self._now.timestamp() + fault.ms / 1000

    def _fault(self, command: Command, leg: Leg, count: int) -> Fault:
        account = command.account or leg.account
        if not self._faults.concern(account):
            return _NO_FAULT
        delivery = Delivery(
            self._participant,
            command.verb,
            account,
            command.item or leg.item,
            command.leg_id,
            command.attempt,
            count,
        )
        return self._faults.decide(delivery) or _NO_FAULT

    def _cancel(self, leg: Leg) -> None:
        """Cancel a leg that was not done, also one that is not known yet: that is its tombstone."""
        self._begin.released.append((self._now.timestamp(), leg.leg_id))
        if leg.outcome in (None, "PENDING"):
            _decide(leg, _CANCELLED)

    def _read(self, command: Command, leg: Leg, fault: Fault) -> None:
        """What is so now, even if it was asked before."""
        if command.expires_at is not None and command.expires_at <= self._now:
            _decide(leg, refused("EXPIRED", "the command came after its expires_at"))
        elif not self._give_another_answer(command, leg, fault):
            self._carry_out(command, leg)

    def _do(self, command: Command, leg: Leg, fault: Fault) -> None:
        content = _note(command, leg)
        if content != (leg.verb, leg.account, leg.item, leg.asked):
            leg.mismatches += 1
        # What waits for another leg is looked at again; what waits for its time is not.
        waits = (
            leg.outcome == "PENDING"
            and leg.verb in ("return", "reverse")
            and leg.leg_id not in self._begin.unsettled
        )
        if leg.outcome is not None and not waits:
            return
        if not waits and command.expires_at is not None and command.expires_at <= self._now:
            _decide(leg, refused("EXPIRED", "the command came after its expires_at"))
        elif fault is _NO_FAULT or not self._give_another_answer(command, leg, fault):
            self._carry_out(command, leg)
            if fault.kind == "no_after_yes" and leg.outcome == "CONFIRMED":
                self._defer(command, "deny", self._after(fault), code=fault.code)

    def _give_another_answer(self, command: Command, leg: Leg, fault: Fault) -> bool:
        match fault.kind:
            case "refuse" | "refuse_undo":
                _decide(leg, refused(fault.code, "refused by script"))
            case "yes_after_no":
                self._defer(command, "insist", self._after(fault))
                _decide(leg, refused(fault.code, "refused by script, for now"))
            case "pending" | "pending_refuse":
                how: How = "settle" if fault.kind == "pending" else "refuse"
                self._defer(command, how, self._after(fault), code=fault.code)
                self._begin.unsettled.add(leg.leg_id)
                _decide(leg, _PENDING)
            case _:
                return False
        return True

    def _deny(self, leg: Leg, code: str) -> None:
        """Take back what is left of a leg by the company's own act, and say that it was never done.

        When the platform has had the leg undone already, nothing changes.
        """
        command = denial(leg)
        own = self._begin.touch(command.leg_id)
        verdict = self._business.carry_out(command, self._begin, self._now)
        if verdict.outcome == "CONFIRMED":
            own.verb, own.account, own.item = command.verb, leg.account, leg.item
            own.asked = command.amount
            _decide(own, verdict)
            _decide(leg, refused(code, "it was not done after all"))

    def _carry_out(self, command: Command, leg: Leg) -> None:
        verdict = self._business.carry_out(command, self._begin, self._now)
        if verdict.outcome != "NOT_RECEIVED":  # It is no verdict: there is nothing to remember.
            _decide(leg, verdict)

    def _reply(self, command: Command, leg: Leg, fault: Fault, mark: str = "") -> None:
        body = leg.answer or orjson.dumps({"leg_id": leg.leg_id, "outcome": "NOT_RECEIVED"})
        if fault is not _NO_FAULT and fault.kind in _MISSTATED:
            body = misstated(body, fault.kind)
        stamp = mark
        if command.verb == "balance":  # Its answers are not counted: each content has its own id.
            stamp += f"-{crc32(body):08x}"
        for event_id in _event_ids(leg, fault.times, stamp):
            headers = [*self._constant_headers, ("ce_id", event_id)]
            if command.event_id:
                headers.append(("ce_causationid", command.event_id))
            if command.traceparent:
                headers.append(("traceparent", command.traceparent))
            if mark or fault.kind == "delay":
                self._reply_later(command, body, headers, fault)
            else:
                self.replies.append(Reply(command.key, body, headers))

    def _reply_later(
        self, command: Command, body: bytes, headers: ReplyHeaders, fault: Fault
    ) -> None:
        due = self._after(fault) if fault.kind == "delay" else self._now.timestamp()
        written = orjson.dumps([(name, _text(content)) for name, content in headers]).decode()
        self._begin.owed.append((due, command.key, body, written))


def _count(command: Command, leg: Leg) -> int:
    """Count a delivery; returns how many there were of this leg and verb."""
    match command.verb:
        case "balance":
            leg.deliveries = command.attempt
            return command.attempt
        case "inquire":
            leg.inquiries += 1
            return leg.inquiries
        case "cancel":
            leg.cancels += 1
            return leg.cancels
        case _:
            leg.deliveries += 1
            return leg.deliveries


def _note(command: Command, leg: Leg) -> tuple[Verb, str, str, int]:
    """What a command asks for. The first command with an effect on a leg says what the leg is."""
    content = (command.verb, command.account, command.item, command.amount)
    if not leg.verb:
        leg.verb, leg.account, leg.item, leg.asked = content
    return content


def _decide(leg: Leg, verdict: Verdict) -> None:
    leg.outcome = verdict.outcome
    leg.moved = verdict.moved
    leg.answer = orjson.dumps({"leg_id": leg.leg_id, "outcome": verdict.outcome, **verdict.facts})


def _text(content: str | bytes) -> str:
    return content.decode("utf-8", "replace") if isinstance(content, bytes) else content


def _event_ids(leg: Leg, times: int, mark: str) -> Sequence[str]:
    """Ids that no other reply has: a repeat is a new event, the harder case for who reads it."""
    stem = leg.leg_id
    if len(stem) > ID_CHARS_MAX - 32:
        stem = blake2b(stem.encode(), digest_size=32).hexdigest()
    number = leg.deliveries + leg.inquiries + leg.cancels
    first = f"{stem}!{number}{mark}"
    return (first,) if times == 1 else (first, *(f"{first}.{n}" for n in range(2, times + 1)))
