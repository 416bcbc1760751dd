"""A channel's own app: it deducts the points in its company's books, then asks (`domain.md` U9).

It runs beside the process of the company, on the same books. A deduction stands there as a leg of
its own, under the app's reference; the platform's returns name that reference.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson

from adapters.sandbox.banking import Banking, own_leg
from adapters.sandbox.business import DENIED
from adapters.sandbox.commands import Command
from adapters.sandbox.companies import Bank, Companies
from adapters.sandbox.faults import Faults
from adapters.sandbox.handler import CommandHandler
from adapters.sandbox.ledger import Ledger

_NO_FAULTS: Final = Faults()


class AppError(ValueError):
    """The app could not deduct the points, so there is nothing to ask for; the message says why."""


class Apps:
    """The own apps of the banks among some companies, whose books lie in one folder."""

    def __init__(self, companies: Companies, books: Path) -> None:
        self._companies = companies
        self._books = books

    def deducted(self, origin: str, request: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        """Deduct what a request says was deducted; returns the request as it may be published.

        The lots are filled in unless the request names some. A request without a deduction stays
        as it is. The same reference again deducts nothing more.

        Raises:
            AppError: the origin is no bank of the sandbox, or the bank refuses.
        """
        deduction = request.get("deduction")
        if deduction is None:
            return dict(request)
        account = request.get("debtor_account") or request.get("account")
        try:
            reference, points = deduction["reference"], deduction["points"]
        except (TypeError, KeyError) as error:
            raise AppError(f"{origin}: deduction: reference and points are needed") from error
        if not (type(account) is str and type(reference) is str and type(points) is int):
            raise AppError(f"{origin}: deduction: account and reference are text, points a number")
        try:
            lots = self._take(origin, account, reference, points, now)
        except sqlite3.Error as error:
            raise AppError(f"{origin}: {error}") from error
        return {**request, "deduction": {"lots": lots, **deduction}}

    def _take(
        self, origin: str, account: str, reference: str, points: int, now: datetime
    ) -> list[dict[str, Any]]:
        bank, path = self._companies.get(origin), self._books / f"{origin}.sqlite3"
        leg_id = own_leg(reference)
        if not isinstance(bank, Bank):
            raise AppError(f"{origin}: is no bank of the sandbox")
        if not path.exists():
            raise AppError(f"{origin}: {path} holds no books; start uprp sandbox first")
        if points < 1 or leg_id.startswith(DENIED):
            raise AppError(f"{origin}: deduction: points below 1, or a reference that is reserved")
        command = Command("deduct", leg_id, 1, "", None, b"", account=account, amount=points)
        with closing(Ledger(path, beside=True)) as ledger:
            work = ledger.begin((leg_id,), (account,))
            known = work.legs.get(leg_id)
            if known is not None and (known.account, known.asked) != (account, points):
                raise AppError(f"{origin}: {reference}: was used before for another deduction")
            handler = CommandHandler(origin, Banking(origin, bank), _NO_FAULTS, work, now)
            handler.handle(command)
            ledger.commit(work)
        told = orjson.loads(handler.replies[0].value)
        if told["outcome"] != "CONFIRMED":
            why = told["reason"]
            raise AppError(f"{origin}: {reference}: {why['code']}: {why['message']}")
        lots: list[dict[str, Any]] = told["lots"]
        return lots
