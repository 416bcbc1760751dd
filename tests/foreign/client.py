"""A partner's own program: the wire contract with confluent-kafka and the standard library only.

It asks as an origin and answers as any company, keeping the participant's promises: one effect per
leg id, the first answer repeated, a tombstone for what was cancelled.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer

# Published in schemas/asyncapi.json, under "Saga ids".
NAMESPACE = uuid.UUID("6f1c1f0e-2d0b-5c57-9a3e-75707270a001")
Json = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """One record as it stood on the wire."""

    topic: str
    partition: int
    offset: int
    key: str | None
    headers: Mapping[str, str]
    raw: bytes

    @property
    def type(self) -> str:
        return self.headers.get("ce_type", "")

    @property
    def data(self) -> Json:
        found = json.loads(self.raw)
        assert isinstance(found, dict)
        return found


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def saga_id(origin: str, account: str, request_id: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{origin}\n{account}\n{request_id}"))


@dataclass
class Company:
    """What one company did: its books are a ledger of legs, its first answers and tombstones."""

    name: str
    decide: Callable[[str, Json], Json]
    answers: dict[str, Json] = field(default_factory=dict)
    moved: list[tuple[str, int]] = field(default_factory=list)

    def answer(self, kind: str, command: Json) -> Json:
        leg = command["leg_id"]
        if leg in self.answers:
            return self.answers[leg]
        if kind == "uprp.leg.inquire.v1":
            return {"leg_id": leg, "outcome": "NOT_RECEIVED"}
        if kind == "uprp.leg.cancel.v1":
            said = {"outcome": "CANCELLED"}
        else:
            said = self.decide(kind, command)
            if said["outcome"] == "CONFIRMED":
                self.moved.append((kind, command.get("points") or command["quantity"]))
        self.answers[leg] = {"leg_id": leg} | said
        return self.answers[leg]


class Wire:
    """The topics of several companies, read and written by one process."""

    def __init__(self, servers: str, companies: list[Company]) -> None:
        self.companies = {f"uprp.{company.name}.commands": company for company in companies}
        self.seen: list[Record] = []
        self.undelivered: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
            }
        )
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": f"foreign-{uuid.uuid4()}",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        results = [f"uprp.{company.name}.results" for company in companies]
        self._consumer.subscribe([*self.companies, *results, "uprp.dead-letters"])

    def close(self) -> None:
        self._producer.flush(10)
        self._consumer.close()

    def send(
        self,
        topic: str,
        key: str | None,
        headers: Mapping[str, str],
        value: bytes | None,
    ) -> None:
        self._producer.produce(
            topic,
            key=key,
            value=value,
            headers=[(name, content.encode()) for name, content in headers.items()],
            on_delivery=self._delivered,
        )
        self._producer.flush(10)

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self.undelivered.append(str(error))

    def say(
        self,
        who: str,
        channel: str,
        key: str,
        kind: str,
        data: Json,
        *,
        event_id: str = "",
        cause: str = "",
    ) -> str:
        """Publish an event in binary mode; returns its id."""
        headers = self.attributes(who, kind, event_id)
        binary = {f"ce_{name}": content for name, content in headers.items()}
        if cause:
            binary["ce_causationid"] = cause
        binary["content-type"] = "application/json"
        self.send(f"uprp.{who}.{channel}", key, binary, json.dumps(data).encode())
        return headers["id"]

    def say_structured(self, who: str, channel: str, key: str, kind: str, data: Json) -> str:
        """Publish an event in structured mode; returns its id."""
        event = self.attributes(who, kind, "") | {"data": data}
        headers = {"content-type": "application/cloudevents+json; charset=utf-8"}
        self.send(f"uprp.{who}.{channel}", key, headers, json.dumps(event).encode())
        return str(event["id"])

    def attributes(self, who: str, kind: str, event_id: str) -> dict[str, str]:
        return {
            "specversion": "1.0",
            "id": event_id or str(uuid.uuid4()),
            "source": f"/participants/{who}",
            "type": kind,
            "time": now(),
        }

    def turn(self) -> None:
        """Read what is there, wait at most a fifth of a second, and answer every command."""
        for record in self._poll():
            self.seen.append(record)
            if company := self.companies.get(record.topic):
                reply = company.answer(record.type, record.data)
                assert record.key is not None
                self.say(
                    company.name,
                    "replies",
                    record.key,
                    "uprp.leg.answered.v1",
                    reply,
                    cause=record.headers["ce_id"],
                )

    def _poll(self) -> Iterator[Record]:
        for message in self._consumer.consume(100, 0.2):
            if message.error() is not None:
                if message.error().retriable():
                    continue
                raise RuntimeError(str(message.error()))
            key = message.key()
            yield Record(
                topic=message.topic(),
                partition=message.partition(),
                offset=message.offset(),
                key=key.decode() if key is not None else None,
                headers={name: content.decode() for name, content in message.headers() or []},
                raw=message.value() or b"",
            )
