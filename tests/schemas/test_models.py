"""Models and JSON Schemas agree on what is right; models keep what they promise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from schemas.base import Inbound
from schemas.events import ANSWERED, EVENTS, REQUESTED, Channel, EventType, parse
from schemas.replies import Coupon, LegAnswered
from schemas.requests import RedemptionRequested
from schemas.results import LineResult
from schemas.values import INTEGER_MAX, Lot
from tests.schemas.instances import drawn
from tests.schemas.published import errors, schema
from tests.schemas.samples import ANSWER, COUPON, DEDUCTION, LOT, REQUEST


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_what_the_schema_allows_the_model_reads_and_writes_again(
    event: EventType, data: st.DataObject
) -> None:
    whole = schema(event.name)
    instance = data.draw(drawn(whole, whole))
    allowed = errors(event.name, instance) == []
    text = json.dumps(instance).encode()
    try:
        model = event.data.model_validate_json(text)
    except ValidationError:
        assert not allowed, instance
        return
    assert allowed, instance
    written = model.model_dump_json(exclude_none=True).encode()
    assert errors(event.name, json.loads(written)) == []
    assert event.data.model_validate_json(written) == model


def test_the_limits_themselves_are_read() -> None:
    data = REQUEST | {
        "points": INTEGER_MAX,
        "account": "x" * 128,
        "expires_at": "2026-11-22T06:00:00.5+08:00",
    }
    assert errors(REQUESTED, data) == []
    found = parse(Channel.REQUESTS, REQUESTED, json.dumps(data).encode())
    assert isinstance(found, RedemptionRequested)
    assert found.points == INTEGER_MAX


def test_unknown_fields_are_kept_apart_and_reported() -> None:
    data = REQUEST | {
        "loyalty": 1,
        "lines": [{"item": "hkd50", "quantity": 2, "colour": "red"}],
        "deduction": DEDUCTION | {"lots": [LOT | {"tier": 3}]},
        "context": {"anything": {"goes": True}},
    }
    found = parse(Channel.REQUESTS, REQUESTED, json.dumps(data).encode())
    assert isinstance(found, RedemptionRequested)
    names = ["loyalty", "lines.colour", "deduction.lots.tier"]
    assert sorted(found.unknown_fields()) == sorted(names)
    assert list(found.known().unknown_fields()) == []
    assert found.known().deduction is not None
    assert found.known().model_dump(exclude_unset=True).keys() == REQUEST.keys() | {
        "deduction",
        "context",
    }


def test_what_a_partner_adds_never_reaches_another() -> None:
    coupon = Coupon.model_validate_json(
        json.dumps(COUPON | {"huge": 10**40, "face": {"amount": 1, "currency": "HKD", "new": 1}})
    )
    line = LineResult(item="a", quantity=1, issued=1, coupons=(coupon,))
    (given_on,) = line.model_dump()["coupons"]
    assert "huge" not in given_on
    assert "new" not in given_on["face"]
    assert coupon.known().coupon_id == "c"
    assert coupon.model_extra == {"huge": 10**40}


def test_an_unknown_outcome_reads_as_unknown() -> None:
    found = parse(Channel.REPLIES, ANSWERED, json.dumps(ANSWER | {"outcome": "MAYBE"}).encode())
    assert isinstance(found, LegAnswered)
    assert found.stated is None


def test_the_same_content_is_the_same_redemption() -> None:
    lots = [LOT, {"lot": "2025", "points": 4}]
    lines = [{"item": "a", "quantity": 1}, {"item": "b", "quantity": 2}]
    data = REQUEST | {
        "lines": lines,
        "deduction": DEDUCTION | {"lots": lots},
    }
    base = RedemptionRequested.model_validate_json(json.dumps(data))

    def with_(**fields: Any) -> RedemptionRequested:
        return RedemptionRequested.model_validate_json(json.dumps(data | fields))

    same = with_(
        lines=lines[::-1],
        locale="ja",
        context={"a": 1},
        expires_at="2030-01-01T00:00:00Z",
        deduction=DEDUCTION | {"lots": lots[::-1]},
    )
    assert same.content() == base.content()
    others = (
        with_(lines=[{"item": "a", "quantity": 1}]),
        with_(lines=[{"item": "a", "quantity": 1}, {"item": "b", "quantity": 3}]),
        with_(programme="other"),
        with_(points=5),
        with_(debtor_account="x"),
        with_(creditor_account="x"),
        with_(quote_id="q"),
        with_(deduction=None),
        with_(deduction=DEDUCTION | {"lots": [LOT]}),
    )
    assert base.content() not in [other.content() for other in others]


@pytest.mark.parametrize("model", (Lot, Coupon, RedemptionRequested, LegAnswered, LineResult))
def test_events_cannot_be_changed(model: type[BaseModel]) -> None:
    assert model.model_config["frozen"]
    assert model.model_config["strict"]
    assert model.model_config["extra"] == ("allow" if issubclass(model, Inbound) else "forbid")
