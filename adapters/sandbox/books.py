"""The companies' books, read from their files while they run, to compare our tables with them."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from adapters.sandbox.business import DENIED
from adapters.sandbox.ledger import Outcome


@dataclass(frozen=True, slots=True)
class LegBook:
    """One leg. `applied` counts in the ledger, not in the leg's own row: 0 or 1, or a defect."""

    leg_id: str
    verb: str
    account: str
    item: str
    asked: int
    outcome: Outcome | None
    moved: int
    applied: int
    answer: Mapping[str, Any] | None
    deliveries: int
    inquiries: int
    cancels: int
    mismatches: int


@dataclass(frozen=True, slots=True)
class AccountBook:
    """A balance now and at the opening, and its `lots` as {lot: amount}, in the company's unit."""

    account: str
    initial: int
    now: int
    lots: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CouponBook:
    """One coupon, ISSUED or VOID."""

    serial: int
    leg_id: str
    account: str
    item: str
    state: str


@dataclass(frozen=True, slots=True)
class CompanyBooks:
    """All that one company knows.

    `sums` is the ledger: net amount by (account, unit). It adds up to nothing in every unit.
    """

    participant: str
    legs: Mapping[str, LegBook] = field(default_factory=dict)
    accounts: Mapping[str, AccountBook] = field(default_factory=dict)
    coupons: Mapping[str, tuple[CouponBook, ...]] = field(default_factory=dict)
    sums: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def coupons_of(self, account: str) -> int:
        """How many coupons an account has that are not void."""
        held = (one for coupons in self.coupons.values() for one in coupons)
        return sum(one.account == account and one.state == "ISSUED" for one in held)

    def problems(self) -> Iterator[str]:
        """Everything that is wrong with the books, in words; nothing when they balance."""
        for leg in self.legs.values():
            if leg.applied != (leg.moved > 0):
                yield f"{self.participant}: {leg.leg_id} was applied {leg.applied} times"
            if leg.mismatches:
                yield f"{self.participant}: {leg.leg_id} came with differing content"
        for unit in {unit for _, unit in self.sums}:
            total = sum(net for (_, of), net in self.sums.items() if of == unit)
            if total:
                yield f"{self.participant}: {unit} add up to {total}, not 0"
        by_account: dict[str, int] = defaultdict(int)
        for (account, _), net in self.sums.items():
            by_account[account] += net
        for one in self.accounts.values():
            if one.now != by_account[one.account] or one.now < 0:
                yield (
                    f"{self.participant}: {one.account} holds {one.now},"
                    f" the ledger says {by_account[one.account]}"
                )


@dataclass(frozen=True, slots=True)
class Books:
    """The books of every company that has a file in the folder."""

    companies: Mapping[str, CompanyBooks]

    @property
    def legs(self) -> Mapping[str, LegBook]:
        """Every leg of every company by its id."""
        return {leg_id: leg for one in self.companies.values() for leg_id, leg in one.legs.items()}

    def problems(self) -> tuple[str, ...]:
        """Everything that is wrong with any company's books."""
        return tuple(problem for one in self.companies.values() for problem in one.problems())


_LEGS: Final = """
select leg_id, verb, account, item, asked, outcome, moved, answer,
       deliveries, inquiries, cancels, mismatches
from leg
"""
# Coupons of a stock open with the stock; points and miles with the first movement.
_SUMS: Final = """
select account, unit, sum(amount) from (
    select taker as account, unit, amount from movement
    union all
    select giver, unit, -amount from movement
) group by account, unit
"""


def read_books(data: Path) -> Books:
    """The books in a folder, each company's as of one moment. An empty folder has none."""
    files = sorted(data.glob("*.sqlite3"))
    return Books({path.stem: read_company(path) for path in files})


def read_company(path: Path) -> CompanyBooks:
    """One company's books, as of one moment. Raises sqlite3.Error."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)) as connection:
        connection.execute("begin")  # One snapshot for all that follows.
        moved = dict(connection.execute("select leg_id, sum(amount) from movement group by leg_id"))
        for leg_id in [one for one in moved if one.startswith(DENIED)]:
            moved[leg_id.removeprefix(DENIED)] -= moved[leg_id]  # It stands as if never done.
        coupons: dict[str, list[CouponBook]] = defaultdict(list)
        for row in connection.execute("select * from coupon order by serial"):
            coupons[row[1]].append(CouponBook(*row))
        return CompanyBooks(
            participant=path.stem,
            legs={row[0]: _leg(row, moved.get(row[0], 0)) for row in connection.execute(_LEGS)},
            accounts={
                row[0]: _account(*row) for row in connection.execute("select * from account")
            },
            coupons={leg_id: tuple(of_leg) for leg_id, of_leg in coupons.items()},
            sums={(account, unit): net for account, unit, net in connection.execute(_SUMS)},
        )


def _leg(row: tuple[Any, ...], in_ledger: int) -> LegBook:
    leg_id, verb, account, item, asked, outcome, moved, answer, *counts = row
    # Rounded up: half a second application is one too many.
    applied = -(-in_ledger // moved) if moved else int(in_ledger > 0)
    told = None if answer is None else orjson.loads(answer)
    return LegBook(leg_id, verb, account, item, asked, outcome, moved, applied, told, *counts)


def _account(account: str, opening: int, lots: str) -> AccountBook:
    amounts: dict[str, int] = {lot: amount for lot, _, amount in orjson.loads(lots)}
    return AccountBook(account, opening, sum(amounts.values()), amounts)
