"""Children are reported when they fail, and nobody else's process is ever touched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from adapters.embedded import postgres
from adapters.embedded.doctor import output_of
from adapters.embedded.environment import DetachedEnvironment
from adapters.embedded.kafka import EmbeddedKafka, jars_folder
from adapters.embedded.processes import (
    Account,
    Child,
    EmbeddedError,
    complete,
    finish,
    free_port,
    is_free,
    spawn,
    until,
)
from tests.support import wait_until


def shell(script: str, folder: Path) -> Child:
    log = folder / "log.txt"
    return spawn(["/bin/sh", "-c", script], folder=folder, log=log, environment=os.environ)


def test_a_child_that_dies_early_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = shell("echo the reason; exit 3", tmp_path)
    waiting = until(lambda: False, child, deadline_s=30, what="it does not start")
    with pytest.raises(EmbeddedError, match=r"(?s)it does not start: .*ended early.*the reason"):
        finish(waiting)


def test_a_child_that_takes_too_long_is_reported(tmp_path: Path) -> None:
    child = shell("echo still busy; exec sleep 60", tmp_path)
    with pytest.raises(EmbeddedError, match="not done after 0 s"):
        finish(complete(child, deadline_s=0.2, what="it works"))
    assert child.process() is None


def test_a_command_is_given_up_with_all_that_it_started(tmp_path: Path) -> None:
    """As initdb, whose own children would go on to write into a folder that is being deleted."""
    child = shell("/bin/sh -c 'echo $$; sleep 60; echo late' & wait", tmp_path)
    work = complete(child, deadline_s=30, what="it works")
    wait_until(lambda: next(work) or child.log.read_text(), 10, "it has started another")
    other = psutil.Process(int(child.log.read_text()))
    wait_until(other.children, 10, "and that one a third")
    (third,) = other.children()
    work.close()
    assert child.process() is None
    assert not other.is_running()
    assert not third.is_running()


def test_a_command_that_fails_is_reported_with_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"(?s)exit code 3.*the reason"):
        finish(complete(shell("echo the reason; exit 3", tmp_path), deadline_s=30, what="it"))


def test_a_recycled_pid_is_never_killed(tmp_path: Path) -> None:
    """A pid file that names a living process with another start time names nobody."""
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        try:
            started = psutil.Process(stranger.pid).create_time() - 3600
            row = json.dumps({"pid": stranger.pid, "started": started})
            (tmp_path / "process.json").write_text(row)
            server = EmbeddedKafka(tmp_path)
            assert server.pid is None
            server.stop()
            server.kill()
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_pid_file_finds_the_process_again(tmp_path: Path) -> None:
    child = shell("exec sleep 60", tmp_path)
    child.save(tmp_path / "process.json")
    server = EmbeddedKafka(tmp_path)
    assert server.pid == child.pid
    server.kill()
    assert not psutil.pid_exists(child.pid)


def test_a_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    port = free_port()
    assert is_free(port)
    assert port < low


def test_two_who_need_the_jars_fetch_them_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        f"with open({str(tmp_path / 'calls')!r}, 'a') as calls: calls.write('x')\n"
        "libs = pathlib.Path(sys.argv[-1].removeprefix('-DoutputDirectory='))\n"
        "libs.mkdir()\n"
        "(libs / 'kafka_2.13-0.jar').touch()\n"
    )
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{maven.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("UPRP_CACHE_DIR", str(tmp_path / "cache"))
    told: list[str] = []
    ours, theirs = EmbeddedKafka(tmp_path / "a"), EmbeddedKafka(tmp_path / "b")
    finish(ours.fetching(told.append), theirs.fetching(told.append))
    assert (tmp_path / "calls").read_text() == "x"
    assert [path.name for path in jars_folder().iterdir()] == ["kafka_2.13-0.jar"]
    assert [text.split()[0] for text in told] == ["Fetching", "Waiting"]
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert left == {"kafka.lock", jars_folder().name}


def test_a_fetch_that_fails_leaves_nothing_that_looks_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho no route\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("UPRP_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(EmbeddedError, match=r"(?s)Maven cannot fetch.*no route"):
        EmbeddedKafka(tmp_path / "a").fetch()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["kafka.lock"]


def test_binaries_that_the_account_cannot_reach_are_copied_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "account", lambda: Account(os.getuid(), os.getgid()))
    monkeypatch.setattr(postgres, "open_to_all", lambda _path: False)
    monkeypatch.setattr(postgres, "SHARED_CACHE", tmp_path)
    finish(postgres.installing())
    finish(postgres.installing())
    assert postgres.binaries().is_relative_to(tmp_path)
    for command in ("initdb", "psql", "postgres"):
        assert "18" in output_of([str(postgres.binaries() / command), "--version"])


def test_a_folder_that_was_never_up_has_no_endpoints(tmp_path: Path) -> None:
    status = DetachedEnvironment(tmp_path / ".uprp").status()
    assert not status.running
    assert (status.bootstrap_servers, status.dsn) == (None, None)
    assert not (tmp_path / ".uprp").exists()
