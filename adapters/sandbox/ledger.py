"""A company's books in SQLite: one file, and one transaction per batch of commands.

A unit of work holds what a batch needs, read with a few statements; the commit writes what the
batch changed. WAL with `synchronous=NORMAL`: a kill -9 of the process loses nothing that was
committed.

Leg ids are random: an index that takes in each leg with its own batch writes a page of it anew for
nearly every leg, which was a fifth of all that a company did. New legs are therefore known by
memory, and the index takes them in by the thousands; a company that starts again reads those that
it has not.
"""

import fcntl
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TextIO, TypeAlias
from zlib import crc32

import orjson

Outcome: TypeAlias = Literal["CONFIRMED", "REJECTED", "PENDING", "NOT_RECEIVED", "CANCELLED"]
How: TypeAlias = Literal["hear", "settle", "refuse", "insist", "deny"]

OPENING: Final = "@opening"
CLEARING: Final = "@clearing"  # What the platform has had from the members, less what it gave back.

FILED_AT_ONCE: Final = 8_192  # Legs; a pause of some 10 ms each time.
_UPTO: Final = -1  # No leg's mark: these rows say up to which leg the index goes.

_LEGS: Final = """
select leg_id, verb, account, item, asked, outcome, moved, answer, remaining,
       deliveries, inquiries, cancels, mismatches, rowid
from leg where rowid in (select value from json_each(?))
"""
_FILED: Final = "select seq from filed where mark in (select value from json_each(?))"
_FILED_UPTO: Final = "select coalesce(max(seq), 0) from filed where mark = -1"
_FILE: Final = "insert into filed values (?, ?)"
_SINCE: Final = "select rowid, leg_id from leg where rowid > ? order by rowid"
_ACCOUNTS: Final = """
select account, opening, lots from account where account in (select value from json_each(?))
"""
_ADD_LEG: Final = """
insert into leg (leg_id, verb, account, item, asked, outcome, moved, answer, remaining,
    deliveries, inquiries, cancels, mismatches, rowid)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_CHANGE_LEG: Final = """
update leg set leg_id = ?1, verb = ?2, account = ?3, item = ?4, asked = ?5, outcome = ?6,
    moved = ?7, answer = ?8, remaining = ?9, deliveries = ?10, inquiries = ?11, cancels = ?12,
    mismatches = ?13
