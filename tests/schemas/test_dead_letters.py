"""A dead letter is the record itself, with the reason of its last failure and no earlier one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from schemas.dead_letters import DeadLetter, Disposition

LETTER = DeadLetter(
    topic="uprp.alipayhk.requests",
    partition=5,
    offset=1042,
    key=b"alipayhk/w-1",
    value=b"\xff not json",
    headers=(("ce_id", b"e-1"), ("own", b"\x00\xff"), ("own", b"twice"), ("empty", None)),
    group="uprp-coordinator",
    error_class="SCHEMA_INVALID",
    field="value",
    message="is not UTF-8 (byte 0)",
    disposition=Disposition.POISON,
    failed_at=datetime(2026, 11, 22, 6, 0, tzinfo=UTC),
)


def test_every_header_of_the_contract_is_there_beside_the_originals() -> None:
    found = LETTER.wire_headers()
    assert found[: len(LETTER.headers)] == list(LETTER.headers)
    ours = dict(found[len(LETTER.headers) :])
    assert ours == {
        "__dlq.errors.topic": b"uprp.alipayhk.requests",
        "__dlq.errors.partition": b"5",
        "__dlq.errors.offset": b"1042",
        "__dlq.errors.group": b"uprp-coordinator",
        "__dlq.errors.message": b"value: is not UTF-8 (byte 0)",
        "x-dlq-id": b"uprp.alipayhk.requests/5/1042",
        "x-dlq-fingerprint": LETTER.fingerprint.encode(),
        "x-dlq-error-class": b"SCHEMA_INVALID",
        "x-dlq-disposition": b"poison",
        "x-dlq-first-failed-at": b"2026-11-22T06:00:00.000Z",
        "x-replay-count": b"0",
    }


def test_the_saga_is_named_where_it_is_known() -> None:
    assert ("x-saga-id", b"s-1") in replace(LETTER, saga_id="s-1").wire_headers()


def test_a_second_failure_strips_the_first_but_not_its_history() -> None:
    replayed = [
        (name, b"2" if name == "x-replay-count" else content)
        for name, content in replace(LETTER, saga_id="s-1").wire_headers()
    ]
    again = replace(
        LETTER,
        offset=2001,
        headers=tuple(replayed),
        failed_at=datetime(2026, 11, 23, tzinfo=UTC),
    ).wire_headers()
    names = [name for name, _ in again]
    own = {name for name, _ in LETTER.headers}
    assert len([name for name in names if name not in own]) == len({*names} - own)
    found = dict(again)
    assert found["__dlq.errors.offset"] == b"2001"
    assert found["x-dlq-first-failed-at"] == b"2026-11-22T06:00:00.000Z"
    assert found["x-replay-count"] == b"2"
    assert "x-saga-id" not in found
    assert found["own"] == b"twice"
    assert ("empty", None) in again


@pytest.mark.parametrize("claim", (b"", b"-1", b"9" * 99, b"\xff", b"many", None))
def test_what_a_partner_claims_about_replays_is_checked(claim: bytes | None) -> None:
    given = (("x-replay-count", claim), ("x-dlq-first-failed-at", claim), ("X-DLQ-Id", b"mine"))
    found = replace(LETTER, headers=given).wire_headers()
    assert len(found) == 11
    assert dict(found)["x-replay-count"] == b"0"
    assert dict(found)["x-dlq-first-failed-at"] == b"2026-11-22T06:00:00.000Z"


def test_the_fingerprint_groups_records_that_fail_alike() -> None:
    def fingerprint(message: str) -> str:
        return replace(LETTER, message=message).fingerprint

    alike = [
        """'uprp.a.v9' is not an event of a requests topic""",
        """"it's" is not an event of a requests topic""",
    ]
    assert len({fingerprint(message) for message in alike}) == 1
    assert fingerprint("has 66560 bytes") == fingerprint("has 70000 bytes")
    assert fingerprint("has 66560 bytes") != fingerprint("is null")
    assert replace(LETTER, field="lines").fingerprint != LETTER.fingerprint
    assert replace(LETTER, error_class="X").fingerprint != LETTER.fingerprint
