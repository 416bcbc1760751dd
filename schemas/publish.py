"""Writes the contract in the forms that partners read: AsyncAPI, JSON Schema, error catalogue.

`python -m schemas.publish` writes the files; with `--check` it names those that do not match the
models any more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from schemas.asyncapi import document
from schemas.events import EVENTS
from schemas.jsonschemas import event_schema
from schemas.reasons import CLASS_OF, LANGUAGES, RECOVERABLE, Code, ReasonClass, sentence

ROOT: Final = Path(__file__).resolve().parent.parent
GUIDE: Final = Path("docs/partners/README.md")
BEGIN: Final = "<!-- reasons: begin; made by `python -m schemas.publish` -->"
END: Final = "<!-- reasons: end -->"

_CONCLUSIONS: Final = {
    ReasonClass.INVALID: "never accepted, nothing was done",
    ReasonClass.DECLINED: "a definite no",
    ReasonClass.PENDING: "accepted, settled later",
    ReasonClass.UNKNOWN: "nothing may be concluded",
}


def catalogue_of_reasons() -> dict[str, Any]:
    """The error catalogue: each reason code, its class, if it is recoverable, and its sentences."""
    return {
        "classes": {kind.value: _CONCLUSIONS[kind] for kind in ReasonClass},
        "languages": list(LANGUAGES),
        "reasons": [
            {
                "code": code.value,
                "class": CLASS_OF[code].value,
                "recoverable": code in RECOVERABLE,
                "sentences": {language: sentence(code, language) for language in LANGUAGES},
            }
            for code in Code
        ],
    }


def reasons_table() -> str:
    """The error catalogue as a Markdown table, for the partner guide."""
    rows = [
        f"| `{code.value}` | {CLASS_OF[code].value} | {'yes' if code in RECOVERABLE else 'no'} "
        f"| {sentence(code)} |"
        for code in Code
    ]
    head = ["| Code | Class | Recoverable | What a member reads |", "|---|---|---|---|"]
    return "\n".join(head + rows)


def with_table(guide: str) -> str:
    """The guide with the table of reasons between its markers.

    Raises:
        ValueError: a marker is missing, so there is no place for the table.
    """
    if BEGIN not in guide or END not in guide:
        raise ValueError(f"{GUIDE} has no lines {BEGIN!r} and {END!r}; put them back")
    before, _, rest = guide.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{reasons_table()}\n{END}{after}"


def artefacts(root: Path = ROOT) -> Mapping[Path, str]:
    """The path of every generated file, relative to the root, and its content."""
    files = {Path("schemas/asyncapi.json"): _text(document())}
    for event in EVENTS:
        files[Path(f"schemas/json/{event.name}.json")] = _text(event_schema(event))
    files[Path("schemas/reasons.json")] = _text(catalogue_of_reasons())
    files[GUIDE] = with_table((root / GUIDE).read_text("utf-8"))
    return files


def _text(found: object) -> str:
    return json.dumps(found, ensure_ascii=False, indent=2) + "\n"


def write(root: Path = ROOT) -> list[str]:
    """Write every file that differs, remove schemas of no known event; a line for each of them."""
    lines = []
    for path, text in artefacts(root).items():
        target = root / path
        if not target.exists() or target.read_bytes() != text.encode():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text.encode())
            lines.append(f"{path}: written")
    for stray in _strays(root):
        (root / stray).unlink()
        lines.append(f"{stray}: removed, no event of this name")
    return lines


def drift(root: Path = ROOT) -> list[str]:
    """A line for every file that is missing, differs from the models, or is of no known event."""
    lines = []
    for path, text in artefacts(root).items():
        target = root / path
        if not target.exists():
            lines.append(f"{path}: is missing")
        elif target.read_bytes() != text.encode():
            lines.append(f"{path}: differs from the models")
    return lines + [f"{stray}: is of no known event" for stray in _strays(root)]


def _strays(root: Path) -> list[Path]:
    known = {f"{event.name}.json" for event in EVENTS}
    found = sorted((root / "schemas/json").glob("*.json"))
    return [path.relative_to(root) for path in found if path.name not in known]


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write or check the files, with a line for each that differs; 1 if a check finds one."""
    parser = argparse.ArgumentParser(prog="python -m schemas.publish", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 on drift")
    checking: bool = parser.parse_args(arguments).check
    work: Callable[[Path], list[str]] = drift if checking else write
    lines = work(root)
    for line in lines:
        sys.stdout.write(f"{line}\n")
    if checking and lines:
        sys.stderr.write("The published contract drifted; run: python -m schemas.publish\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
