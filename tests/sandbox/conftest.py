"""Desks that are closed when the test ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapters.sandbox.faults import Faults
from tests.sandbox.client import Client

OpenClient = Callable[..., Client]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[OpenClient]:
    with ExitStack() as opened:

        def open_client(name: str, faults: Faults | None = None) -> Client:
            one = Client(tmp_path, name, faults)
            opened.callback(one.close)
            return one

        yield open_client


@pytest.fixture
def bank(client: OpenClient) -> Client:
    return client("bank")


@pytest.fixture
def wallet(client: OpenClient) -> Client:
    return client("wallet")


@pytest.fixture
def airline(client: OpenClient) -> Client:
    return client("airline")
