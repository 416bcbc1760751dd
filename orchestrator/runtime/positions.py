"""The positions of the partitions that a coordinator reads, and the lock that protects them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from orchestrator.ports import Partition, Record
from schemas.events import INTERNAL_TOPIC


class Positions:
    """The positions that this coordinator expects in the database, and the lock on its partitions.

    The lock is held while a batch is polled, decided and committed. A rebalance takes it before
    partitions are given away, so they stay assigned meanwhile (`docs/decisions/0007`); only when it
    waits longer than `drain_s` are they given away without it, and then `MembershipGuard.lost`
    keeps the batch from being committed. Only the coordinator changes the positions, on a rebalance
    and after a commit.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._expected: dict[Partition, int | None] = {}
        self.expected: Mapping[Partition, int | None] = MappingProxyType(self._expected)
        """The next offset to commit, by partition; None where the database has no position yet."""

    def assign(self, partition: Partition, position: int | None) -> None:
        """Add a partition with its position in the database."""
        self._expected[partition] = position

    def clear(self) -> None:
        """Forget all partitions: they were given away."""
        self._expected.clear()

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of the partitions; an assignment covers the same numbers of every topic."""
        return frozenset(number for topic, number in self._expected if topic == INTERNAL_TOPIC)

    def is_redelivered(self, record: Record) -> bool:
        """Whether the record was committed before."""
        position = self._expected.get((record.topic, record.partition))
        return position is not None and record.offset < position

    def moves(self, ends: Mapping[Partition, int]) -> dict[Partition, tuple[int | None, int]]:
        """The compare-and-set of a commit up to these offsets: from where to where each moves.

        A partition of which only redelivered records were read does not move.
        """
        expected = self._expected
        return {
            partition: (expected.get(partition), end)
            for partition, end in ends.items()
            if end > (expected.get(partition) or 0)
        }

    def advance(self, moves: Mapping[Partition, tuple[int | None, int]]) -> None:
        """Take over the positions that were committed."""
        for partition, (_, end) in moves.items():
            self._expected[partition] = end
