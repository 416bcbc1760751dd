"""People who look at parked sagas, ask the companies, and decide as their books say."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final

from orchestrator.batch.decide import Decider
from orchestrator.engine.definition import participant
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import Status
from orchestrator.engine.operator import Action, OperatorDecision
from tests.simulation.companies import Company, Fact, Reach
from tests.simulation.database import Database, StoredDecision

ROUNDS_MAX: Final = 6
"""How often they come back to what is still parked, or parks again."""


class Person:
    """Whoever is called; two of them agree on each decision."""

    def __init__(
        self,
        database: Database,
        decider: Decider,
        companies: Mapping[str, Company],
        random: Random,
        reach: Reach,
    ) -> None:
        self._database = database
        self._decider = decider
        self._companies = companies
        self._random = random
        self._reach = reach
        self._rounds = 0

    def look(self, now: int) -> int:
        """Decide about whatever is parked; how many decisions that makes."""
        self._rounds += 1
        if self._rounds > ROUNDS_MAX:
            return 0
        made = 0
        for saga_id, row in sorted(self._database.sagas.items()):
            saga = row.saga()
            engine = self._decider.kinds.of(saga.terms).engine
            for leg in saga.legs:
                allowed = engine.allowed(saga, leg)
                ruling = self._rule(saga, leg, allowed) if allowed else None
                if ruling is not None:
                    made += 1
                    self._reach(f"decided {ruling.action} of {leg.status}")
                    key_hash = saga.terms.key_hash
                    self._database.decisions[ruling.number] = StoredDecision(
                        key_hash, saga_id, leg.path, ruling, due=now
                    )
        return made

    def _rule(self, saga: Saga, leg: Leg, allowed: tuple[Action, ...]) -> OperatorDecision | None:
        number = len(self._database.decisions) + 1
        fact = self._fact(f"{saga.terms.saga_id}/{leg.path}")
        done = fact.moved if fact is not None else 0
        if Action.RETRY in allowed and self._rounds == 1 and self._random.random() < 0.3:
            return OperatorDecision(number, Action.RETRY)
        if done and Action.CONFIRM in allowed and leg.status is not Status.OVERTURNED:
            reference = fact.reference if fact is not None else None
            return OperatorDecision(number, Action.CONFIRM, done, reference or None)
        if not done and Action.REJECT in allowed:
            # What the company tells a person it will not do, it does not do.
            definition = self._decider.kinds.of(saga.terms).kind.definition
            owner = participant(saga.terms, definition, leg.verb)
            self._companies[owner].cancel(f"{saga.terms.saga_id}/{leg.path}")
            return OperatorDecision(number, Action.REJECT)
        for action in (Action.WRITE_OFF, Action.RETRY):
            if action in allowed:
                return OperatorDecision(number, action)
        return None

    def _fact(self, leg_id: str) -> Fact | None:
        found = (company.facts.get(leg_id) for company in self._companies.values())
        return next((fact for fact in found if fact is not None), None)
