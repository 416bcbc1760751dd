"""What aiokafka raises out of a poll, and what the coordinator is told of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import NodeNotReadyError

from adapters.kafka.source import KafkaSource
from orchestrator.errors import Unavailable
from orchestrator.settings import KafkaSettings


class Broken:
    """A consumer whose every poll ends so."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error
        self.polled = asyncio.Event()

    async def getmany(self, *_partitions: Any, **_options: Any) -> dict[Any, Any]:
        self.polled.set()
        if self._error is None:
            await asyncio.Event().wait()
        else:
            raise self._error
        return {}


def source(consumer: Broken) -> KafkaSource:
    found = KafkaSource(KafkaSettings(bootstrap_servers="127.0.0.1:1"), [])
    found._consumer = consumer
    return found


@pytest.mark.parametrize(
    "error",
    (
        NodeNotReadyError("node id 1"),
        AttributeError("'NoneType' object has no attribute 'transport'"),
        asyncio.CancelledError(),  # Of the task that keeps the group, not of ours.
    ),
)
async def test_whatever_ends_a_poll_is_mended_by_a_new_consumer(error: BaseException) -> None:
    with pytest.raises(Unavailable, match="Kafka"):
        await source(Broken(error)).poll(0, 10)


async def test_who_is_cancelled_while_polling_ends() -> None:
    consumer = Broken(None)
    polling = asyncio.create_task(source(consumer).poll(0, 10))
    await consumer.polled.wait()
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling
    assert polling.cancelled()