where rowid = ?14
"""
_ADD_ACCOUNT: Final = "insert into account values (?, ?, ?)"
_CHANGE_ACCOUNT: Final = "update account set lots = ?2 where account = ?1"
_ADD_MOVEMENT: Final = """
insert into movement (leg_id, giver, taker, unit, lot, amount) values (?, ?, ?, ?, ?, ?)
"""
_ADD_COUPON: Final = "insert into coupon values (?, ?, ?, ?, 'ISSUED')"
_VOID_COUPON: Final = "update coupon set state = 'VOID' where serial = ?"
_ADD_HELD: Final = """
insert into held (leg_id, due, wait_ms, how, code, key, type, body, event_id)
values (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_RELEASE_HELD: Final = """
update held set due = ?1 + wait_ms / 1000.0 where leg_id = ?2 and due is null
"""
_DROP_HELD: Final = "delete from held where seq = ?"
_DUE: Final = """
select seq, how, code, key, type, body, event_id from held where due <= ?
order by due, seq limit ?
"""
_ADD_OWED: Final = "insert into owed (due, key, value, headers) values (?, ?, ?, ?)"
_DROP_OWED: Final = "delete from owed where seq = ?"
_OWED: Final = """
select seq, key, value, headers from owed where due <= ? order by due, seq limit ?
"""
_NEXT_DUE: Final = """
select min(due) from (select min(due) as due from held union all select min(due) from owed)
"""
_UNSETTLED: Final = """
select leg_id from held
where how in ('settle', 'refuse') and leg_id in (select value from json_each(?))
"""


# Working copies of rows: changed in place while a batch is handled, dropped after it.
@dataclass(slots=True)
class Leg:
    """What the company knows about one leg; `outcome` None means that it has not heard of it."""

    leg_id: str
    verb: str = ""
    account: str = ""
    item: str = ""
    asked: int = 0
    outcome: Outcome | None = None
    moved: int = 0
    answer: bytes | None = None
    remaining: str | None = None
    deliveries: int = 0
    inquiries: int = 0
    cancels: int = 0
    mismatches: int = 0
    seq: int = 0  # Of its row; 0 while there is none.

    def row(self) -> tuple[object, ...]:
        """The row to store, in the order of the statements' columns."""
        return (
            self.leg_id,
            self.verb,
            self.account,
            self.item,
            self.asked,
            self.outcome,
            self.moved,
            self.answer,
            self.remaining,
            self.deliveries,
            self.inquiries,
            self.cancels,
            self.mismatches,
            self.seq,
        )


@dataclass(slots=True)
class Account:
    """A balance in lots: [[lot, expires_on as ISO date, amount], ...]; an empty lot stays."""

    account: str
    opening: int
    lots: list[list[Any]]
    stored: bool = False
    changed: bool = False


class HeldCommand(NamedTuple):
    """A command that a fault deferred, and `how` to go on with it."""

    seq: int
    how: How
    code: str
    key: bytes | None
    type: str
    body: bytes
    event_id: str


class OwedReply(NamedTuple):
    """A reply that is to be sent without a command, until it is known to have been sent."""

    seq: int
    key: bytes | None
    value: bytes
    headers: str  # JSON, as it was written down.


@dataclass(slots=True)
class UnitOfWork:
    """Everything that one batch reads and changes; its lists are the rows to write."""

    next_serial: int
    legs: dict[str, Leg] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    touched: dict[str, Leg] = field(default_factory=dict)
    movements: list[tuple[str, str, str, str, str, int]] = field(default_factory=list)
    coupons: list[tuple[int, str, str, str]] = field(default_factory=list)
    voided: list[tuple[int]] = field(default_factory=list)
    held: list[tuple[str, float | None, int, How, str, bytes | None, str, bytes, str]] = field(
        default_factory=list
    )
    unsettled: set[str] = field(default_factory=set)  # Legs whose PENDING waits for its time.
    released: list[tuple[float, str]] = field(default_factory=list)
    resumed: list[tuple[int]] = field(default_factory=list)
    owed: list[tuple[float, bytes | None, bytes, str]] = field(default_factory=list)
    sent: list[tuple[int]] = field(default_factory=list)

    def touch(self, leg_id: str) -> Leg:
        """The leg that a command is about, to be written; a new one when it is not known yet."""
        leg = self.legs.get(leg_id)
        if leg is None:
            leg = self.legs[leg_id] = Leg(leg_id)
        self.touched[leg_id] = leg
        return leg

    def open_account(self, account: str, unit: str, lots: list[list[Any]]) -> Account:
        """A new account with an opening balance, which the ledger shows as a movement."""
        opening = sum(lot[2] for lot in lots)
        opened = self.accounts[account] = Account(account, opening, lots, changed=True)
        for lot, _, amount in lots:
            if amount:
                self.movements.append(("", OPENING, account, unit, lot, amount))
        return opened

    def move(
        self, leg_id: str, giver: str, taker: str, amount: int, *, unit: str, lot: str = ""
    ) -> None:
        """Add a movement: an amount in `unit`, out of one account into another."""
        self.movements.append((leg_id, giver, taker, unit, lot, amount))


class LedgerInUseError(RuntimeError):
    """Another process runs this company on the same file."""


class Ledger:
    """The company's SQLite file, for one process at a time. Raises LedgerInUseError.

    `beside` opens it although another process runs the company, as the company's own app does. That
    is safe for units of work that issue no coupons and defer nothing, because each of them is one
    transaction from its first read on.
    """

    def __init__(self, path: Path, *, beside: bool = False) -> None:
        self._lock = None if beside else _claimed(path)
        self._connection = sqlite3.connect(path, isolation_level=None, cached_statements=64)
        for pragma in (
            "journal_mode=wal",
            "synchronous=normal",
            # A checkpoint writes pages twice and syncs the disk: seldom and large is cheaper.
            "wal_autocheckpoint=16000",
            "cache_size=-32768",
            "busy_timeout=10000",
        ):
            self._connection.execute(f"pragma {pragma}").close()
        self._connection.executescript(
            files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
        ).close()
        (last,) = self._one("select coalesce(max(serial), 0) from coupon")
        self._next_serial: int = last + 1
        (self._last_leg,) = self._one(_FILED_UPTO)
        self._unfiled: dict[str, int] = {}  # Where the legs stand that the index does not have yet.
        self._seen_version = -1
        (held,) = self._one("select exists (select 1 from held)")
        self._holds = bool(held)  # Without faults it stays so, and nothing need be looked up.

    def close(self) -> None:
        """Close the file; the write-ahead log is folded in."""
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def begin(self, leg_ids: Iterable[str], accounts: Iterable[str]) -> UnitOfWork:
        """Begin a unit of work with what is known about these legs and accounts.

        Nobody else writes until `commit` or `close`. Raises sqlite3.Error.
        """
        self._connection.execute("begin immediate")
        self._learn_of_others()
        work = UnitOfWork(self._next_serial)
        wanted = set(leg_ids)
        if rows := self._rows_of(wanted):
            for row in self._connection.execute(_LEGS, (_array(rows),)):
                work.legs[row[0]] = Leg(*row)
        if self._holds:
            found = self._connection.execute(_UNSETTLED, (_array(wanted),))
            work.unsettled = {leg_id for (leg_id,) in found}
        for account, opening, lots in self._connection.execute(_ACCOUNTS, (_array(accounts),)):
            work.accounts[account] = Account(account, opening, orjson.loads(lots), stored=True)
        return work

    def commit(self, work: UnitOfWork) -> None:
        """Write a unit of work, all of it or nothing. Raises sqlite3.Error."""
        legs, accounts = work.touched.values(), work.accounts.values()
        added = [leg for leg in legs if not leg.seq]
        changed = [leg.row() for leg in legs if leg.seq]
        for seq, leg in enumerate(added, self._last_leg + 1):
            leg.seq = seq
        statements: tuple[tuple[str, Sequence[tuple[object, ...]]], ...] = (
            (_ADD_LEG, [leg.row() for leg in added]),
            (_CHANGE_LEG, changed),
            (_ADD_ACCOUNT, [_opened(one) for one in accounts if not one.stored]),
            (_CHANGE_ACCOUNT, [_changed(one) for one in accounts if one.stored and one.changed]),
            (_ADD_MOVEMENT, work.movements),
            (_ADD_COUPON, work.coupons),
            (_VOID_COUPON, work.voided),
            (_ADD_HELD, work.held),
            (_RELEASE_HELD, work.released),
            (_DROP_HELD, work.resumed),
            (_ADD_OWED, work.owed),
            (_DROP_OWED, work.sent),
        )
        try:
            for statement, rows in statements:
                if rows:
                    self._connection.executemany(statement, rows)
            self._connection.execute("commit")
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._next_serial = work.next_serial
        self._last_leg += len(added)
        self._unfiled.update((leg.leg_id, leg.seq) for leg in added)
        self._holds = self._holds or bool(work.held)
        if self._lock is not None and len(self._unfiled) >= FILED_AT_ONCE:
            self._file()

    def due(self, now: float, limit: int) -> list[HeldCommand]:
        """At most `limit` deferred commands that are due at `now`, in seconds since 1970."""
        return [HeldCommand(*row) for row in self._connection.execute(_DUE, (now, limit))]

    def owed(self, now: float, limit: int) -> list[OwedReply]:
        """At most `limit` owed replies that are due at `now`, in seconds since 1970."""
        return [OwedReply(*row) for row in self._connection.execute(_OWED, (now, limit))]

    def next_due(self) -> float | None:
        """When the next deferred command or owed reply is due, in seconds since 1970, if ever."""
        (due,) = self._one(_NEXT_DUE)
        return None if due is None else float(due)

    def _rows_of(self, leg_ids: Iterable[str]) -> list[int]:
        """The row numbers of legs; some of other legs may be among them, which does no harm."""
        rows, others = [], []
        for leg_id in leg_ids:
            seq = self._unfiled.get(leg_id)
            if seq is None:
                others.append(_mark(leg_id))
            else:
                rows.append(seq)
        if others:
            rows += [seq for (seq,) in self._connection.execute(_FILED, (_array(others),))]
        return rows

    def _learn_of_others(self) -> None:
        """Learn of the legs that another connection has written, at first of all without an entry
        in the index.
        """
        (version,) = self._one("pragma data_version")
        if version != self._seen_version:
            for seq, leg_id in self._connection.execute(_SINCE, (self._last_leg,)):
                self._unfiled[leg_id] = self._last_leg = seq
            self._seen_version = version

    def _file(self) -> None:
        """Take the legs that only memory knows into the index, in its order."""
        entries = sorted((_mark(leg_id), seq) for leg_id, seq in self._unfiled.items())
        self._connection.execute("begin immediate")
        try:
            self._connection.executemany(_FILE, [(_UPTO, self._last_leg), *entries])
            self._connection.execute("commit")
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._unfiled.clear()

    def _one(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._connection.execute(query).fetchone()
        return row


def _claimed(path: Path) -> TextIO:
    lock = path.with_suffix(".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise LedgerInUseError(f"{path} is in use by another sandbox") from error
    return lock


def _mark(leg_id: str) -> int:
    """The index entry of a leg id: short, since it does no harm when two ids share one."""
    return crc32(leg_id.encode())


def _array(values: Iterable[str | int]) -> str:
    return orjson.dumps(list(values)).decode()


def _opened(account: Account) -> tuple[object, ...]:
    return account.account, account.opening, orjson.dumps(account.lots).decode()


def _changed(account: Account) -> tuple[object, ...]:
    return account.account, orjson.dumps(account.lots).decode()
