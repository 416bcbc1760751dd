"""What a seed stands for: who asks for what, and everything that goes wrong, as plain data.

A plan is drawn once and then only read, so that a failing one can be made shorter piece by piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal

from tests.simulation.offers import FLAVOURS, HEALTH, PREDEDUCTED
from tests.simulation.questions import Question, questions

MIDNIGHT: Final = 1_800_028_800_000
"""The end of 15 January 2027 in Hong Kong, in milliseconds since 1970."""

AskKind = Literal["request", "repeat", "inquire", "withdraw", "mismatch", "stale", "malformed"]

AT_A_COMPANY: Final = (
    "lost",  # The command never arrives.
    "applied",  # It is carried out, the answer is lost.
    "slow",  # The command arrives late: an inquiry may overtake it.
    "late",  # The answer comes late.
    "twice",
    "pending_yes",
    "pending_no",
    "wrong_amount",
    "yes_after_no",
    "no_after_yes",
    "unknown_code",
    "unknown_outcome",
    "elsewhere",  # The answer is written on another company's topic.
    "keyless",
    "refuse",
    "less",  # Fewer pieces than asked.
)
"""What happens to the nth command of a verb that a company gets (`domain.md` 4.7)."""
MANY: Final = ("lost", "applied", "refuse", "pending_no", "less")
"""What makes sagas turn round is drawn twice as often: once more for the verb they begin with."""

TO_A_PROCESS: Final = ("kill", "freeze", "drain", "join", "clock")
AT_A_PHASE: Final = ("kill at", "freeze at")
PHASES: Final = (
    "before_commit",
    "after_commit",
    "half_published",
    "before_offsets",
    "after_offsets",
)
"""Where the shipped loop can be halted (`orchestrator.settings.Phase`), and a few steps later."""
ON_A_LINE: Final = (
    "publish before",
    "publish after",
    "commit before",
    "commit after",
    "save conflict",
    "commit offsets after",
)
"""An operation of a coordinator, and whether it was done all the same."""
FOR_A_WHILE: Final = ("down", "mute", "broker", "database", "stall")
"""Stretches of time: a company that is down or does not answer cancels, a server, a topic."""

COMPANIES: Final = ("alipayhk", "citi", "harbour", "pacificair")
_DEBTOR: Final = ("deduct", "deduct", "return", "inquire", "cancel")
_CREDITOR: Final = ("credit", "credit", "reverse", "inquire", "cancel")
_VERBS: Final = {
    "alipayhk": _CREDITOR,
    "citi": _DEBTOR,
    "harbour": _DEBTOR,
    "pacificair": _CREDITOR,
}
_PROCESSES_MAX: Final = 3
_RESTORED: Final = 0.2
"""How often the database is lost, and a backup restored that is as old as the fault is long."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Something that an origin sends, `at` milliseconds after the start."""

    kind: AskKind
    at: int
    origin: str
    number: int  # Which request it is about.


