"""Desks that are closed when the test ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from adapters.sandbox.faults import Faults
from tests.sandbox.counterparty import Desk

OpenDesk = Callable[..., Desk]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[OpenDesk]:
    with ExitStack() as opened:

        def open_desk(name: str, faults: Faults | None = None) -> Desk:
            one = Desk(tmp_path, name, faults)
            opened.callback(one.close)
            return one

        yield open_desk


@pytest.fixture
def bank(desk: OpenDesk) -> Desk:
    return desk("bank")


@pytest.fixture
def wallet(desk: OpenDesk) -> Desk:
    return desk("wallet")


@pytest.fixture
def airline(desk: OpenDesk) -> Desk:
    return desk("airline")
