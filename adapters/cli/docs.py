"""Keeps the generated parts of the documents: pictures and tables between markers.

`python -m adapters.cli.docs` writes them, `--check` says which no longer match the code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, SecretStr

from adapters.cli import contract_tables, rooms
from adapters.conform.checks import CELLS, verb_of
from adapters.conform.monitors import MONITORS
from adapters.sandbox.fault_kinds import ALL_VERBS, KINDS
from adapters.sandbox.magic_accounts import DESCRIPTIONS
from orchestrator.catalogue.loader import load
from orchestrator.catalogue.participant import QueryLadder
from orchestrator.engine import diagram
from orchestrator.engine.policy import LegPolicy
from orchestrator.errors import Stop
from orchestrator.sagas.redemption.kind import REDEMPTION
from orchestrator.settings import PREFIX, ROOT, Settings
from orchestrator.telemetry import Metrics

COMMAND: Final = "python -m adapters.cli.docs"


def flow() -> str:
    """The picture of a redemption."""
    return f"```mermaid\n{diagram.flow(REDEMPTION.definition)}\n```"


def life() -> str:
    """The picture of a leg's life."""
    return f"```mermaid\n{diagram.life()}\n```"


def rooms_table() -> str:
    """The rooms of the orchestrator, and what each is for."""
    return rooms.table(ROOT / "orchestrator")


def imports() -> str:
    """The picture of the imports between the rooms of the orchestrator."""
    return f"```mermaid\n{rooms.rooms(ROOT / 'orchestrator')}\n```"


def silence() -> str:
    """The picture of a leg that nobody answers."""
    return f"```mermaid\n{diagram.silence()}\n```"


