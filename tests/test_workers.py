"""The two processes that share the tests keep what they agree on."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from tests.support import wait_until
from tests.workers import LONG, TESTS, turn


def test_every_file_that_goes_first_is_there() -> None:
    assert [name for name in LONG if not (TESTS / name).is_file()] == []
    assert len(set(LONG)) == len(LONG)


def test_some_run_beside_each_other(tmp_path: Path) -> None:
    with turn(tmp_path, alone=False), turn(tmp_path, alone=False):
        pass


def test_alone_waits_for_all_and_nobody_overtakes_it(tmp_path: Path) -> None:
    entered: list[str] = []
    leaves = threading.Event()

    def run(name: str, *, alone: bool) -> None:
        with turn(tmp_path, alone=alone):
            entered.append(name)
            if alone:
                leaves.wait(10)

    def waits_at_the_gate() -> bool:
        with (tmp_path / "gate").open("w") as gate:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    storm = threading.Thread(target=run, args=("alone",), kwargs={"alone": True})
    later = threading.Thread(target=run, args=("later",), kwargs={"alone": False})
    with turn(tmp_path, alone=False):
        storm.start()
        wait_until(waits_at_the_gate, 10, "the lonely one waits")
        later.start()
        later.join(0.2)
        assert entered == []
    wait_until(lambda: entered, 10, "the first left, the next enters")
    later.join(0.2)
    assert entered == ["alone"]
    leaves.set()
    for thread in (storm, later):
        thread.join(10)
    assert entered == ["alone", "later"]


def test_a_failure_gives_the_place_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), turn(tmp_path, alone=True):
        raise ZeroDivisionError
    with turn(tmp_path, alone=True):
        pass
