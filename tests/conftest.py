"""Servers for the tests that ask for them: one of each a run, started when first asked for."""

import itertools
import signal
import sys
from collections.abc import Iterator
from types import FrameType

import pytest

from adapters.embedded.environment import Environment, ServerKey
from adapters.embedded.kafka import EmbeddedKafka
from adapters.embedded.postgres import EmbeddedPostgres

_database_numbers = itertools.count(1)


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
