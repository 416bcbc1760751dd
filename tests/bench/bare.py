"""The bare loop: poll, one insert, two updates, three history rows, publish, commit. Nothing else.

What the machine can do with this stack when nothing is checked, priced, limited, journalled or
protected: the figure against which the coordinator is measured. Run as a process of its own.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import asyncpg
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.ids import partition_of, split_leg_id

GROUP = "bare-loop"
TOPICS = ("uprp.alipayhk.requests", "uprp.citi.replies", "uprp.alipayhk.replies")
TIME = "2026-01-01T00:00:00Z"
FAR = "2099-01-01T00:00:00Z"

SCHEMA = """
create table if not exists bare_saga (
    id uuid primary key, step smallint not null, body text not null);
create table if not exists bare_history (
    id uuid not null, step smallint not null, body text not null, primary key (id, step));
"""
INSERT = (
    "insert into bare_saga select * from unnest($1::uuid[], $2::smallint[], $3::text[])"
    " on conflict do nothing"
)
UPDATE = (
    "update bare_saga s set step = v.step from unnest($1::uuid[], $2::smallint[]) as v (id, step)"
    " where s.id = v.id"
)
HISTORY = (
    "insert into bare_history select * from unnest($1::uuid[], $2::smallint[], $3::text[])"
    " on conflict do nothing"
)


def saga_of(request_id: str) -> str:
    """The id under which the bare loop keeps a request."""
    return str(uuid5(NAMESPACE_URL, request_id))


def _headers(event_id: str, kind: str) -> list[tuple[str, bytes]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", b"/uprp"),
        ("ce_type", kind.encode()),
        ("ce_time", TIME.encode()),
        ("content-type", b"application/json"),
    ]


def _command(saga: str, step: str, extra: dict[str, Any]) -> bytes:
    return orjson.dumps(
        {
            "leg_id": f"{saga}/{step}",
            "saga_id": saga,
            "programme": "citi-alipayhk-coupons",
            "attempt": 1,
            "issued_at": TIME,
            "expires_at": FAR,
            **extra,
        }
    )


def _next(record: Any) -> tuple[Any, int, str, tuple[str, bytes, bytes, list[tuple[str, bytes]]]]:
    """The saga, its step, its history and the one record to publish."""
    data = orjson.loads(record.value)
    if record.topic == TOPICS[0]:
        saga = saga_of(data["request_id"])
        extra = {"account": data["debtor_account"], "points": 25_000}
        value = _command(saga, "deduct", extra)
        out = (
            "uprp.citi.commands",
            record.key,
            value,
            _headers(f"{saga}#1", "uprp.points.deduct.v1"),
        )
        return saga, 1, data["request_id"], out
    saga, _ = split_leg_id(data["leg_id"])
    if record.topic == TOPICS[1]:
        face = {"amount": 5_000, "currency": "HKD"}
        extra = {
            "account": record.key.decode().partition("/")[2],
            "item": "hkd50",
            "kind": "CASH_COUPON",
            "quantity": 2,
            "face": face,
        }
        value = _command(saga, "credit/1", extra)
        kind = "uprp.value.credit.v1"
        return (
            saga,
            2,
            data["outcome"],
            ("uprp.alipayhk.commands", record.key, value, _headers(f"{saga}#2", kind)),
        )
    result = {"saga_id": saga, "status": "SUCCESS", "final": True, "coupons": data.get("coupons")}
    return (
        saga,
        3,
        data["outcome"],
        (
            "uprp.alipayhk.results",
            record.key,
            orjson.dumps(result),
            _headers(f"{saga}#r1", "uprp.redemption.result.v1"),
        ),
    )


async def main(servers: str, dsn: str) -> None:
    connection: Any = await asyncpg.connect(dsn)
    await connection.execute(SCHEMA)
    consumer = AIOKafkaConsumer(
        *TOPICS,
        bootstrap_servers=servers,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="latest",
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, acks="all", enable_idempotence=True, max_batch_size=512 * 1024
    )
    await consumer.start()
    await producer.start()
    while not consumer.assignment():
        await consumer.getmany(timeout_ms=50)
    await consumer.seek_to_end()
    for partition in consumer.assignment():
        await consumer.position(partition)
    sys.stderr.write("ready\n")
    sys.stderr.flush()
    while True:
        found = await consumer.getmany(timeout_ms=200, max_records=1_000)
        if found:
            await _batch(connection, producer, [r for records in found.values() for r in records])
            await consumer.commit({tp: rs[-1].offset + 1 for tp, rs in found.items()})


async def _batch(connection: Any, producer: Any, records: list[Any]) -> None:
    moves = [_next(record) for record in records]
    async with connection.transaction():
        fresh = [(saga, step, body) for saga, step, body, _ in moves if step == 1]
        if fresh:
            await connection.execute(INSERT, *zip(*fresh, strict=True))
        later = [(saga, step) for saga, step, _, _ in moves if step > 1]
        if later:
            await connection.execute(UPDATE, *zip(*later, strict=True))
        history = [(saga, step, body) for saga, step, body, _ in moves]
        await connection.execute(HISTORY, *zip(*history, strict=True))
    batches: dict[TopicPartition, Any] = {}
    acks = []
    for _, _, _, (topic, key, value, headers) in moves:
        count = len(await producer.partitions_for(topic))
        where = TopicPartition(topic, partition_of(key, count))
        batch = batches.get(where)
        if batch is None:
            batch = batches[where] = producer.create_batch()
        if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
            acks.append(await producer.send_batch(batch, topic, partition=where.partition))
            batch = batches[where] = producer.create_batch()
            batch.append(timestamp=None, key=key, value=value, headers=headers)
    for where, batch in batches.items():
        acks.append(await producer.send_batch(batch, where.topic, partition=where.partition))
    await asyncio.gather(*acks)


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(os.environ["UPRP_KAFKA__BOOTSTRAP_SERVERS"], os.environ["UPRP_POSTGRES__DSN"]))
