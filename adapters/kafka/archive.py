"""Reads back what the platform published, which is needed only after a database was restored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from orchestrator.errors import Unavailable
from orchestrator.ports import Partition, Record
from orchestrator.settings import KafkaSettings

_COUNT_MAX: Final = 2_000
_WAIT_MS: Final = 50


class KafkaArchive:
    """Reads parts of partitions without joining any consumer group."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    async def since(
        self, partitions: Iterable[Partition], moment: int
    ) -> AsyncIterator[Sequence[Record]]:
        """Records written at `moment` (ms since 1970) or later, up to where partitions end now.

        Raises Unavailable while the broker is away.
        """
        async with self._reader(partitions) as (consumer, ends):
            found = await consumer.offsets_for_times(dict.fromkeys(ends, moment))
            begins = {tp: ends[tp] if at is None else at.offset for tp, at in found.items()}
            async for records in _read(consumer, begins, ends):
                yield records

    async def last(self, partitions: Iterable[Partition], count: int) -> Sequence[Record]:
        """The last `count` records of each partition, or all that it has.

        Raises Unavailable while the broker is away.
        """
        last: list[Record] = []
        async with self._reader(partitions) as (consumer, ends):
            begins = await consumer.beginning_offsets(list(ends))
            begins = {tp: max(at, ends[tp] - count) for tp, at in begins.items()}
            async for records in _read(consumer, begins, ends):
                last += records
        return last

    @asynccontextmanager
    async def _reader(
        self, partitions: Iterable[Partition]
    ) -> AsyncIterator[tuple[Any, dict[TopicPartition, int]]]:
        """A consumer of these partitions, and where they end."""
        wanted = [TopicPartition(*partition) for partition in partitions]
        consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=self._settings.bootstrap_servers,
            client_id=f"{self._settings.client_id}-archive",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            request_timeout_ms=round(self._settings.request_timeout_s * 1000),
            max_partition_fetch_bytes=4 * 1024 * 1024,
            fetch_max_wait_ms=_WAIT_MS,
        )
        try:
            await consumer.start()
            consumer.assign(wanted)
            yield consumer, await consumer.end_offsets(wanted)
        except (KafkaError, OSError) as error:
            raise Unavailable(f"Kafka: {error!r}") from error
        finally:
            with suppress(KafkaError, OSError, asyncio.CancelledError):
                await consumer.stop()


async def _read(
    consumer: Any, begins: dict[TopicPartition, int], ends: dict[TopicPartition, int]
) -> AsyncIterator[list[Record]]:
    """The records from `begins` up to `ends`, in order per partition."""
    left = {tp: end for tp, end in ends.items() if begins[tp] < end}
    for tp, end in ends.items():
        if tp in left:
            consumer.seek(tp, begins[tp])
        else:
            consumer.seek(tp, end)
            consumer.pause(tp)
    while left:
        found = await consumer.getmany(timeout_ms=_WAIT_MS, max_records=_COUNT_MAX)
        yield [
            Record(r.topic, r.partition, r.offset, r.key, r.value, r.headers)
            for tp, records in found.items()
            for r in records
            if r.offset < left.get(tp, 0)
        ]
        for tp in list(left):
            if await consumer.position(tp) >= left[tp]:
                del left[tp]
                consumer.pause(tp)
