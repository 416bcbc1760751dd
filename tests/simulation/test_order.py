"""What chance must not decide: which failure is told, and what is read first."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final
from unittest.mock import MagicMock

import pytest

from orchestrator.admission.controller import AdmissionController
from orchestrator.ports import Partition
from orchestrator.runtime.cache import SagaCache
from orchestrator.runtime.coordinator import Coordinator
from orchestrator.runtime.dependencies import Dependencies
from orchestrator.runtime.process import _first_of
from orchestrator.settings import CoordinatorSettings
from orchestrator.timers.fired import FiredTimers

HERE: Final = ("uprp.citi.replies", 0)


class _Failure(Exception):
    """One of several at once."""


async def _fails(name: str) -> None:
    raise _Failure(name)


async def _all_at_once() -> None:
    await _first_of(_fails("main"), *(_fails(f"other {number}") for number in range(20)))


def test_of_failures_at_once_the_first_named_is_told() -> None:
    for _ in range(20):
        with pytest.raises(_Failure, match=r"^main$"):
            asyncio.run(_all_at_once())


class _Busy:
    """Store and source of which somebody else commits a batch after everything that is read."""

    def __init__(self) -> None:
        self.position = self.offset = 5
        self.recoveries: list[Any] = []
        self.sought: dict[Partition, int] = {}

    def _somebody_commits(self) -> None:
        self.position += 1  # Positions first, then offsets.
        self.offset = self.position

    async def positions(self) -> Mapping[Partition, int]:
        found = {HERE: self.position}
        self._somebody_commits()
        return found

    async def committed(self, partitions: Iterable[Partition]) -> Mapping[Partition, int | None]:
        found = dict.fromkeys(partitions, self.offset)
        self._somebody_commits()
        return found

    async def bounds(self, partitions: Iterable[Partition]) -> Mapping[Partition, tuple[int, int]]:
        return dict.fromkeys(partitions, (0, self.position))

    async def recovery(self) -> Mapping[Partition, Any]:
        return {}

    async def begin_recovery(self, found: Mapping[Partition, Any]) -> None:
        self.recoveries.append(found)

    def seek(self, partition: Partition, offset: int) -> None:
        self.sought[partition] = offset


def test_what_others_commit_meanwhile_is_no_restored_database() -> None:
    world: Any = _Busy()
    reached = Dependencies(
        store=world,
        board=MagicMock(),
        source=world,
        bus=MagicMock(),
        archive=MagicMock(),
        clock=MagicMock(),
        log=MagicMock(),
        metrics=MagicMock(),
        partitions=8,
        session_timeout_s=10,
    )
    coordinator = Coordinator(
        reached,
        MagicMock(),
        CoordinatorSettings(),
        admission=AdmissionController({}),
        cache=SagaCache(10),
        fired=FiredTimers(),
    )
    asyncio.run(coordinator.on_assigned([HERE]))
    assert not world.recoveries
    assert world.sought == {HERE: 5}
