"""A bank: points in lots that expire, each deduction remembering the lots it took."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

import orjson

from adapters.sandbox.business import (
    OWN,
    PENDING,
    Members,
    Verdict,
    not_offered,
    reference_of,
    refused,
)
from adapters.sandbox.commands import Command
from adapters.sandbox.companies import Bank
from adapters.sandbox.ledger import CLEARING, Account, Leg, UnitOfWork


class Banking:
    """Points in lots: taken from the lot that expires first, returned to where they came from."""

    keeps_balances: ClassVar[bool] = True

    def __init__(self, participant: str, bank: Bank) -> None:
        self._participant = participant
        self._bank = bank
        self._members = Members(bank)
        self._now: datetime | None = None
        self._today = ""

    def opening_accounts(self) -> Iterator[tuple[str, str, list[list[Any]]]]:
        """The members, each with the lots in order of expiry."""
        for member in self._bank.members:
            lots = [[one.lot, one.expires_on.isoformat(), one.points] for one in member.lots]
            yield member.account, "points", sorted(lots, key=lambda lot: (lot[1], lot[0]))

    def carry_out(self, command: Command, work: UnitOfWork, now: datetime) -> Verdict:
        """Deduct, return, or say what could be deducted."""
        match command.verb:
            case "deduct":
                return self._deduct(command, work, self._day(now))
            case "return":
                return self._return(command, work)
            case "balance":
                return self._balance(command, work, now)
            case _:
                return not_offered(command.verb)

    def _day(self, now: datetime) -> str:
        if now is not self._now:  # The same for a whole batch.
            self._now, self._today = now, now.date().isoformat()
        return self._today

    def _balance(self, command: Command, work: UnitOfWork, now: datetime) -> Verdict:
        """What a deduction could take now. An account that opens on first use stays unopened.

        One refusal for every account that cannot be used: it does not tell whether there is one.
        """
        account = work.accounts.get(command.account)
        lots = account.lots if account is not None else self._first_lots()
        if self._members.refusal(command.account) is not None or lots is None:
            return refused("MEMBER_UNKNOWN", "the account cannot be used")
        today = self._day(now)
        facts = {
            "reference": reference_of(self._participant, command.leg_id),
            "available": sum([lot[2] for lot in lots if lot[1] >= today]),
            "held": 0,  # A deduction takes its points at once.
            "as_of": now.isoformat(timespec="milliseconds"),
        }
        return Verdict("CONFIRMED", facts=facts)

    def _deduct(self, command: Command, work: UnitOfWork, today: str) -> Verdict:
        refusal = self._members.refusal(command.account)
        if refusal is not None:
            return refusal
        account = self._account(command.account, work)
        if account is None:
            return refused("MEMBER_UNKNOWN", "no such account")
        usable = [lot for lot in account.lots if lot[1] >= today]
        if sum([lot[2] for lot in usable]) < command.amount:
            return refused("INSUFFICIENT_POINTS", "the account has fewer points")
        taken = []
        missing = command.amount
        for lot in usable:  # Accounts keep their lots in order of expiry.
            points = min(lot[2], missing)
            if points:
                lot[2] -= points
                missing -= points
                taken.append(_lot(lot[0], lot[1], points))
                work.move(
                    command.leg_id, command.account, CLEARING, points, unit="points", lot=lot[0]
                )
        account.changed = True
        return self._moved(command, taken)

    def _account(self, name: str, work: UnitOfWork) -> Account | None:
        account = work.accounts.get(name)
        if account is None and (lots := self._first_lots()) is not None:
            account = work.open_account(name, "points", lots)
        return account

    def _first_lots(self) -> list[list[Any]] | None:
        """The lots of an account that opens on first use; None where none does."""
        if self._bank.default_points is None:
            return None
        return [["default", self._bank.default_expires_on.isoformat(), self._bank.default_points]]

    def _return(self, command: Command, work: UnitOfWork) -> Verdict:
        """Points back into the lots they came from (`domain.md` 0, fact 6).

        A return may be delayed, not declined: what cannot be matched waits for a person.
        """
        original = work.legs.get(command.original) or work.legs.get(own_leg(command.reference))
        account = work.accounts.get(command.account)
        if original is None or original.outcome != "CONFIRMED" or original.verb != "deduct":
            return PENDING
        if original.account != command.account or account is None:
            return PENDING
        out = _lots_out(original)
        back = _put_back(command, out)
        if back is None:
            return PENDING
        for lot in back:
            held = next(one for one in account.lots if one[0] == lot["lot"])
            held[2] += lot["points"]
            work.move(
                command.leg_id, CLEARING, command.account, lot["points"], unit="points", lot=held[0]
            )
        account.changed = True
        original.remaining = orjson.dumps(out).decode()
        work.touch(original.leg_id)
        return self._moved(command, back)

    def _moved(self, command: Command, lots: list[dict[str, Any]]) -> Verdict:
        reference = reference_of(self._participant, command.leg_id)
        facts = {"reference": reference, "points": command.amount, "lots": lots}
        return Verdict("CONFIRMED", command.amount, facts)


def own_leg(reference: str) -> str:
    """The leg id under which a company keeps what its own app did."""
    return f"{OWN}{reference}"


def _lot(lot: str, expires_on: str, points: int) -> dict[str, Any]:
    return {"lot": lot, "points": points, "expires_on": expires_on}


def _lots_out(deduction: Leg) -> list[dict[str, Any]]:
    """The lots of a deduction that have not been returned."""
    if deduction.remaining is not None:
        out: list[dict[str, Any]] = orjson.loads(deduction.remaining)
        return out
    assert deduction.answer is not None, deduction.leg_id
    first: list[dict[str, Any]] = orjson.loads(deduction.answer)["lots"]
    return first


def _put_back(command: Command, out: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Take from `out` what a return names, else what was taken last; None when it is too much."""
    wanted: list[tuple[str, int]] = [(one.lot, one.points) for one in command.lots]
    if not wanted:
        missing = command.amount
        for lot in reversed(out):
            wanted.append((lot["lot"], min(missing, lot["points"])))
            missing -= wanted[-1][1]
    if sum(points for _, points in wanted) != command.amount:
        return None
    left = {lot["lot"]: lot["points"] for lot in out}
    for name, points in wanted:
        left[name] = left.get(name, 0) - points
    if min(left.values()) < 0:
        return None
    back = []
    for lot in out:
        points = lot["points"] - left[lot["lot"]]
        if points:
            back.append(_lot(lot["lot"], lot["expires_on"], points))
            lot["points"] -= points
    return back