@dataclass(frozen=True, slots=True)
class Wish:
    """What the request of that number asks for."""

    programme: str
    account: str
    lines: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    `at` counts commands of a company's verb, steps, operations or phases of a process, or
    milliseconds; `length` is in milliseconds, after a phase in steps.
    """

    kind: str
    who: str
    at: int
    length: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.who} at {self.at}" + (f" for {self.length}" * (self.length > 0))


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    start: int  # Milliseconds since 1970.
    heal: int  # When everything works again, in milliseconds after the start.
    processes: int
    partitions: int
    flavour: int  # Of the policies.
    health: int  # The flavour of when a participant gets no new sagas.
    person: bool  # Whether people decide about what is parked in the end.
    batch_max: int
    publish_ahead: int
    recent_max: int
    wishes: tuple[Wish, ...]
    asks: tuple[Ask, ...]
    faults: tuple[Fault, ...]
    questions: tuple[Question, ...] = ()  # About balances.

    def lines(self) -> Iterator[str]:
        """The schedule, for people."""
        yield (
            f"{self.processes} coordinators, {self.partitions} partitions, batches of"
            f" {self.batch_max}, {self.publish_ahead} ahead, {self.recent_max} at hand,"
            f" policies of flavour {self.flavour}, health {self.health},"
            f" healed after {self.heal / 1000:g} s"
        )
        for ask in sorted(self.asks, key=lambda one: one.at):
            wish = self.wishes[ask.number]
            yield f"{ask.at:>9} ms  {ask.origin} {ask.kind} r-{ask.number} {wish}"
        yield from (f"{one.at:>9} ms  {one.origin} balance {one}" for one in self.questions)
        yield from (f"   fault: {fault}" for fault in self.faults)


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(seed)
    count = random.randint(2, 6)
    wishes, asks = [], []
    for number in range(count):
        wish, origin = _wish(random)
        wishes.append(wish)
        at = random.randrange(random.choice((50, 3_000, 12_000)))
        kind: AskKind = random.choices(("request", "stale", "malformed"), (18, 1, 1))[0]
        asks.append(Ask(kind, at, origin, number))
        asks.extend(_more(random, origin, number, at))
    processes = random.choice((1, 2, 2, 3))
    return Plan(
        seed=seed,
        start=MIDNIGHT - random.randrange(8_000)
        if random.random() < 0.4
        else MIDNIGHT - 36_000_000,
        heal=random.choice((30_000, 120_000, 600_000, 10_800_000)),
        processes=processes,
        partitions=random.choice((1, 2, 4)),
        flavour=random.randrange(len(FLAVOURS)),
        health=random.randrange(len(HEALTH)),
        person=random.random() < 0.7,
        batch_max=random.choice((4, 20, 1_000)),
        publish_ahead=random.choice((0, 1, 2)),
        recent_max=random.choice((0, 2, 1_000)),
        wishes=tuple(wishes),
        asks=tuple(asks),
        faults=tuple(_faults(random, processes)),
        questions=questions(seed),
    )


def _wish(random: Random) -> tuple[Wish, str]:
    if random.random() < 0.6:
        items = random.sample((("hkd50", (2, 4, 12, 20)), ("hkd20", (3, 5, 25))), 2)
        origin, programme = "alipayhk", "citi-alipayhk-coupons"
    else:
        items = random.sample((("miles", (300, 600, 900)), ("lounge-pass", (1, 2, 3))), 2)
        origin, programme = "harbour", random.choice(("uprp-harbour-miles", PREDEDUCTED))
    if random.random() < 0.02:
        programme = "no-such-programme"
    lines = tuple((item, random.choice(sizes)) for item, sizes in items[: random.randint(1, 2)])
    return Wish(programme, f"w-{random.randrange(2)}", lines), origin


def _more(random: Random, origin: str, number: int, at: int) -> Iterator[Ask]:
    """What else an origin sends about a request, before it or after."""
    while random.random() < 0.3:
        kind: AskKind = random.choices(("repeat", "inquire", "withdraw", "mismatch"), (4, 3, 3, 1))[
            0
        ]
        when = at + random.choice((-40, 10, 400, 6_000, 30_000, 7_200_000))
        yield Ask(kind, max(0, when), origin, number)


def _faults(random: Random, processes: int) -> Iterator[Fault]:
    kinds = [*((kind, False) for kind in AT_A_COMPANY), *((kind, True) for kind in MANY)]
    for _ in range(random.choice((0, 3, 6, 10, 16))):
        kind, first = random.choice(kinds)
        length = random.choice((700, 6_000, 9_000, 20_000, 90_000, 5_400_000))
        company = random.choice(COMPANIES)
        verbs = _VERBS[company]
        who = f"{company}/{verbs[0] if first else random.choice(verbs)}"
        yield Fault(kind, who, 1 + random.randrange(random.choice((1, 2, 5))), length)
    for _ in range(random.choice((0, 0, 1, 2))):
        at, length = random.randrange(15_000), random.choice((2_000, 20_000, 200_000, 4_000_000))
        yield _stretch(random, at, length)
    if random.random() < _RESTORED:
        at = random.randrange(500, random.choice((3_000, 12_000, 28_000)))
        yield Fault("restore", "", at, random.choice((50, 400, 3_000, 20_000)))
    for _ in range(random.choice((0, 1, 2, 3, 5))):
        yield _to_a_process(random, f"c{random.randrange(processes)}")


def _stretch(random: Random, at: int, length: int) -> Fault:
    match kind := random.choice(FOR_A_WHILE):
        case "down" | "mute":
            return Fault(kind, random.choice(COMPANIES), at, length)
        case "stall":
            company = random.choice(COMPANIES)
            topics = (f"uprp.{company}.requests", f"uprp.{company}.replies", "uprp.internal")
            return Fault(kind, random.choice(topics), at, min(length, 60_000))
        case _:
            return Fault(kind, "", at, min(length, 20_000))


def _to_a_process(random: Random, who: str) -> Fault:
    kind = random.choice((*TO_A_PROCESS, "kill", *AT_A_PHASE, *AT_A_PHASE, *ON_A_LINE))
    if kind in AT_A_PHASE:
        nth = 1 + round(10 ** random.uniform(0, 1.3))
        return Fault(f"{kind} {random.choice(PHASES)}", who, nth, random.randrange(5))
    if kind == "kill":
        return Fault(kind, who, round(10 ** random.uniform(1.3, 3.2)))
    if kind in ON_A_LINE:
        return Fault(kind, who, 1 + round(10 ** random.uniform(0, 1.3)))
    at = random.randrange(20_000)
    if kind == "clock":
        step = random.choice((-8_000, -900, 900, 8_000))
        return Fault(kind, who, at, step)
    if kind == "join":
        return Fault(kind, f"c{_PROCESSES_MAX}", at)
    return Fault(kind, who, at, random.choice((500, 5_000, 9_000, 14_000, 35_000)))


def kept(plan: Plan) -> str:
    """What of its seed's plan is left in a shortened one, as the options that make it so."""
    whole = draw(plan.seed)
    found = []
    for name in ("asks", "faults"):
        left, every = getattr(plan, name), getattr(whole, name)
        if left != every:
            found.append(f"--{name} {','.join(str(every.index(one)) for one in left) or 'none'}")
    for name in ("processes", "partitions"):
        if (number := getattr(plan, name)) != getattr(whole, name):
            found += [f"--{name} {number}"]
    return " ".join(found)


def without_fault(plan: Plan, at: int) -> Plan:
    """The plan without one of its faults."""
    return replace(plan, faults=plan.faults[:at] + plan.faults[at + 1 :])


def without_ask(plan: Plan, at: int) -> Plan:
    """The plan without one of its asks."""
    return replace(plan, asks=plan.asks[:at] + plan.asks[at + 1 :])
