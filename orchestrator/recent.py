"""Sagas in flight, kept at hand so that a reply need not be read from the database first."""

from __future__ import annotations

from uuid import UUID

from orchestrator.consequences import Decision
from orchestrator.decide import Needs
from orchestrator.ports import Transaction
from orchestrator.saga.instance import Saga


class Recent:
    """The newest sagas in flight, as this coordinator last saved them.

    Never believed: the compare-and-set tells when somebody else moved one; then all is forgotten
    and the batch is read anew.
    """

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._sagas: dict[UUID, Saga] = {}

    def forget(self) -> None:
        """Somebody else may have moved any of them."""
        self._sagas.clear()

    async def load(self, transaction: Transaction, needs: Needs) -> dict[UUID, Saga]:
        """The sagas that a batch needs: those at hand, and the others from the database."""
        recent = self._sagas
        found = {key[1]: recent[key[1]] for key in needs.keys if key[1] in recent}
        keys = [key for key in needs.keys if key[1] not in found]
        strays = [saga for saga in needs.strays if saga not in found]
        if keys or strays:
            found |= await transaction.load(keys, strays)
        return found

    def remember(self, decision: Decision) -> None:
        """Keep what is still in flight after a commit, the newest so many."""
        recent = self._sagas
        for saga_id, change in decision.changes.sagas.items():
            recent.pop(saga_id, None)
            if change.now.wake_at is not None:
                recent[saga_id] = change.now
        while len(recent) > self._count_max:
            del recent[next(iter(recent))]
