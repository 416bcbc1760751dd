"""What a saga adds up to, counted from its legs alone: none of this asks the engine."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.machine import Status
from orchestrator.engine.postings import Transfer
from orchestrator.sagas.redemption.terms import CREDITOR, DEBTOR

FLYING: Final = {Status.SENT, Status.UNKNOWN, Status.PENDING, Status.CANCELLING}
STOPPED: Final = {Status.SILENT, Status.DISPUTED, Status.REFUSED}
KNOWN: Final = {
    Status.CONFIRMED,
    Status.REJECTED,
    Status.CANCELLED,
    Status.OVERTURNED,
    Status.WRITTEN_OFF,
}


def issued_late(saga: Saga) -> bool:
    """Whether a line was refused and issued after all: honoured, though others used its room."""
    return any(leg.verb == "credit" and leg.first == 0 for leg in saga.legs)


@dataclass(frozen=True, slots=True)
class Sums:
    """The points of a saga."""

    taken: int
    covered: int
    returned: int
    returning: int
    forgone: int
    price: int  # Of what the member has.
    reserved: int  # Of what the member has or may come to have.


def sums(saga: Saga) -> Sums:
    """Add the legs up."""
    taken = covered = returned = returning = forgone = 0
    for leg in saga.legs:
        if leg.verb in ("deduct", "charge"):
            taken += leg.moved
        elif leg.verb == "loss":
            covered += leg.moved
        elif leg.verb == "return":
            if leg.status is Status.WRITTEN_OFF:
                forgone += leg.asked
            if leg.status in KNOWN | {Status.DISPUTED}:  # The first verdict stands.
                returned += leg.moved
            else:
                returning += leg.asked
    return Sums(taken, covered, returned, returning, forgone, price(saga), _reserved(saga))


def _reserved(saga: Saga) -> int:
    total = 0
    for number, line in enumerate(saga.terms.body.lines, 1):
        credit = saga.leg(f"credit/{number}")
        back = saga.leg(f"credit/{number}/reverse")
        if credit is None or credit.status is Status.WAITING:
            continue
        pieces = credit.moved if credit.status in KNOWN else line.quantity
        if back is not None and back.status in KNOWN:
            pieces -= back.moved
        total += _cost(line.points, pieces, line.quantity)
    return total


def pieces(saga: Saga) -> list[int]:
    """For each line, what was confirmed and not taken back."""
    found = [0] * len(saga.terms.body.lines)
    for leg in saga.legs:
        if leg.verb in ("credit", "reverse"):
            line = int(leg.path.split("/")[1]) - 1
            found[line] += leg.moved if leg.verb == "credit" else -leg.moved
    return found


def price(saga: Saga) -> int:
    """What those pieces cost, each line rounded up to a whole point."""
    lines = zip(saga.terms.body.lines, pieces(saga), strict=True)
    return sum(_cost(line.points, n, line.quantity) for line, n in lines)


def _cost(points: int, pieces: int, quantity: int) -> int:
    return (points * pieces + quantity - 1) // quantity


def accounts(saga: Saga, now: Sums) -> Counter[tuple[str, str]]:
    """What every account must have got by then, in each unit."""
    terms = saga.terms
    found: Counter[tuple[str, str]] = Counter()
    member = f"{terms.participants[DEBTOR]}/member/{terms.body.debtor_account}"
    found[member, terms.body.unit] = now.returned - now.taken
    found[f"{terms.body.loss_bearer}/loss", terms.body.unit] = -now.covered
    found[f"{terms.participants[DEBTOR]}/forgone", terms.body.unit] = now.forgone
    found[f"{terms.participants[DEBTOR]}/redeemed", terms.body.unit] = now.price
    found["uprp/suspense", terms.body.unit] = (
        now.taken + now.covered - now.returned - now.forgone - now.price
    )
    for line, n in zip(terms.body.lines, pieces(saga), strict=True):
        unit = f"{terms.participants[CREDITOR]}:{line.item}"
        found[f"{terms.participants[CREDITOR]}/member/{terms.body.creditor_account}", unit] = n
        found[f"{terms.participants[CREDITOR]}/issued", unit] = -n
    return found


def balances(transfers: Iterable[Transfer]) -> Counter[tuple[str, str]]:
    """What each account has in each unit after those movements."""
    found: Counter[tuple[str, str]] = Counter()
    for one in transfers:
        found[one.debit, one.unit] -= one.amount
        found[one.credit, one.unit] += one.amount
    return found


def undone(saga: Saga, leg: Leg) -> int:
    """How much of a leg is known to be taken back, or may be."""
    found = 0
    for other in saga.legs:
        if other.path.rpartition("/" + other.verb)[0] == leg.path and other.path != leg.path:
            standing = {Status.DISPUTED, Status.REFUSED} | KNOWN - {Status.WRITTEN_OFF}
            stands = other.status in standing
            found += other.moved if stands else other.asked
    return found


def impossible(saga: Saga, leg: Leg, amount: int) -> bool:
    """Whether less would have been done than was undone."""
    done = saga.leg(leg.path.rpartition("/" + leg.verb)[0])
    return amount < undone(saga, leg) or (done is not None and amount > done.moved)


def is_parked(leg: Leg) -> bool:
    """Whether a person was called about it, and it is not decided."""
    closed = leg.status in KNOWN and leg.status is not Status.OVERTURNED
    return leg.status in STOPPED or (leg.escalated_at > 0 and not closed)
