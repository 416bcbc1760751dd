"""A client of one company: commands in as bytes, answers out as objects."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from adapters.sandbox import companies
from adapters.sandbox.app import Apps
from adapters.sandbox.books import CompanyBooks, read_company
from adapters.sandbox.commands import Command, read_command
from adapters.sandbox.company import Company
from adapters.sandbox.faults import Faults
from adapters.sandbox.handler import Reply

NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
TYPES = {
    "deduct": "uprp.points.deduct.v1",
    "return": "uprp.points.return.v1",
    "credit": "uprp.value.credit.v1",
    "reverse": "uprp.value.reverse.v1",
    "balance": "uprp.points.balance.v1",
    "inquire": "uprp.leg.inquire.v1",
    "cancel": "uprp.leg.cancel.v1",
}
COMPANIES = """
[bank]
kind = "bank"
name = "A bank"
default_points = 1_000
unknown = ["unknown-*"]

[[bank.members]]
account = "m1"
lots = [
    { lot = "late", points = 60, expires_on = 2030-12-31 },
    { lot = "gone", points = 500, expires_on = 2025-12-31 },
    { lot = "early", points = 40, expires_on = 2030-06-30 },
]

[[bank.members]]
account = "m2"
lots = [{ lot = "only", points = 100, expires_on = 2030-06-30 }]

[[bank.members]]
account = "frozen"
status = "suspended"
lots = [{ lot = "only", points = 100, expires_on = 2030-06-30 }]

[wallet]
kind = "wallet"
name = "A wallet"
coupon_prefix = "TST"
unknown = ["unknown-*"]
members = [{ account = "frozen", status = "suspended" }]

[wallet.items.hkd50]
face = { amount = 5_000, currency = "HKD" }

[wallet.items.instant]
face = { amount = 1_000, currency = "HKD" }
coded = false

[wallet.items.scarce]
face = { amount = 2_000, currency = "HKD" }
stock = 3

[airline]
kind = "airline"
name = "An airline"
unknown = ["unknown-*"]
members = [{ account = "m1", miles = 500 }, { account = "frozen", status = "suspended" }]
"""


def body(verb: str, leg_id: str, **fields: Any) -> dict[str, Any]:
    """A command's body with everything it needs; `fields` replace or add."""
    common = {
        "leg_id": leg_id,
        "saga_id": leg_id.partition("/")[0],
        "programme": "test",
        "attempt": 1,
        "issued_at": NOW.isoformat(),
    }
    expires_at = (NOW + timedelta(seconds=10)).isoformat()
    of_verb: dict[str, dict[str, Any]] = {
        "deduct": {"account": "m1", "points": 50, "expires_at": expires_at},
        "return": {
            "account": "m1",
            "points": 50,
            "deduction_leg_id": "s/deduct",
            "reference": "r",
            "reason": "DECLINED_SIBLING",
        },
        "credit": {
            "account": "m1",
            "item": "hkd50",
            "kind": "CASH_COUPON",
            "quantity": 2,
            "expires_at": expires_at,
        },
        "reverse": {
            "account": "m1",
            "credit_leg_id": "s/credit/1",
            "reference": "r",
            "quantity": 2,
            "reason": "OPERATOR",
        },
        "balance": {"account": "m1", "expires_at": expires_at},
        "inquire": {},
        "cancel": {"reason": "TIMEOUT"},
    }
    return {**common, **of_verb[verb], **fields}


def command(verb: str, leg_id: str, **fields: Any) -> Command:
    """A command as it is read from the wire."""
    headers = [("ce_id", f"{leg_id}#{verb}".encode()), ("ce_type", TYPES[verb].encode())]
    read = read_command(b"origin/m1", orjson.dumps(body(verb, leg_id, **fields)), headers)
    assert read is not None
    return read


def answer(reply: Reply) -> dict[str, Any]:
    """What a reply says."""
    told: dict[str, Any] = orjson.loads(reply.value)
    return told


class Client:
    """One company of the file above, on a folder of its own."""

    def __init__(self, folder: Path, name: str, faults: Faults | None = None) -> None:
        self.folder = folder
        self.name = name
        self.now = NOW
        self.faults = faults or Faults()
        self._profile = load(folder)[name]
        self._apps = Apps({name: self._profile}, folder / "data")
        self.company = self._open()

    def _open(self) -> Company:
        return Company.open(self.name, self._profile, self.folder / "data", self.faults)

    def restart(self) -> None:
        """As a new process would: nothing is left but the file."""
        self.company.close()
        self.company = self._open()

    def restarted(self) -> "Client":
        """This client, of a new process."""
        self.restart()
        return self

    def send(self, *commands: Command) -> Sequence[Reply]:
        """Commands as one batch."""
        return self.company.handle(commands, self.now)

    def ask(self, verb: str, leg_id: str, **fields: Any) -> dict[str, Any]:
        """One command, exactly one answer."""
        (reply,) = self.send(command(verb, leg_id, **fields))
        return answer(reply)

    def app(self, account: str, reference: str, points: int, **more: Any) -> dict[str, Any]:
        """What the company's own app says that it deducted, having done it in the books."""
        found = {"account": account, "deduction": {"reference": reference, "points": points}}
        told: dict[str, Any] = self._apps.deducted(self.name, found | more, self.now)["deduction"]
        return told

    def books(self) -> CompanyBooks:
        """What the company knows, read as a stranger reads it."""
        return read_company(self.folder / "data" / f"{self.name}.sqlite3")

    def close(self) -> None:
        """End the day."""
        self.company.close()


def load(folder: Path) -> companies.Companies:
    """The companies of the file above."""
    path = folder / "companies.toml"
    path.write_text(COMPANIES, encoding="utf-8")
    return companies.load_companies(path)
