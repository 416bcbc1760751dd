"""Finds what is cited and is not there: sections, rules, decisions, documents, links.

`python -m tests.docs.citations` reads every source file and every page of the repository. It prints
one line for each citation that does not resolve, `path:line: what is missing`, and exits with 1
when there is any. What resolves:

- the name of a page, alone or with the number of a section: a numbered heading of `docs/<name>.md`,
  a row of a table that begins with the number, or the item of that number within a section;
- the number of a rule (C, U or I and a number), which is a row of `docs/domain.md`;
- the number of a decision, in backticks or below `docs/decisions/`;
- in pages, a relative link, also one to a heading.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
RULES: Final = Path("docs/domain.md")
DECISIONS: Final = Path("docs/decisions")
SUFFIXES: Final = frozenset({".md", ".py", ".sql", ".toml"})
NOT_READ: Final = Path("tests/docs/test_citations.py")
"""It plants what does not resolve."""

_GAP: Final = r"(?:[ \t]+|[ \t]*\n[ \t]*(?:(?:#|--)[ \t]*)?)"  # Citations wrap, also in comments.
_PLACE: Final = r"(?:[CUI]\d{1,2}|(?:fact|finding|item) \d+|\d+(?:\.\d+)*|#\d+)(?!\w)"
_MORE: Final = rf"(?:,|,?{_GAP}(?:and|or|to)){_GAP}{_PLACE}"
_NAME: Final = rf'{_GAP}"[^"\n]+"'
_CITATION: Final = re.compile(
    rf"(?<![\w/.*-])(?P<page>(?:[\w.-]+/)*[\w-]+\.md)\b`?"
    rf"(?P<places>{_GAP}{_PLACE}(?:{_MORE})*(?:{_NAME})?)?"
)
_ONE_PLACE: Final = re.compile(rf'{_PLACE}|"[^"\n]+"')
_RULE: Final = re.compile(r"(?<![\w.#/+-])[CUI]\d{1,2}(?![\w-])")
_DECISION: Final = re.compile(r"decisions/(\d{4})\b(?!-)|`(0\d{3})`")
_GENERATED: Final = re.compile(r"(?:^|/)(?:\.|build/)")
_LINK: Final = re.compile(r"\]\((?![a-z]+:)([^)\s]+)\)")
_HEADING: Final = re.compile(r"(#+) (?:(\d+(?:\.\d+)*)\.? )?")
_ROW: Final = re.compile(r"\| (\S+) \|")
_ITEM: Final = re.compile(r"(?:\| )?(\d+)(?:\. | \|)")


@dataclass(frozen=True, slots=True)
class Missing:
    """One citation that does not resolve."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(slots=True)
class Page:
    """What can be cited of a page."""

    sections: dict[str, list[str]] = field(default_factory=dict)  # The lines of each, by number.
    items: dict[str, set[str]] = field(default_factory=dict)  # Of each section, not of those below.
    rows: set[str] = field(default_factory=set)  # What stands first in a row of a table.
    anchors: set[str] = field(default_factory=set)  # Its headings, as links name them.

    def lacks(self, place: str, section: str) -> str | None:
        """What is missing of a place; `section` is the number that was cited just before."""
        if place[0] in "CUI":
            return None if place in self.rows else f"has no rule {place}"
        if place[0].isdigit():
            return None if self._has(place) else f"has no section {place}"
        if not section:
            return f"is cited by {place} without a section"
        if place[0] in '#"':
            word = re.compile(re.escape(place.strip('"')) + r"(?!\w)")
            there = any(word.search(line) for line in self.sections.get(section, ()))
        else:
            there = place.rpartition(" ")[2] in self.items.get(section, ())
        return None if there else f"has no {place} in section {section}"

    def _has(self, number: str) -> bool:
        section, dot, item = number.rpartition(".")
        if dot and (number in self.rows or item in self.items.get(section, ())):
            return True
        return number in self.sections


def read_page(text: str) -> Page:
    """What can be cited of the text of a page."""
    page = Page()
    open_sections: list[tuple[int, str]] = []
    for line in _unfenced(text).splitlines():
        if heading := _HEADING.match(line):
            depth, number = len(heading[1]), heading[2]
            open_sections = [one for one in open_sections if one[0] < depth]
            if number:
                open_sections.append((depth, number))
                page.sections[number], page.items[number] = [], set()
            page.anchors.add(_anchor(line[depth:]))
        elif row := _ROW.match(line):
            page.rows.add(row[1])
        for _, number in open_sections:
            page.sections[number].append(line)
        if open_sections and (item := _ITEM.match(line)):
            page.items[open_sections[-1][1]].add(item[1])
    return page


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def _unfenced(text: str) -> str:
    """The text without its blocks of code, line for line."""
    return re.sub(r"^```.*?^```", _blank, text, flags=re.DOTALL | re.MULTILINE)


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


