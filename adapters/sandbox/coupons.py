"""A wallet or another issuer: coupons of a face value, from a stock that may run short."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

import orjson
from orjson import Fragment

from adapters.sandbox.business import (
    NOT_RECEIVED,
    Members,
    Verdict,
    cannot_reverse,
    left_of,
    not_offered,
    reference_of,
    refused,
    taken_back,
)
from adapters.sandbox.commands import Command
from adapters.sandbox.companies import Item, Wallet
from adapters.sandbox.ledger import CLEARING, UnitOfWork

COUPONS_MAX: Final = 200  # One reply lists them all and may have 64 KiB.
_SCATTER: Final = 618_033_988_749  # Prime to 10: no two of 10**12 serials share a code.


class Coupons:
    """Coupons of a face value, from a stock that may run short."""

    keeps_balances: ClassVar[bool] = False

    def __init__(self, participant: str, wallet: Wallet) -> None:
        self._participant = participant
        self._wallet = wallet
        self._members = Members(wallet)
        self._terms: dict[str, str] = {}
        self._terms_at: datetime | None = None

    def opening_accounts(self) -> Iterator[tuple[str, str, list[list[Any]]]]:
        """The stock of every item that may run short."""
        for name, item in self._wallet.items.items():
            if item.stock is not None:
                yield stock_account(name), name, [[name, "", item.stock]]

    def carry_out(self, command: Command, work: UnitOfWork, now: datetime) -> Verdict:
        """Issue or void."""
        match command.verb:
            case "credit":
                return self._issue(command, work, now)
            case "reverse":
                return self._void(command, work)
            case _:
                return not_offered(command.verb)

    def _issue(self, command: Command, work: UnitOfWork, now: datetime) -> Verdict:
        refusal = self._members.refusal(command.account)
        item = self._wallet.items.get(command.item)
        if refusal is not None:
            return refusal
        if item is None:
            return refused("UNKNOWN_PRODUCT", "no such coupon")
        face = None if item.face is None else (item.face.amount, item.face.currency)
        if command.face is not None and command.face != face:
            return refused("INVALID_FACE_VALUE", "the coupon has another face value")
        if command.amount > COUPONS_MAX:
            return refused("USER_LIMIT_EXCEEDED", f"at most {COUPONS_MAX} coupons at once")
        stock = work.accounts.get(stock_account(command.item))
        quantity = command.amount if stock is None else min(command.amount, stock.lots[0][2])
        if not quantity:
            return refused("OFFER_BUDGET_EXHAUSTED", "no coupon is left")
        giver = CLEARING
        if stock is not None:
            stock.lots[0][2] -= quantity
            stock.changed = True
            giver = stock.account
        work.move(command.leg_id, giver, command.account, quantity, unit=command.item)
        serials = range(work.next_serial, work.next_serial + quantity)
        work.next_serial += quantity
        work.coupons += [(n, command.leg_id, command.account, command.item) for n in serials]
        terms = self._terms_on(command.item, item, now)
        facts = {
            "reference": reference_of(self._participant, command.leg_id),
            "quantity": quantity,
            "coupons": Fragment(f"[{','.join([self._coupon(n, item) + terms for n in serials])}]"),
        }
        return Verdict("CONFIRMED", quantity, facts)

    def _terms_on(self, name: str, item: Item, now: datetime) -> str:
        """The end of a coupon's JSON, made once for all coupons of an item of one moment."""
        if now != self._terms_at:
            self._terms, self._terms_at = {}, now
        if name not in self._terms:
            self._terms[name] = f",{orjson.dumps(_terms(item, now)).decode()[1:]}"
        return self._terms[name]

    def _coupon(self, serial: int, item: Item) -> str:
        """The beginning of a coupon's JSON: its own id and code."""
        coupon_id = f'{{"coupon_id":"{self._wallet.coupon_prefix}{serial:012d}"'
        if not item.coded:
            return coupon_id
        return f'{coupon_id},"code":"{serial * _SCATTER % 10**12:012d}"'

    def _void(self, command: Command, work: UnitOfWork) -> Verdict:
        credit = work.legs.get(command.original)
        objection = cannot_reverse(command, credit)
        if objection is not None or credit is None:
            return objection or NOT_RECEIVED
        assert credit.answer is not None, credit.leg_id
        left = left_of(credit)
        coupons = orjson.loads(credit.answer)["coupons"][left - command.amount : left]
        prefix = len(self._wallet.coupon_prefix)
        work.voided.extend((int(one["coupon_id"][prefix:]),) for one in coupons)
        stock = work.accounts.get(stock_account(credit.item))
        taker = CLEARING
        if stock is not None:
            stock.lots[0][2] += command.amount
            stock.changed = True
            taker = stock.account
        work.move(command.leg_id, credit.account, taker, command.amount, unit=credit.item)
        return taken_back(self._participant, command, credit, work)


def stock_account(item: str) -> str:
    """The account that holds what is left of an item."""
    return f"@stock/{item}"


def _terms(item: Item, now: datetime) -> dict[str, Any]:
    terms: dict[str, Any] = {
        "usable_from": now.isoformat(timespec="milliseconds"),
        "expires_at": (now + timedelta(days=item.valid_days)).isoformat(timespec="milliseconds"),
    }
    if item.face is not None:
        currency = item.face.currency
        least = item.face.amount + item.spend_above_face
        terms["face"] = {"amount": item.face.amount, "currency": currency}
        terms["min_net_spend"] = {"amount": least, "currency": currency}
    return terms
