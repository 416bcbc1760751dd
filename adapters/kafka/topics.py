"""The topics that must exist, how they are partitioned and how long they keep records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError, for_code

from orchestrator.catalogue.loader import Catalogue
from orchestrator.errors import BrokerRefuses, Unavailable
from orchestrator.settings import KafkaSettings
from schemas.events import DEAD_LETTER_TOPIC

_DAY_MS: Final = 86_400_000
_TOPIC_EXISTS: Final = 36


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it should be."""

    name: str
    partitions: int
    retention_days: int
    record_bytes_max: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """What must change on the broker; `too_many` are topics with more partitions than wanted."""

    create: tuple[Topic, ...]
    grow: tuple[Topic, ...]
    too_many: tuple[tuple[Topic, int], ...]  # A topic cannot shrink.


def wanted(catalogue: Catalogue, partitions: int) -> list[Topic]:
    """Every topic of the catalogue."""
    names = sorted({*catalogue.inbound_topics(), *catalogue.outbound_topics()})
    return [
        # A dead letter is the original record with headers of ours: it must fit where that did.
        Topic(name, partitions, 30, 2 * 1024 * 1024)
        if name == DEAD_LETTER_TOPIC
        else Topic(name, partitions, 7)
        for name in names
    ]


class TopicAdmin:
    """Compares the broker's topics with those that should exist, and creates or grows them."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    async def plan(self, topics: Iterable[Topic]) -> Plan:
        """Compare; changes nothing. Raises Unavailable while the broker is away."""
        found = await self._with(self._counts)
        create, grow, too_many = [], [], []
        for topic in topics:
            count = found.get(topic.name)
            if count is None:
                create.append(topic)
            elif count < topic.partitions:
                grow.append(topic)
            elif count > topic.partitions:
                too_many.append((topic, count))
        return Plan(tuple(create), tuple(grow), tuple(too_many))

    async def apply(self, plan: Plan) -> None:
        """Create and grow what the plan names. Raises BrokerRefuses, Unavailable."""

        async def act(admin: Any) -> None:
            if plan.create:
                response = await admin.create_topics([self._new(topic) for topic in plan.create])
                for name, code, *rest in response.topic_errors:
                    if code not in (0, _TOPIC_EXISTS):
                        raise BrokerRefuses(f"{name}: {rest or for_code(code).__name__}")
            if plan.grow:
                await admin.create_partitions(
                    {topic.name: NewPartitions(topic.partitions) for topic in plan.grow}
                )

        await self._with(act)

    async def check(self, topics: Iterable[Topic]) -> None:
        """Refuse to start on a broker whose topics are not as they should be.

        Raises:
            BrokerRefuses: with what is missing and the command that repairs it.
        """
        plan = await self.plan(topics)
        if missing := [topic.name for topic in (*plan.create, *plan.grow)]:
            raise BrokerRefuses(
                f"{len(missing)} topic(s) are missing or too small, first {missing[0]};"
                " run `uprp topics apply`"
            )
        if plan.too_many:
            topic, count = plan.too_many[0]
            raise BrokerRefuses(
                f"{topic.name} has {count} partitions, UPRP_KAFKA__PARTITIONS is"
                f" {topic.partitions}; all inbound topics must have the same number"
            )

    def _new(self, topic: Topic) -> NewTopic:
        return NewTopic(
            topic.name,
            topic.partitions,
            self._settings.replication,
            topic_configs={
                "retention.ms": str(topic.retention_days * _DAY_MS),
                "min.insync.replicas": str(min(2, self._settings.replication)),
                "max.message.bytes": str(topic.record_bytes_max),
            },
        )

    async def _counts(self, admin: Any) -> Mapping[str, int]:
        described = await admin.describe_topics()
        return {topic["topic"]: len(topic["partitions"]) for topic in described}

    async def _with(self, act: Any) -> Any:
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self._settings.bootstrap_servers,
            request_timeout_ms=round(self._settings.request_timeout_s * 1000),
        )
        try:
            await admin.start()
            return await act(admin)
        except (KafkaError, OSError) as error:
            raise Unavailable(f"Kafka at {self._settings.bootstrap_servers}: {error!r}") from error
        finally:
            await admin.close()
