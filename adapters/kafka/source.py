"""Reading: one aiokafka consumer, explicit offsets, the range assignor.

All inbound topics have the same partition count, so the range assignor gives one process the same
partition numbers of all of them, and everything about an account meets there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import ConsumerStoppedError, KafkaError

from adapters.kafka.cluster import keep_informed
from orchestrator.errors import Unavailable
from orchestrator.ports import Member, Partition, Record
from orchestrator.settings import KafkaSettings

_STOP_S: Final = 5.0
_FETCH_WAIT_MS: Final = 100  # How long the broker keeps a fetch that finds nothing.


class KafkaSource:
    """A member of the consumer group; every `start` is a new consumer."""

    def __init__(
        self, settings: KafkaSettings, topics: Iterable[str], last: Iterable[str] = ()
    ) -> None:
        """Read `topics`; while polls are full, those of `last` have to wait."""
        self._settings = settings
        self._topics = list(topics)
        self._last = frozenset(last)
        self._full = False  # Whether the last poll brought all that it may.
        self._consumer: Any = None

    async def start(self, member: Member) -> None:
        """Join the group; `member` is told of assignments. Raises Unavailable."""
        settings = self._settings
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            client_id=settings.client_id,
            group_id=settings.group,
            group_instance_id=settings.instance_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=round(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=round(settings.heartbeat_s * 1000),
            rebalance_timeout_ms=round(settings.rebalance_timeout_s * 1000),
            request_timeout_ms=round(settings.request_timeout_s * 1000),
            max_partition_fetch_bytes=4 * 1024 * 1024,
            # A fetch names every partition, at a price on both sides: one that finds nothing is not
            # to end early. But what lies unread for 100 ms is left out of the next one, and waits
            # for its end if nothing else comes, so it is not to last either.
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            with suppress(KafkaError, OSError):
                await consumer.stop()
            raise Unavailable(f"Kafka: {error}") from error
        keep_informed(consumer._client)  # noqa: SLF001 - no consumer shows it.
        self._consumer = consumer
        consumer.subscribe(self._topics, listener=_Listener(member))

    async def stop(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            # A task of its own: aiokafka lets the cancellation of its fetchers escape from here.
            leaving = asyncio.create_task(self._consumer.stop())
            await asyncio.wait({leaving}, timeout=_STOP_S)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            self._consumer = None  # Not earlier: an assignment under way is finished first.

    async def poll(self, timeout_s: float, count_max: int) -> Sequence[Record]:
        """At most `count_max` records of assigned partitions, in order per partition.

        After a full poll, the topics of `last` are read only when the others have no more: sagas
        that began are finished before more begin. Otherwise all waiting requests would become
        sagas in flight, whose answers we would be too busy to read in time.

        aiokafka begins its time-out anew with every fetch that comes back empty. The time-out is
        therefore shorter than a fetch, so that it ends; a rebalance waits for that.

        Raises Unavailable.
        """
        timeout_ms = min(round(timeout_s * 1000), _FETCH_WAIT_MS // 2)
        found: list[Any] = []
        if self._full:
            first = [tp for tp in self._consumer.assignment() if tp.topic not in self._last]
            found = await self._take(first, 0, count_max) if first else []
        if len(found) < count_max:
            try:
                found += await self._take((), 0 if found else timeout_ms, count_max - len(found))
            except Unavailable:
                if not found:  # What was taken already would not be given again.
                    raise
        self._full = len(found) >= count_max
        return [
            Record(r.topic, r.partition, r.offset, r.key, r.value, r.headers, r.timestamp)
            for r in found
        ]

    async def _take(self, partitions: Iterable[Any], timeout_ms: int, count_max: int) -> list[Any]:
        """Records of some partitions, or of all.

        When its group task has failed, aiokafka raises the failure from every later poll, whether
        it is an error of its own, another one, or a cancellation that nobody asked for. All of
        them become Unavailable: a new consumer is the remedy.
        """
        try:
            found = await self._consumer.getmany(
                *partitions, timeout_ms=timeout_ms, max_records=count_max
            )
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise Unavailable("Kafka: the consumer's task was cancelled") from error
        except KafkaError as error:
            raise Unavailable(f"Kafka: {error}") from error
        except Exception as error:
            raise Unavailable(f"Kafka: {error!r}") from error
        return [record for records in found.values() for record in records]

    async def committed(self, partitions: Iterable[Partition]) -> Mapping[Partition, int | None]:
        """The offsets that the group committed; None where it never did. Raises Unavailable."""
        return {
            partition: await self._ask(self._consumer.committed(TopicPartition(*partition)))
            for partition in partitions
        }

    async def bounds(self, partitions: Iterable[Partition]) -> Mapping[Partition, tuple[int, int]]:
        """The first offset of each partition and the one after its last. Raises Unavailable."""
        wanted = [TopicPartition(*partition) for partition in partitions]
        consumer = self._consumer
        if not wanted:
            return {}
        if consumer is None:
            raise Unavailable("Kafka: not a member of the group at the moment")
        first = await self._ask(consumer.beginning_offsets(wanted))
        end = await self._ask(consumer.end_offsets(wanted))
        return {(tp.topic, tp.partition): (first[tp], end[tp]) for tp in wanted}

    def seek(self, partition: Partition, offset: int) -> None:
        """Read the partition from this offset on."""
        self._consumer.seek(TopicPartition(*partition), offset)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Poll nothing from these until they are resumed."""
        self._consumer.pause(*(TopicPartition(*partition) for partition in partitions))

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Poll from these again."""
        self._consumer.resume(*(TopicPartition(*partition) for partition in partitions))

    async def position(self, partition: Partition) -> int:
        """The offset of what the next poll brings, past transaction markers. Raises Unavailable."""
        found: int = await self._ask(self._consumer.position(TopicPartition(*partition)))
        return found

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit the offsets of those partitions that are still assigned. Raises Unavailable."""
        held = self._consumer.assignment() if self._consumer is not None else frozenset()
        wanted = {TopicPartition(*partition): at for partition, at in offsets.items()}
        mine = {partition: at for partition, at in wanted.items() if partition in held}
        if mine:
            await self._ask(self._consumer.commit(mine))

    async def _ask(self, answer: Any) -> Any:
        try:
            async with asyncio.timeout(self._settings.request_timeout_s * 2):
                return await answer
        except (KafkaError, ConsumerStoppedError, OSError) as error:
            raise Unavailable(f"Kafka: {error!r}") from error


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types.
    """Hands aiokafka's callbacks to the member."""

    def __init__(self, member: Member) -> None:
        self._member = member

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        await self._member.on_revoked([(tp.topic, tp.partition) for tp in revoked])

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        await self._member.on_assigned([(tp.topic, tp.partition) for tp in assigned])
