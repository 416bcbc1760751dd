"""The AsyncAPI 3 document: channels, operations as the platform sees them, messages."""

from __future__ import annotations

from typing import Any, Final

from schemas.envelope import PLATFORM_SOURCE, VALUE_BYTES_MAX
from schemas.events import (
    DEAD_LETTER_TOPIC,
    EVENTS,
    INTERNAL_TOPIC,
    REFUSED,
    RESULT,
    Channel,
    EventType,
    topic_of,
)
from schemas.ids import NAMESPACE
from schemas.values import ID_PATTERN

Json = dict[str, Any]

VERSION: Final = "1.0.0"
BINDING: Final = "0.5.0"

DESCRIPTION: Final = f"""\
Partners meet the points redemption platform on Kafka: an origin asks for a redemption, a debtor \
deducts the points, a creditor gives the value, and the origin gets one final result.

**Records.** CloudEvents 1.0 over Kafka. The platform writes binary mode (`ce_` headers) and reads \
binary and structured mode (`content-type: application/cloudevents+json`). The value is one JSON \
object, UTF-8, at most {VALUE_BYTES_MAX} bytes. Points, quantities and money are integers; money \
is in minor units with an ISO 4217 currency. Times are RFC 3339 with an offset. Ids are 1 to 128 \
printable ASCII characters. Unknown fields are ignored on what partners send; readers of what the \
platform sends ignore unknown fields too, since fields may be added within version 1.

**Keys.** Every record of an account has the key `<origin>/<account>`; a reply carries the key of \
its command. The partition is Kafka's own murmur2 of the key; clients built on librdkafka set \
`partitioner=murmur2_random`. A record without the key, or on another partition, is slower, not \
wrong.

**Saga ids.** `uuid5(NAMESPACE, origin + "\\n" + account + "\\n" + request_id)` with the name \
space `{NAMESPACE}`, all in ASCII, for a redemption; a question about a balance has `"\\n" + \
"balance"` after it. A partner may compute it before anything is answered.

**Leg ids.** `<saga id>/<step>`, or `<saga id>/<step>/<line>` where each line has a leg of its \
own; the leg that undoes another adds `/return` or `/reverse`. A leg id is the idempotency key: \
under one leg id an effect happens at most once. Treat it as opaque and answer under it unchanged.

**Event ids.** `ce_id` is unique per source. The platform computes its own: `<leg id>#<attempt>` \
for a command, `<leg id>#inquire<attempt>` and `<leg id>#cancel<attempt>` for a question about it \
or its cancellation, `<saga id>#r<revision>` for a result; those about a balance end \
with `.` and the time, in milliseconds, at which it was asked or answered. A record said again \
keeps its id.

**Security** is the operator's: one prefix rule per participant and direction.
"""

_SUMMARIES: Final = {
    Channel.REQUESTS: "What an origin asks.",
    Channel.RESULTS: "What an origin gets: results, and word of what could not be read.",
    Channel.COMMANDS: "What the platform asks of a debtor or a creditor.",
    Channel.REPLIES: "What a debtor or a creditor answers; counts only on its own topic.",
    Channel.INTERNAL: "The platform's own: timers and operators' decisions. Not for partners.",
    Channel.DEAD_LETTERS: "Records that were set aside, byte for byte, for the operators.",
}
_OPERATIONS: Final = {
    Channel.REQUESTS: ("receive", "receiveRequests"),
    Channel.RESULTS: ("send", "sendResults"),
    Channel.COMMANDS: ("send", "sendCommands"),
    Channel.REPLIES: ("receive", "receiveReplies"),
    Channel.INTERNAL: ("receive", "receiveTimers"),
    Channel.DEAD_LETTERS: ("send", "sendDeadLetters"),
}
_DEAD_LETTER: Final = "dead-letter"
_DEAD_LETTER_HEADERS: Final = {
    "__dlq.errors.topic": "Where the record stood.",
    "__dlq.errors.partition": "Where the record stood.",
    "__dlq.errors.offset": "Where the record stood.",
    "__dlq.errors.group": "The consumer group that set it aside.",
    "__dlq.errors.message": "The header or field that is wrong, and how.",
    "x-dlq-id": "<topic>/<partition>/<offset>",
    "x-dlq-fingerprint": "The same for records that fail alike.",
    "x-dlq-error-class": "The code of the error catalogue.",
    "x-dlq-disposition": "poison, refused or exhausted.",
    "x-dlq-first-failed-at": "RFC 3339, UTC; kept over replays.",
    "x-replay-count": "How often it was replayed, from 0.",
}


