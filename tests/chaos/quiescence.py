"""Whether anything is still on its way: unread records, and replies that companies owe."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.wire import QUIET

_OWED: Final = """
select exists (select 1 from owed) or exists (select 1 from held where due is not null)
"""


def owed(books: Path) -> bool:
    """Whether any company will still do or say something that nobody asks it for."""
    for path in books.glob("*.sqlite3"):
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            if connection.execute(_OWED).fetchone()[0]:
                return True
    return False


def unread(servers: str, group: str, ends: Mapping[tuple[str, int], int]) -> int:
    """How many records before these ends a group has not moved its offsets past."""
    places = [TopicPartition(topic, partition) for topic, partition in ends]
    admin = AdminClient({"bootstrap.servers": servers, **QUIET})
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
    try:
        found = asked[group].result(10).topic_partitions
    except KafkaException:  # The group is moving: nothing is at rest.
        return sum(ends.values())
    return sum(ends[one.topic, one.partition] - max(one.offset, 0) for one in found)
