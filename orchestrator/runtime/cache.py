"""Sagas in flight, kept at hand so that a reply need not be read from the database first."""

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
    """The newest sagas in flight, as this coordinator last saved or found them.

    Never believed: the compare-and-set tells when somebody else moved one, and what a batch leaves
    as it is is compared too, unless it would be left so at whatever revision; then all is forgotten
    and the batch is read anew. Somebody else moves one when a reply comes without its key.
    """

    def __init__(self, count_max: int) -> None:
        """Hold so many that are in flight, and as many more whose timers ring."""
        self._count_max = count_max
        self._in_flight: dict[SagaId, Saga] = {}
        # Apart: they wait again once they were heard, and are not to push out what does not.
        self._rung: dict[SagaId, Saga] = {}
        self._at_hand: dict[SagaKey, Saga] = {}  # Of what was loaded last, what was not read.

    def forget(self) -> None:
        """Somebody else may have moved any of them."""
        self._in_flight.clear()
        self._rung.clear()

    async def load(self, transaction: Transaction, needs: Needs) -> dict[SagaId, Saga]:
        """The sagas that a batch needs: those at hand, and the others from the database."""
        in_flight, rung = self._in_flight, self._rung
        found: dict[SagaId, Saga] = {}
        keys: list[SagaKey] = []
        self._at_hand = at_hand = {}
        for key in needs.keys:
            saga = in_flight.get(key[1]) or rung.get(key[1])
            if saga is None:
                keys.append(key)
            else:
                found[key[1]] = at_hand[key] = saga
        strays = [saga_id for saga_id in needs.strays if saga_id not in found]
        if keys or strays:
            found |= await transaction.load(keys, strays)
        return found

    async def check(self, transaction: Transaction, decision: BatchResult) -> None:
        """Compare what was at hand and is not saved: nothing is stale by a stale row.

        Raises:
            Conflict: somebody else moved a saga since.
        """
        changed, leant = decision.changes.sagas, decision.revision_sensitive
        left = {
            key: saga
            for key, saga in self._at_hand.items()
            if key[1] in leant and key[1] not in changed
        }
        if left:
            found = await transaction.revisions(left)
            # As they were loaded: meanwhile a sweep may have offered others in their place.
            for (_, saga_id), saga in left.items():
                if found.get(saga_id) != saga.revision:
                    raise Conflict("a saga at hand was moved by somebody else")

    def offer(self, sagas: Iterable[Saga]) -> None:
        """Sagas whose timers were just found to ring; what is at hand already is newer."""
        for saga in sagas:
            if saga.terms.saga_id not in self._in_flight:
                self._rung.setdefault(saga.terms.saga_id, saga)
        self._bound(self._rung)

    def remember(self, decision: BatchResult) -> None:
        """Keep what has not ended after a commit, the newest so many.

        What rang and was answered with nothing new is let go: nothing is expected of it now, and
        thousands of such would be what pushes everything else out of the processor's cache.
        """
        in_flight, rung, changed = self._in_flight, self._rung, decision.changes.sagas
        for _, saga_id in self._at_hand:
            if saga_id not in changed:
                rung.pop(saga_id, None)
        for _, saga_id in decision.changes.forgotten:
            in_flight.pop(saga_id, None)
        for saga_id, change in changed.items():
            kept = in_flight if rung.pop(saga_id, None) is None else rung
            kept.pop(saga_id, None)
            if change.now.wake_at is not None:
                kept[saga_id] = change.now
        self._bound(in_flight)
        self._bound(rung)

    def _bound(self, sagas: dict[SagaId, Saga]) -> None:
        excess = len(sagas) - self._count_max
        if excess > 0:
            # Found at once: every search for the oldest passes the gaps that the ones before left.
            for saga_id in list(islice(sagas, excess)):
                del sagas[saga_id]
