"""The pages of rules and words are whole: every rule with a status, every field, each word once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adapters.cli import contract_tables
from orchestrator.settings import ROOT
from schemas.events import EVENTS, Channel, EventType

RULES = (
    *(f"C{number}" for number in range(1, 19)),
    *(f"U{number}" for number in range(1, 22)),
    *(f"I{number}" for number in range(1, 15)),
)
LIVES = dict(
    re.findall(
        r"^\| ([a-z -]+) \| .* \| `([\w.]+)` \|$",
        (ROOT / "docs/glossary.md").read_text("utf-8"),
        re.MULTILINE,
    )
)
ONLY_ON_PAGES = {"conformance", "exchange", "seam"}  # The code has what they mean, not the words.
FOR_PARTNERS = [event for event in EVENTS if event.channel is not Channel.INTERNAL]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def test_every_rule_stands_once_and_says_whether_it_is_kept() -> None:
    rows = re.findall(
        r"^\| ([CUI]\d+) \| [^|]+ \| \*\*(\w+)\*\*[^|]*\|$", page("domain.md"), re.MULTILINE
    )
    assert [rule for rule, _ in rows] == [
        rule for group in "CUI" for rule in RULES if rule[0] == group
    ]
    assert {status for _, status in rows} == {"kept", "part", "coming"}


def test_what_is_coming_names_a_capability() -> None:
    text = page("domain.md")
    announced = set(re.findall(r"\*([a-z ]+)\*", text.partition("## 0.")[0]))
    coming = re.findall(r"^\| [CU]\d+ .*\*\*coming\*\*: (.*) \|$", text, re.MULTILINE)
    assert coming
    for words in coming:
        named = re.findall(r"\*([a-z ]+)\*", words)
        assert named, words
        assert set(named) <= announced, words


@pytest.mark.parametrize("event", FOR_PARTNERS, ids=lambda event: event.name)
def test_the_contract_has_every_field_of_an_event(event: EventType) -> None:
    fields = contract_tables.fields()
    own = fields.partition(f"#### `{event.name}`")[2].partition("####")[0]
    common = fields.partition("#### Every command")[2].partition("####")[0]
    for name in event.data.model_fields:
        assert f"| `{name}` |" in (own + common if event.channel is Channel.COMMANDS else own)


def test_the_contract_has_every_event_and_every_topic() -> None:
    assert all(
        f"| `{event.name}` | `{event.channel}` |" in contract_tables.events() for event in EVENTS
    )
    assert all(f".{channel}`" in contract_tables.topics() for channel in Channel)


def test_no_cell_of_a_table_breaks_it() -> None:
    for table in (contract_tables.fields(), contract_tables.objects()):
        for line in table.splitlines():
            if line.startswith("|"):
                columns = len(re.findall(r"(?<!\\)\|", line)) - 1
                assert columns in (4, 5), line


def test_the_glossary_has_each_word_once_and_in_order() -> None:
    words = re.findall(r"^\| ([a-z -]+) \| ", page("glossary.md"), re.MULTILINE)
    assert len(words) > 90
    assert words == sorted(set(words))


def test_the_glossary_names_packages_that_there_are() -> None:
    assert len(LIVES) > 90
    assert all((folder_of(package) / "__init__.py").exists() for package in LIVES.values())


def test_the_glossary_names_a_package_in_which_the_word_occurs() -> None:
    missing = {word for word, package in LIVES.items() if not occurs(word, package)}
    assert missing == ONLY_ON_PAGES


def folder_of(package: str) -> Path:
    return ROOT / package.replace(".", "/")


def occurs(word: str, package: str) -> bool:
    """Whether the word begins a word of the code, written with spaces or as one name."""
    parts = re.split("[ -]", word)
    found = re.compile(r"(?<![a-z])" + r"[-_\s]*".join(parts), re.IGNORECASE)
    files = (path for path in folder_of(package).rglob("*") if path.suffix in (".py", ".sql"))
    return any(found.search(path.read_text("utf-8")) for path in files)