def document() -> Json:
    """The whole document; its references lead to the schemas in `json/`, next to it."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:uprp:contract:v1",
        "info": {
            "title": "UPRP partner contract",
            "version": VERSION,
            "description": DESCRIPTION,
        },
        "defaultContentType": "application/json",
        "channels": {channel.value: _channel(channel) for channel in Channel},
        "operations": dict(_operation(channel) for channel in Channel),
        "components": {"messages": {event.name: _message(event) for event in EVENTS} | _dead()},
    }


def _messages_of(channel: Channel) -> list[str]:
    if channel is Channel.DEAD_LETTERS:
        return [_DEAD_LETTER]
    return [event.name for event in EVENTS if event.channel is channel]


def _address(channel: Channel) -> str:
    fixed = {Channel.INTERNAL: INTERNAL_TOPIC, Channel.DEAD_LETTERS: DEAD_LETTER_TOPIC}
    return fixed.get(channel) or topic_of("{participant}", channel)


def _channel(channel: Channel) -> Json:
    address = _address(channel)
    found: Json = {
        "address": address,
        "summary": _SUMMARIES[channel],
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in _messages_of(channel)
        },
    }
    if "{participant}" in address:
        found["parameters"] = {
            "participant": {
                "description": "The participant's name: lower case letters, digits, hyphens.",
                "examples": ["citi", "alipayhk"],
            }
        }
        kafka: Json = {"bindingVersion": BINDING}
    else:
        kafka = {"topic": address, "bindingVersion": BINDING}
    return found | {"bindings": {"kafka": kafka}}


def _operation(channel: Channel) -> tuple[str, Json]:
    action, name = _OPERATIONS[channel]
    found: Json = {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel.value}"},
        "summary": _SUMMARIES[channel],
        "messages": _references(channel, _messages_of(channel)),
    }
    if channel is Channel.REQUESTS:
        found["reply"] = _reply(Channel.RESULTS, [RESULT, REFUSED])
    if channel is Channel.COMMANDS:
        found["reply"] = _reply(Channel.REPLIES, _messages_of(Channel.REPLIES))
    return name, found


def _reply(channel: Channel, names: list[str]) -> Json:
    return {
        "channel": {"$ref": f"#/channels/{channel.value}"},
        "messages": _references(channel, names),
    }


def _references(channel: Channel, names: list[str]) -> list[Json]:
    return [{"$ref": f"#/channels/{channel.value}/messages/{name}"} for name in names]


def _message(event: EventType) -> Json:
    inbound = event.channel in (Channel.REQUESTS, Channel.REPLIES)
    summary = " ".join((event.data.__doc__ or "").split("\n\n")[0].split())
    found: Json = {
        "name": event.name,
        "summary": summary,
        "contentType": "application/json",
        "headers": _headers(event, inbound=inbound),
        "payload": {"$ref": f"./json/{event.name}.json"},
        "bindings": {"kafka": {"key": _key(event), "bindingVersion": BINDING}},
    }
    if not inbound:
        found["correlationId"] = {
            "description": "The saga id, on everything the platform writes about a saga.",
            "location": "$message.header#/ce_subject",
        }
    return found


def _key(event: EventType) -> Json:
    whose = (
        "of the command that it answers" if event.channel is Channel.REPLIES else "of the member"
    )
    return {"type": "string", "description": f"`<origin>/<account>` {whose}."}


def _id(description: str) -> Json:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": 128,
        "pattern": ID_PATTERN,
        "description": description,
    }


def _headers(event: EventType, *, inbound: bool) -> Json:
    """The CloudEvents headers of binary mode (`contract.md` 1)."""
    source: Json = {"type": "string", "description": "Who says it.", "const": PLATFORM_SOURCE}
    if inbound:
        del source["const"]
        source |= {"pattern": "^/participants/[a-z0-9][a-z0-9-]*$"}
    required = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time"]
    return {
        "type": "object",
        "required": required,
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_id": _id("Unique per source; repeats of the same event keep it."),
            "ce_source": source,
            "ce_type": {"type": "string", "const": event.name},
            "ce_time": {
                "type": "string",
                "format": "date-time",
                "description": "RFC 3339, UTC.",
            },
            "ce_subject": _id("The saga id, on everything the platform writes about a saga."),
            "ce_causationid": _id("The `ce_id` of the event that this answers or follows from."),
            "traceparent": {"type": "string", "description": "W3C trace context, carried through."},
            "content-type": {"type": "string", "examples": ["application/json"]},
        },
        "additionalProperties": True,
    }


def _dead() -> Json:
    """The message of a dead letter, whose payload may be anything."""
    text = {
        name: {"type": "string", "description": description}
        for name, description in _DEAD_LETTER_HEADERS.items()
    }
    return {
        _DEAD_LETTER: {
            "name": _DEAD_LETTER,
            "summary": "A record that was set aside: original key, value and headers, and why.",
            "headers": {
                "type": "object",
                "required": list(text),
                "properties": text
                | {"x-saga-id": {"type": "string", "description": "The saga, where it is known."}},
                "additionalProperties": True,
            },
            "payload": {"description": "The original value, whatever it is."},
            "bindings": {"kafka": {"bindingVersion": BINDING}},
        }
    }
