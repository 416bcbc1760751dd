"""A whole run: every cell, the monitors of all replies, and undoing what the cells left done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from adapters.conform.checks import CELLS, Cell
from adapters.conform.exchange import CommandBuilder, Finding, ReceivedReply, SentCommand
from adapters.conform.monitors import MONITORS, RunRecords
from adapters.conform.scheduler import ScriptRun, Timeouts, Transport, run_scripts, undo_remaining
from adapters.conform.terms import Terms
from adapters.conform.verdicts import moved_by
from schemas.replies import Outcome

Verdict: TypeAlias = Literal["kept", "broken", "not offered", "undecided", "warning"]

EXIT_KEPT: Final = 0
EXIT_BROKEN: Final = 1
EXIT_UNDECIDED: Final = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a cell's log: a record that was published, or one that was received."""

    way: Literal["sent", "came"]
    topic: str
    key: str | None
    record: str


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one promise."""

    cell: str
    promise: str
    verdict: Verdict
    why: str = ""
    expected: str = ""
    log: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """What one leg must have moved in the participant's books: points, or pieces of an item."""

    leg_id: str
    verb: str
    account: str
    item: str | None
    amount: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was found out about a participant: a verdict on each promise, and what it moved."""

    participant: str
    role: str
    run: str
    heard: int
    results: tuple[Result, ...]
    moves: tuple[Move, ...]
    left: int
    """How much of what was done could not be undone in the end, all added up."""

    def count(self, verdict: Verdict) -> int:
        """How many promises have this verdict."""
        return sum(result.verdict == verdict for result in self.results)

    @property
    def exit_code(self) -> int:
        """0 all that was tried is kept, 1 something is broken, 3 something could not be decided."""
        if self.count("broken") and self.heard:
            return EXIT_BROKEN
        return EXIT_UNDECIDED if self.count("undecided") or not self.heard else EXIT_KEPT


def examine(
    transport: Transport,
    terms: Terms,
    run: str,
    *,
    chosen: Callable[[str], bool] = lambda _: True,
    timeouts: Timeouts | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Try every cell whose id `chosen` accepts, side by side, and undo what was done meanwhile.

    `run` names the run: accounts and ids contain it. `progress` is told, in one line, what begins.
    Raises what the transport raises.
    """
    timeouts = timeouts or Timeouts()
    ours = terms.for_run(run)
    cells = [one for one in CELLS if ours.role in one.roles and chosen(one.id(ours))]
    script_runs = {
        cell.id(ours): _script_run(cell, ours, run, transport)
        for cell in cells
        if not cell.unoffered(ours)
    }
    progress(f"{len(script_runs)} cells are tried as {ours.participant}'s platform, run {run}")
    replies = run_scripts(list(script_runs.values()), transport, timeouts)
    results = [_result(cell, ours, script_runs.get(cell.id(ours))) for cell in cells]
    results += _monitored(ours, script_runs, replies, chosen)
    left = 0
    if "undo" not in ours.lacking:
        left = _undo_remaining(script_runs, transport, timeouts, progress)
    moves = tuple(_moves(script_runs.values()))
    return Report(ours.participant, ours.role, run, len(replies), tuple(results), moves, left)


def _script_run(cell: Cell, terms: Terms, run: str, transport: Transport) -> ScriptRun:
    name = cell.id(terms)
    builder = CommandBuilder(terms, run, name, transport.now())
    return ScriptRun(name, builder, cell.script(builder))


def _result(cell: Cell, terms: Terms, script_run: ScriptRun | None) -> Result:
    if script_run is None:
        return Result(cell.id(terms), cell.promise, "not offered", cell.unoffered(terms))
    finding = script_run.finding or Finding("undecided", "it was not played to its end")
    log = () if finding.verdict == "kept" else tuple(map(_entry, script_run.log))
    return Result(
        script_run.name, cell.promise, finding.verdict, finding.why, finding.expected, log
    )


def _monitored(
    terms: Terms,
    script_runs: Mapping[str, ScriptRun],
    replies: Sequence[ReceivedReply],
    chosen: Callable[[str], bool],
) -> list[Result]:
    blamed = {
        one.leg_id
        for script_run in script_runs.values()
        if script_run.finding is not None and script_run.finding.verdict == "broken"
        for one in script_run.log
    }
    records = RunRecords(terms, _sent(script_runs.values()), replies, frozenset(blamed))
    results = []
    for monitor in MONITORS:
        if not chosen(monitor.id):
            continue
        finding, shown = monitor.judge(records)
        warning_only = monitor.warning_only and finding.verdict == "broken"
        verdict: Verdict = "warning" if warning_only else finding.verdict
        log = tuple(map(_entry, shown))
        results.append(
            Result(monitor.id, monitor.promise, verdict, finding.why, finding.expected, log)
        )
    return results


def _sent(script_runs: Iterable[ScriptRun]) -> dict[str, SentCommand]:
    logs = (one for script_run in script_runs for one in script_run.log)
    return {one.envelope.id: one for one in logs if isinstance(one, SentCommand)}


def _entry(one: SentCommand | ReceivedReply) -> Entry:
    if isinstance(one, SentCommand):
        return Entry("sent", one.topic, one.key, str(one))
    return Entry("came", one.topic, one.key, str(one))


# -- what was moved, and undoing it ------------------------------------------------------------


def _confirmed(script_run: ScriptRun) -> Iterator[tuple[SentCommand, ReceivedReply, int]]:
    """Each confirmed effect of a script: its first command, the answer, how much was moved."""
    answers = {
        one.leg_id: one
        for one in reversed(script_run.log)
        if isinstance(one, ReceivedReply) and one.outcome is Outcome.CONFIRMED
    }
    seen = set()
    for one in script_run.log:
        if not isinstance(one, SentCommand) or not one.amount or one.leg_id in seen:
            continue
        seen.add(one.leg_id)
        answer = answers.get(one.leg_id)
        if answer is not None and answer.data is not None:
            yield one, answer, moved_by(answer.data, one)


def _moves(script_runs: Iterable[ScriptRun]) -> Iterator[Move]:
    for script_run in script_runs:
        for sent, _, amount in _confirmed(script_run):
            account = getattr(sent.data, "account", "")
            item = getattr(sent.data, "item", None)
            yield Move(sent.leg_id, sent.verb, account, item, amount)


def _remaining(script_run: ScriptRun) -> list[tuple[CommandBuilder, SentCommand, str, int]]:
    confirmed = list(_confirmed(script_run))
    remaining = []
    for do, answer, amount in confirmed:
        if not do.of and answer.data is not None:
            left = amount - sum(undone for undo, _, undone in confirmed if undo.of == do.leg_id)
            if left > 0:
                remaining.append((script_run.builder, do, answer.data.reference or "", left))
    return remaining


def _undo_remaining(
    script_runs: Mapping[str, ScriptRun],
    transport: Transport,
    timeouts: Timeouts,
    progress: Callable[[str], None],
) -> int:
    """Undo what the cells left done; returns how much could not be undone, all added up."""
    undoing = []
    for script_run in script_runs.values():
        if remaining := _remaining(script_run):
            script_run.steps, script_run.finding = undo_remaining(remaining), None
            undoing.append(script_run)
    progress(f"what {len(undoing)} of them left done is undone")
    run_scripts(undoing, transport, timeouts)
    return sum(left for script_run in script_runs.values() for *_, left in _remaining(script_run))
