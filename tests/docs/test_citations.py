"""A citation that does not resolve is found, whatever its form; one that does is left alone.

The checker does not read this file.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.docs.citations import Repository, main

PAGES = {
    "README.md": "# Home\n\n[rules](docs/domain.md#43-the-ladder)\n",
    "docs/domain.md": (
        "# Rules\n\n## 0. Facts\n1. First.\n2. Second.\n\n## 4. Answers\n### 4.3 The ladder\n"
        "| Rung | Rule |\n|---|---|\n| 7 | Call a person |\n| Operator error | a row |\n\n"
        "## 6. Edges\n| 1 | one |\n\n| I7 | Never on silence. |\n| C9 | Faces. |\n| C10 | Min. |\n"
    ),
    "docs/field-notes.md": "## 1. Findings\n| 8 | Stuck. |\n\n## 3. Client\n- #1017: stuck.\n",
    "docs/operations.md": "# Operations\n\n## Health\n\n| 1.2 | The last header counts. |\n",
    "docs/decisions/0003-say-it-again.md": "# 3. Say it again\n",
}

RESOLVES = (
    ("a.py", "(`domain.md` 4.3)"),
    ("a.py", "# domain.md 4.3: late after 5 s, then 20 times."),
    ("a.py", "(`domain.md` 0, fact 2)"),
    ("a.py", "(`domain.md` 4.3, 6.1)"),
    ("a.py", "(`domain.md` 4, MANUAL_REVIEW)"),
    ("a.py", "(`domain.md` C9 to C10) and (`domain.md` I7)"),
    ("a.py", "(`docs/domain.md` 4 and 6)"),
    ("a.py", "(`field-notes.md` 1, finding 8) (`field-notes.md` 3, #1017)"),
    ("a.sql", '-- (domain.md\n-- 4.3 "Operator error").'),
    ("a.toml", "unit = 1  # As operations.md 1.2 has it (C10)."),
    ("a.md", "(`0003`) and docs/decisions/0003, not `12` and U+0000; [it](docs/domain.md)"),
    (
        "a.md",
        "```\n[code](nowhere)\n```\n[web](https://example.org/nothing.md) [here](#there)\n# There",
    ),
    ("docs/decisions/a.md", "[it](0003-say-it-again.md), [home](../../README.md)"),
)

DOES_NOT = (
    ("a.py", "(`domain.md` 4.9)", "docs/domain.md has no section 4.9"),
    ("a.py", "# domain.md 4.9: late.", "docs/domain.md has no section 4.9"),
    ("a.py", "(`domain.md` 4.3, 4.9)", "docs/domain.md has no section 4.9"),
    ("a.py", "(`domain.md` 4.3 and 4.9)", "docs/domain.md has no section 4.9"),
    ("a.py", "(`domain.md` 4 to 9)", "docs/domain.md has no section 9"),
    ("a.py", "(`domain.md` 6.7)", "docs/domain.md has no section 6.7"),
    ("a.py", "(`domain.md` 7)", "docs/domain.md has no section 7"),
    ("a.py", "(`domain.md` 4.7)", "docs/domain.md has no section 4.7"),
    ("a.py", "(`domain.md` 0, fact 5)", "docs/domain.md has no fact 5 in section 0"),
    ("a.py", "(`domain.md` fact 5)", "docs/domain.md is cited by fact 5 without a section"),
    ("a.py", "(`domain.md` I8)", "docs/domain.md has no rule I8"),
    ("a.py", "(`domain.md` C9 to C12)", "docs/domain.md has no rule C12"),
    ("a.py", "(`domain.md` 0, finding 9)", "docs/domain.md has no finding 9 in section 0"),
    ("a.py", "(`field-notes.md` 3, #101)", "docs/field-notes.md has no #101 in section 3"),
    ("a.py", "(`operations.md` 5.3)", "docs/operations.md has no section 5.3"),
    ("a.py", "(`nothing.md`)", "there is no page nothing.md"),
    ("a.py", "see docs/partners/nothing.md", "there is no page docs/partners/nothing.md"),
    ("a.py", '"""Kept (I8)."""', "docs/domain.md has no rule I8"),
    ("a.py", '"I7 U22",', "docs/domain.md has no rule U22"),
    ("a.py", "(`docs/decisions/0099`)", "docs/decisions/ has no decision 0099"),
    ("a.py", "(`0099`)", "docs/decisions/ has no decision 0099"),
    ("a.py", "docs/decisions/0003-b.md", "there is no page docs/decisions/0003-b.md"),
    ("a.sql", "-- (domain.md\n-- 4.9).", "docs/domain.md has no section 4.9"),
    ("a.sql", '-- domain.md 4.3 "No row".', 'docs/domain.md has no "No row" in section 4.3'),
    ("a.toml", "n = 1  # The day of C11.", "docs/domain.md has no rule C11"),
    ("Makefile", "# (domain.md 4.9)", "docs/domain.md has no section 4.9"),
    ("a.md", "by `domain.md` 4.9", "docs/domain.md has no section 4.9"),
    ("a.md", "[it](docs/nothing.md)", "the link docs/nothing.md leads nowhere"),
    ("a.md", "[it](adapters/gone.py)", "the link adapters/gone.py leads nowhere"),
    ("a.md", "[it](docs/domain.md#49)", "the link docs/domain.md#49 leads to no heading"),
    ("docs/a.md", "[it](#nowhere)", "the link #nowhere leads to no heading"),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in PAGES.items():
        write(tmp_path / name, text)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def test_everything_that_the_repository_cites_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0, capsys.readouterr().out


@pytest.mark.parametrize(("name", "text"), RESOLVES)
def test_a_citation_that_resolves_is_left_alone(root: Path, name: str, text: str) -> None:
    write(root / name, text)
    assert Repository(root).missing() == []


@pytest.mark.parametrize(("name", "text", "what"), DOES_NOT)
def test_a_citation_that_does_not_is_found(root: Path, name: str, text: str, what: str) -> None:
    write(root / name, f"\n\n{text}\n")
    (found,) = Repository(root).missing()
    assert (found.path, found.what) == (name, what)
    assert found.line == (4 if "\n" in text else 3), "where the place stands, not its page"


def test_it_prints_a_line_each_and_fails(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(root) == 0
    write(root / "a.py", "(`domain.md` 4.9)\n(I8, U22)\n")
    assert main(root) == 1
    assert capsys.readouterr().out.splitlines() == [
        "a.py:1: docs/domain.md has no section 4.9",
        "a.py:2: docs/domain.md has no rule I8",
        "a.py:2: docs/domain.md has no rule U22",
    ]


def test_a_page_that_is_gone_is_missed_by_all_who_cite_it(root: Path) -> None:
    (root / "docs/domain.md").unlink()
    write(root / "a.py", "(`domain.md` 4.3)\n(I7)\n")
    found = [str(one) for one in Repository(root).missing()]
    assert found == [
        "README.md:3: the link docs/domain.md#43-the-ladder leads nowhere",
        "a.py:1: there is no page domain.md",
        "a.py:2: there is no page docs/domain.md",
    ]


def test_without_git_what_is_hidden_or_built_is_not_read(root: Path) -> None:
    for name in ("build/a.py", ".venv/lib/a.md", "adapters/a.py"):
        write(root / name, "(`domain.md` 4.9)")
    assert [one.path for one in Repository(root).missing()] == ["adapters/a.py"]


def test_what_git_ignores_is_not_read(root: Path) -> None:
    write(root / ".gitignore", "build/\n")
    for name in ("build/a.py", "new.py"):
        write(root / name, "(`domain.md` 4.9)")
    subprocess.run(("git", "init", "--quiet"), cwd=root, check=True)
    assert [one.path for one in Repository(root).missing()] == ["new.py"]
