"""A picture of the rooms of a package and of the imports between them, read from its code."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path


def rooms(folder: Path) -> str:
    """A Mermaid flowchart: each room of a package, and what it imports directly.

    A room is a package or a module right below the folder. What follows from other arrows is not
    drawn: who imports a room that imports a third may import the third as well.
    """
    imports = {room: set[str]() for room in sorted(_rooms(folder))}
    for path in sorted(folder.rglob("*.py")):
        room = path.relative_to(folder).parts[0].removesuffix(".py")
        if room in imports:
            imports[room].update(_imported(path, folder.name) & imports.keys() - {room})
    lines = ["flowchart TD", *(f"    {room}" for room in imports)]
    lines += [
        f"    {room} --> {other}"
        for room, others in imports.items()
        for other in sorted(others - _beyond(others, imports))
    ]
    return "\n".join(lines)


def _rooms(folder: Path) -> Iterator[str]:
    for path in folder.iterdir():
        if path.suffix == ".py" and path.stem != "__init__":
            yield path.stem
        elif (path / "__init__.py").exists():
            yield path.name


def _imported(path: Path, package: str) -> set[str]:
    """The rooms of the package that a file imports, be it for its types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            top, _, rest = node.module.partition(".")
            if top == package:
                found.update([rest.partition(".")[0]] if rest else [one.name for one in node.names])
    return found


def _beyond(rooms_: set[str], imports: Mapping[str, set[str]]) -> set[str]:
    """What these rooms reach through the others."""
    found: set[str] = set()
    fresh = [other for room in rooms_ for other in imports[room]]
    while fresh:
        room = fresh.pop()
        if room not in found:
            found.add(room)
            fresh.extend(imports[room])
    return found


def table(folder: Path) -> str:
    """A Markdown table of the rooms and what each is for: the first sentence of its docstring."""
    lines = ["| Room | What it is for |", "|---|---|"]
    for room in sorted(_rooms(folder)):
        inside = folder / room / "__init__.py"
        path = inside if inside.exists() else folder / f"{room}.py"
        text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        about = text.split("\n\n", 1)[0].replace("\n", " ")
        lines.append(f"| `{room}` | {about} |")
    return "\n".join(lines)
