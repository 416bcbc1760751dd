"""Publishing: one idempotent aiokafka producer, made anew after an error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from adapters.kafka.cluster import keep_informed
from orchestrator.errors import Unavailable
from orchestrator.ports import Outgoing
from orchestrator.settings import KafkaSettings
from orchestrator.telemetry import Log
from schemas.ids import partition_of

_BATCH_BYTES: Final = 256 * 1024  # From here on a batch is sent and the next one begun.
_RECORD_BYTES_MAX: Final = 1536 * 1024  # The largest dead letter, with room for its headers.
_STOP_S: Final = 5.0


class KafkaBus:
    """Publishes records batch-wise: in order per partition, acknowledged by all replicas."""

    def __init__(self, settings: KafkaSettings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._producer: Any = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Stop the producer; the next `publish` makes another."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(producer.stop(), _STOP_S)

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Return when every record is acknowledged.

        Raises:
            Unavailable: some may not be; the producer is made anew before the next try, since an
                idempotent one may be stuck for good after an error (`field-notes.md` 3, #1017).
        """
        try:
            async with asyncio.timeout(self._settings.request_timeout_s * 2):
                producer = await self._ready()
                await self._send(producer, records)
        except (KafkaError, OSError, TimeoutError) as error:
            self._log.warning("producer.remade", why=repr(error))
            async with self._lock:
                await self.close()
            raise Unavailable(f"Kafka: {error!r}") from error

    async def _send(self, producer: Any, records: Sequence[Outgoing]) -> None:
        by_partition: dict[tuple[str, int], list[Outgoing]] = {}
        counts: dict[str, int] = {}
        for record in records:
            count = counts.get(record.topic)
            if count is None:
                count = counts[record.topic] = len(await producer.partitions_for(record.topic))
            number = partition_of(record.key, count) if record.key else 0
            by_partition.setdefault((record.topic, number), []).append(record)
        acks = []
        for (topic, number), group in by_partition.items():
            batch = producer.create_batch()
            for record in group:
                if batch.size() > _BATCH_BYTES or not self._append(batch, record):
                    acks.append(await producer.send_batch(batch, topic, partition=number))
                    batch = producer.create_batch()
                    if not self._append(batch, record):
                        raise ValueError(f"a record for {topic} is larger than a batch")
            acks.append(await producer.send_batch(batch, topic, partition=number))
        await asyncio.gather(*acks)

    @staticmethod
    def _append(batch: Any, record: Outgoing) -> bool:
        done = batch.append(
            timestamp=None, key=record.key, value=record.value, headers=record.headers
        )
        return done is not None

    async def _ready(self) -> Any:
        async with self._lock:
            if self._producer is None:
                timeout = round(self._settings.request_timeout_s * 1000)
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._settings.bootstrap_servers,
                    client_id=self._settings.client_id,
                    acks="all",
                    enable_idempotence=True,
                    max_batch_size=_RECORD_BYTES_MAX,
                    max_request_size=2 * _RECORD_BYTES_MAX,
                    request_timeout_ms=timeout,
                    retry_backoff_ms=50,
                )
                try:
                    await producer.start()
                except BaseException:
                    with suppress(KafkaError, OSError):
                        await producer.stop()
                    raise
                keep_informed(producer.client)
                self._producer = producer
            return self._producer
