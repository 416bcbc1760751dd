"""One batch's worth of promises (`domain.md` 4.6): each leg once, and one answer for ever.

Once a leg has a verdict, every further command about it gets that very answer, whatever it asks.
"""

from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias

import orjson

from adapters.sandbox.commands import ID_CHARS_MAX, Command
from adapters.sandbox.faults import Delivery, Fault, Faults
from adapters.sandbox.ledger import Leg, Sheet
from adapters.sandbox.trade import Trade, Verdict, refused

ReplyHeaders: TypeAlias = list[tuple[str, str | bytes]]

_CANCELLED: Final = Verdict("CANCELLED")
_PENDING: Final = Verdict("PENDING")
_NO_FAULT: Final = Fault("repeat", times=1)  # Answering once is what everybody does.


class Reply(NamedTuple):
    """One record for the company's replies topic, to be sent `delay_ms` from now."""

    key: bytes | None
    value: bytes
    headers: ReplyHeaders
    delay_ms: int = 0


class Turn:
    """Works through commands on one sheet; what is to be answered once it is committed."""

    def __init__(
        self, participant: str, trade: Trade, faults: Faults, sheet: Sheet, now: datetime
    ) -> None:
        self.replies: list[Reply] = []
        self._participant = participant
        self._trade = trade
        self._faults = faults
        self._sheet = sheet
        self._now = now
        self._constant_headers: ReplyHeaders = [
            ("ce_specversion", b"1.0"),
            ("ce_type", b"uprp.leg.answered.v1"),
            ("ce_source", f"/participants/{participant}"),
            ("ce_time", now.isoformat(timespec="milliseconds")),
            ("content-type", b"application/json"),
        ]

    def hear(self, command: Command) -> None:
        """Take one command to its end, unless a fault says otherwise."""
        leg = self._sheet.touch(command.leg_id)
        fault = self._fault(command, leg, _count(command, leg))
        if fault.kind == "silence":
            return
        match command.verb:
            case "inquire":
                pass
            case "cancel":
                self._cancel(leg)
            case _:
                self._do(command, leg, fault)
        if fault.kind != "apply_silent":
            self._say(command, leg, fault)

    def settle(self, command: Command) -> None:
        """Carry out what was put off with PENDING, and say so without being asked."""
        leg = self._sheet.touch(command.leg_id)
        self._sheet.settled.append((command.leg_id,))
        if leg.outcome == "PENDING":
            self._carry_out(command, leg)
            self._say(command, leg, _NO_FAULT, mark="s")

    def _fault(self, command: Command, leg: Leg, count: int) -> Fault:
        if not self._faults:
            return _NO_FAULT
        delivery = Delivery(
            self._participant,
            command.verb,
            command.account or leg.account,
            command.item or leg.item,
            command.leg_id,
            command.attempt,
            count,
        )
        return self._faults.decide(delivery) or _NO_FAULT

    def _cancel(self, leg: Leg) -> None:
        """A leg that was not done gets a tombstone, also when nobody has heard of it yet."""
        if leg.outcome == "PENDING":
            self._sheet.settled.append((leg.leg_id,))
        if leg.outcome in (None, "PENDING"):
            _conclude(leg, _CANCELLED)

    def _do(self, command: Command, leg: Leg, fault: Fault) -> None:
        content = (command.verb, command.account, command.item, command.amount)
        if not leg.verb:
            leg.verb, leg.account, leg.item, leg.asked = content
        elif content != (leg.verb, leg.account, leg.item, leg.asked):
            leg.mismatches += 1
        # What waits for another leg is looked at again; what waits for its time is not.
        waits = leg.outcome == "PENDING" and leg.verb in ("return", "reverse")
        if leg.outcome is not None and not waits:
            return
        if fault.kind == "refuse":
            _conclude(leg, refused(fault.code, "refused by script"))
        elif fault.kind == "pending":
            settle_at = self._now.timestamp() + fault.ms / 1000
            self._sheet.pending.append(
                (leg.leg_id, settle_at, command.key, command.type, command.body)
            )
            _conclude(leg, _PENDING)
        elif not waits and command.expires_at is not None and command.expires_at <= self._now:
            _conclude(leg, refused("EXPIRED", "the command came after its expires_at"))
        else:
            self._carry_out(command, leg)

    def _carry_out(self, command: Command, leg: Leg) -> None:
        verdict = self._trade.carry_out(command, self._sheet, self._now)
        if verdict.outcome != "NOT_RECEIVED":  # A reading, not a verdict: nothing to remember.
            _conclude(leg, verdict)

    def _say(self, command: Command, leg: Leg, fault: Fault, mark: str = "") -> None:
        body = leg.answer or orjson.dumps({"leg_id": leg.leg_id, "outcome": "NOT_RECEIVED"})
        for event_id in _event_ids(leg, fault.times, mark):
            headers = [*self._constant_headers, ("ce_id", event_id)]
            if command.event_id:
                headers.append(("ce_causationid", command.event_id))
            if command.traceparent:
                headers.append(("traceparent", command.traceparent))
            self.replies.append(Reply(command.key, body, headers, _delay_ms(fault)))


def _count(command: Command, leg: Leg) -> int:
    """Count a delivery; how many there were of this leg and verb."""
    match command.verb:
        case "inquire":
            leg.inquiries += 1
            return leg.inquiries
        case "cancel":
            leg.cancels += 1
            return leg.cancels
        case _:
            leg.deliveries += 1
            return leg.deliveries


def _conclude(leg: Leg, verdict: Verdict) -> None:
    leg.outcome = verdict.outcome
    leg.moved = verdict.moved
    leg.answer = orjson.dumps({"leg_id": leg.leg_id, "outcome": verdict.outcome, **verdict.facts})


def _delay_ms(fault: Fault) -> int:
    return fault.ms if fault.kind == "delay" else 0


def _event_ids(leg: Leg, times: int, mark: str) -> Iterator[str]:
    """Ids that no other reply has: a repeat is a new event, which is the harder case to bear."""
    stem = leg.leg_id
    if len(stem) > ID_CHARS_MAX - 16:
        stem = blake2b(stem.encode(), digest_size=32).hexdigest()
    number = leg.deliveries + leg.inquiries + leg.cancels
    yield f"{stem}!{number}{mark}"
    for again in range(2, times + 1):
        yield f"{stem}!{number}{mark}.{again}"
