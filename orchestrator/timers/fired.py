"""The timers that ring: published, and not read yet."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.ids import SagaId


class FiredTimers:
    """Which sagas' timers this coordinator published and has not read yet.

    So that none is published twice while it waits in its topic. In memory only: whoever takes the
    partitions over publishes what is due once more, and the second reading changes nothing.
    """

    def __init__(self) -> None:
        self._until: dict[SagaId, int] = {}

    def published(self, sagas: Iterable[SagaId], until: int) -> None:
        """They are about to be published; what is not read by then (ms) is taken for lost."""
        self._until.update(dict.fromkeys(sagas, until))

    def read(self, sagas: Iterable[SagaId]) -> None:
        """They were read, and what they led to is committed."""
        for saga_id in sagas:
            self._until.pop(saga_id, None)

    def current(self, now: int) -> list[SagaId]:
        """Those that still ring; what was not read in time is forgotten."""
        for saga_id in [one for one, until in self._until.items() if until <= now]:
            del self._until[saga_id]
        return list(self._until)

    def forget(self) -> None:
        """They are somebody else's from now on."""
        self._until.clear()
