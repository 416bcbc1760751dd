"""One redemption on the platform in memory, and what to ask of it."""

from typing import Any, Final

import orjson

from orchestrator.batch.effects import BatchResult
from schemas import events
from schemas.ids import saga_id
from tests.engine.checkers import REQUEST
from tests.engine.memory import Platform

SAGA: Final = saga_id("alipayhk", "w-1", "r-1")
KEY: Final = "alipayhk/w-1"
IDS: Final = {"request_id": "r-1", "account": "w-1"}
YES: Final = {"outcome": "CONFIRMED", "reference": "R-1"}


def begun() -> Platform:
    """A platform with one redemption whose deduction was asked for."""
    platform = Platform()
    platform.request(REQUEST)
    platform.batch()
    return platform


def reply(platform: Platform, path: str, owner: str = "citi", **fields: Any) -> BatchResult:
    """An answer about a leg, decided."""
    data = {"leg_id": f"{SAGA}/{path}"} | fields
    platform.arrive(owner, events.ANSWERED, KEY, data)
    return platform.batch()


def ask(platform: Platform, type_: str) -> BatchResult:
    """An inquiry or a withdrawal, decided."""
    platform.arrive("alipayhk", type_, KEY, IDS)
    return platform.batch()


def said(decision: BatchResult) -> list[str]:
    """The topics and event ids, without the saga."""
    names = []
    for record in decision.outgoing:
        event_id = (dict(record.headers)["ce_id"] or b"").decode()
        names.append(f"{record.topic.removeprefix('uprp.')} {event_id.removeprefix(SAGA)}")
    return names


def results(decision: BatchResult) -> list[dict[str, Any]]:
    """What origins are told."""
    values = (r.value for r in decision.outgoing if r.topic.endswith(".results"))
    return [orjson.loads(found or b"") for found in values]


def only(platform: Platform) -> Any:
    """The one saga."""
    (saga,) = platform.sagas()
    return saga


def assert_unchanged(decision: BatchResult) -> None:
    """Nothing was written."""
    changes = decision.changes
    assert not changes.sagas
    assert not changes.timeline
    assert not changes.movements
    assert not changes.limits


def ring(platform: Platform, at: int) -> BatchResult:
    """Every timer that is due at that time, decided."""
    platform.now = at
    platform.ring()
    return platform.batch()
