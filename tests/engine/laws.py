"""What must hold on every edge of the walk, law by law. They count for themselves (`sums.py`)."""

from collections.abc import Callable
from typing import Final

from orchestrator.engine import outbox
from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import Cell, NoChange, Status
from orchestrator.engine.operator import Action
from orchestrator.engine.outbox import MessageKind
from orchestrator.engine.policy import Rung
from schemas.results import ResultStatus
from tests.engine import laws_of_results
from tests.engine.edge import DECISIONS, VERDICTS, Edge, Said
from tests.engine.sums import FLYING, KNOWN, STOPPED, impossible, is_parked, sums

MONTH: Final = 31 * 86_400_000
MAY_DECIDE: Final = {
    # Where a person was called: what that person may say (`domain.md` 4.2, MANUAL_REVIEW).
    Status.SILENT: {"confirm", "reject", "retry"},
    Status.UNKNOWN: {"confirm", "reject"},
    Status.PENDING: {"confirm", "reject"},
    Status.CANCELLING: {"confirm", "reject"},
    Status.DISPUTED: {"confirm", "reject"},
    Status.REFUSED: {"confirm", "reject", "retry", "write-off"},
    Status.OVERTURNED: {"write-off"},
}


def check(edge: Edge) -> None:
    """Every law."""
    said = outbox.new_messages(edge.was, edge.now)
    for law in LAWS:
        law(edge, said)


def rests(saga: Saga) -> bool:
    """Whether it has ended and nothing is under way or waits for a person."""
    return saga.ended and not any(leg.status in FLYING or is_parked(leg) for leg in saga.legs)


def check_still(was: Saga, leg: Leg, reply: str, amount: int, still: Cell) -> None:
    """Why nothing moved: it was known, or nobody had asked, or it cannot be used."""
    early = leg.status is Status.WAITING or leg.verb == "loss"
    assert (still is NoChange.PREMATURE) == early, (still, leg)
    if reply in VERDICTS and not early:
        decided = leg.status in KNOWN
        known = {leg.moved, leg.first, leg.claim} - {None} if decided else set()
        says = amount if reply == "confirmed" else 0
        stopped = leg.status in STOPPED - {Status.SILENT}
        assert says in known or stopped, f"{reply} {amount} is dropped: {leg} {was}"
    late = leg.status in KNOWN - {Status.WRITTEN_OFF} or leg.status is Status.DISPUTED
    assert (still is NoChange.UNFIT) == (reply == "unusable" and late and not early), (still, leg)


def check_forbidden(engine: Engine, was: Saga, leg: Leg, action: Action, amount: int) -> None:
    """A person is stopped only where a decision would contradict what is known."""
    may = is_parked(leg) and action.value in MAY_DECIDE[leg.status]
    if action is Action.RETRY and may:
        policy = engine.policy(was.terms, leg)
        may = bool(policy.rungs or (policy.cancel and leg.cancels))
    if may and leg.status is Status.REFUSED and action is Action.REJECT:
        may = impossible(was, leg, leg.asked)
    elif may:
        certain = action in (Action.CONFIRM, Action.REJECT)
        may = not impossible(was, leg, amount if certain else leg.asked)
    if leg.status is Status.OVERTURNED and may:
        now = sums(was)
        gone = now.returned + now.returning + now.forgone
        may = gone + now.price > now.taken + now.covered
    assert not may, f"{action} is refused: {leg}"


def law_progress(edge: Edge, _said: Said) -> None:
    """I13: it has ended, or has a timer, or a person was told; nothing waits without an owner."""
    now = edge.now
    due = edge.engine.due(now)
    flying = [leg for leg in now.legs if leg.status in FLYING]
    parked = any(is_parked(leg) for leg in now.legs)
    assert parked == now.parked, edge
    assert all(leg.due is not None for leg in flying), edge
    assert (due is not None) == bool(flying or now.held), edge
    if due is not None:
        assert due <= edge.at + MONTH or now.held, edge
        if edge.event == "tick":
            later = [leg for leg in now.legs if leg.due is not None and leg.due <= edge.at]
            assert not later, f"the timer would ring again at once: {edge}"
    if now.ended:
        return
    assert flying or parked or now.held, f"a dead end: {edge}"
    if parked:
        assert now.told is not None, edge
        assert now.told.status is ResultStatus.MANUAL_REVIEW, edge


