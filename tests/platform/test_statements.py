"""The statements: a hot one names the key hash of every sharded table, and none is forgotten.

`design.md` 9: the schema is to run unchanged on a distributed PostgreSQL, where a statement that
does not bind the key hash asks every shard.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from adapters.postgres import rows, store
from adapters.postgres.migrate import migrations
from adapters.postgres.queries import queries

KEY = "key_hash"
ASKS_EVERY_BUCKET = {"find_saga"}
"""Run within a batch, but only for a reply whose sender forgot the key: slow on purpose."""

_TABLE = re.compile(r"create table (\w+) \((.*?)\n\)", re.DOTALL)
_PRIMARY_KEY = re.compile(r"primary key \(([^)]*)\)")
_WORD = r"(?!set\b|where\b|join\b|on\b|order\b|group\b|limit\b|for\b|using\b)\w+"
_READ = re.compile(rf"\b(from|join|update)\s+(\w+)\b(?!\s*\()(?:\s+(?:as\s+)?({_WORD}))?")
_INSERT = re.compile(r"\binsert into\s+(\w+)(?:\s+as\s+\w+)?\s*\(([^)]*)\)")
_CONFLICT = re.compile(r"\bon conflict\s*\(([^)]*)\)")
_BINDING = r"\b{a}\.key_hash\s*=\s*(?!{a}\.)(?:\w+\.key_hash\b|\$\d)"
_BOUND_BY_NAME = re.compile(r"(?<![.\w])key_hash\s*=\s*\$\d")


@cache
def schema() -> dict[str, str]:
    """The tables that the migrations make and what stands between their brackets."""
    text = _without_comments("\n".join(migrations().values()))
    return dict(_TABLE.findall(text))


def sharded() -> set[str]:
    """The tables that are distributed by the key hash."""
    return {name for name, columns in schema().items() if re.search(rf"\b{KEY}\b", columns)}


def crossings(statement: str) -> Iterator[str]:
    """Each way in which a statement would ask more than one shard."""
    text = _without_comments(statement).lower()
    for word, table, alias in _READ.findall(text):
        if table in sharded():
            name = alias or table
            bound = re.search(_BINDING.format(a=re.escape(name)), text)
            if not bound and not (not alias and _BOUND_BY_NAME.search(text)):
                yield f"{word} {table}: nothing binds {name}.{KEY}"
    for table, columns in _INSERT.findall(text):
        if table in sharded():
            if KEY not in columns.replace(",", " ").split():
                yield f"insert into {table}: no {KEY}"
            for target in _CONFLICT.findall(text):
                if KEY not in target.replace(",", " ").split():
                    yield f"insert into {table}: a conflict is sought in every shard"


def _without_comments(text: str) -> str:
    return re.sub(r"--[^\n]*", "", text)


def test_the_tables_of_an_account_are_sharded_by_its_key() -> None:
    decided = {"parked_case", "decision"}
    assert sharded() == {"saga", "timeline", "transfer", "account_limit", *decided}
    for table in sharded():
        found = _PRIMARY_KEY.search(schema()[table])
        assert found is not None, table
        assert found[1].split(",")[0] == KEY, table


@pytest.mark.parametrize("name", sorted(name for name, query in queries().items() if query.hot))
def test_a_hot_statement_crosses_no_shards(name: str) -> None:
    assert list(crossings(queries()[name].sql)) == []


def test_the_hot_statements_touch_every_sharded_table() -> None:
    touched = {
        table
        for query in queries().values()
        if query.hot
        for table in sharded()
        if re.search(rf"\b(from|join|update|into)\s+{table}\b", query.sql)
    }
    assert touched | set(rows.COLUMNS) == sharded()


@pytest.mark.parametrize("table", sorted(rows.COLUMNS))
def test_what_is_copied_names_every_column_and_the_key_first(table: str) -> None:
    columns = re.findall(r"^    (\w+) +(?:small)?[a-z]+", schema()[table], re.MULTILINE)
    assert rows.COLUMNS[table] == tuple(name for name in columns if name != "primary")
    assert rows.COLUMNS[table][0] == KEY


@pytest.mark.parametrize(
    ("bad", "why"),
    (
        ("select state from saga where saga_id = $1", "from saga"),
        ("select s.state from unnest($1::uuid[]) k (id) join saga s on s.saga_id = k.id", "join"),
        (
            "select s.state from unnest($1::smallint[]) as k (key_hash)"
            " join saga s on s.key_hash = s.key_hash",
            "join saga",
        ),
        (
            "update saga s set state = v.state from unnest($1::uuid[], $2::text[])"
            " as v (saga_id, state) where s.saga_id = v.saga_id",
            "update saga",
        ),
        (
            "select s.state from unnest($1::smallint[], $2::uuid[]) as k (key_hash, saga_id)"
            " join saga s on s.key_hash = k.key_hash join timeline t on t.saga_id = k.saga_id",
            "join timeline",
        ),
        ("insert into timeline (saga_id, revision) select * from unnest($1::uuid[])", "no key"),
        (
            "insert into account_limit (key_hash, scope) select * from unnest($1::smallint[])"
            " on conflict (scope) do nothing",
            "a conflict",
        ),
        ("update account_limit set used = 0 -- key_hash = $1", "update account_limit"),
    ),
)
def test_a_statement_that_crosses_shards_is_seen(bad: str, why: str) -> None:
    assert any(why in found for found in crossings(bad))


@pytest.mark.parametrize(
    "good",
    (
        "select state from saga where key_hash = $1 and saga_id = $2",
        "update saga as s set state = $3 where s.key_hash = $1 and s.saga_id = $2",
        "select next_offset from position where topic = $1",
    ),
)
def test_a_statement_that_stays_in_one_shard_passes(good: str) -> None:
    assert list(crossings(good)) == []


def named(tree: ast.AST) -> set[str]:
    """The statements that some code names: `sql(name)`, `_fetch(name)`, `_many(table, name)`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            function = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            at = {"sql": 0, "_fetch": 0, "_many": 1}.get(function)
            if at is not None and len(node.args) > at:
                argument = node.args[at]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    found.add(argument.value)
    return found


def test_every_statement_is_used_and_every_name_exists() -> None:
    folder = Path(inspect.getfile(store)).parent
    used = set().union(*(named(ast.parse(path.read_text())) for path in folder.glob("*.py")))
    assert used == set(queries())


def test_what_runs_in_a_batch_is_marked_hot() -> None:
    """Else nobody would look at it here; the others touch nothing that is sharded."""
    tree = ast.parse(inspect.getsource(store.PostgresTransaction))
    for name in named(tree) - ASKS_EVERY_BUCKET:
        touched = {table for table in sharded() if re.search(rf"\b{table}\b", queries()[name].sql)}
        assert queries()[name].hot or not touched, name
    assert list(crossings(queries()["find_saga"].sql)) == []  # A probe each, never a scan.
    assert named(tree) >= {name for name, query in queries().items() if query.hot}
