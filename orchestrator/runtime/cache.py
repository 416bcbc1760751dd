"""A cache of sagas in flight, so that most replies need no read of the database first."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from orchestrator.batch.decide import Needs
from orchestrator.batch.effects import BatchResult
from orchestrator.engine.instance import Saga
from orchestrator.errors import Conflict
from orchestrator.ports import SagaKey, Transaction
from schemas.ids import SagaId


class SagaCache:
    """A cache of sagas in flight. Writes are compare-and-set, so a stale entry is noticed;
    unchanged sagas are re-checked by revision.

    The re-check is skipped for a saga that the batch would leave unchanged at any revision. On a
    conflict the cache is emptied and the batch is decided again. Entries become stale when another
    coordinator changes a saga of ours, which happens when a reply comes without its record key.
    """

    def __init__(self, count_max: int) -> None:
        """Keep up to `count_max` sagas in flight, and as many more whose timers are due."""
        self._count_max = count_max
        self._in_flight: dict[SagaId, Saga] = {}
        # Kept apart, as most of them are needed only once: they must not evict those in flight.
        self._due: dict[SagaId, Saga] = {}
        self._hits: dict[SagaKey, Saga] = {}  # What the last load took from the cache.

    def forget(self) -> None:
        """Empty the cache: another coordinator may have changed any of the sagas."""
        self._in_flight.clear()
        self._due.clear()

    async def load(self, transaction: Transaction, needs: Needs) -> dict[SagaId, Saga]:
        """The sagas that a batch needs, from the cache or else from the database."""
        in_flight, due = self._in_flight, self._due
        found: dict[SagaId, Saga] = {}
        misses: list[SagaKey] = []
        self._hits = hits = {}
        for key in needs.keys:
            saga = in_flight.get(key[1]) or due.get(key[1])
            if saga is None:
                misses.append(key)
            else:
                found[key[1]] = hits[key] = saga
        strays = [saga_id for saga_id in needs.strays if saga_id not in found]
        if misses or strays:
            found |= await transaction.load(misses, strays)
        return found

    async def check(self, transaction: Transaction, decision: BatchResult) -> None:
        """Compare the revisions of cached sagas that the decision used but does not save.

        Raises:
            Conflict: another coordinator has changed one of them.
        """
        changed, sensitive = decision.changes.sagas, decision.revision_sensitive
        unchanged = {
            key: saga
            for key, saga in self._hits.items()
            if key[1] in sensitive and key[1] not in changed
        }
        if unchanged:
            revisions = await transaction.revisions(unchanged)
            # Compare the sagas that were loaded, not the entries of now: a sweep may have offered
            # newer ones meanwhile.
            for (_, saga_id), saga in unchanged.items():
                if revisions.get(saga_id) != saga.revision:
                    raise Conflict("a cached saga was changed by another coordinator")

    def offer(self, sagas: Iterable[Saga]) -> None:
        """Add sagas whose timers are due; entries that exist are newer and stay."""
        for saga in sagas:
            if saga.terms.saga_id not in self._in_flight:
                self._due.setdefault(saga.terms.saga_id, saga)
        self._evict(self._due)

    def remember(self, decision: BatchResult) -> None:
        """Keep the newest of the sagas that a commit changed and that have not ended.

        A saga whose timer changed nothing is removed. No reply to it is expected soon, and
        thousands of such entries would push everything else out of the processor's cache.
        """
        in_flight, due, changed = self._in_flight, self._due, decision.changes.sagas
        for _, saga_id in self._hits:
            if saga_id not in changed:
                due.pop(saga_id, None)
        for _, saga_id in decision.changes.forgotten:
            in_flight.pop(saga_id, None)
            due.pop(saga_id, None)
        for saga_id, change in changed.items():
            entries = in_flight if due.pop(saga_id, None) is None else due
            entries.pop(saga_id, None)
            if change.now.wake_at is not None:
                entries[saga_id] = change.now
        self._evict(in_flight)
        self._evict(due)

    def _evict(self, sagas: dict[SagaId, Saga]) -> None:
        excess = len(sagas) - self._count_max
        if excess > 0:
            # All keys in one pass: deleted entries leave gaps at the start of a dict, which every
            # new search for the oldest entry would have to step over.
            for saga_id in list(islice(sagas, excess)):
                del sagas[saga_id]
