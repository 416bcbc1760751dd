"""A company: batches of commands in, replies out, and everything it has to keep on disk."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import orjson

from adapters.sandbox import companies
from adapters.sandbox.banking import own_leg
from adapters.sandbox.business import Business
from adapters.sandbox.businesses import business_of
from adapters.sandbox.commands import Command, parse_command
from adapters.sandbox.faults import Faults
from adapters.sandbox.handler import CommandHandler, Reply, ReplyHeaders
from adapters.sandbox.ledger import Ledger, UnitOfWork
from adapters.sandbox.outages import Outages

SETTLED_AT_ONCE_MAX: Final = 500


class Company:
    """One participant over its own ledger. Synchronous; one batch is one transaction."""

    handler_type: type[CommandHandler] = CommandHandler  # Tests put liars in its place.

    def __init__(
        self, participant: str, business: Business, ledger: Ledger, faults: Faults
    ) -> None:
        self.participant = participant
        self._business = business
        self._ledger = ledger
        self._faults = faults
        self._outages = Outages()  # In memory: a company that starts again is up.
        self._shared = [name for name, _, _ in business.opening_accounts() if name.startswith("@")]
        self._open_books()
        self._next_due = ledger.next_due()
        self._handed_out: list[tuple[int]] = []  # Owed replies that may not be sent yet.

    @classmethod
    def open(
        cls, participant: str, profile: companies.Company, folder: Path, faults: Faults
    ) -> Self:
        """The company whose file lies in `folder`; the file is made when there is none."""
        folder.mkdir(parents=True, exist_ok=True)
        business = business_of(participant, profile)
        return cls(participant, business, Ledger(folder / f"{participant}.sqlite3"), faults)

    @property
    def due(self) -> float | None:
        """When there is something to settle, in seconds since 1970; None when there is nothing."""
        return self._next_due

    def close(self) -> None:
        """Close the company's file."""
        self._ledger.close()

    def handle(self, commands: Sequence[Command], now: datetime) -> list[Reply]:
        """Handle a batch in its order and commit it; returns the replies, which may be sent now.

        When replies are lost with the process, the commands come again, and so do the replies.
        Raises sqlite3.Error.
        """
        work = self._begin(commands)
        handler = self._handler(work, now)
        for command in commands:
            handler.handle(command)
        self._ledger.commit(work)
        if work.held or work.released or work.owed:
            self._next_due = self._ledger.next_due()
        return handler.replies

    def settle(self, now: datetime) -> list[Reply]:
        """Go on with the deferred commands that are due; returns the replies that are owed now.

        To call it again says that the replies of the last call were sent: only then are they
        deleted. Raises sqlite3.Error.
        """
        moment = now.timestamp()
        if self._next_due is None or self._next_due > moment or self._outages.company(now):
            return []
        due = [
            (held, parse_command(held.type, held.key, held.body, event_id=held.event_id))
            for held in self._ledger.due(moment, SETTLED_AT_ONCE_MAX)
        ]
        work = self._begin([command for _, command in due])
        work.sent.extend(self._handed_out)
        handler = self._handler(work, now)
        for held, command in due:
            handler.resume(held, command)
        self._ledger.commit(work)
        owed = self._ledger.owed(moment, SETTLED_AT_ONCE_MAX)
        self._handed_out = [(one.seq,) for one in owed]
        self._next_due = self._ledger.next_due()
        return [Reply(one.key, one.value, _headers(one.headers)) for one in owed]

    def _handler(self, work: UnitOfWork, now: datetime) -> CommandHandler:
        business, faults = self._business, self._faults
        return self.handler_type(
            self.participant, business, faults, work, now, outages=self._outages
        )

    def _begin(self, commands: Sequence[Command]) -> UnitOfWork:
        legs = {command.leg_id for command in commands}
        accounts = set(self._shared)
        if self._business.keeps_balances:
            accounts.update([command.account for command in commands if command.account])
        for command in commands:
            if command.original:
                legs.add(command.original)
                legs.add(own_leg(command.reference))
        return self._ledger.begin(legs, accounts)

    def _open_books(self) -> None:
        """Opening balances, each entered once."""
        accounts = list(self._business.opening_accounts())
        work = self._ledger.begin((), [name for name, _, _ in accounts])
        for name, unit, lots in accounts:
            if name not in work.accounts:
                work.open_account(name, unit, lots)
        self._ledger.commit(work)


def _headers(written: str) -> ReplyHeaders:
    return [(name, content) for name, content in orjson.loads(written)]
