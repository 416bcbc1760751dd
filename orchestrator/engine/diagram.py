"""Diagrams in Mermaid, made from the definition and the table, so they match the code. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from orchestrator.engine.definition import Definition, Kind, Role, Step
from orchestrator.engine.machine import DECIDED, IN_FLIGHT, PARKED, TABLE, Event, Status

PLATFORM = "uprp"


def flow(definition: Definition) -> str:
    """A sequence diagram of a kind: each step, its success, and the compensation if it fails."""
    origin = definition.roles(0)
    roles = [origin, *dict.fromkeys(step.to for step in definition.steps)]
    lines = [
        "sequenceDiagram",
        *(f"    participant {role}" for role in roles[:1]),
        f"    participant {PLATFORM} as UPRP",
        *(f"    participant {role}" for role in roles[1:]),
        f"    {origin}->>{PLATFORM}: request",
        *_indented(_forward(origin, definition.steps, ())),
        *_indented(_afterwards(origin, definition)),
    ]
    return "\n".join(lines)


def _forward(origin: Role, steps: Sequence[Step], done: tuple[Step, ...]) -> Iterator[str]:
    """The lines for these steps, given the steps that are `done` before them."""
    if not steps:
        yield _told(origin, "success" if done[-1].kind is not Kind.QUERY else "what was read")
        return
    step, *rest = steps
    asked = f"{PLATFORM}->>{step.to}: {step.name}"
    yield f"{asked}, for each line" if step.per_line else asked
    yield "alt confirmed"
    yield f"    {step.to}-->>{PLATFORM}: confirmed"
    yield from _indented(_forward(origin, rest, (*done, step)))
    yield f"else {_shortfall(step)}"
    yield f"    {step.to}-->>{PLATFORM}: rejected"
    yield from _indented(_backward(origin, step, done))
    yield "end"


def _shortfall(step: Step) -> str:
    if step.kind is Kind.QUERY:
        return "a definite no, or no answer in time"
    if step.kind is Kind.PIVOT and step.per_line:
        return "a definite no for some or all of it"
    return "a definite no"


def _backward(origin: Role, failed: Step, done: tuple[Step, ...]) -> Iterator[str]:
    """The lines for the compensation when a step fails: of its parts, then of earlier steps."""
    if failed.kind is Kind.PIVOT and failed.undo is not None:
        yield "opt all or nothing, and a part was given"
        yield f"    {PLATFORM}->>{failed.to}: {failed.undo.name}"
        yield f"    {failed.to}-->>{PLATFORM}: confirmed"
        yield "end"
    undone = False
    for step in reversed(done):
        if step.undo is not None:
            undone = True
            yield f"{PLATFORM}->>{step.to}: {step.undo.name} what is owed"
            yield f"{step.to}-->>{PLATFORM}: confirmed, if need be late"
    ending = "points returned, or partial success" if undone else "nothing was done"
    yield _told(origin, ending if failed.kind is not Kind.QUERY else "why not")


def _afterwards(origin: Role, definition: Definition) -> Iterator[str]:
    """The lines for a late answer that leaves value given and not paid for (`domain.md` 4.4)."""
    pivot = definition.pivot
    if pivot is None:
        return
    yield "opt afterwards, another answer contradicts the first"
    if pivot.undo is not None:
        yield f"    {PLATFORM}->>{pivot.to}: {pivot.undo.name} what was given in vain"
    for step in definition.steps:
        if step.redo is not None:
            yield f"    {PLATFORM}->>{step.to}: {step.redo.name} it, if it cannot be taken back"
    yield f"    {_told(origin, 'corrected')}"
    yield "end"


def _told(origin: Role, what: str) -> str:
    return f"{PLATFORM}-->>{origin}: result, {what}"


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


_CLOCK: Final = {
    Event.TIMED_OUT: "no answer in time",
    Event.GAVE_UP: "still none, we stop asking",
    Event.EXHAUSTED: "none, the window is over",
}
_VERDICTS: Final = {
    Event.CONFIRMED: "CONFIRMED",
    Event.REJECTED: "REJECTED",
    Event.CANCELLED: "CANCELLED",
}


def silence() -> str:
    """A state diagram of a leg that gets no answer: the passing of time alone decides nothing."""
    shown = [status for status in Status if status in IN_FLIGHT or status is Status.SILENT]
    lines = ["stateDiagram-v2", "    [*] --> asked: a command", "    state asked {"]
    lines.append(f"        [*] --> {Status.SENT}")
    for status in shown:
        lines += [f"        {status} --> {way}" for way in _ways(status, _CLOCK)]
        if TABLE[status][Event.PENDING] is Status.PENDING:
            lines.append(f"        {status} --> {Status.PENDING}: PENDING")
    lines.append("    }")
    for event, label in _VERDICTS.items():
        # One cell: a verdict has the same effect in each of these statuses.
        (cell,) = {TABLE[status][event] for status in shown}
        lines.append(f"    asked --> {cell}: {label}")
    lines.append("    note right of asked : however long it lasts, nothing is undone meanwhile")
    return "\n".join(lines)


def _ways(status: Status, labels: Mapping[Event, str]) -> Iterator[str]:
    """The statuses that follow by those events, each with the labels of the events."""
    ways: dict[Status, list[str]] = defaultdict(list)
    for event, label in labels.items():
        cell = TABLE[status][event]
        if isinstance(cell, Status):
            ways[cell].append(label)
    return (f"{to}: {', '.join(joined)}" for to, joined in ways.items())


def life() -> str:
    """A state diagram of one leg, from the table, without the events that change nothing."""
    lines = ["stateDiagram-v2", f"    [*] --> {Status.WAITING}"]
    # The sending of a command is no event from outside, so it has no column in the table.
    lines.append(f"    {Status.WAITING} --> {Status.SENT}: asked")
    for status, row in TABLE.items():
        ways: dict[Status, list[Event]] = defaultdict(list)
        for event, cell in row.items():
            if isinstance(cell, Status):
                ways[cell].append(event)
        for to, events in ways.items():
            lines.append(f"    {status} --> {to}: {', '.join(events)}")
    lines += [f"    {status} --> [*]" for status in Status if status in DECIDED]
    lines += [
        f"    note right of {status} : parked, a person must look"
        for status in Status
        if status in PARKED
    ]
    return "\n".join(lines)
