"""One run: everything that a plan says, in virtual time, until all is at rest."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from orchestrator.errors import Stop
from orchestrator.sagas.redemption.terms import PricedLine
from orchestrator.settings import CoordinatorSettings
from schemas.events import Channel, topic_of
from schemas.ids import SagaId, split_leg_id
from tests.simulation.broker import Broker
from tests.simulation.companies import Company
from tests.simulation.database import Database, Row
from tests.simulation.loop import NeverRests, VirtualLoop
from tests.simulation.offers import decider, health
from tests.simulation.origins import Origins
from tests.simulation.person import Person
from tests.simulation.plan import AT_A_COMPANY, AT_A_PHASE, COMPANIES, ON_A_LINE, Fault, Plan
from tests.simulation.process import Process, ProcessClock, Surroundings
from tests.simulation.questions import Balances

IDLE_IN_TRANSACTION_S: Final = 10.0
LEAP_MIN_MS: Final = 20
LEAPS_MAX: Final = 3_000
NOTHING_FOR_MS: Final = 3 * 86_400_000  # Longer than any policy waits.
RESTART_S: Final = 0.5
FREEZE_MS: Final = 14_000  # Longer than a session, so that others take over.
TRACE_MAX: Final = 400


@dataclass
class World:
    """The run of one plan."""

    plan: Plan
    loop: VirtualLoop = field(init=False)
    broker: Broker = field(init=False)
    database: Database = field(default_factory=Database)
    companies: dict[str, Company] = field(default_factory=dict)
    origins: Origins = field(init=False)
    balances: Balances = field(init=False)
    reached: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    trace: deque[str] = field(default_factory=lambda: deque(maxlen=TRACE_MAX))
    crashes: int = 0
    leaps: int = 0

    def __post_init__(self) -> None:
        plan = self.plan
        self.loop = VirtualLoop(plan.start)  # type: ignore[abstract]  # What nobody calls.
        rules = decider(plan.flavour)
        topics = rules.catalogue.inbound_topics()
        self.broker = Broker(self.loop, topics, plan.partitions, Random(f"{plan.seed}/broker"))
        random = Random(f"{plan.seed}/balances")
        self.balances = Balances(plan.questions, self.loop, self.broker, random)
        self.origins = Origins(
            plan, self.loop, self.broker, self.companies, self.reach, self.balances
        )
        self.processes: dict[str, Process] = {}
        self.past: list[Process] = []
        self.clocks: dict[str, ProcessClock] = {}
        self.leaving: set[str] = set()
        self.backups: dict[Fault, dict[str, Any]] = {}
        self.gone: dict[SagaId, Row] = {}  # Lost with the database, and not begun again yet.
        self.healed = False
        self.over = False
        self._rest: Any = None
        self._operations: Counter[tuple[str, str]] = Counter()
        self._broken = self._lines()
        self._halts = self._phases()
        self._kills: dict[str, deque[int]] = {}
        self._company()
        self.person = Person(
            self.database, rules, self.companies, Random(f"{plan.seed}/person"), self.reach
        )
        settings = CoordinatorSettings(
            batch_records_max=plan.batch_max,
            publish_ahead=plan.publish_ahead,
            recent_sagas_max=plan.recent_max,
            poll_s=5.0,
            health_s=2.0,
        )
        self.around = Surroundings(
            loop=self.loop,
            broker=self.broker,
            database=self.database,
            decider=rules,
            health=health(plan.health),
            settings=settings,
            reach=self.reach,
            write=self.write,
            trouble=self._trouble,
            passing=self._passing,
        )

    def reach(self, what: str) -> None:
        """Something happened that a run should see now and then."""
        self.reached[what] += 1

    def write(self, text: str) -> None:
        """A line for whoever looks into a failing seed."""
        self.trace.append(f"{self.loop.elapsed_ms:>9} ms  {text}")

    # -- putting it together ----------------------------------------------------------------------

    def _company(self) -> None:
        plan = self.plan
        for name in COMPANIES:
            faults = {
                (verb, fault.at): fault
                for fault in plan.faults
                for who, _, verb in (fault.who.partition("/"),)
                if who == name and fault.kind in AT_A_COMPANY
            }
            company = Company(
                name,
                self.loop,
                self.broker,
                Random(f"{plan.seed}/{name}"),
                faults,
                self.reach,
                self.problems.append,
                self._reserved,
                peers=self.companies,
                balances=self.balances,
            )
            self.companies[name] = company
            self.broker.readers[topic_of(name, Channel.COMMANDS)] = company.hear

    def _reserved(self, leg_id: str, pieces: int | None) -> int:
        """What so many pieces of a credit leg's line cost; None: all that were asked for."""
        saga_id, path = split_leg_id(leg_id)
        row = self.database.sagas.get(saga_id) or self.gone[saga_id]
        line: PricedLine = row.named.terms.body.lines[int(path.split("/")[1]) - 1]
        return line.points if pieces is None else line.points_for(pieces)

    def _lines(self) -> dict[tuple[str, str, int], str]:
        broken = {}
        for fault in self.plan.faults:
            if fault.kind in ON_A_LINE:
                operation, _, how = fault.kind.rpartition(" ")
                broken[fault.who, operation, fault.at] = how
        return broken

    def _phases(self) -> dict[tuple[str, str, int], Fault]:
        found = {}
        for fault in self.plan.faults:
            kind, _, phase = fault.kind.rpartition(" ")
            if kind in AT_A_PHASE:
                found[fault.who, phase, fault.at] = fault
        return found

    def _passing(self, name: str, phase: str) -> None:
        """A process passes a phase; perhaps it does not get far from there."""
        self.reach(f"passed {phase}")
        count = self._operations[name, phase] = self._operations[name, phase] + 1
        fault = self._halts.get((name, phase, count)) if self._halts else None
        if fault is not None and not self.healed:
            process = self.processes[name]
            process.life.halt_at = process.life.steps + 1 + fault.length
            if fault.kind.startswith("kill"):
                process.life.on_halt = lambda: self.kill(process)
            else:
                process.life.on_halt = lambda: self.freeze(replace(fault, length=FREEZE_MS))

    def _trouble(self, process: str, operation: str) -> str | None:
        count = self._operations[process, operation] = self._operations[process, operation] + 1
        how = self._broken.get((process, operation, count)) if self._broken else None
        if how is not None and not self.healed:
            self.reach(f"{operation} {how}")
            self.write(f"{process}: {operation} breaks ({how})")
            return how
        return None

    # -- the run ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Live through the plan; what is wrong afterwards stands in `problems`."""
        try:
            self.loop.run_until_complete(self._live())
        except NeverRests as restless:
            self.problems.append(f"{restless}: {self._unrest()}")
        finally:
            lives = [process.life for process in (*self.past, *self.processes.values())]
            self.problems += self.loop.problems
            self.over = True
            self.loop.bury(lives)

    async def _live(self) -> None:
        plan, loop = self.plan, self.loop
        self.origins.begin()
        self.balances.begin()
        for fault in plan.faults:
            if fault.kind == "kill":
                self._kills.setdefault(fault.who, deque()).append(fault.at)
            elif fault.kind == "restore":
                loop.at(plan.start + max(0, fault.at - fault.length), self.back_up, fault)
                loop.at(plan.start + fault.at, self.restore, fault)
            elif fault.kind in _DATED:
                loop.at(plan.start + fault.at, _DATED[fault.kind], self, fault)
        for number in range(plan.processes):
            self.start(f"c{number}")
        loop.at(plan.start + plan.heal, self.heal)
        loop.on_idle = self._idle
        self._rest = loop.create_future()
        await self._rest

    def start(self, name: str) -> None:
        """Start a coordinator, be it again."""
        if name in self.processes or self.over:
            return
        clock = self.clocks.setdefault(name, ProcessClock(self.loop))
        seed = f"{self.plan.seed}/{name}/{len(self.past)}"
        process = self.processes[name] = Process(name, self.around, clock, seed)
        kills = self._kills.get(name)
        if kills and not self.healed:
            process.life.halt_at = kills.popleft()
            process.life.on_halt = lambda: self.kill(process)
        process.main.add_done_callback(lambda _: self._ended(process), context=self.loop.outside)

    def kill(self, process: Process) -> None:
        """SIGKILL, between two steps."""
        self.crashes += 1
        self.reach(f"killed {process.phase}")
        self.write(f"{process.name}: killed at step {process.life.steps}, {process.doing}")
        process.life.dead = True
        self.broker.group.stopped(process.life)
        # What it had sent is still on its way: a commit may be carried out after its death.
        wait = Random(process.life.steps).randrange(8)
        self.loop.at(self.loop.wall() + wait, self.database.cut, process.life)
        self._gone(process)
        self._later(RESTART_S, self.start, process.name)

    def _gone(self, process: Process) -> None:
        del self.processes[process.name]
        self.past.append(process)

    def _later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        self.loop.call_later(seconds, callback, *args, context=self.loop.outside)

    def _ended(self, process: Process) -> None:
        """It came to its end by itself: drained, or with an error that a restart cures."""
        if process.life.ghost or self.processes.get(process.name) is not process:
            return
        error = process.main.exception() if not process.main.cancelled() else None
        if isinstance(error, Stop):
            self.reach(f"stopped {type(error).__name__}")
        elif error is not None:
            self.problems.append(f"{process.name} died of {error!r}")
            if not self._rest.done():
                self._rest.set_result(None)  # A defect: it would only die of it again.
        self.write(f"{process.name}: ended {error!r}")
        process.life.dead = True
        self.broker.group.stopped(process.life)  # If it could not say good-bye.
        self.database.cut(process.life)
        self._gone(process)
        if process.name not in self.leaving or self.healed:
            self._later(RESTART_S, self.start, process.name)

    # -- what the plan does to it -----------------------------------------------------------------

    def freeze(self, fault: Fault) -> None:
        """SIGSTOP, and SIGCONT some time later."""
        process = self.processes.get(fault.who)
        if process is None or self.healed:
            return
        self.reach(f"frozen {process.phase}")
        self.write(f"{process.name}: frozen for {fault.length} ms, {process.doing}")
        process.life.frozen = True
        self.broker.group.stopped(process.life)
        self._later(IDLE_IN_TRANSACTION_S, self._cut_if_frozen, process)
        self._later(fault.length / 1000, self.thaw, process)

    def _cut_if_frozen(self, process: Process) -> None:
        if process.life.frozen and self.database.cut(process.life):
            self.reach("a frozen transaction was ended")

    def thaw(self, process: Process) -> None:
        """It goes on where it stood."""
        if process.life.frozen:
            self.write(f"{process.name}: goes on")
            process.life.frozen = False
            self.loop.release(process.life)

    def drain(self, fault: Fault) -> None:
        """SIGTERM; it comes back after a while."""
        process = self.processes.get(fault.who)
        if process is not None and not self.healed and hasattr(process, "coordinator"):
            self.reach("drained")
            process.coordinator.drain()
            self.leaving.add(fault.who)
            self._later(fault.length / 1000, self._come_back, fault.who)

    def _come_back(self, name: str) -> None:
        self.leaving.discard(name)
        self.start(name)

    def join(self, fault: Fault) -> None:
        """One coordinator more."""
        self.reach("joined")
        self.start(fault.who)

    def step_clock(self, fault: Fault) -> None:
        """A process's clock jumps, ahead or back."""
        if not self.healed and (clock := self.clocks.get(fault.who)) is not None:
            clock.skew += fault.length
            self.reach("clock back" if fault.length < 0 else "clock ahead")

    def company_stretch(self, fault: Fault) -> None:
        """A company is down, or does not answer cancels."""
        if not self.healed:
            company, until = self.companies[fault.who], self.loop.wall() + fault.length
            setattr(company, f"{fault.kind}_until", until)
            self.reach(f"{fault.kind} for a while")

    def stall(self, fault: Fault) -> None:
        """A topic shows nothing new for a while."""
        self.reach("stalled topic")
        self.broker.stall(fault.who, self.loop.wall() + fault.length)

    def server_away(self, fault: Fault) -> None:
        """The broker or the database is away for a while."""
        if self.healed:
            return
        self.reach(f"{fault.kind} away")
        self.write(f"{fault.kind} away for {fault.length} ms")
        if fault.kind == "broker":
            self.broker.go(away=True)
        else:
            self.database.away = True
            self.database.cut()
        self._later(fault.length / 1000, self._back, fault.kind)

    def back_up(self, fault: Fault) -> None:
        """A base backup of the database."""
        self.backups[fault] = self.database.backup()

    def restore(self, fault: Fault) -> None:
        """The database is lost while everybody works; an older one takes its place."""
        if self.healed:
            return
        self.reach("database restored")
        self.write(f"database lost, one of {fault.length} ms ago is restored")
        for process in list(self.processes.values()):
            self.kill(process)
        self.database.cut()
        self.gone.update(self.database.sagas)
        self.database.restore(self.backups[fault])

    def _back(self, kind: str) -> None:
        if kind == "broker":
            self.broker.go(away=False)
        else:
            self.database.away = False

    def heal(self) -> None:
        """From now on everything works, and everybody answers."""
        self.write("healed")
        self.healed = True
        self._back("broker")
        self._back("database")
        for clock in self.clocks.values():
            clock.skew = 0
        for company in self.companies.values():
            company.healed, company.down_until, company.mute_until = True, 0, 0
        for process in list(self.processes.values()):
            process.life.halt_at = None
            self.thaw(process)
        self.leaving.clear()
        self.start("c0")

    # -- rest -------------------------------------------------------------------------------------

    def _idle(self) -> None:
        """Nothing can run now: if nothing is under way either, let the wall clock leap."""
        if not self._quiet():
            return
        now, dated, due = self.loop.wall(), self.loop.next_dated(), self.database.next_due()
        if due is not None:
            due -= max(self.clocks[name].skew for name in self.processes)
        found = [moment for moment in (dated, due) if moment is not None]
        if not found:
            decided = self.plan.person and self.healed and self.person.look(now)
            if not decided and not self._rest.done():
                self._rest.set_result(None)
        elif (ahead := min(found) - now) >= LEAP_MIN_MS:
            self.leaps += 1
            if self.leaps > LEAPS_MAX:
                raise NeverRests(f"{LEAPS_MAX} leaps and no rest")
            if ahead > NOTHING_FOR_MS:
                raise NeverRests(f"nothing is to happen for {ahead / 86_400_000:.0f} days")
            self.loop.leap(ahead)

    def _quiet(self) -> bool:
        return (
            not self.broker.busy
            and not self.database.busy
            and not self.database.open
            and self.broker.group.steady
            and not self.broker.away
            and not self.database.away
            and bool(self.processes)
            and all(process.quiet for process in self.processes.values())
        )

    def _unrest(self) -> str:
        due = self.database.next_due()
        doing = {name: process.doing for name, process in self.processes.items()}
        return f"quiet {self._quiet()}, next due {due and due - self.plan.start}, {doing}"


_DATED: Final[dict[str, Callable[[World, Fault], None]]] = {
    "freeze": World.freeze,
    "drain": World.drain,
    "join": World.join,
    "clock": World.step_clock,
    "down": World.company_stretch,
    "mute": World.company_stretch,
    "stall": World.stall,
    "broker": World.server_away,
    "database": World.server_away,
}
