"""The orchestrator's values as rows of the tables, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from orchestrator.engine.codec import decode_state, decode_terms, encode_state, encode_terms
from orchestrator.engine.instance import Saga
from orchestrator.engine.operator import Action, OperatorDecision
from orchestrator.engine.results import phase
from orchestrator.ports import Case, DecisionOutcome
from orchestrator.sagas import KINDS
from schemas.times import moment

COLUMNS: Final = {
    "saga": (
        "key_hash",
        "saga_id",
        "revision",
        "due_at",
        "status",
        "origin",
        "account",
        "request_id",
        "programme",
        "programme_version",
        "accepted_at",
        "terms",
        "state",
    ),
    "timeline": ("key_hash", "saga_id", "revision", "at", "event", "detail"),
    "transfer": ("key_hash", "saga_id", "seq", "debit", "credit", "unit", "amount"),
}
"""What is only ever added goes in by COPY, in binary: an array of each column costs the coordinator
two microseconds a row more. A row that exists is a conflict, seen by the primary key."""


def ms_at(found: datetime) -> int:
    """A time as milliseconds since 1970."""
    return round(found.timestamp() * 1000)


def ms_of(found: datetime | None) -> int | None:
    """A time as milliseconds since 1970; None stays None."""
    return None if found is None else ms_at(found)


@lru_cache(maxsize=4_096)
def time_of(milliseconds: int | None) -> datetime | None:
    """Milliseconds since 1970 as a time for the driver; cached, since a batch has few of them."""
    return None if milliseconds is None else moment(milliseconds)


def new_saga_row(saga: Saga) -> tuple[Any, ...]:
    """The row of a new saga, in the order of its columns."""
    terms = saga.terms
    return (
        terms.key_hash,
        terms.saga_id,
        saga.revision,
        time_of(saga.wake_at),
        phase(saga),
        terms.origin,
        terms.account,
        terms.request_id,
        terms.programme,
        terms.programme_version,
        time_of(terms.accepted_at),
        encode_terms(terms, KINDS),
        encode_state(saga),
    )


def changed_saga_row(was: Saga, saga: Saga) -> tuple[Any, ...]:
    """What changes in the row of a saga, and the revision that it must still be at."""
    terms = saga.terms
    return (
        terms.key_hash,
        terms.saga_id,
        was.revision,
        saga.revision,
        time_of(saga.wake_at),
        phase(saga),
        encode_state(saga),
    )


def saga_from(row: Mapping[str, Any]) -> Saga:
    """The saga that a row of the table holds."""
    terms = decode_terms(
        row["terms"],
        KINDS,
        saga_id=str(row["saga_id"]),
        key_hash=row["key_hash"],
        origin=row["origin"],
        account=row["account"],
        request_id=row["request_id"],
        programme=row["programme"],
        programme_version=row["programme_version"],
        accepted_at=ms_of(row["accepted_at"]) or 0,
    )
    return decode_state(row["state"], terms, KINDS, row["revision"], ms_of(row["due_at"]))


def case_row(case: Case) -> tuple[Any, ...]:
    """The row of a case for a person."""
    at = time_of(case.at)
    closed = at if case.closed else None
    return (*case.key, at, case.leg, case.why, case.stake, case.unit, closed)


def settled_row(one: DecisionOutcome) -> tuple[Any, ...]:
    """The row of what became of a decision."""
    outcome = "applied" if one.revision is not None else "refused"
    return (*one.key, outcome, one.why, time_of(one.at), one.revision)


def ruling_from(row: Mapping[str, Any]) -> OperatorDecision:
    """The operator decision that a row of the table holds."""
    return OperatorDecision(row["id"], Action(row["action"]), row["amount"], row["reference"])


def dead_letter_row(letter: Any) -> tuple[Any, ...]:
    """The row of a dead letter; no text of PostgreSQL holds U+0000."""
    headers = [
        [name, content.decode("latin-1") if content is not None else None]
        for name, content in letter.headers
    ]
    return (
        letter.topic,
        letter.partition,
        letter.offset,
        letter.key,
        letter.value,
        orjson.dumps(headers).decode(),
        letter.error_class,
        letter.field.replace("\0", "?"),
        letter.message.replace("\0", "?"),
        letter.disposition.value,
        letter.fingerprint,
        letter.saga_id,
        letter.failed_at,
    )
