"""The tables of `docs/contract.md`, made from the models of the contract."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from schemas.asyncapi import document
from schemas.commands import Command
from schemas.events import EVENTS, Channel, EventType
from schemas.jsonschemas import event_schema

Json = Mapping[str, Any]

_WRITER: Final = {
    Channel.REQUESTS: "origin",
    Channel.RESULTS: "platform",
    Channel.COMMANDS: "platform",
    Channel.REPLIES: "debtor, creditor",
    Channel.INTERNAL: "platform",
    Channel.DEAD_LETTERS: "platform",
}
_READER: Final = {
    Channel.REQUESTS: "platform",
    Channel.RESULTS: "origin",
    Channel.COMMANDS: "debtor, creditor",
    Channel.REPLIES: "platform",
    Channel.INTERNAL: "platform",
    Channel.DEAD_LETTERS: "operators",
}
_REASONS: Final = "[reason code](partners/README.md#reasons)"
_SAME: Final = {"MoneyHeard": "Money"}
"""Objects that differ for us alone: in what is read, unknown fields are no error."""
_HEAD: Final = ("| Field | Type | | Meaning |", "|---|---|---|---|")


def topics() -> str:
    """Every topic: who writes it, who reads it, what it carries."""
    lines = ["| Topic | Written by | Read by | Carries |", "|---|---|---|---|"]
    for name, channel in document()["channels"].items():
        address = channel["address"].replace("{participant}", "<p>")
        kind = Channel(name)
        lines.append(
            f"| `{address}` | {_WRITER[kind]} | {_READER[kind]} | {_cell(channel['summary'])} |"
        )
    return "\n".join(lines)


def headers() -> str:
    """The headers of binary mode, as the platform writes them."""
    return _of_headers(EVENTS[-1].name)


def dead_letter_headers() -> str:
    """What is added to the headers of a record that is set aside."""
    return _of_headers("dead-letter")


def _of_headers(message: str) -> str:
    found = document()["components"]["messages"][message]["headers"]
    lines = ["| Header | | Meaning |", "|---|---|---|"]
    for name, schema in found["properties"].items():
        lines.append(f"| `{name}` | {_needed(name, found)} | {_header(schema)} |")
    return "\n".join(lines)


def _header(schema: Json) -> str:
    fixed = schema.get("const") or " or ".join(f"`{one}`" for one in schema.get("examples", ()))
    said = _cell(schema.get("description", ""))
    if "const" in schema and "uprp." not in fixed:
        return f"{said} `{fixed}`".strip()
    return said or ("The event's type, below." if "const" in schema else fixed)


def events() -> str:
    """Every event: on which topic it stands, and what it says."""
    lines = ["| Event | Topic | Written by | What it says |", "|---|---|---|---|"]
    for event in EVENTS:
        kind = event.channel
        writer, said = _WRITER[kind], _cell(_summary(event))
        lines.append(f"| `{event.name}` | `{kind}` | {writer} | {said} |")
    return "\n".join(lines)


def fields() -> str:
    """The fields of every event that a partner writes or reads."""
    parts = [_every_command()]
    for event in EVENTS:
        if event.channel is Channel.INTERNAL:
            continue
        schema = event_schema(event)
        is_command = event.channel is Channel.COMMANDS
        left_out = set(Command.model_fields) if is_command else set()
        rows = [row for name, row in _rows(schema) if name not in left_out]
        table = "\n".join([*_HEAD, *rows]) if rows else "No further fields."
        parts.append(f"#### `{event.name}`\n{table}")
    return "\n\n".join(parts)


def _every_command() -> str:
    deduct = next(event for event in EVENTS if event.channel is Channel.COMMANDS)
    rows = dict(_rows(event_schema(deduct)))
    common = [rows[name] for name in Command.model_fields]
    return "\n".join(["#### Every command", *_HEAD, *common])


def objects() -> str:
    """The fields of the objects that stand within events."""
    lines = ["| Object | Field | Type | | Meaning |", "|---|---|---|---|---|"]
    found: dict[str, Json] = {}
    for event in EVENTS:
        if event.channel is not Channel.INTERNAL:
            found |= event_schema(event).get("$defs", {})
    for name in sorted(found.keys() - _SAME.keys()):
        if found[name]["type"] == "object":
            lines += [f"| `{name}` {row}" for _, row in _rows(found[name])]
    return "\n".join(lines)


def _summary(event: EventType) -> str:
    """The first sentence of what the model says of itself."""
    said = str(event_schema(event)["description"])
    said = re.sub(r"^`[^`]+`(, on `[^`]+`)?: ", "", said)
    first = re.split(r"(?<=\.) ", said)[0]
    return first[0].upper() + first[1:]


def _rows(schema: Json) -> Iterator[tuple[str, str]]:
    for name, field in schema.get("properties", {}).items():
        said = _cell(field.get("description", ""))
        yield name, f"| `{name}` | {_type(field)} | {_needed(name, schema)} | {said} |"


def _needed(name: str, schema: Json) -> str:
    return "required" if name in schema.get("required", ()) else "optional"


def _type(field: Json) -> str:
    """The type of a field in a few words; the JSON Schema has it exactly."""
    if "$ref" in field:
        name = str(field["$ref"]).rpartition("/")[2]
        return _REASONS if name == "Code" else f"`{_SAME.get(name, name)}`"
    if "anyOf" in field:
        return next(_type(one) for one in field["anyOf"] if one.get("type") != "null")
    if field["type"] == "array":
        bounds = [str(field[key]) for key in ("minItems", "maxItems") if key in field]
        size = f", {' to '.join(bounds)}" if len(bounds) == 2 else ""
        return f"list of {_type(field['items'])}{size}"
    title = str(field.get("title") or field.get("format") or field["type"])
    short = title if title[0].isdigit() else re.split(r"[,:;(]", title)[0].strip()
    return re.sub(r"^(an?|any) ", "", short[0].lower() + short[1:])


def _cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
