"""Every state that a saga can reach, by every event, and what must hold on every edge.

Times, and numbers that only grow, are folded, so that the walk ends. The checks count for
themselves: none of them asks the engine what should be.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from orchestrator.saga import journal, telling, utterance
from orchestrator.saga.instance import Leg, Saga, Terms
from orchestrator.saga.ladder import News
from orchestrator.saga.machine import DECIDED, IN_FLIGHT, PARKED, Event, Status, Still
from orchestrator.saga.progress import Engine
from schemas.results import ResultStatus
from schemas.value import but
from tests.saga.cases import NOW

FOREVER: Final = NOW + 10**9
VERDICTS: Final = {"confirmed", "rejected"}
REPLIES: Final = ("confirmed", "rejected", "pending", "not_received", "unusable")
EVENTS: Final = (*REPLIES, "withdraw", "asked")
"""What happens in a walk; time passes in every one."""

FINAL: Final = {status.value for status in ResultStatus} - {"PENDING", "NOT_RECEIVED"}


@dataclass(frozen=True, slots=True)
class Edge:
    """One event and what it did; `event` is a reply, `tick`, `withdraw` or `asked`."""

    engine: Engine
    was: Saga
    event: str
    path: str
    amount: int
    now: Saga


@dataclass(slots=True)
class Walked:
    """How much was seen."""

    states: int = 0
    edges: int = 0
    ends: Counter[str] = field(default_factory=Counter)


def walk(
    engine: Engine, terms: Terms, events: tuple[str, ...] = EVENTS, disputes_max: int = 1
) -> Walked:
    """Check every edge from the start of a redemption on those terms.

    What comes after more disputes than `disputes_max` is not walked: a dispute stops the saga, and
    what another one adds is the same again.
    """
    start = engine.start(terms, NOW)
    check_words(Edge(engine, Saga(terms, 0), "start", "", 0, start))
    first = folded(start)
    seen, todo, walked = {key_of(first)}, [first], Walked()
    while todo:
        was = todo.pop()
        for edge in edges(engine, was, events):
            walked.edges += 1
            for check in CHECKS:
                check(edge)
            now = folded(edge.now)
            disputes = sum(leg.status is Status.DISPUTED for leg in now.legs)
            if (key := key_of(now)) not in seen and disputes <= disputes_max:
                seen.add(key)
                todo.append(now)
                if now.told and now.told.final:
                    walked.ends[now.told.status] += 1
    walked.states = len(seen)
    return walked


def key_of(saga: Saga) -> object:
    """What tells two folded states apart."""
    return (saga.legs, saga.told, saga.withdrawn)


def folded(saga: Saga) -> Saga:
    """The state without what grows for ever."""
    told = saga.told and but(saga.told, at=0, revision=1, moved=())
    return Saga(saga.terms, 1, tuple(map(_folded, saga.legs)), told, saga.withdrawn)


def _folded(leg: Leg) -> Leg:
    if leg.status not in IN_FLIGHT:
        attempt, inquiries, before = min(leg.attempt, 1), 0, 0
    else:
        resent = max(0, leg.attempt - 2)
        attempt = leg.attempt - resent
        before = max(0, leg.pending_from - resent)
        inquiries = leg.inquiries - resent
        if leg.status is Status.PENDING:
            inquiries = min(inquiries, before + 1)
    return Leg(
        path=leg.path,
        asked=leg.asked,
        status=leg.status,
        attempt=attempt,
        inquiries=inquiries,
        due=FOREVER if leg.due is not None else None,
        moved=leg.moved,
        reference=leg.reference,
        code=None if leg.status in IN_FLIGHT else leg.code,
        pending_from=before,
    )


def edges(engine: Engine, was: Saga, events: tuple[str, ...]) -> Iterator[Edge]:
    """Every event, also those that cannot be; one that moves nothing must say so."""
    replies = [event for event in events if event in REPLIES]
    for leg in was.legs:
        for reply in replies:
            for amount in _amounts(leg) if reply == "confirmed" else (0,):
                now = engine.hear(was, leg.path, news(reply, amount), NOW)
                if isinstance(now, Saga):
                    yield Edge(engine, was, reply, leg.path, amount, now)
                else:
                    assert (now is Still.PREMATURE) == (leg.status is Status.WAITING), (now, leg)
        if leg.status in IN_FLIGHT:
            due = was.with_leg(but(leg, due=NOW))
            now = engine.tick(due, NOW)
            assert isinstance(now, Saga), f"nobody looks at {leg}"
            yield Edge(engine, due, "tick", leg.path, 0, now)
    assert engine.tick(was, NOW) is Still.STALE, "nothing was due"
    for event, move in (("withdraw", engine.withdraw), ("asked", engine.asked)):
        now = move(was, NOW) if event in events else Still.STALE
        if isinstance(now, Saga):
            yield Edge(engine, was, event, "", 0, now)


def _amounts(leg: Leg) -> tuple[int, ...]:
    """Only a credit may confirm fewer than were asked; `words.read_reply` stops the others."""
    return tuple({leg.asked, 1}) if leg.verb == "credit" else (leg.asked,)


def news(reply: str, amount: int = 0) -> News:
    """What a reply of that sort says."""
    event = Event(reply)
    code = {"rejected": "PARTNER_DECLINED", "unusable": "MALFORMED_REPLY"}.get(reply)
    return News(event=event, amount=amount, reference="REF" if amount else None, code=code)


# -- what must hold on every edge -------------------------------------------------------------


def check_progress(edge: Edge) -> None:
    """I13: it has ended, or has a timer, or a person was told."""
    now = edge.now
    if now.told is not None and now.told.final:
        return
    flying = [leg for leg in now.legs if leg.status in IN_FLIGHT]
    assert all(leg.due is not None for leg in flying), edge
    parked = any(leg.status in PARKED for leg in now.legs)
    assert flying or parked, f"a dead end: {edge}"
    if parked:
        assert now.told is not None, edge
        assert now.told.status is ResultStatus.MANUAL_REVIEW, edge


def check_undo(edge: Edge) -> None:
    """I7: only what is known to be done is undone, and only a definite no starts it."""
    if edge.event == "withdraw":
        late = any(leg.verb == "credit" and leg.attempt for leg in edge.was.legs)
        assert not late, f"turned round after the pivot was asked for: {edge}"
    before = {leg.path for leg in edge.was.legs}
    for leg in edge.now.legs:
        if leg.path in before:
            continue
        assert edge.event in VERDICTS, f"undone on {edge.event}: {edge}"
        done = edge.now.leg(leg.path.rpartition("/")[0])
        assert done is not None, edge
        assert done.status is Status.CONFIRMED, f"undone, though {done.status}: {edge}"
        if leg.verb == "return":
            given = {credit.status for credit in edge.now.legs if credit.verb == "credit"}
            turned = edge.now.withdrawn and given == {Status.WAITING}
            assert turned or given <= {Status.CONFIRMED, Status.REJECTED}, edge


def check_silence(edge: Edge) -> None:
    """Whatever is not a verdict concludes nothing, asks for nothing new, ends nothing."""
    if edge.event in VERDICTS:
        return
    known = {leg.path: leg for leg in edge.was.legs}
    for leg in edge.now.legs:
        was = known[leg.path]
        decided = leg.status in DECIDED | {Status.DISPUTED} and leg.status is not was.status
        assert not decided, f"{edge.event} decided {leg.path}"
        assert was.status is not Status.WAITING or leg.status is Status.WAITING, edge
    assert edge.now.ended is edge.was.ended, edge


def check_order(edge: Edge) -> None:
    """Nothing is credited before the deduction is known to be done."""
    if any(leg.verb == "credit" and leg.attempt for leg in edge.now.legs):
        assert _sum(edge.now, "deduct") == edge.now.terms.points, edge


def check_amounts(edge: Edge) -> None:
    """What is returned is the price less what the member keeps; never more than was deducted."""
    now = edge.now
    for leg in now.legs:
        if leg.verb == "return" and edge.was.leg(leg.path) is None:
            assert leg.asked == now.terms.points - price(now), edge
        if leg.verb == "reverse":
            credit = now.leg(leg.path.rpartition("/")[0])
            assert credit is not None, edge
            assert leg.asked == credit.moved, edge
    assert _sum(now, "return") <= _sum(now, "deduct"), edge


def check_verdicts(edge: Edge) -> None:
    """The first verdict stands: its amount is never overwritten, a contradiction parks."""
    for was in edge.was.legs:
        leg = edge.now.leg(was.path)
        assert leg is not None, f"{was.path} vanished"
        if was.status in (Status.CONFIRMED, Status.REJECTED, Status.DISPUTED):
            assert leg.moved == was.moved, edge
            assert leg.status in (was.status, Status.DISPUTED), edge
        elif leg.moved:
            assert (edge.event, edge.path, edge.amount) == ("confirmed", leg.path, leg.moved), edge


def check_final(edge: Edge) -> None:
    """I6: the first final result is said once and never changes; revisions count up by one."""
    was, now = edge.was, edge.now
    if was.told is not None and was.told.final:
        assert now.told == was.told, edge
        assert [leg.path for leg in now.legs if leg.attempt] == [
            leg.path for leg in was.legs if leg.attempt
        ], f"asked for something after the end: {edge}"
    elif now.told != was.told:
        assert now.told is not None, edge
        assert now.told.revision == (was.told.revision if was.told else 0) + 1, edge
        assert now.told.final is (now.told.status not in ("PENDING", "MANUAL_REVIEW")), edge
    if now.told is not None and now.told.final and now.told != was.told:
        assert {leg.status for leg in now.legs} <= DECIDED | {Status.WAITING}, edge


def check_refused_return(edge: Edge) -> None:
    """A return may be late, not declined: then a person must look."""
    leg = edge.now.leg(edge.path)
    if leg is not None and leg.verb == "return" and edge.event == "rejected":
        assert leg.status is Status.DISPUTED, edge
        if leg.moved == 0:
            assert not edge.now.ended, edge


def check_outcome(edge: Edge) -> None:
    """I1: the final status says what was moved, and points are neither lost nor made."""
    told, now = edge.now.told, edge.now
    if told is None or not told.final or edge.was.ended:
        return
    deducted, returned, kept = _sum(now, "deduct"), _sum(now, "return"), pieces(now)
    assert deducted - returned == price(now), edge
    if kept == [line.quantity for line in now.terms.lines]:
        expected = "SUCCESS"
    elif any(kept):
        expected = "PARTIAL_SUCCESS"
    elif now.withdrawn:
        expected = "CANCELLED"
    else:
        expected = "FAILED_POINTS_RETURNED" if deducted else "FAILED_NOTHING_DEDUCTED"
    assert told.status == expected, edge
    assert (told.code is None) == (told.status == "SUCCESS"), edge


def check_words(edge: Edge) -> None:
    """What was newly asked is said; a timer says one thing, a repeat nothing; results once."""
    said = utterance.newly(edge.was, edge.now)
    commands = [one for one in said if one.path]
    known = {leg.path: leg.attempt for leg in edge.was.legs}
    asked = [leg.path for leg in edge.now.legs if leg.attempt and not known.get(leg.path)]
    opening = [one.path for one in commands if one.kind == "do" and one.number == 1]
    assert sorted(opening) == sorted(asked), edge
    results = [one for one in said if not one.path]
    assert len(results) == (edge.now.told != edge.was.told), edge
    leg = edge.now.leg(edge.path)
    if edge.event == "tick" and leg is not None and leg.status in IN_FLIGHT:
        assert [one.path for one in commands] == [edge.path], f"a timer rang for nothing: {edge}"


def check_books(edge: Edge) -> None:
    """I10, I11: each confirmation is booked once; when all is over, suspense is empty."""
    definition = edge.engine.definition
    booked = list(journal.transfers(definition, edge.was, edge.now))
    if edge.event != "confirmed":
        assert not booked, edge
        return
    after = balances(journal.transfers(definition, None, edge.now))
    assert after == balances([*journal.transfers(definition, None, edge.was), *booked]), edge
    if edge.now.ended:
        assert not after[journal.SUSPENSE, edge.now.terms.unit], edge


def check_phase(edge: Edge) -> None:
    """Operators always see where it stands."""
    word = telling.phase(edge.now)
    flying = {f"{leg.verb}_{leg.status}".upper() for leg in edge.now.legs}
    assert word in flying | {"PARKED"} | FINAL, (word, edge)


CHECKS: Final[tuple[Callable[[Edge], None], ...]] = (
    check_progress,
    check_undo,
    check_silence,
    check_order,
    check_amounts,
    check_verdicts,
    check_final,
    check_refused_return,
    check_outcome,
    check_words,
    check_books,
    check_phase,
)


def pieces(saga: Saga) -> list[int]:
    """For each line, what was confirmed and not taken back."""
    found = [0] * len(saga.terms.lines)
    for leg in saga.legs:
        if leg.verb in ("credit", "reverse"):
            line = int(leg.path.split("/")[1]) - 1
            found[line] += leg.moved if leg.verb == "credit" else -leg.moved
    return found


def price(saga: Saga) -> int:
    """What those pieces cost, each line rounded up to a whole point."""
    lines = zip(saga.terms.lines, pieces(saga), strict=True)
    return sum((line.points * n + line.quantity - 1) // line.quantity for line, n in lines)


def balances(transfers: "Iterator[journal.Transfer] | list[journal.Transfer]") -> Counter[object]:
    """What each account has in each unit."""
    found: Counter[object] = Counter()
    for transfer in transfers:
        found[transfer.debit, transfer.unit] -= transfer.amount
        found[transfer.credit, transfer.unit] += transfer.amount
    return found


def _sum(saga: Saga, verb: str) -> int:
    return sum(leg.moved for leg in saga.legs if leg.verb == verb)
