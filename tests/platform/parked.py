"""Sagas that wait for a person, and what persons do about them by `uprp parked`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from orchestrator.settings import Settings
from schemas.events import DECIDED, INTERNAL_TOPIC
from tests.cli.test_cli import Done, uprp
from tests.harness import QUICK, Platform
from tests.platform.partner import Sender, envelope
from tests.support import wait_until
from tests.wire import Heard, Redemption

TIMES = 2
LADDER = (
    'response_timeout = "300ms"\nexpires_after = "60s"\nevery = "200ms"\n'
    f"times = {TIMES}\ncancel = false\n"
)
RETURN = 'response_timeout = "300ms"\nevery = "200ms"\n'
QUICK_DESK = QUICK | {"UPRP_COORDINATOR__SWEEP_S": "0.05", "UPRP_COORDINATOR__DECISIONS_S": "0.2"}


def order(name: str) -> Redemption:
    """HK$100 of coupons: 25,000 points."""
    return Redemption(name, f"w-{name}", f"c-{name}", (("hkd50", 2),))


REJECTED, CONFIRMED, RETRIED, LATE, DECLINED, TWICE, CRASHED, FORGED, WRITTEN_OFF = (
    order(name)
    for name in (
        *("rejected", "confirmed", "retried", "late", "declined", "twice"),
        *("crashed", "forged", "written"),
    )
)
SILENT = (REJECTED, CONFIRMED, LATE, DECLINED, TWICE, CRASHED, FORGED)


def short_ladders(folder: Path) -> Path:
    """A copy of what is deployed, in which companies are given up soon and nothing is cancelled."""
    deploy = folder / "deploy"
    for part in ("programmes", "participants"):
        shutil.copytree(Settings().deploy / part, deploy / part)
    for name, legs in (
        ("citi", f"[legs.deduct]\n{LADDER}[legs.return]\n{RETURN}[legs.balance]\n"),
        ("alipayhk", f"[legs.credit]\n{LADDER}[legs.reverse]\n{LADDER.replace('cancel', '# ')}"),
    ):
        text = f'id = "{name}"\nversion = 1\nname = "{name}"\n{legs}'
        (deploy / "participants" / f"{name}.toml").write_text(text)
    return deploy


def script(folder: Path) -> Path:
    """The wallet never answers about most credits; one it gave, and says so when asked later."""
    path = folder / "faults.toml"
    rules = [f'match = {{ leg = "{one.saga_id}/credit/*" }}\naction = "silence"' for one in SILENT]
    again = f"{RETRIED.saga_id}/credit/*"
    rules += [
        f'match = {{ leg = "{again}", verb = "credit" }}\naction = "apply_silent"',
        f'match = {{ leg = "{again}", verb = "inquire", first_n = {TIMES} }}\naction = "silence"',
        f'match = {{ leg = "{WRITTEN_OFF.saga_id}/credit/*" }}\naction = "refuse"\n'
        'code = "PARTNER_DECLINED"',
        f'match = {{ leg = "{WRITTEN_OFF.saga_id}/deduct/return" }}\naction = "silence"',
    ]
    path.write_text("\n".join(f"[[rule]]\n{rule}" for rule in rules))
    return path


def asked(platform: Platform) -> list[str]:
    """The legs of all commands."""
    return [str(one.data["leg_id"]) for one in platform.tape.of("commands")]


def run(platform: Platform, *arguments: str) -> Done:
    """`uprp parked ...`."""
    ours = {k: v for k, v in platform.environment.items() if k.startswith("UPRP_")}
    return uprp("parked", *arguments, **ours)


def say(platform: Platform, *arguments: str) -> Any:
    """What a command that succeeds prints as JSON."""
    done = run(platform, *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def resolve(platform: Platform, one: Redemption, *more: str, leg: str = "credit/1") -> Any:
    """What alice decides; the number of the decision."""
    why = ("--reason", "as the partner says", "--evidence", "ticket 7", "--as", "alice")
    return say(platform, "resolve", one.saga_id, leg, *more, *why)["decision"]["decision"]


def approve(platform: Platform, number: int, *more: str) -> Done:
    """Bob approves."""
    return run(platform, "approve", str(number), "--as", "bob", *more)


def decision(platform: Platform, number: int) -> dict[str, Any]:
    """How a decision stands."""
    found: dict[str, Any]
    (found,) = [one for one in say(platform, "decisions") if one["decision"] == number]
    return found


def settled(platform: Platform, number: int) -> dict[str, Any]:
    """A decision, once it was carried out or refused."""

    def done() -> bool:
        return decision(platform, number)["status"] not in ("proposed", "approved")

    wait_until(done, 30, f"decision {number} is settled")
    return decision(platform, number)


def ended(platform: Platform, one: Redemption) -> dict[str, Any]:
    """The final result."""
    wait_until(lambda: one.saga_id in platform.tape.finals(), 30, f"{one.request_id} has ended")
    return [heard.data for heard in platform.tape.results() if heard.subject == one.saga_id][-1]


def records(platform: Platform, number: int) -> list[Heard]:
    """The records of a decision."""
    heard = [one for one in platform.tape.of("internal") if one.type == DECIDED]
    return [one for one in heard if one.data["decision"] == number]


def publish_again(platform: Platform, one: Redemption, data: dict[str, Any]) -> None:
    """Put a record of a decision on the platform's own topic, and wait until it was read."""
    sender = Sender(platform.kafka.bootstrap_servers)
    headers = envelope("", DECIDED, f"{one.saga_id}#again")
    sender.send(INTERNAL_TOPIC, one.key, json.dumps(data).encode(), headers)
    sender.flush()
    wait_until(platform.idle, 30, "the record was read")
