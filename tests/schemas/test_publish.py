"""What is published is what the models say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.base import Inbound
from schemas.envelope import PLATFORM_SOURCE, read, source_of
from schemas.events import (
    BALANCE,
    DECIDED,
    EVENTS,
    REFUSED,
    RESULT,
    TIMERS,
    Channel,
    EventType,
    parse,
    topic_of,
)
from schemas.ids import NAMESPACE, partition_key, saga_id
from schemas.publish import GUIDE, ROOT, artefacts, main, write
from schemas.reasons import Code
from tests.schemas.published import errors, examples, schema

TYPES = {event.name: event for event in EVENTS}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "schemas", tmp_path / "schemas")
    shutil.copytree(ROOT / "docs/partners", tmp_path / "docs/partners")
    return tmp_path


def test_nothing_drifted() -> None:
    assert main(["--check"]) == 0


def test_writing_twice_changes_nothing(copy: Path) -> None:
    assert write(copy) == []
    assert artefacts(copy) == artefacts(copy)


@pytest.mark.parametrize(
    "path",
    (
        "schemas/asyncapi.json",
        "schemas/json/uprp.leg.answered.v1.json",
        "schemas/reasons.json",
        str(GUIDE),
    ),
)
def test_one_changed_character_is_drift(
    copy: Path, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    target = copy / path
    text = target.read_text("utf-8")
    target.write_text(text.replace("below the minimum", "beneath the minimum"), "utf-8")
    if target.read_text("utf-8") == text:
        target.write_text(text + " ", "utf-8")
    assert main(["--check"], copy) == 1
    assert capsys.readouterr().out.splitlines() == [f"{path}: differs from the models"]
    assert main([], copy) == 0
    assert target.read_text("utf-8") == text
    assert main(["--check"], copy) == 0


def test_missing_and_stray_files_are_drift(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "schemas/reasons.json").unlink()
    (copy / "schemas/json/uprp.gone.v1.json").write_text("{}")
    assert main(["--check"], copy) == 1
    assert capsys.readouterr().out.splitlines() == [
        "schemas/reasons.json: is missing",
        "schemas/json/uprp.gone.v1.json: is of no known event",
    ]


def test_a_guide_without_markers_says_so(copy: Path) -> None:
    (copy / GUIDE).write_text("# Partner guide\n")
    with pytest.raises(ValueError, match="put them back"):
        artefacts(copy)


def _objects(found: object) -> Iterator[dict[str, Any]]:
    if isinstance(found, dict):
        if found.get("type") == "object" and "properties" in found:
            yield found
        for part in found.values():
            yield from _objects(part)
    elif isinstance(found, list):
        for part in found:
            yield from _objects(part)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_every_schema_is_one(event: EventType) -> None:
    found = schema(event.name)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["$id"] == f"urn:uprp:schema:{event.name}"
    inbound = event.channel in (Channel.REQUESTS, Channel.REPLIES)
    assert inbound == issubclass(event.data, Inbound)
    for part in _objects(found):
        assert part["additionalProperties"] is inbound, part
        assert part["description"]
        for name, field in part["properties"].items():
            assert field["description"], name


def _references(found: object) -> Iterator[str]:
    if isinstance(found, dict):
        if "$ref" in found:
            yield found["$ref"]
        for part in found.values():
            yield from _references(part)
    elif isinstance(found, list):
        for part in found:
            yield from _references(part)


def _resolve(document: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document


def test_the_asyncapi_document_holds_together() -> None:
    found = json.loads((ROOT / "schemas/asyncapi.json").read_text("utf-8"))
    assert found["asyncapi"] == "3.0.0"
    for reference in _references(found):
        if reference.startswith("./"):
            assert (ROOT / "schemas" / reference).exists(), reference
        else:
            assert _resolve(found, reference), reference
    addresses = {channel["address"] for channel in found["channels"].values()}
    assert addresses == {
        "uprp.{participant}.requests",
        "uprp.{participant}.results",
        "uprp.{participant}.commands",
        "uprp.{participant}.replies",
        "uprp.internal",
        "uprp.dead-letters",
    }
    for channel in found["channels"].values():
        assert ("{participant}" in channel["address"]) == (
            "participant" in channel.get("parameters", {})
        )
    said = {
        reference["$ref"].rpartition("/")[2]
        for operation in found["operations"].values()
        for reference in operation["messages"]
    }
    assert said == {*TYPES, "dead-letter"}
    for name, message in found["components"]["messages"].items():
        assert message["bindings"]["kafka"]["bindingVersion"] == "0.5.0"
        if name in TYPES:
            assert message["payload"] == {"$ref": f"./json/{name}.json"}
            assert "key" in message["bindings"]["kafka"]
            assert message["headers"]["properties"]["ce_type"]["const"] == name
            Draft202012Validator.check_schema(message["headers"])


def test_a_foreign_client_can_live_from_the_description() -> None:
    found = json.loads((ROOT / "schemas/asyncapi.json").read_text("utf-8"))["info"]["description"]
    for said in (str(NAMESPACE), "uuid5(NAMESPACE", "<saga id>/<step>/<line>", "murmur2_random"):
        assert said in found
    assert str(NAMESPACE) in (ROOT / GUIDE).read_text("utf-8")


def test_the_error_catalogue_is_whole() -> None:
    found = json.loads((ROOT / "schemas/reasons.json").read_text("utf-8"))
    assert [row["code"] for row in found["reasons"]] == [code.value for code in Code]
    for row in found["reasons"]:
        assert set(row["sentences"]) == set(found["languages"])
        assert row["class"] in found["classes"]


EXAMPLES = examples()
REDEMPTIONS = {
    "alipayhk/w-1": ("alipayhk", "w-1", "r-2026-0001"),
    "harbour/s-1": ("harbour", "s-1", "r-2026-0002"),
    "alipayhk/w-2": ("alipayhk", "w-2", "look-2026-0001"),
}
"""What the examples are about, by their key."""


def test_the_guide_shows_every_kind_of_event_that_it_explains() -> None:
    shown = {example["headers"]["ce_type"] for example in EXAMPLES}
    assert set(TYPES) - shown == {TIMERS, DECIDED, "uprp.value.reverse.v1"}


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_in_the_guide_keeps_the_contract(number: int) -> None:
    example = EXAMPLES[number]
    value = json.dumps(example["value"]).encode()
    headers = [(name, content.encode()) for name, content in example["headers"].items()]
    envelope, data = read(headers, value)
    event = TYPES[envelope.type]
    assert errors(event.name, example["value"]) == []
    who = example["topic"].split(".")[1]
    assert example["topic"] == topic_of(who, event.channel)
    inbound = issubclass(event.data, Inbound)
    assert envelope.source == (source_of(who) if inbound else PLATFORM_SOURCE)
    origin, account, request_id = REDEMPTIONS[example["key"]]
    assert example["key"] == partition_key(origin, account)
    model = event.data.model_validate_json(data)
    if isinstance(model, Inbound):
        assert list(model.unknown_fields()) == []
        heard: object = parse(event.channel, event.name, data)
        assert heard == model
    saga = saga_id(origin, account, request_id, "balance" if "balance" in event.name else "")
    if event.name != REFUSED and not inbound:
        assert envelope.subject == saga
        assert example["value"]["saga_id"] == saga
    if event.name == BALANCE:
        decided = datetime.fromisoformat(example["value"]["at"]).timestamp() * 1000
        assert envelope.id == f"{saga}#r1.{decided:.0f}"
    if event.name == RESULT:
        assert envelope.id == f"{saga}#r{example['value']['revision']}"
    if event.channel is Channel.COMMANDS:
        assert envelope.id.startswith(example["value"]["leg_id"] + "#")
    message_headers = json.loads((ROOT / "schemas/asyncapi.json").read_text("utf-8"))["components"][
        "messages"
    ][event.name]["headers"]
    Draft202012Validator(message_headers).validate(example["headers"])


def test_the_channels_example_adds_up() -> None:
    """What it took, the price of what was issued, what it gives back; told and commanded alike."""
    asked, result, command, answer = (
        one["value"] for one in EXAMPLES if one["key"] == "harbour/s-1"
    )
    taken, back = asked["deduction"], result["return_required"]
    assert result["points"] == {
        "charged": taken["points"] - back["points"],
        "returned": back["points"],
    }
    assert {one["reference"] for one in (taken, back, command)} == {taken["reference"]}
    for said in (taken, back, command):
        assert sum(lot["points"] for lot in said["lots"]) == said["points"]
    assert (command["points"], command["lots"]) == (back["points"], back["lots"])
    assert (answer["leg_id"], answer["points"]) == (command["leg_id"], command["points"])