def ladders(deploy: Path = ROOT / "deploy") -> str:
    """The ladder of every verb of every participant, by default of those that ship."""
    lines = [
        "| Participant, verb | late after | then | until | cancelled | until | the origin hears |",
        "|---|---|---|---|---|---|---|",
    ]
    for participant in load(deploy).participants.values():
        for verb, policy in participant.policies().items():
            reads = isinstance(participant.legs[verb], QueryLadder)
            cells = _query_ladder(policy) if reads else _ladder(policy)
            lines.append(f"| `{participant.id}` {verb} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ladder(policy: LegPolicy) -> Iterator[str]:
    yield _span(policy.response_timeout)
    rungs = " or ".join(policy.rungs) or "wait"
    yield f"{rungs} every {_span(policy.every)}"
    yield "for ever" if policy.times is None else f"{policy.times} times"
    if policy.cancel:
        yield (
            f"every {_span(policy.cancel_every)}, {policy.cancel_quick} times,"
            f" then slower, at most {_span(policy.cancel_slowest)} apart"
        )
        until = policy.cancel_until
        clock = f"T+{until.days} {until.minute // 60:02}:{until.minute % 60:02} {until.zone}"
        yield clock if until.after is None else f"after {_span(until.after)}"
    else:
        yield from ("never", "")
    yield f"PENDING after {_span(policy.tell_after)}"


def _query_ladder(policy: LegPolicy) -> Iterator[str]:
    """The cells of a query: where its ladder ends it is over, and nobody hears PENDING."""
    yield _span(policy.response_timeout)
    if policy.times == 0:
        yield from ("it is over", "")
    else:
        rungs = " or ".join(policy.rungs) or "wait"
        yield f"{rungs} every {_span(policy.every)}"
        yield f"{policy.times} times, then it is over"
    yield from ("never", "", "that there was no answer, when it is over")


def _span(milliseconds: int) -> str:
    for size, unit in ((3_600_000, "h"), (60_000, "min"), (1_000, "s")):
        if milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms"


def settings() -> str:
    """Every variable with its default."""
    return "\n".join(["| Variable | Default |", "|---|---|", *_settings()])


def _settings() -> Iterator[str]:
    for name, found in Settings.model_fields.items():
        group = found.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            for inner, field in group.model_fields.items():
                variable = f"{PREFIX}{name}__{inner}".upper()
                yield f"| `{variable}` | {_shown(field.default)} |"
        else:
            default = found.default
            known = isinstance(default, Path) and default.is_relative_to(ROOT)
            shown = default.relative_to(ROOT) if known else default
            yield f"| `{PREFIX}{name.upper()}` | {_shown(shown)} |"


def _shown(default: object) -> str:
    if default is None:
        return "unset"
    plain = default.get_secret_value() if isinstance(default, SecretStr) else default
    return f"`{plain}`"


def metrics() -> str:
    """Every metric that `/metrics` serves, but the time at which a counter was made."""
    lines = ["| Metric | Kind | What |", "|---|---|---|"]
    for found in Metrics().registry.collect():
        name = f"{found.name}_total" if found.type == "counter" else found.name
        lines.append(f"| `{name}` | {found.type} | {found.documentation} |")
    return "\n".join(lines)


def exits() -> str:
    """The exit codes with which a coordinator stops on purpose."""
    lines = ["| Code | Why |", "|---|---|", "| 0 | drained on SIGTERM or SIGINT |"]
    lines += ["| 1 | a server was away for too long |", "| 2 | a setting or a file is wrong |"]
    found = sorted(Stop.__subclasses__(), key=lambda stop: stop.exit_code)
    lines += [f"| {stop.exit_code} | {(stop.__doc__ or '').strip()} |" for stop in found]
    return "\n".join([*lines, "| 130 | a second signal stopped it at once |"])


def magic() -> str:
    """The magic accounts of the simulated companies."""
    lines = [
        "| Account | What happens to a deduct, a credit or, where it can, a balance |",
        "|---|---|",
    ]
    return "\n".join(
        [*lines, *(f"| `{name}` | {description} |" for name, description in DESCRIPTIONS.items())]
    )


def faults() -> str:
    """What a rule of a script may do."""
    lines = ["| Action | For | Needs | What happens |", "|---|---|---|---|"]
    for kind, form in KINDS.items():
        verbs = "every command" if form.verbs == ALL_VERBS else ", ".join(form.verbs)
        needs = ", ".join(f"`{need}`" for need in form.needs)
        lines.append(f"| `{kind}` | {verbs} | {needs} | {form.description} |")
    return "\n".join(lines)


def cells() -> str:
    """Every promise that `uprp conform` tries."""
    lines = ["| Cell | Promise | Asked | Expected |", "|---|---|---|---|"]
    for cell in CELLS:
        verbs = sorted({verb_of(cell.subject, role) for role in cell.roles})
        names = ", ".join(f"`{verb}.{cell.name}`" for verb in verbs)
        lines.append(f"| {names} | {cell.promise} | {cell.asked} | {cell.expected} |")
    for monitor in MONITORS:
        note = " (a warning only)" if monitor.warning_only else ""
        promise = f"{monitor.promise}{note}"
        lines.append(f"| `{monitor.id}` | {promise} | all of it | {monitor.expected} |")
    return "\n".join(lines)


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "flow": flow,
    "life": life,
    "rooms": rooms_table,
    "imports": imports,
    "silence": silence,
    "ladders": ladders,
    "settings": settings,
    "metrics": metrics,
    "exits": exits,
    "magic": magic,
    "faults": faults,
    "cells": cells,
    "headers": contract_tables.headers,
    "topics": contract_tables.topics,
    "events": contract_tables.events,
    "fields": contract_tables.fields,
    "objects": contract_tables.objects,
    "dead-letter-headers": contract_tables.dead_letter_headers,
}
DOCUMENTS: Final[Mapping[Path, Sequence[str]]] = {
    Path("README.md"): ("flow",),
    Path("docs/architecture.md"): ("rooms", "imports", "life"),
    Path("docs/contract.md"): (
        "headers",
        "topics",
        "events",
        "fields",
        "objects",
        "dead-letter-headers",
    ),
    Path("docs/outcomes.md"): ("silence", "ladders"),
    Path("docs/operations.md"): ("settings", "exits", "metrics"),
    Path("docs/partners/sandbox.md"): ("magic", "faults"),
    Path("docs/partners/conformance.md"): ("cells",),
}


def renewed(text: str, part: str) -> str:
    """A document with one part made anew.

    Raises:
        ValueError: a marker is missing, so that the part has no place.
    """
    begin, end = f"<!-- {part}: begin; made by `{COMMAND}` -->", f"<!-- {part}: end -->"
    before, opened, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise ValueError(f"has no lines {begin!r} and {end!r}; put them back")
    return f"{before}{begin}\n{PARTS[part]()}\n{end}{after}"


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the generated parts, or check them.

    Returns 0 when all is well, else 1, with a line for each document that differs.
    """
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 on drift")
    checking: bool = parser.parse_args(arguments).check
    drifted = False
    for path, parts in DOCUMENTS.items():
        before = text = (root / path).read_text("utf-8")
        for part in parts:
            text = renewed(text, part)
        if text != before:
            drifted = True
            if not checking:
                (root / path).write_text(text, "utf-8")
            sys.stdout.write(f"{path}: {'differs from the code' if checking else 'written'}\n")
    if checking and drifted:
        sys.stderr.write(f"A generated part of a document drifted; run: {COMMAND}\n")
    return 1 if checking and drifted else 0


if __name__ == "__main__":
    raise SystemExit(main())
