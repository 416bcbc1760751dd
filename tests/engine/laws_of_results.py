"""Of the laws of the walk, those about what the origin is told and what the books say."""

from collections.abc import Callable
from typing import Final

from orchestrator.engine import results
from orchestrator.engine.instance import Leg
from orchestrator.engine.machine import Status
from orchestrator.engine.messages import Messages
from orchestrator.engine.outbox import MessageKind, MessageRef
from orchestrator.sagas.redemption import balance, journal
from orchestrator.sagas.redemption.terms import Partial
from schemas.results import ResultStatus
from tests.engine.edge import DECISIONS, VERDICTS, Edge, Said
from tests.engine.sums import FLYING, STOPPED, accounts, balances, is_parked, pieces

FINAL: Final = {status.value for status in ResultStatus} - {
    "PENDING",
    "NOT_RECEIVED",
    "MANUAL_REVIEW",
}


def law_final(edge: Edge, _said: Said) -> None:
    """I6: one final result; what comes later is a correction with a higher revision."""
    was, now = edge.was.told, edge.now.told
    if now == was:
        return
    assert now is not None, edge
    if was is not None and now.revision == was.revision:
        assert (now.status, now.final, now.code) == (was.status, was.final, was.code), edge
        assert was.final, f"only a final result is kept to be corrected: {edge}"
        assert now.superseded, edge
        return
    assert now.revision == (was.revision if was else 0) + 1, edge
    assert now.final is (now.status not in ("PENDING", "MANUAL_REVIEW")), edge
    assert now.corrected is bool(was and was.final), edge
    if was is not None and was.final:
        assert now.final, f"what was final is not any more: {edge}"
        before = {leg.path: leg for leg in edge.was.legs}
        moved = any(
            leg.path not in before or leg.moved != before[leg.path].moved
            for leg in edge.now.legs
            if not _acknowledged(before.get(leg.path), leg)
        )
        gave_up = edge.event == "write-off"
        assert was.superseded or moved or gave_up, f"nothing changed, and it was corrected: {edge}"


def _acknowledged(was: Leg | None, leg: Leg) -> bool:
    """Whether what had to be given back was, as was told before."""
    waited = was is not None and was.status in FLYING | STOPPED
    return waited and leg.verb == "return" and leg.moved == leg.asked


def law_corrected(edge: Edge, _said: Said) -> None:
    """What is believed otherwise than it was told is corrected, as soon as nothing is awaited."""
    was, now = edge.was, edge.now
    if not (was.ended and now.ended):
        return
    before = {leg.path: leg.moved for leg in was.legs}
    own = [leg for leg in now.legs if leg.verb != "return" or not now.terms.body.prededucted]
    differs = any(leg.moved != before.get(leg.path, 0) for leg in own)
    told = now.told
    assert told is not None, edge
    if differs:
        assert told.superseded or told.corrected, f"believed otherwise, and not told: {edge}"
    waits = [leg for leg in own if leg.status in FLYING or is_parked(leg)]
    if told.superseded and not waits:
        back = [leg for leg in now.legs if leg.status in FLYING or is_parked(leg)]
        assert back, f"never corrected: {edge}"


def law_outcome(edge: Edge, _said: Said) -> None:
    """I1: the final status says what was moved, and points are neither lost nor made."""
    told, now = edge.now.told, edge.now
    if told is None or not told.final or told == edge.was.told or told.superseded:
        return
    waits = {leg.status for leg in now.legs if leg.status in FLYING | STOPPED}
    assert not waits or now.terms.body.prededucted, edge
    found, has = edge.has, pieces(now)
    gone = found.returned + found.forgone + (found.returning if now.terms.body.prededucted else 0)
    assert found.taken + found.covered == gone + found.price, edge
    if now.terms.body.partial is Partial.ALL_OR_NOTHING and told.status == "PARTIAL_SUCCESS":
        backs = [now.leg(f"credit/{at}/reverse") for at, n in enumerate(has, 1) if n]
        assert None not in backs, f"not asked back: {edge}"
    if has == [line.quantity for line in now.terms.body.lines]:
        expected = "SUCCESS"
    elif any(has):
        expected = "PARTIAL_SUCCESS"
    elif edge.event == "refuse_held" or (edge.was.told and edge.was.told.status == "REJECTED"):
        expected = "REJECTED"
    elif any(leg.status is Status.WRITTEN_OFF for leg in now.legs):
        expected = "FAILED_POINTS_RETURNED"
    elif now.withdrawn:
        expected = "CANCELLED"
    else:
        expected = "FAILED_POINTS_RETURNED" if found.taken else "FAILED_NOTHING_DEDUCTED"
    assert told.status == expected, edge
    assert (told.code is None) == (told.status == "SUCCESS"), edge


