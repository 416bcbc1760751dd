"""`make setup` fills the checkout's own .venv and leaves every other interpreter as it is.

What somebody has set for other work may say where pip and uv install: here it has no effect. What
it says of mirrors and proxies holds.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from tests.setup.workspace import Workspace, pinned_uv

INSTALLED: Final = {f"uv {pinned_uv()}", "pinned 1", "uprp 1"}
HOST: Final = "mirror.invalid"
MIRROR: Final = f"http://{HOST}/simple"


@dataclass(frozen=True, slots=True)
class Setting:
    """Variables, and the text of pip's and of uv's file.

    `SYSTEM` is the folder of the interpreter that must stay as it is; its packages are `PACKAGES`.
    """

    variables: dict[str, str] = field(default_factory=dict)
    pip: str = ""
    uv: str = ""

    def on(self, workspace: Workspace) -> dict[str, str]:
        """Write the files into the home; return the variables."""

        def full(text: str) -> str:
            return text.replace("SYSTEM", str(workspace.system)).replace(
                "PACKAGES", str(workspace.packages)
            )

        for name, text in (("pip/pip.conf", self.pip), ("uv/uv.toml", self.uv)):
            if text:
                path = workspace.home / ".config" / name
                path.parent.mkdir(parents=True)
                path.write_text(full(text))
        return {key: full(text) for key, text in self.variables.items()}


READ_BY_UV: Final = {
    "CONDA_PREFIX": Setting({"CONDA_PREFIX": "SYSTEM"}),
    "UV_PYTHON": Setting({"UV_PYTHON": "SYSTEM/bin/python3"}),
    "UV_SYSTEM_PYTHON": Setting({"UV_SYSTEM_PYTHON": "1", "UV_BREAK_SYSTEM_PACKAGES": "1"}),
    "UV_WORKING_DIR": Setting({"UV_WORKING_DIR": "SYSTEM"}),
    "VIRTUAL_ENV": Setting({"VIRTUAL_ENV": "SYSTEM/venv"}),
    # None of these was ever seen to redirect what the Makefile does; one might with another uv.
    "others": Setting(
        {
            "UV_PREFIX": "SYSTEM/other",
            "UV_PROJECT": "SYSTEM",
            "UV_PROJECT_ENVIRONMENT": "SYSTEM/venv",
            "UV_PYTHON_PREFERENCE": "only-system",
            "UV_TARGET": "SYSTEM/other",
        }
    ),
    "uv.toml: python": Setting(uv='[pip]\npython = "SYSTEM/bin/python3"'),
    "uv.toml: system": Setting(uv="[pip]\nsystem = true\nbreak-system-packages = true"),
    "uv.toml: target": Setting(uv='[pip]\ntarget = "SYSTEM/other"'),
    "uv.toml: prefix": Setting(uv='[pip]\nprefix = "SYSTEM/other"'),
}
READ_BY_PIP: Final = {
    "PIP_PREFIX": Setting({"PIP_PREFIX": "SYSTEM/other"}),
    "PIP_PYTHON": Setting({"PIP_PYTHON": "SYSTEM/bin/python3"}),
    "PIP_ROOT": Setting({"PIP_ROOT": "SYSTEM/other"}),
    "PIP_TARGET": Setting({"PIP_TARGET": "SYSTEM/other"}),
    "PIP_USER": Setting(
        {"PIP_USER": "1", "PYTHONUSERBASE": "SYSTEM/other", "PIP_REQUIRE_VIRTUALENV": "1"}
    ),
    "pip.conf: user": Setting(pip="[install]\nuser = true"),
    "pip.conf: python": Setting(pip="[global]\npython = SYSTEM/bin/python3"),
    "pip.conf: target": Setting(pip="[global]\ntarget = SYSTEM/other"),
    "pip.conf: prefix, root": Setting(pip="[install]\nprefix = SYSTEM/a\nroot = SYSTEM/b"),
}
READ_BY_PYTHON: Final = {
    # As left there for a Python of another version.
    "PYTHONHOME": Setting({"PYTHONHOME": "SYSTEM/other"}),
    "PYTHONPATH": Setting({"PYTHONPATH": "PACKAGES"}),
    "PYTHONPLATLIBDIR": Setting({"PYTHONPLATLIBDIR": "lib64"}),
}
MIRRORED: Final = {
    "in variables": Setting(
        {
            "PIP_INDEX_URL": MIRROR,
            "PIP_TRUSTED_HOST": HOST,
            "PIP_USER": "1",
            "UV_DEFAULT_INDEX": MIRROR,
            "UV_SYSTEM_PYTHON": "1",
        }
    ),
    "in files": Setting(
        pip=f"[global]\nindex-url = {MIRROR}\ntrusted-host = {HOST}\nuser = true",
        uv=f'[[index]]\nurl = "{MIRROR}"\ndefault = true\n[pip]\nsystem = true',
    ),
}


@pytest.fixture(scope="module")
def _workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("setup"))


@pytest.fixture(scope="module")
def _workspace_of_uv(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("setup"), pip=False)


@pytest.fixture
def workspace(_workspace: Workspace) -> Workspace:
    _workspace.begin_again()
    return _workspace


@pytest.fixture
def workspace_of_uv(_workspace_of_uv: Workspace) -> Workspace:
    _workspace_of_uv.begin_again()
    return _workspace_of_uv


def sets_up_itself_alone(workspace: Workspace, variables: dict[str, str]) -> None:
    before = workspace.elsewhere()
    workspace.make("setup", variables)
    assert workspace.elsewhere() == before
    assert workspace.landed() >= INSTALLED


@pytest.mark.parametrize("name", READ_BY_UV)
def test_what_uv_reads_moves_nothing(workspace_of_uv: Workspace, name: str) -> None:
    variables = READ_BY_UV[name].on(workspace_of_uv)
    sets_up_itself_alone(workspace_of_uv, workspace_of_uv.folder_of_wheels | variables)


@pytest.mark.parametrize("name", READ_BY_PIP)
def test_what_pip_reads_moves_nothing(workspace: Workspace, name: str) -> None:
    sets_up_itself_alone(workspace, workspace.folder_of_wheels | READ_BY_PIP[name].on(workspace))


@pytest.mark.parametrize("name", READ_BY_PYTHON)
def test_what_python_reads_moves_nothing(workspace: Workspace, name: str) -> None:
    variables = workspace.folder_of_wheels | READ_BY_PYTHON[name].on(workspace)
    sets_up_itself_alone(workspace, variables)
    prefix, *path = json.loads(workspace.make("bench", variables))
    assert prefix == str(workspace.checkout / ".venv")
    assert str(workspace.packages) not in path


def test_everything_at_once_moves_nothing_where_no_environment_is_yet(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.begin_again()
    shutil.rmtree(workspace.checkout / ".venv")
    settings = [*READ_BY_UV.values(), *READ_BY_PIP.values(), *READ_BY_PYTHON.values()]
    variables = {key: text for one in settings for key, text in one.variables.items()}
    pip = "[global]\nuser = true\ntarget = SYSTEM/other\npython = SYSTEM/bin/python3"
    uv = '[pip]\nsystem = true\ntarget = "SYSTEM/other"'
    variables = Setting(variables, pip, uv).on(workspace)
    sets_up_itself_alone(workspace, workspace.folder_of_wheels | variables)


class Proxy(ThreadingHTTPServer):
    """Serves a folder in the name of whatever host it is asked for; `asked` is what for."""

    def __init__(self, folder: Path) -> None:
        self.asked: set[str] = set()
        super().__init__(("127.0.0.1", 0), partial(Pages, directory=str(folder)))


class Pages(SimpleHTTPRequestHandler):
    """A request to a proxy names the whole URL, of which each part is a folder here."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        assert isinstance(self.server, Proxy)
        self.server.asked.add(self.path)


@contextmanager
def proxy(workspace: Workspace, folder: Path) -> Iterator[Proxy]:
    """A proxy behind which the mirror is, with uv and the package that is pinned."""
    for path in workspace.wheels.iterdir():
        page = folder / MIRROR / path.name.partition("-")[0]
        page.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, page)
    with Proxy(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", MIRRORED)
def test_mirrors_and_proxies_hold(workspace: Workspace, tmp_path: Path, name: str) -> None:
    with proxy(workspace, tmp_path) as server:
        address = {"HTTP_PROXY": f"http://127.0.0.1:{server.server_port}"}
        sets_up_itself_alone(workspace, address | MIRRORED[name].on(workspace))
    served = {path.rpartition("/")[2] for path in server.asked}
    assert served >= {f"uv-{pinned_uv()}-py3-none-any.whl", "pinned-1-py3-none-any.whl"}
