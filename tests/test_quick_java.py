"""Java is told about the archive once there is one, and nothing where others told it something."""

import os
from pathlib import Path

import pytest

from tests import quick_java
from tests.quick_java import ONE_COMPILER, VARIABLE


def told(patch: pytest.MonkeyPatch, folder: Path) -> str:
    patch.setattr(quick_java, "BUILD", folder)
    quick_java.use()
    return os.environ[VARIABLE]


def test_an_archive_is_used_once_it_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, "")  # Put back as it was at the end.
    monkeypatch.delenv(VARIABLE)
    assert told(monkeypatch, tmp_path) == ONE_COMPILER
    quick_java.archive().touch()
    monkeypatch.delenv(VARIABLE)
    expected = f"{ONE_COMPILER} -XX:SharedArchiveFile={tmp_path}/{quick_java.archive().name}"
    assert told(monkeypatch, tmp_path) == expected


def test_options_of_others_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "-Xint")
    assert told(monkeypatch, tmp_path) == "-Xint"