@dataclass
class Repository:
    """The pages and sources below a folder, and what they cite."""

    root: Path
    _pages: dict[Path, Page] = field(default_factory=dict)

    @cached_property
    def files(self) -> list[Path]:
        """Every file that may cite, relative to the root: those that git knows or would add."""
        command = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
        try:
            listed = subprocess.run(
                command, cwd=self.root, check=True, capture_output=True, text=True
            ).stdout
            found = {Path(line) for line in listed.splitlines()}
        except (OSError, subprocess.CalledProcessError):  # No git here: a copy of the sources.
            found = {path.relative_to(self.root) for path in self.root.rglob("*")}
            found = {path for path in found if not _GENERATED.search(path.as_posix())}
        return sorted(path for path in found if self._may_cite(path))

    def _may_cite(self, path: Path) -> bool:
        wanted = path.suffix in SUFFIXES or path.name == "Makefile"
        return wanted and path != NOT_READ and (self.root / path).is_file()

    def missing(self) -> list[Missing]:
        """Everything that does not resolve, in the order of the files."""
        found: dict[Missing, None] = {}  # In order, and each once: a rule may be read twice.
        for path in self.files:
            text = (self.root / path).read_text("utf-8")
            for at, what in sorted(self._in(path, text)):
                found[Missing(path.as_posix(), text.count("\n", 0, at) + 1, what)] = None
        return list(found)

    def _in(self, path: Path, text: str) -> Iterator[tuple[int, str]]:
        if path.suffix == ".md":
            text = _unfenced(text)
            yield from self._links(path, text)
            text = _LINK.sub(_blank, text)
        yield from self._citations(path, text)
        yield from self._rules(text)
        for found in _DECISION.finditer(text):
            number = found[1] or found[2]
            if not any((self.root / DECISIONS).glob(f"{number}-*.md")):
                yield found.start(), f"{DECISIONS}/ has no decision {number}"

    def _citations(self, path: Path, text: str) -> Iterator[tuple[int, str]]:
        for found in _CITATION.finditer(text):
            target = self._page_of(path, found["page"])
            if target is None:
                yield found.start(), f"there is no page {found['page']}"
                continue
            section = ""
            for place in _ONE_PLACE.finditer(found["places"] or ""):
                where = found.start("places") + place.start()
                lacks = self._page(target).lacks(place[0], section)
                if lacks is not None:
                    yield where, f"{target.as_posix()} {lacks}"
                if place[0][0].isdigit():
                    section = place[0]

    def _rules(self, text: str) -> Iterator[tuple[int, str]]:
        found = list(_RULE.finditer(text))
        if found and not (self.root / RULES).exists():
            yield found[0].start(), f"there is no page {RULES.as_posix()}"
            return
        for rule in found:
            lacks = self._page(RULES).lacks(rule[0], "")
            if lacks is not None:
                yield rule.start(), f"{RULES.as_posix()} {lacks}"

    def _links(self, path: Path, text: str) -> Iterator[tuple[int, str]]:
        for found in _LINK.finditer(text):
            file, _, anchor = found[1].partition("#")
            target = (self.root / path.parent / file).resolve() if file else self.root / path
            if not target.exists():
                yield found.start(), f"the link {found[1]} leads nowhere"
            elif anchor and target.suffix == ".md":
                page = read_page(target.read_text("utf-8"))
                if anchor not in page.anchors:
                    yield found.start(), f"the link {found[1]} leads to no heading"

    def _page_of(self, path: Path, name: str) -> Path | None:
        """The page that a name means: of `docs/`, of the root, or beside the page that cites it."""
        for target in (Path("docs") / name, Path(name), path.parent / name):
            if (self.root / target).is_file():
                return target
        return None

    def _page(self, path: Path) -> Page:
        if path not in self._pages:
            self._pages[path] = read_page((self.root / path).read_text("utf-8"))
        return self._pages[path]


def main(root: Path = ROOT) -> int:
    """Print what does not resolve; 0 when all does."""
    missing = Repository(root).missing()
    for one in missing:
        sys.stdout.write(f"{one}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