def law_words(edge: Edge, said: Said) -> None:
    """What was newly asked is said; a timer says one thing; a result has one content for ever."""
    commands = [one for one in said if one.path]
    known = {leg.path: leg.attempt for leg in edge.was.legs}
    asked = [leg.path for leg in edge.now.legs if leg.attempt and not known.get(leg.path)]
    opening = [one.path for one in commands if one.kind is MessageKind.DO and one.number == 1]
    assert sorted(opening) == sorted(asked), edge
    was, now = edge.was.told, edge.now.told
    revised = now is not None and (was is None or was.revision != now.revision)
    assert len([one for one in said if not one.path]) == revised, edge
    if edge.event == "tick":
        others = [one for one in commands if one.path != edge.path and one.path in known]
        assert not others, f"a timer rang for another leg: {edge}"
        assert len([one for one in commands if one.path == edge.path]) <= 1, edge
    moves = edge.event in VERDICTS | DECISIONS
    if was is not None and not revised and moves:
        words = Messages(edge.engine.kind)
        told = MessageRef(MessageKind.RESULT, "", was.revision)
        before, after = words.message(edge.was, told), words.message(edge.now, told)
        assert before == after, f"another content under one revision: {edge}"


def law_books(edge: Edge, _said: Said) -> None:
    """I10, I11: each change is booked once, as counted from the legs, and suspense with it."""
    definition = edge.engine.definition
    if edge.event not in VERDICTS | DECISIONS | {"start"}:
        assert not list(journal.transfers(definition, edge.was, edge.now)), edge
        return
    movements = list(journal.transfers(definition, edge.was, edge.now))
    assert all(one.amount > 0 for one in movements), edge
    booked = balances(movements)
    expected = accounts(edge.now, edge.has)
    expected.subtract(accounts(edge.was, edge.had))
    named = set(booked) | set(expected)
    differ = {
        name: (booked[name], expected[name]) for name in named if booked[name] != expected[name]
    }
    assert not differ, f"booked otherwise than it was moved: {differ} {edge}"


def law_balance(edge: Edge, _said: Said) -> None:
    """The engine's arithmetic is the one counted here."""
    engine, now = edge.engine, edge.now
    own, its = edge.has, balance.points(now, engine.definition)
    assert own.taken == its.taken, edge
    assert own.covered == its.covered, edge
    assert (own.returned, own.returning) == (its.returned, its.returning), edge
    assert own.forgone == its.forgone, edge
    suspense = own.taken + own.covered - own.returned - own.forgone - own.price
    assert balance.in_suspense(now, engine.definition) == suspense, edge
    assert min(pieces(now), default=0) >= 0, f"more was taken back than given: {edge}"


def law_phase(edge: Edge, _said: Said) -> None:
    """Operators always see where it stands."""
    word = results.phase(edge.now)
    flying = {f"{leg.verb}_{leg.status}".upper() for leg in edge.now.legs}
    assert word in flying | {"PARKED", "CORRECTING", "HELD"} | FINAL, (word, edge)


LAWS: Final[tuple[Callable[[Edge, Said], None], ...]] = (
    law_final,
    law_corrected,
    law_outcome,
    law_words,
    law_books,
    law_balance,
    law_phase,
)
