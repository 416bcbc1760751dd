"""Every state that a saga can reach, by every event; `laws.py` says what must hold on each edge.

Times, and numbers that only grow, are folded, so that the walk ends: a folded leg was asked NOW,
and a timer may ring at every moment at which its policy would do something else.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Leg, ResultRevision, Saga
from orchestrator.engine.ladder import LegUpdate
from orchestrator.engine.machine import IN_FLIGHT, PARKED, Event, NoChange, Status
from orchestrator.engine.operator import Action, OperatorDecision
from orchestrator.engine.policy import LegPolicy
from schemas.frozen import replaced
from schemas.reasons import Code
from tests.engine import laws
from tests.engine.cases import NOW
from tests.engine.edge import Edge, shown
from tests.engine.shapes import CALLED, CANCEL_ENDS, HOUR, PENDING_ENDS, TOLD, Shape

STATES_MAX: Final = 200_000
FOREVER: Final = NOW + 30 * 24 * HOUR
SOON: Final = NOW + 1
RULED: Final = (Status.CONFIRMED, Status.REJECTED)
"""Where it matters that people decided so: elsewhere another verdict is a dispute anyway."""
VERDICTS: Final = ("confirmed", "rejected", "cancelled")
READINGS: Final = ("pending", "not_received", "unusable")
ORIGIN: Final = ("withdraw", "asked")
REMEDIES: Final = ("return", "loss", "charge")
EVENTS: Final = (*VERDICTS, *READINGS, *ORIGIN, "decisions")
"""What happens in a walk; time passes in every one."""


@dataclass(slots=True)
class Walked:
    """How much was seen; `cut` are states that contradict more often than was followed."""

    states: int = 0
    edges: int = 0
    cut: int = 0
    ends: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Walked") -> None:
        """Count another walk in."""
        self.states += other.states
        self.edges += other.edges
        self.cut += other.cut
        self.ends += other.ends


def walk(
    shape: Shape, events: tuple[str, ...] = EVENTS, contradictions: int = 1, remedies: int = 4
) -> Walked:
    """Check every edge from the start of a redemption.

    What comes after more contradictions, or more remedies, than so many is not followed: it is the
    same again.
    """
    begun = shape.begun()
    laws.check(Edge(shape.engine, Saga(shape.terms, 0), "start", "", 0, NOW, begun))
    todo = [folded(shape.engine, begun)]
    known = {key_of(todo[0]): 0}
    into: list[list[int]] = [[]]  # For each state, from where it is reached.
    states, rests, walked = [todo[0]], [], Walked()
    while todo:
        was = todo.pop()
        here = known[key_of(was)]
        if laws.rests(was):
            rests.append(here)
        for edge in edges(shape.engine, was, events):
            walked.edges += 1
            laws.check(edge)
            now = folded(shape.engine, edge.now)
            there = known.get(key := key_of(now))
            if there is None:
                assert len(known) < STATES_MAX, f"{shape.name} has no end"
                there = known[key] = len(known)
                into.append([])
                states.append(now)
                if contradicted(now, remedies) > contradictions:
                    walked.cut += 1
                    rests.append(there)
                else:
                    todo.append(now)
                    _count(walked, now)
            into[there].append(here)
    walked.states = len(known)
    _check_ends(shape, states, _from(rests, into))
    return walked


def _check_ends(shape: Shape, states: list[Saga], leads: set[int]) -> None:
    stuck = [shown(saga) for at, saga in enumerate(states) if at not in leads]
    assert not stuck, f"{shape.name}: nothing leads to an end from {len(stuck)}: {stuck[:3]}"


def _count(walked: Walked, now: Saga) -> None:
    if now.told is not None and now.told.final:
        walked.ends[now.told.status] += 1


def _from(rests: list[int], into: list[list[int]]) -> set[int]:
    """Every state from which one of those can be reached."""
    found, todo = set(rests), list(rests)
    while todo:
        for before in into[todo.pop()]:
            if before not in found:
                found.add(before)
                todo.append(before)
    return found


def contradicted(saga: Saga, remedies: int) -> int:
    """How often somebody said something else than before."""
    turned = (leg.first is not None or leg.claim is not None for leg in saga.legs)
    # A person may find this and then that; each time another remedy may follow.
    again = max(0, sum(leg.verb in REMEDIES for leg in saga.legs) - remedies)
    return sum(turned) + again


def key_of(saga: Saga) -> object:
    """What tells two folded states apart."""
    return (saga.legs, saga.told, saga.withdrawn, saga.held)


def folded(engine: Engine, saga: Saga) -> Saga:
    """The state without what grows for ever; of what people decided, with one leg of it."""
    ruled = next((leg for leg in saga.legs if leg.decision and leg.status in RULED), None)
    legs = tuple(
        [_folded(leg, engine._policy(saga.terms, leg), ruled=leg is ruled) for leg in saga.legs]
    )
    held = NOW if saga.held else 0
    return Saga(saga.terms, 1, legs, _as_told(saga.told, legs), saga.withdrawn, None, held)


def _as_told(told: ResultRevision | None, legs: tuple[Leg, ...]) -> ResultRevision | None:
    if told is None:
        return None
    # An interim result is as if it had been told now: what it says may not change from here on.
    moved = told.superseded if told.final else tuple([leg.moved for leg in legs])
    code = told.code and Code.PARTNER_DECLINED
    return replaced(told, at=NOW, revision=1, superseded=moved, code=code)


def _folded(leg: Leg, policy: LegPolicy, *, ruled: bool) -> Leg:
    status = leg.status
    common: dict[str, Any] = {
        "path": leg.path,
        "asked": leg.asked,
        "status": status,
        "moved": leg.moved,
        "reference": leg.reference and "REF",
        "sent_at": NOW if leg.sent_at else 0,
        "first": leg.first,
        "claim": leg.claim,
        "escalated_at": NOW if leg.escalated_at else 0,
        "decision": int(ruled),
    }
    if status not in IN_FLIGHT:
        kept = leg.cancels if status in PARKED else 0
        code = leg.code and Code.PARTNER_DECLINED  # Which one it is decides nothing.
        return Leg(**common, attempt=min(leg.attempt, 1), code=code, cancels=min(kept, 1))
    before = min(leg.pending_from, 1) if status is Status.PENDING else 0
    since = leg.inquiries - leg.pending_from if status is Status.PENDING else leg.inquiries
    rungs = leg.rungs % len(policy.rungs or "x") if policy.times is None else leg.rungs
    return Leg(
        **common,
        attempt=min(leg.attempt, 2),
        inquiries=before + min(since, 1),
        pending_from=before,
        due=FOREVER if leg.due is not None else None,
        rungs=rungs if status in (Status.UNKNOWN, Status.SENT) else 0,
        since=NOW if leg.since else 0,
        cancels=min(leg.cancels, 1),
    )


# -- every event ------------------------------------------------------------------------------


def edges(engine: Engine, was: Saga, events: tuple[str, ...]) -> Iterator[Edge]:
    """Every event, also those that cannot be; one that moves nothing must say so."""
    for leg in was.legs:
        yield from _replies(engine, was, leg, events)
        if leg.status in IN_FLIGHT:
            yield from _timers(engine, was, leg)
        if "decisions" in events:
            yield from _decisions(engine, was, leg)
    assert engine.apply_timer(was, NOW) is NoChange.STALE, "nothing was due"
    if was.held:
        yield from _held(engine, was)
    for event, move in (("withdraw", engine.withdraw), ("asked", engine.status_requested)):
        now = move(was, NOW) if event in events else NoChange.STALE
        if isinstance(now, Saga):
            yield Edge(engine, was, event, "", 0, NOW, now)


def _replies(engine: Engine, was: Saga, leg: Leg, events: tuple[str, ...]) -> Iterator[Edge]:
    fresh = was.terms.fresh_until
    moments = (NOW,) if fresh is None or leg.verb != "deduct" else (NOW, fresh)
    for reply in events:
        if reply not in VERDICTS + READINGS:
            continue
        for amount in _amounts(leg) if reply == "confirmed" else (0,):
            for at in moments:
                now = engine.apply_reply(was, leg.path, update(reply, amount), at)
                if isinstance(now, Saga):
                    yield Edge(engine, was, reply, leg.path, amount, at, now)
                else:
                    laws.check_still(was, leg, reply, amount, now)


def _amounts(leg: Leg) -> tuple[int, ...]:
    """Only a credit may confirm fewer than were asked; `words.read_reply` stops the others."""
    return (leg.asked, 1) if leg.verb == "credit" and leg.asked > 1 else (leg.asked,)


def update(reply: str, amount: int = 0) -> LegUpdate:
    """What a reply of that sort says."""
    event = Event(reply)
    code = {"rejected": "PARTNER_DECLINED", "unusable": "MALFORMED_REPLY"}.get(reply)
    return LegUpdate(event=event, amount=amount, reference="REF" if amount else None, code=code)


def _timers(engine: Engine, was: Saga, leg: Leg) -> Iterator[Edge]:
    policy = engine._policy(was.terms, leg)
    moments = [SOON]
    if was.told is None and leg.status is not Status.SENT:
        moments.append(NOW + TOLD)
    if policy.call_after is not None and not leg.escalated_at:
        moments.append(NOW + CALLED)
    if policy.pending_until is not None and leg.status is Status.PENDING:
        moments.append(NOW + PENDING_ENDS)
    if policy.cancel and leg.status is not Status.PENDING:
        moments.append(NOW + CANCEL_ENDS)
    for at in moments:
        due = was.with_leg(replaced(leg, due=at))
        now = engine.apply_timer(due, at)
        assert isinstance(now, Saga), f"nobody looks at {leg}"
        yield Edge(engine, due, "tick", leg.path, 0, at, now)


def _decisions(engine: Engine, was: Saga, leg: Leg) -> Iterator[Edge]:
    for action in Action:
        for amount in (None, *_amounts(leg)) if action is Action.CONFIRM else (None,):
            ruling = OperatorDecision(leg.decision + 1, action, amount)
            now = engine.apply_decision(was, leg.path, ruling, NOW)
            if not isinstance(now, Saga):
                says = amount or leg.claim or leg.asked
                laws.check_forbidden(
                    engine, was, leg, action, says if action is Action.CONFIRM else 0
                )
                continue
            again = engine.apply_decision(now, leg.path, ruling, NOW)
            assert isinstance(again, NoChange), f"decided twice by one record: {leg} {action}"
            yield Edge(engine, was, action.value, leg.path, amount or 0, NOW, now)
        older = engine.apply_decision(was, leg.path, OperatorDecision(leg.decision, action), NOW)
        assert isinstance(older, NoChange), f"an older decision counts: {leg} {action}"


def _held(engine: Engine, was: Saga) -> Iterator[Edge]:
    yield Edge(engine, was, "release", "", 0, NOW, engine.release(was, NOW))
    yield Edge(engine, was, "hold_on", "", 0, NOW, engine.hold_on(was, FOREVER))
    refused = engine.refuse_held(was, Code.PARTNER_SYSTEM_ERROR, NOW)
    yield Edge(engine, was, "refuse_held", "", 0, NOW, refused)