def law_undo(edge: Edge, _said: Said) -> None:
    """I7: only what is known to be done is undone, and nothing that may still be used."""
    before = {leg.path for leg in edge.was.legs}
    added = [leg for leg in edge.now.legs if leg.path not in before]
    if edge.event == "start" or not added:
        return
    verbs = {leg.verb for leg in added}
    turned = edge.was.terms.body.prededucted and edge.event in ("refuse_held", "withdraw")
    # What one line's definite no sets free is not held back by another line that is late.
    late = {"tick", "pending", "unusable"}
    if not turned and edge.event not in VERDICTS | DECISIONS | late | {"release"}:
        raise AssertionError(f"{edge.event} undid something: {edge}")
    now = edge.has
    for leg in added:
        done = edge.now.leg(leg.path.rpartition(f"/{leg.verb}")[0])
        assert leg.asked > 0, edge
        if leg.verb == "loss":
            assert leg.moved == leg.asked, edge
            continue
        if leg.verb == "charge":
            continue
        assert done is not None, edge
        assert done.status in KNOWN, f"undone, though {done.status}: {edge}"
        assert done.moved >= leg.asked, edge
    if "return" in verbs:
        gone = now.returned + now.returning + now.forgone
        assert gone + now.reserved <= now.taken + now.covered, f"too much goes back: {edge}"
    if verbs & {"charge", "loss"}:
        gone = now.returned + now.returning + now.forgone
        asked = sum(leg.asked for leg in added if leg.verb == "charge")
        assert now.taken + now.covered + asked == gone + now.reserved, edge


def law_silence(edge: Edge, _said: Said) -> None:
    """Whatever is not a verdict concludes nothing and ends nothing."""
    if edge.event in VERDICTS | DECISIONS | {"start"}:
        return
    known = {leg.path: leg for leg in edge.was.legs}
    for leg in edge.now.legs:
        was = known.get(leg.path)
        if was is None:
            assert leg.verb == "return", edge
            continue
        assert leg.moved == was.moved, edge
        decided = leg.status in KNOWN | {Status.DISPUTED} and leg.status is not was.status
        assert not decided, f"{edge.event} decided {leg.path}: {edge}"
        asked = was.status is Status.WAITING and leg.status is not Status.WAITING
        assert not asked or edge.event == "release", edge
    if edge.event not in ("refuse_held", "withdraw", "release"):
        assert edge.now.ended is edge.was.ended, edge


def law_order(edge: Edge, _said: Said) -> None:
    """Nothing is credited before the deduction is known to be done, or too late, or unwanted."""
    known = {leg.path: leg.status for leg in edge.was.legs}
    for leg in edge.now.legs:
        asked = leg.status is not Status.WAITING
        if leg.verb != "credit" or not asked or known.get(leg.path, Status.WAITING) != "waiting":
            continue
        deduct = edge.now.leg("deduct")
        assert deduct is not None, edge
        assert deduct.status in KNOWN, edge
        assert deduct.moved == edge.now.terms.body.points, edge
        assert not edge.now.withdrawn, edge
        fresh = edge.now.terms.fresh_until
        assert fresh is None or edge.at < fresh, f"built upon too late: {edge}"


def law_cancel(edge: Edge, said: Said) -> None:
    """After a cancel nothing else is said under the leg; after an accepted one, nothing at all."""
    known = {leg.path: leg for leg in edge.was.legs}
    for leg in edge.now.legs:
        was = known.get(leg.path)
        words = {one.kind for one in said if one.path == leg.path}
        again = {one.kind for one in outbox.outstanding(edge.now) if one.path == leg.path}
        if was is not None and (was.cancels or was.status is Status.CANCELLED):
            assert words <= {MessageKind.CANCEL}, edge
        if leg.cancels:
            assert words | again <= {MessageKind.CANCEL}, edge
            assert leg.undoes is None, f"an undo was cancelled: {edge}"
            assert edge.engine.policy(edge.now.terms, leg).cancel, edge
        if leg.status in KNOWN | STOPPED | {Status.WAITING}:
            assert not words | again, f"said under a leg that is {leg.status}: {edge}"
    one = edge.now.leg(edge.path)
    if one is not None and one.status is Status.CANCELLING:
        assert known[one.path].status is not Status.PENDING, edge
        # Sent again whenever its time comes, while its window lasts or a person wants it.
        rings = edge.event in ("tick", "retry")
        cancels = [said_one.kind for said_one in said if said_one.path == one.path]
        assert cancels == ([MessageKind.CANCEL] if rings else []), edge


