"""The timers that this coordinator has published and not read back yet."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.ids import SagaId


class FiredTimers:
    """The sagas whose timers this coordinator has published and not read back yet.

    It keeps a timer from being published twice while its record waits in the topic. It is in memory
    only: a coordinator that takes partitions over publishes all due timers once more, and reading a
    timer twice changes nothing.
    """

    def __init__(self) -> None:
        self._until: dict[SagaId, int] = {}

    def published(self, sagas: Iterable[SagaId], until: int) -> None:
        """Add timers that are about to be published; if not read by `until` (ms), they are lost."""
        self._until.update(dict.fromkeys(sagas, until))

    def read(self, sagas: Iterable[SagaId]) -> None:
        """Remove timers that were read and whose effects are committed."""
        for saga_id in sagas:
            self._until.pop(saga_id, None)

    def current(self, now: int) -> list[SagaId]:
        """The timers that are published and not read; removes those that were not read in time."""
        for saga_id in [saga_id for saga_id, until in self._until.items() if until <= now]:
            del self._until[saga_id]
        return list(self._until)

    def forget(self) -> None:
        """Remove all: the partitions belong to another coordinator from now on."""
        self._until.clear()
