"""The statements of `queries.sql`, by name."""

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


@cache
def queries() -> dict[str, Query]:
    """Every statement of the file."""
    text = resources.files("adapters.postgres").joinpath("queries.sql").read_text("utf-8")
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {
        head[1]: Query(head[1], text[head.end() : end].strip(), bool(head[2]))
        for head, end in zip(heads, ends, strict=True)
    }


def sql(name: str) -> str:
    """The text of a statement."""
    return queries()[name].sql
