"""`uprp demo` as a person runs it: a process, its exit code, its report, what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from adapters.demo.scenarios import REQUESTS
from adapters.embedded.postgres import EmbeddedPostgres
from tests.support import wait_until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

UPRP: Final = (sys.executable, "-m", "adapters.cli.main")
ROOT: Final = Path(__file__).resolve().parents[2]
PLAYS_WITHIN_S: Final = 120.0


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The demo with its own working directory, cache apart; what it says is in files there."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir(exist_ok=True)
    for path in (folder, folder / "tmp"):
        path.chmod(0o711)  # PostgreSQL's account passes through.
    with (
        (folder / "stdout").open("wb") as out,
        (folder / "stderr").open("wb") as err,
        subprocess.Popen(
            [*UPRP, "demo", *options], cwd=folder, env=environment, stdout=out, stderr=err
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def words(folder: Path) -> str:
    return (folder / "stdout").read_text() + (folder / "stderr").read_text()


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "build" / "demo.json").read_text())
    return found


def test_it_ends_badly_when_a_request_does_not_end_as_its_file_says(tmp_path: Path) -> None:
    requests = tmp_path / "requests"
    requests.mkdir()
    lines = (REQUESTS / "citi-alipayhk.jsonl").read_text().splitlines()
    success = next(line for line in lines if '"charged": 25000' in line)
    (requests / "one.jsonl").write_text(success.replace('"charged": 25000', '"charged": 24999'))
    with demo(tmp_path, "--requests", str(requests)) as process:
        code = process.wait(PLAYS_WITHIN_S)
    assert code == 1, words(tmp_path)
    report = report_of(tmp_path)
    assert not report["passed"]
    assert report["books"]["balanced"], "only the expectation is wrong"
    assert "charged is 25000, expected was 24999" in report["requests"][0]["problems"]
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    (
        ("Creating PostgreSQL's data folder", signal.SIGTERM, 128 + signal.SIGTERM),
        ("Starting the coordinator", signal.SIGINT, 128 + signal.SIGINT),
        ("deduct 25,000 points", signal.SIGINT, 128 + signal.SIGINT),
    ),
)
def test_broken_off_it_leaves_nothing(
    tmp_path: Path, moment: str, number: signal.Signals, code: int
) -> None:
    with demo(tmp_path) as process:

        def reached() -> bool:
            assert process.poll() is None, words(tmp_path)
            return moment in words(tmp_path)

        wait_until(reached, PLAYS_WITHIN_S, moment)
        family = psutil.Process(process.pid).children(recursive=True)
        assert family
        (folder,) = (tmp_path / "tmp").iterdir()
        cluster = EmbeddedPostgres(folder / "postgres").cluster  # Elsewhere, for root.
        process.send_signal(number)
        assert process.wait(30) == code, words(tmp_path)
    # Whoever adopts an orphan reaps it when it likes; what counts is that nothing runs.
    wait_until(lambda: not any(_runs(one.pid) for one in family), 10, "the family is gone")
    assert not list((tmp_path / "tmp").iterdir())
    assert not list(cluster.parent.glob(f"{cluster.name}*"))
    assert not (tmp_path / ".uprp").exists()


def check(report: dict[str, Any]) -> None:
    """Everything that should happen did."""
    assert report["schema"] == "uprp.demo/1"
    assert (report["passed"], report["problems"]) == (True, [])
    assert report["books"]["balanced"]
    texts = [path.read_text() for path in REQUESTS.glob("*.jsonl")]
    asked = sum(line.startswith("{") for text in texts for line in text.splitlines())
    assert [request["as_expected"] for request in report["requests"]] == [True] * asked
    seen = [(one["seen"].get("status"), one["seen"].get("code")) for one in report["requests"]]
    for wanted in (
        ("SUCCESS", None),
        ("PARTIAL_SUCCESS", "OFFER_BUDGET_EXHAUSTED"),
        ("REJECTED", "BELOW_MINIMUM"),
        ("FAILED_NOTHING_DEDUCTED", "INSUFFICIENT_POINTS"),
        ("FAILED_POINTS_RETURNED", "PARTNER_DECLINED"),
        ("REJECTED", "RATE_CHANGED"),
        ("ANSWERED", None),
        ("UNAVAILABLE", "TIMEOUT"),
        ("UNAVAILABLE", "MEMBER_UNKNOWN"),
    ):
        assert wanted in seen
    questions = [one["seen"] for one in report["requests"] if "balance" in str(one["request_id"])]
    assert report["books"]["questions"] == len(questions) - 1, "one was asked twice"
    assert [one.get("max_redeemable_now") for one in questions].count(0) == 1, "the dead zone"
    read = [one for one in report["sagas"] if one["asked"].startswith("balance of ")]
    assert len(read) == report["books"]["questions"]
    assert not any(one["timeline"] for one in read)
    back = [one["seen"].get("return_required", 0) for one in report["requests"]]
    assert sorted(points for points in back if points) == [2_000, 6_000, 9_000, 10_000]
    letters = [one["seen"].get("dead_letter") for one in report["requests"]]
    assert {"poison", "refused"} < set(letters)
    assert any(one["seen"].get("again") for one in report["requests"])
    card = next(one for one in report["balances"] if one["account"] == "card-001")
    assert (card["before"], card["after"], card["told"]) == (80_000, 55_000, -25_000)


def test_it_ends_well_and_when_kept_runs_on_until_it_is_told(tmp_path: Path) -> None:
    def uprp(*command: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [*UPRP, *command],
            cwd=tmp_path,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=PLAYS_WITHIN_S,
        )

    try:
        with demo(tmp_path, "--keep") as process:
            code = process.wait(PLAYS_WITHIN_S)
        assert code == 0, words(tmp_path)
        assert "The books balance" in words(tmp_path)
        check(report_of(tmp_path))
        services = tmp_path / ".uprp" / "services"
        pids = [json.loads(path.read_text())["pid"] for path in services.glob("*.json")]
        assert len(pids) == 2
        assert all(psutil.pid_exists(pid) for pid in pids)
        assert uprp("status").returncode == 0
        asked = {
            "origin": "alipayhk",
            "data": {
                "request_id": "by-hand",
                "programme": "citi-alipayhk-coupons",
                "account": "wallet-009",
                "debtor_account": "card-009",
                "lines": [{"item": "hkd50", "quantity": 2}],
            },
        }
        (tmp_path / "asked.jsonl").write_text(json.dumps(asked))
        told = uprp("request", "asked.jsonl", "--wait")
        assert told.returncode == 0, told.stderr
        assert "by-hand r1 SUCCESS" in told.stdout
        again = uprp("demo", "--keep")
        assert again.returncode == 2
        assert "uprp down --delete-data" in again.stderr
    finally:
        down = uprp("down", "--delete-data")
    assert down.returncode == 0, down.stderr
    wait_until(lambda: not any(map(_runs, pids)), 10, "the coordinator and the sandbox are gone")
    assert not (tmp_path / ".uprp").exists()


def _runs(pid: int) -> bool:
    """Whether a process still does anything; one that only waits to be reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
