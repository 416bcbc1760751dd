"""What aiokafka raises out of a poll, and what the coordinator is told of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import NodeNotReadyError
from aiokafka.protocol.metadata import MetadataRequest

from adapters.embedded.kafka import EmbeddedKafka
from adapters.kafka.bus import KafkaBus
from adapters.kafka.source import KafkaSource
from orchestrator.errors import Unavailable
from orchestrator.settings import KafkaSettings
from schemas.events import INTERNAL_TOPIC


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


def stuck(settings: KafkaSettings) -> KafkaSource:
    """A source whose consumer waits for ever whatever it is asked."""

    async def for_ever(*_: Any) -> None:
        await asyncio.Event().wait()

    found = KafkaSource(settings, [])
    found._consumer = MagicMock(committed=for_ever, beginning_offsets=for_ever)
    return found


async def test_no_question_waits_for_ever() -> None:
    """The publisher would stand still with it, and the batches behind."""
    source = stuck(KafkaSettings(bootstrap_servers="127.0.0.1:1", request_timeout_s=0.01))
    with pytest.raises(Unavailable):
        await source.committed([("uprp.internal", 0)])
    with pytest.raises(Unavailable):
        await source.bounds([("uprp.internal", 0)])


def reset(send: Callable[..., Any]) -> Callable[..., Any]:
    """What uvloop does to a client that asks for metadata over a connection that was just reset."""

    def fail(self: AIOKafkaConnection, request: Any, **options: Any) -> Any:
        if isinstance(request, MetadataRequest):
            raise RuntimeError("the handler is closed")  # noqa: TRY004 - as uvloop does.
        return send(self, request, **options)

    return fail


@pytest.mark.servers
async def test_a_client_follows_its_cluster_whatever_a_connection_raises(
    kafka: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its task ends, and whoever needs the group's coordinator waits for ever."""
    settings = KafkaSettings(
        bootstrap_servers=kafka.bootstrap_servers, group=f"deaf-{uuid.uuid4()}"
    )
    source, bus = KafkaSource(settings, [INTERNAL_TOPIC]), KafkaBus(settings, MagicMock())
    await source.start(AsyncMock())
    clients = (source._consumer._client, (await bus._ready()).client)
    for client in clients:
        with monkeypatch.context() as patch:
            patch.setattr(AIOKafkaConnection, "send", reset(AIOKafkaConnection.send))
            asked = client.force_metadata_update()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asked, 0.3)
        await asyncio.wait_for(client.force_metadata_update(), 10)
    await source.stop()
    await bus.close()
