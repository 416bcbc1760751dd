"""An airline: miles, credited in full, taken back in part or in full."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

from adapters.sandbox.business import (
    NOT_RECEIVED,
    Members,
    Verdict,
    cannot_reverse,
    not_offered,
    reference_of,
    taken_back,
)
from adapters.sandbox.commands import Command
from adapters.sandbox.companies import Airline
from adapters.sandbox.ledger import CLEARING, UnitOfWork


class Mileage:
    """Miles: credited in full, taken back in part or in full."""

    keeps_balances: ClassVar[bool] = True

    def __init__(self, participant: str, airline: Airline) -> None:
        self._participant = participant
        self._airline = airline
        self._members = Members(airline)

    def opening_accounts(self) -> Iterator[tuple[str, str, list[list[Any]]]]:
        """The members that the file lists."""
        for member in self._airline.members:
            yield member.account, "miles", [["miles", "", member.miles]]

    def carry_out(self, command: Command, work: UnitOfWork, now: datetime) -> Verdict:  # noqa: ARG002
        """Credit or take back."""
        match command.verb:
            case "credit":
                return self._credit(command, work)
            case "reverse":
                return self._take_back(command, work)
            case _:
                return not_offered(command.verb)

    def _credit(self, command: Command, work: UnitOfWork) -> Verdict:
        refusal = self._members.refusal(command.account)
        if refusal is not None:
            return refusal
        account = work.accounts.get(command.account)
        if account is None:
            account = work.open_account(command.account, "miles", [["miles", "", 0]])
        account.lots[0][2] += command.amount
        account.changed = True
        work.move(command.leg_id, CLEARING, command.account, command.amount, unit="miles")
        reference = reference_of(self._participant, command.leg_id)
        facts = {"reference": reference, "quantity": command.amount}
        return Verdict("CONFIRMED", command.amount, facts)

    def _take_back(self, command: Command, work: UnitOfWork) -> Verdict:
        credit = work.legs.get(command.original)
        objection = cannot_reverse(command, credit)
        account = work.accounts.get(command.account)
        if objection is not None or credit is None or account is None:
            return objection or NOT_RECEIVED
        account.lots[0][2] -= command.amount
        account.changed = True
        work.move(command.leg_id, command.account, CLEARING, command.amount, unit="miles")
        return taken_back(self._participant, command, credit, work)
