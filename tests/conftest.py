"""Servers for the tests that ask for them: one of each, started when first asked for.

Where several processes share the tests (`-n 2`), each has its own.
"""

import itertools
import signal
import sys
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

import pytest

from adapters.embedded.environment import Environment, ServerKey
from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres
from tests import quick_java
from tests.workers import longest_first, turn

quick_java.use()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has what it runs in the background ignore Ctrl-C, and every child inherits that; some
    # tests send it to theirs.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_database_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""
    longest_first(items)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # Around the time-out, which waits for nobody's turn.
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let `alone` be alone."""
    shared = hasattr(item.config, "workerinput")
    alone = item.get_closest_marker("alone") is not None
    with turn(_meeting_place(item), alone=alone) if shared else nullcontext():
        return (yield)


def _meeting_place(item: pytest.Item) -> Path:
    factory: pytest.TempPathFactory = item.config._tmp_path_factory  # type: ignore[attr-defined]  # No hook is given it.
    return factory.getbasetemp().parent


@pytest.fixture(scope="session")
def _environment(request: pytest.FixtureRequest) -> Iterator[Environment]:
    """The servers that any test of this run will ask for, started side by side."""
    asked = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    keys: tuple[ServerKey, ...] = ("kafka", "postgres")
    wanted = tuple(key for key in keys if key in asked)
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def tell(text: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"\n{text}")

    before = signal.signal(signal.SIGTERM, _leave)
    try:
        with Environment(wanted=wanted, progress=tell) as environment:
            yield environment
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, _frame: FrameType | None) -> None:
    pytest.exit("SIGTERM", returncode=128 + number)


@pytest.fixture(scope="session")
def kafka(_environment: Environment) -> EmbeddedKafka:
    """Apache Kafka, shared by the run; a test that kills it starts it again."""
    return _environment.kafka


@pytest.fixture(scope="session")
def postgres(_environment: Environment) -> EmbeddedPostgres:
    """PostgreSQL, shared by the run; a test that kills it starts it again."""
    return _environment.postgres


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    name = f"test_{next(_database_numbers)}"
    yield postgres.create_database(name)
    postgres.drop_database(name)
