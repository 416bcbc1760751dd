"""People in the storm: an operator decides about parked legs, a second person agrees or does not.

They use the decision store behind `uprp parked`, and decide as the companies' own books say. What
they decide about a leg is drawn from the seed; when they come to it depends on the storm.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

from adapters.cli.case import Case, engine_of, foresee
from adapters.demo.audit import recorded_as
from adapters.postgres.decisions import DecisionStore, Parked, Proposal, open_decision_store
from adapters.postgres.views import DecisionLine
from orchestrator.catalogue.loader import load
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.operator import Action, OperatorDecision
from orchestrator.errors import Unavailable
from tests.chaos.company_staff import word

OPERATOR: Final = "alice"
SECOND: Final = "bob"
LOOK_EVERY_S: Final = 0.8
PER_LOOK_MAX: Final = 3
"""New decisions: people must not be the load."""
CASES_SEEN: Final = 60
OPEN_SEEN: Final = 200
RETRIED: Final = 0.3
WRITTEN_OFF: Final = 0.5
DOUBTED: Final = 0.1
NOT_LOOKED_AT: Final = 0.4
SLOW: Final = 0.3
SLOW_FOR: Final = timedelta(seconds=4)
OWN_APPROVAL: Final = 0.2


class People:
    """They look at the parked sagas again and again, from a thread of their own, until stopped."""

    def __init__(self, dsn: str, deploy: Path, books: Path, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.written: set[int] = set()  # Decisions that the database said it had.
        self.wrong: list[str] = []
        self._dsn = dsn
        self._policies = load(deploy).policies
        self._books = books
        self._seed = seed
        self._put_off: set[tuple[str, int]] = set()  # Legs, until something happens to their saga.
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="people")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what was proposed and not approved by then stays open."""
        self._ended.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "people do not stop"
        assert not self.wrong, self.wrong[:3]

    def _run(self) -> None:
        try:
            while not self._ended.wait(LOOK_EVERY_S):
                self._look()
        except Exception as error:  # noqa: BLE001 - raised by `stop`, in the caller's own thread.
            self.wrong.append(repr(error))

    def _look(self) -> None:
        """Whatever the database was away for is found as it is at the next look."""
        self.counts["looks"] += 1
        try:
            asyncio.run(self._visit())
        except Unavailable:
            self.counts["looks without a database"] += 1
        except sqlite3.Error:
            self.counts["companies that did not answer"] += 1

    async def _visit(self) -> None:
        async with open_decision_store(self._dsn) as store:
            for line in await store.decisions(open_only=True, limit=OPEN_SEEN):
                if line.status == "proposed":
                    await self._judge(store, line)
            await self._operate(store, await store.parked(CASES_SEEN))

    # -- the operator ---------------------------------------------------------------------------

    async def _operate(self, store: DecisionStore, parked: list[Parked]) -> None:
        keys = [(one.saga.terms.key_hash, one.saga.terms.saga_id) for one in parked]
        lines = await store.decisions_of(keys)
        made = 0
        for case in self._cases(parked, lines):
            for leg in case.legs:
                mark = (f"{case.saga.terms.saga_id}/{leg.path}", case.saga.revision)
                if made == PER_LOOK_MAX:
                    return
                if mark in self._put_off or any(one.leg == leg.path for one in case.open):
                    continue
                made += 1
                proposal = self._proposal(case, leg)
                if proposal is None:
                    self._put_off.add(mark)
                else:
                    await self._propose(store, case.saga, proposal)

    def _cases(self, parked: Iterable[Parked], lines: Iterable[DecisionLine]) -> Iterable[Case]:
        now = datetime.now(UTC)
        known = list(lines)
        for one in parked:
            ours = tuple(line for line in known if line.saga_id == one.saga.terms.saga_id)
            yield Case(one.saga, engine_of(one.saga, self._policies), one.since, now, ours)

    def _proposal(self, case: Case, leg: Leg) -> Proposal | None:
        """What is true of the leg and may be decided; None when there is nothing."""
        earlier = sum(one.leg == leg.path for one in case.decisions)
        ticket = f"{case.saga.terms.saga_id}/{leg.path} for the {earlier + 1}. time"
        ruling = self._ruling(case, leg, Random(f"{self._seed}/operator/{ticket}"))
        if ruling is None:
            self.counts["legs left alone: nothing true is allowed"] += 1
            return None
        found = foresee(case.engine, case.saga, leg.path, ruling, _ms(case.now))
        if isinstance(found, str):
            self.counts["legs left alone: not possible now"] += 1
            return None
        return Proposal(
            leg=leg.path,
            action=ruling.action,
            evidence=ticket,
            reason="as the company's own books say",
            actor=OPERATOR,
            amount=ruling.amount,
            reference=ruling.reference,
        )

    def _ruling(self, case: Case, leg: Leg, dice: Random) -> OperatorDecision | None:
        allowed, number = case.allowed(leg), leg.decision + 1
        retries, gives_up = dice.random() < RETRIED, dice.random() < WRITTEN_OFF
        if Action.RETRY in allowed and retries:
            return OperatorDecision(number, Action.RETRY)
        company, leg_id = recorded_as(case.saga, leg)
        told = word(self._books, company, leg_id, bar=Action.REJECT in allowed)
        if told.moved and Action.CONFIRM in allowed:
            return OperatorDecision(number, Action.CONFIRM, told.moved, told.reference)
        if not told.moved and Action.REJECT in allowed:
            return OperatorDecision(number, Action.REJECT)
        if Action.WRITE_OFF in allowed and (gives_up or Action.RETRY not in allowed):
            return OperatorDecision(number, Action.WRITE_OFF)
        return OperatorDecision(number, Action.RETRY) if Action.RETRY in allowed else None

    async def _propose(self, store: DecisionStore, saga: Saga, proposal: Proposal) -> None:
        terms = saga.terms
        number = await store.propose(terms.key_hash, terms.saga_id, proposal)
        if number is None:
            self.counts["proposals beside one that was open"] += 1
        else:
            self.written.add(number)

    # -- the second person ----------------------------------------------------------------------

    async def _judge(self, store: DecisionStore, line: DecisionLine) -> None:
        """Approve or decline; sometimes late, sometimes without looking at the saga."""
        dice = Random(f"{self._seed}/second/{line.evidence}")
        alone, slow, doubts, blind = (
            dice.random() < share for share in (OWN_APPROVAL, SLOW, DOUBTED, NOT_LOOKED_AT)
        )
        if alone and await store.approve(line, line.actor):
            self.wrong.append(f"decision {line.id} was approved by {line.actor}, who made it")
        if slow and datetime.now(UTC) < line.decided_at + SLOW_FOR:
            return
        why = "the evidence does not convince" if doubts else None
        if why is None and not blind:
            why = await self._objection(store, line)
        if why is not None:
            done = await store.decline(line, SECOND, why)
        else:
            done = await store.approve(line, SECOND)
        self.counts["settled by somebody else"] += not done

    async def _objection(self, store: DecisionStore, line: DecisionLine) -> str | None:
        story = await store.saga(line.saga_id)
        assert story is not None, line
        engine = engine_of(story.saga, self._policies)
        found = foresee(engine, story.saga, line.leg, line.ruling, _ms(datetime.now(UTC)))
        return found if isinstance(found, str) else None


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