def law_clock(edge: Edge, said: Said) -> None:
    """What a timer does: say it again while its window lasts, then leave it to a person."""
    was, leg = edge.was.leg(edge.path), edge.now.leg(edge.path)
    if edge.event != "tick" or was is None or leg is None:
        return
    policy = edge.engine.policy(edge.now.terms, leg)
    words = {one.kind for one in said if one.path == edge.path}
    if was.status is Status.CANCELLING:
        open_ = edge.at < policy.cancel_until.moment(was.sent_at)
        assert leg.status is (Status.CANCELLING if open_ else Status.SILENT), edge
        assert words == ({MessageKind.CANCEL} if open_ else set()), edge
    if was.status is Status.PENDING:
        until = policy.pending_until
        ended = until is not None and edge.at >= until.moment(was.since)
        asked = was.inquiries - was.pending_from
        ended = ended or (policy.pending_times is not None and asked >= policy.pending_times)
        assert leg.status is (Status.SILENT if ended else Status.PENDING), edge
        assert bool(words) is (bool(policy.rungs) and not ended), edge
    calls = policy.call_after is not None and edge.at >= policy.call_after.moment(was.sent_at)
    if calls and leg.status is not Status.SENT:
        assert is_parked(leg), f"nobody was called: {edge}"


def law_calls(edge: Edge, _said: Said) -> None:
    """A person is called about what is decided only while something is missing."""
    for leg in edge.now.legs:
        if leg.escalated_at and leg.status in KNOWN:
            gone = edge.has.returned + edge.has.returning + edge.has.forgone
            assert leg.status is Status.OVERTURNED, edge
            assert gone + edge.has.reserved > edge.has.taken + edge.has.covered, edge


def law_withdrawal(edge: Edge, _said: Said) -> None:
    """An origin may take its request back until the value was asked for (`contract.md` 3)."""
    if edge.event == "withdraw":
        late = any(leg.verb == "credit" and leg.attempt for leg in edge.was.legs)
        assert not late, f"turned round after the pivot was asked for: {edge}"
        assert edge.now.withdrawn, edge


def law_rungs(edge: Edge, said: Said) -> None:
    """What the participant does not offer is not used."""
    for one in said:
        leg = edge.now.leg(one.path)
        if leg is None:
            continue
        policy = edge.engine.policy(edge.now.terms, leg)
        if one.kind is MessageKind.INQUIRE:
            assert Rung.INQUIRE in policy.rungs, edge
        elif one.kind is MessageKind.DO and one.number > 1:
            assert Rung.RESEND in policy.rungs, edge


def law_verdicts(edge: Edge, _said: Said) -> None:
    """What is believed changes only with a verdict or a person; the first one is kept beside it."""
    for was in edge.was.legs:
        leg = edge.now.leg(was.path)
        assert leg is not None, f"{was.path} vanished"
        if was.first is not None:
            assert leg.first == was.first, edge
        if leg.verb == "loss":
            assert leg.moved <= was.moved, f"a loss is only ever taken back: {edge}"
        elif leg.moved != was.moved:
            assert edge.path == leg.path, edge
            assert edge.event in {"confirmed", "rejected", "cancelled", "confirm", "reject"}, edge
            if edge.event in VERDICTS:
                assert leg.moved == edge.amount, edge
            if was.status in KNOWN | {Status.DISPUTED}:
                assert leg.status is Status.OVERTURNED, edge
                assert leg.first == (was.moved if was.first is None else was.first), edge
        if leg.status is Status.DISPUTED and was.status is not leg.status:
            assert leg.claim == edge.amount, edge
            assert leg.claim != leg.moved, edge
        if was.status in KNOWN and leg.status is not was.status:
            assert leg.status in {Status.OVERTURNED, Status.DISPUTED}, edge
        if was.status is Status.DISPUTED:
            decided = edge.path == leg.path and edge.event in DECISIONS
            assert decided or leg == was, f"a dispute was overwritten: {edge}"


def law_late_verdict(edge: Edge, _said: Said) -> None:
    """A contradiction is believed where the policy has a remedy, and parked where it has none."""
    was, leg = edge.was.leg(edge.path), edge.now.leg(edge.path)
    if was is None or leg is None or edge.event not in VERDICTS or was.status not in KNOWN:
        return
    policy = edge.engine.policy(edge.now.terms, leg)
    chain = policy.late_yes if edge.amount > was.moved else policy.late_no
    assert edge.amount not in {was.moved, was.first, was.claim}, f"it was known: {edge}"
    cannot = impossible(edge.was, was, edge.amount)
    two_yes = was.moved > 0 and edge.amount > 0
    twice = was.status is Status.OVERTURNED
    if cannot:
        assert leg.status is Status.DISPUTED, edge
    elif was.status is Status.WRITTEN_OFF:
        assert leg.status is Status.OVERTURNED, edge
    elif two_yes or twice or was.decision or chain[0] == "park" or leg.verb == "return":
        assert leg.status is Status.DISPUTED, edge
    else:
        assert leg.status is Status.OVERTURNED, edge


LAWS: Final[tuple[Callable[[Edge, Said], None], ...]] = (
    law_progress,
    law_undo,
    law_silence,
    law_order,
    law_cancel,
    law_clock,
    law_calls,
    law_withdrawal,
    law_rungs,
    law_verdicts,
    law_late_verdict,
    *laws_of_results.LAWS,
)
