"""The JSON Schemas of the events, made from the models (JSON Schema 2020-12)."""

from __future__ import annotations

from typing import Any, Final

from schemas.base import Inbound
from schemas.events import EventType

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Json = dict[str, Any]


def schema_id(event: str) -> str:
    """The `$id` of an event's schema: a name, which leads to no document."""
    return f"urn:uprp:schema:{event}"


def event_schema(event: EventType) -> Json:
    """The JSON Schema of the data of an event.

    It allows unknown fields in what partners send, and forbids them in what the platform sends
    (`contract.md` 1).
    """
    made = event.data.model_json_schema(mode="validation")
    open_ended = issubclass(event.data, Inbound)
    for part in (made, *made.get("$defs", {}).values()):
        _tidy(part, open_ended=open_ended)
    made.pop("title", None)
    return {"$schema": DIALECT, "$id": schema_id(event.name), "title": event.name} | made


def _tidy(part: Json, *, open_ended: bool) -> None:
    """Tidy one object in place: whether it is open, and without titles and defaults of no use."""
    part["description"] = " ".join(part.get("description", "").split())
    if part.get("type") != "object":
        return
    part["additionalProperties"] = open_ended
    for name, field in part.get("properties", {}).items():
        if field.get("title") == name.replace("_", " ").title():
            del field["title"]  # Made by pydantic from the name, so it says nothing more.
        if field.get("default", ...) is None:
            del field["default"]  # An absent field and null are the same.
        field["description"] = " ".join(field["description"].split())
