"""A whole run: every cell, the promises about all replies, what moved, and what was put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from adapters.conform.checks import CELLS, Cell
from adapters.conform.exchange import Came, CommandBuilder, Finding, Sent
from adapters.conform.monitors import WATCHES, Heard
from adapters.conform.scheduler import Act, Patience, Transport, play, tidy
from adapters.conform.terms import Terms
from adapters.conform.verdicts import moved_by
from schemas.replies import Outcome

Verdict: TypeAlias = Literal["kept", "broken", "not offered", "undecided", "warning"]

EXIT_KEPT: Final = 0
EXIT_BROKEN: Final = 1
EXIT_UNDECIDED: Final = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a cell's log: a record that was published, or one that came."""

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
    """What one leg must have moved in the participant's own books, and nothing else."""

    leg_id: str
    verb: str
    account: str
    item: str | None
    amount: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was found out about a participant."""

    participant: str
    role: str
    run: str
    heard: int
    results: tuple[Result, ...]
    moves: tuple[Move, ...]
    left: int
    """How much of all that was done could not be undone at the end."""

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
    line: Transport,
    terms: Terms,
    run: str,
    *,
    chosen: Callable[[str], bool] = lambda _: True,
    patience: Patience | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Try every cell that `chosen` takes by its id, side by side, and put back what was moved."""
    patience = patience or Patience()
    ours = terms.for_run(run)
    cells = [one for one in CELLS if ours.role in one.roles and chosen(one.id(ours))]
    acts = {
        cell.id(ours): _act(cell, ours, run, line) for cell in cells if not cell.unoffered(ours)
    }
    say(f"{len(acts)} cells are tried as {ours.participant}'s platform, run {run}")
    came = play(list(acts.values()), line, patience)
    results = [_result(cell, ours, acts.get(cell.id(ours))) for cell in cells]
    results += _watched(ours, acts, came, chosen)
    left = 0
    if "undo" not in ours.lacking:
        left = _put_back(acts, line, patience, say)
    moves = tuple(_moves(acts.values()))
    return Report(ours.participant, ours.role, run, len(came), tuple(results), moves, left)


def _act(cell: Cell, terms: Terms, run: str, line: Transport) -> Act:
    name = cell.id(terms)
    pen = CommandBuilder(terms, run, name, line.now())
    return Act(name, pen, cell.play(pen))


def _result(cell: Cell, terms: Terms, act: Act | None) -> Result:
    if act is None:
        return Result(cell.id(terms), cell.promise, "not offered", cell.unoffered(terms))
    finding = act.finding or Finding("undecided", "it was not played to its end")
    log = () if finding.verdict == "kept" else tuple(map(_entry, act.log))
    return Result(act.name, cell.promise, finding.verdict, finding.why, finding.expected, log)


def _watched(
    terms: Terms, acts: Mapping[str, Act], came: Sequence[Came], chosen: Callable[[str], bool]
) -> list[Result]:
    blamed = {
        one.leg_id
        for act in acts.values()
        if act.finding is not None and act.finding.verdict == "broken"
        for one in act.log
    }
    heard = Heard(terms, _sent(acts.values()), came, frozenset(blamed))
    results = []
    for watch in WATCHES:
        if not chosen(watch.id):
            continue
        finding, shown = watch.judge(heard)
        mild = watch.mild and finding.verdict == "broken"
        verdict: Verdict = "warning" if mild else finding.verdict
        log = tuple(map(_entry, shown))
        results.append(Result(watch.id, watch.promise, verdict, finding.why, finding.expected, log))
    return results


def _sent(acts: Iterable[Act]) -> dict[str, Sent]:
    logs = (one for act in acts for one in act.log)
    return {one.envelope.id: one for one in logs if isinstance(one, Sent)}


def _entry(one: Sent | Came) -> Entry:
    if isinstance(one, Sent):
        return Entry("sent", one.topic, one.key, str(one))
    return Entry("came", one.topic, one.key, str(one))


# -- what moved, and what is put back ----------------------------------------------------------


def _confirmed(act: Act) -> Iterator[tuple[Sent, Came, int]]:
    """Each effect of an act that was confirmed: its first command, the answer, how much."""
    answers = {
        one.leg_id: one
        for one in reversed(act.log)
        if isinstance(one, Came) and one.outcome is Outcome.CONFIRMED
    }
    seen = set()
    for one in act.log:
        if not isinstance(one, Sent) or not one.amount or one.leg_id in seen:
            continue
        seen.add(one.leg_id)
        answer = answers.get(one.leg_id)
        if answer is not None and answer.data is not None:
            yield one, answer, moved_by(answer.data, one)


def _moves(acts: Iterable[Act]) -> Iterator[Move]:
    for act in acts:
        for sent, _, amount in _confirmed(act):
            account = getattr(sent.data, "account", "")
            item = getattr(sent.data, "item", None)
            yield Move(sent.leg_id, sent.verb, account, item, amount)


def _owed(act: Act) -> list[tuple[CommandBuilder, Sent, str, int]]:
    confirmed = list(_confirmed(act))
    owed = []
    for do, answer, amount in confirmed:
        if not do.of and answer.data is not None:
            left = amount - sum(undone for undo, _, undone in confirmed if undo.of == do.leg_id)
            if left > 0:
                owed.append((act.pen, do, answer.data.reference or "", left))
    return owed


def _put_back(
    acts: Mapping[str, Act], line: Transport, patience: Patience, say: Callable[[str], None]
) -> int:
    """Undo what the cells left done; how much of it is left all the same."""
    tidying = []
    for act in acts.values():
        if owed := _owed(act):
            act.steps, act.finding = tidy(owed), None
            tidying.append(act)
    say(f"what {len(tidying)} of them left done is undone")
    play(tidying, line, patience)
    return sum(left for act in acts.values() for *_, left in _owed(act))
