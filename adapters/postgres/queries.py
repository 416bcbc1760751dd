"""Named statements, kept in files of SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Query:
    """One named statement; hot ones run for every batch."""

    name: str
    sql: str
    hot: bool


_HEAD = re.compile(r"^-- (\w+)( \(hot\))? --$", re.MULTILINE)


def read_statements(package: str, file: str) -> dict[str, Query]:
    """Every statement of a file in a package, by its name.

    A statement begins with a line `-- name --`, or `-- name (hot) --`, and ends with the next one.
    """
    text = resources.files(package).joinpath(file).read_text("utf-8")
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {
        head[1]: Query(head[1], text[head.end() : end].strip(), bool(head[2]))
        for head, end in zip(heads, ends, strict=True)
    }


@cache
def queries() -> dict[str, Query]:
    """Every statement of `queries.sql`."""
    return read_statements("adapters.postgres", "queries.sql")


def sql(name: str) -> str:
    """The text of a statement of `queries.sql`."""
    return queries()[name].sql
