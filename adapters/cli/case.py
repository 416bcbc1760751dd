"""A parked saga as a person sees it: why it waits, who must act, and what may be decided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from adapters.postgres.rows import ms_at
from adapters.postgres.stories import asked_in_words, owner, said_in_words
from adapters.postgres.views import DecisionLine
from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.kind import SagaKind
from orchestrator.engine.machine import NoChange, Status
from orchestrator.engine.operator import TWO_PERSONS, Action, OperatorDecision
from orchestrator.engine.operator_errors import why_refused
from orchestrator.engine.outbox import new_messages
from orchestrator.engine.policy import Policies
from orchestrator.engine.postings import Transfer
from orchestrator.engine.results import phase
from orchestrator.engine.undo import LOSS
from orchestrator.sagas import KINDS
from schemas.times import moment

MEANING: Final = {
    Action.CONFIRM: "it was done, says the evidence",
    Action.REJECT: "it was not done and never will be, says the evidence",
    Action.RETRY: "ask once more",
    Action.WRITE_OFF: "give it up and book the loss",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One saga that waits for a person, at the time `now`."""

    saga: Saga
    engine: Engine
    since: datetime
    now: datetime
    decisions: tuple[DecisionLine, ...]

    @property
    def legs(self) -> list[Leg]:
        """The legs that a person must look at."""
        return [leg for leg in self.saga.legs if leg.parked]

    @property
    def stake(self) -> int:
        """The points in suspense."""
        return _stake(self.saga)[0]

    @property
    def unit(self) -> str:
        """Of the points; empty for a kind of saga that moves nothing."""
        return _stake(self.saga)[1]

    @property
    def open(self) -> list[DecisionLine]:
        """The decisions that are neither applied nor dropped."""
        return [one for one in self.decisions if one.outcome is None]

    def allowed(self, leg: Leg) -> tuple[Action, ...]:
        """What may be decided about a leg now."""
        return self.engine.allowed(self.saga, leg)

    def responsible(self, leg: Leg) -> str:
        """Who must act next: operator, second person, platform, or a participant's id."""
        for one in self.open:
            if one.leg == leg.path:
                return "platform" if one.status == "approved" else "second person"
        return "operator" if leg.due is None else owner(self.saga, leg.path)

    def why(self, leg: Leg) -> str:
        """Why a person must look at a leg, in words."""
        who, what = owner(self.saga, leg.path), of(self.saga, leg, leg.asked)
        match leg.status:
            case Status.DISPUTED:
                first, claim = (of(self.saga, leg, n) for n in (leg.moved, leg.claim or 0))
                return f"{who} contradicts itself about {what}: first {first}, then {claim}"
            case Status.REFUSED:
                return f"{who} declined ({leg.code}) what may only be late: {what}"
            case Status.OVERTURNED:
                first, now = (of(self.saga, leg, n) for n in (leg.first or 0, leg.moved))
                return f"{who} said {first}, and later {now}: what is given is not paid for"
        asked = [f"asked {_times(leg.attempt)}"]
        asked += [f"inquired of {_times(leg.inquiries)}"] if leg.inquiries else []
        asked += [f"told to cancel {_times(leg.cancels)}"] if leg.cancels else []
        goes_on = "" if leg.due is None else "; its ladder goes on"
        verb = "says PENDING" if leg.status is Status.PENDING else "has not answered"
        code = f" ({leg.code})" if leg.code else ""
        return f"{who} {verb}{code} about {what}: {', '.join(asked)}{goes_on}"

    def preview(self, leg: Leg, action: Action) -> str:
        """What would follow at once from a decision, in words."""
        ruling = OperatorDecision(leg.decision + 1, action)
        found = foresee(self.engine, self.saga, leg.path, ruling, ms_at(self.now))
        return found.in_words() if isinstance(found, Foreseen) else found


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a decision would do to a saga: the status, the messages and the movements, in words."""

    becomes: str
    said: tuple[str, ...]
    books: tuple[str, ...]

    def in_words(self) -> str:
        """All of it in one line."""
        return "; ".join([*self.said, *self.books, f"the saga becomes {self.becomes}"])


def foresee(
    engine: Engine, saga: Saga, path: str, ruling: OperatorDecision, now: int
) -> Foreseen | str:
    """What would follow from a decision, or why it may not be taken; `now` in milliseconds."""
    then = engine.apply_decision(saga, path, ruling, now)
    if isinstance(then, NoChange):
        return why_refused(engine, saga, path, ruling)
    said = [
        said_in_words(then, f"{one.kind} {one.path}#{one.number}", past=False)
        for one in new_messages(saga, then)
    ]
    books = [
        f"book {one.amount:,} {one.unit}: {one.debit} -> {one.credit}"
        for one in _transfers(saga, then)
    ]
    return Foreseen(phase(then), tuple(said), tuple(books))


def _stake(saga: Saga) -> tuple[int, str]:
    books = kind_of(saga).books
    return (0, "") if books is None else books.stake(saga)


def _transfers(was: Saga, now: Saga) -> Iterator[Transfer]:
    books = kind_of(now).books
    return iter(()) if books is None else books.transfers(was, now)


def kind_of(saga: Saga) -> SagaKind:
    """The kind and version that the saga was accepted under."""
    return KINDS[saga.terms.definition, saga.terms.definition_version]


def engine_of(saga: Saga, policies: Policies) -> Engine:
    """The engine for the version that the saga was accepted under."""
    return Engine(kind_of(saga), policies)


def of(saga: Saga, leg: Leg, amount: int) -> str:
    """An amount of a leg with its unit: `25,000 citi-points`, `2 x hkd50`, or what is asked."""
    if kind_of(saga).books is None:
        return asked_in_words(saga)
    if leg.verb == LOSS or leg.line is None:
        return f"{amount:,} {saga.terms.body.unit}" if amount else "nothing"
    return f"{amount:,} x {saga.terms.body.lines[leg.line].item}" if amount else "nothing"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def age(since: datetime, now: datetime) -> str:
    """How long ago, in the two units that matter: `3 d 4 h`, `5 min 7 s`."""
    seconds = max(0, round((now - since).total_seconds()))
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def command(saga: Saga, leg: Leg, action: Action) -> str:
    """The command line that a person types for a decision."""
    what = f"{saga.terms.saga_id} {leg.path} {action}"
    return f"uprp parked resolve {what} --reason TEXT --evidence TEXT"


def case_data(case: Case) -> dict[str, Any]:
    """The case as plain data, for `--json`."""
    terms = case.saga.terms
    return {
        "saga_id": terms.saga_id,
        "revision": case.saga.revision,
        "status": phase(case.saga),
        "origin": terms.origin,
        "account": terms.account,
        "request_id": terms.request_id,
        "programme": terms.programme,
        "since": case.since.isoformat(),
        "age_s": round((case.now - case.since).total_seconds(), 3),
        "stake": {"points": case.stake, "unit": case.unit},
        "legs": [_leg_data(case, leg) for leg in case.legs],
        "decisions": [decision_data(one) for one in case.decisions],
    }


def _leg_data(case: Case, leg: Leg) -> dict[str, Any]:
    return {
        "leg": leg.path,
        "participant": owner(case.saga, leg.path),
        "status": leg.status,
        "code": leg.code,
        "why": case.why(leg),
        "turn": case.responsible(leg),
        "asked": leg.asked,
        "believed": leg.moved,
        "claimed": leg.claim,
        "looks_again_at": moment(leg.due).isoformat() if leg.due is not None else None,
        "allowed": [
            {
                "action": action,
                "two_persons": action in TWO_PERSONS,
                "follows": case.preview(leg, action),
            }
            for action in case.allowed(leg)
        ],
    }


def decision_data(line: DecisionLine) -> dict[str, Any]:
    """A decision as plain data, for `--json`."""

    def at(found: datetime | None) -> str | None:
        return found.isoformat() if found is not None else None

    return {
        "decision": line.id,
        "saga_id": line.saga_id,
        "leg": line.leg,
        "action": line.action,
        "amount": line.amount,
        "reference": line.reference,
        "status": line.status,
        "reason": line.reason,
        "evidence": line.evidence,
        "actor": line.actor,
        "decided_at": at(line.decided_at),
        "approved_by": line.approved_by,
        "approved_at": at(line.approved_at),
        "settled_by": line.settled_by,
        "settled_at": at(line.settled_at),
        "revision": line.revision,
        "why": line.why,
    }


def decision_lines(line: DecisionLine) -> Iterator[str]:
    """A decision in words, line by line: who, what, why, and its status."""
    amount = f" for {line.amount:,}" if line.amount is not None else ""
    reference = f", reference {line.reference}" if line.reference else ""
    what = f"{line.action} {line.leg}{amount}{reference}"
    yield f"decision {line.id}: {what}: {decision_status(line)}"
    yield f"  proposed by {line.actor} at {_clock(line.decided_at)}: {line.reason}"
    yield f"  evidence: {line.evidence}"
    if line.approved_by is not None:
        yield f"  approved by {line.approved_by} at {_clock(line.approved_at)}"


def decision_status(line: DecisionLine) -> str:
    """The status of a decision, in one line."""
    at = _clock(line.settled_at)
    match line.status:
        case "applied":
            return f"applied at {at}, revision {line.revision}"
        case "refused":
            return f"refused at {at}: {line.why}"
        case "declined":
            return f"declined at {at} by {line.settled_by}: {line.why}"
        case "proposed":
            return f"waits for a second person: uprp parked approve {line.id}"
    return "waits for the platform to carry it out"


def _clock(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
