"""A checkout that is set up in a second, beside an interpreter that must stay as it is.

Every package is made here and lies in a folder: no test asks a package registry.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PYTHON: Final = f"python{sys.version_info[0]}.{sys.version_info[1]}"
SITE: Final = Path("lib") / PYTHON / "site-packages"
PROJECT: Final = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "uprp"
version = "1"
"""
BACKEND: Final = """
import shutil

def build_editable(folder, config_settings=None, metadata_directory=None):
    return shutil.copy({wheel!r}, folder).rpartition("/")[2]
"""
# What `make bench` runs: it says which interpreter a target gets, and what that would import.
BENCH: Final = "import json, sys; print(json.dumps([sys.prefix, *sys.path]))"
FOREIGN: Final = (
    *("CONDA_", "PIP_", "PYTHON", "UV_", "VIRTUAL_ENV", "XDG_", "MAKE", "MFLAGS"),
    *("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT"),
)


class Workspace:
    """The checkout, the interpreter that stands for the system's, and a home for settings.

    The checkout has its environment already, with pip in it. Without `pip`, it has uv instead and
    what is called pip does nothing, in a fifth of the time: for settings that only uv reads.
    """

    def __init__(self, folder: Path, *, pip: bool = True) -> None:
        self.checkout = folder / "checkout"
        self.system = folder / "system"
        self.home = folder / "home"
        self.wheels = folder / "wheels"
        self._kept = ("pip",) if pip else ("pip", "uv")
        for made in (self.checkout / "tests", self.home, self.wheels):
            made.mkdir(parents=True)
        self._make_wheels()
        self._make_checkout()
        self.packages = self._make_system()
        self._make_environment()

    @property
    def variables(self) -> dict[str, str]:
        """This process's variables without any setting of pip, uv or Python.

        The copy of the interpreter comes first on the path: what goes wrong harms it alone.
        """
        kept = {
            key: text for key, text in os.environ.items() if not key.upper().startswith(FOREIGN)
        }
        return kept | {
            "HOME": str(self.home),
            "PATH": f"{self.system / 'bin'}:{os.defpath}",
            "PYTHON": "python3",
            "UV_PYTHON_DOWNLOADS": "never",
        }

    @property
    def folder_of_wheels(self) -> dict[str, str]:
        """Variables that lead both tools to the folder of packages, and nowhere else."""
        return {
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_NO_INDEX": "1",
            "UV_FIND_LINKS": str(self.wheels),
            "UV_OFFLINE": "1",
        }

    def make(self, target: str, variables: Mapping[str, str]) -> str:
        """Run make in the checkout with these beside our own; return what it printed."""
        done = subprocess.run(
            ["make", "--no-print-directory", target],
            cwd=self.checkout,
            env={**self.variables, **variables},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def begin_again(self) -> None:
        """Take out of the checkout what setup puts there; put back all that is elsewhere."""
        environment = self.checkout / ".venv"
        for path in (*(environment / SITE).iterdir(), *environment.glob("bin/uv")):
            if not path.name.startswith(self._kept):
                remove(path)
        (environment / ".ready").unlink(missing_ok=True)
        for path in (self.packages, self.home):
            remove(path)
            path.mkdir(parents=True)
        # Another version of what is pinned, what nobody pins, and uv as if it were there already.
        for name in ("pinned-0", "foreign-1", f"uv-{pinned_uv()}"):
            self._unpack(name, self.packages)

    def landed(self) -> set[str]:
        """Packages in the checkout's environment."""
        found = distributions(path=[str(self.checkout / ".venv" / SITE)])
        return {f"{one.name} {one.version}" for one in found}

    def elsewhere(self) -> set[str]:
        """Every file that a setup gone wrong would make or take away."""
        return {
            str(Path(folder, name))
            for root in (self.system, self.home / ".local")
            for folder, _, names in os.walk(root)
            for name in names
            if not name.endswith(".pyc")
        }

    def _make_wheels(self) -> None:
        self._make_wheel("uv", pinned_uv(), {f"uv-{pinned_uv()}.data/scripts/uv": uv()})
        for name, version in (("uprp", "1"), ("pinned", "1"), ("pinned", "0"), ("foreign", "1")):
            self._make_wheel(name, version, {f"{name}_module.py": ""})

    def _make_wheel(self, name: str, version: str, files: Mapping[str, str]) -> None:
        about = f"{name}-{version}.dist-info"
        texts = {
            **files,
            f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = f"{about}/RECORD"
        texts[record] = "".join(f"{path},,\n" for path in (*texts, record))
        with zipfile.ZipFile(self._wheel(f"{name}-{version}"), "w") as archive:
            for path, text in texts.items():
                entry = zipfile.ZipInfo(path)
                entry.external_attr = 0o100755 << 16  # Else pip leaves the script without `x`.
                archive.writestr(entry, text)

    def _wheel(self, name: str) -> Path:
        return self.wheels / f"{name}-py3-none-any.whl"

    def _unpack(self, name: str, folder: Path) -> None:
        with zipfile.ZipFile(self._wheel(name)) as archive:
            archive.extractall(folder)

    def _make_checkout(self) -> None:
        shutil.copy(ROOT / "Makefile", self.checkout)
        (self.checkout / "pyproject.toml").write_text(PROJECT)
        backend = BACKEND.format(wheel=str(self._wheel("uprp-1")))
        (self.checkout / "backend.py").write_text(backend)
        digest = sha256(self._wheel("pinned-1").read_bytes()).hexdigest()
        (self.checkout / "requirements.lock").write_text(f"pinned==1 --hash=sha256:{digest}\n")
        (self.checkout / "tests" / "bench.py").write_text(BENCH)

    def _make_system(self) -> Path:
        """Copy our interpreter, with its libraries by links; return where its packages go.

        A virtual environment would not do: uv passes over it in search of the system's Python.
        """
        binaries, library = self.system / "bin", self.system / "lib" / PYTHON
        for made in (binaries, library):
            made.mkdir(parents=True)
        shutil.copy(Path(sys.executable).resolve(), binaries / PYTHON)
        for name in ("python", "python3"):
            (binaries / name).symlink_to(PYTHON)
        for path in Path(sysconfig.get_path("stdlib")).iterdir():
            # A distribution's mark tells pip and uv to keep away; here it would hide the harm.
            if not path.name.endswith("-packages") and path.name != "EXTERNALLY-MANAGED":
                (library / path.name).symlink_to(path)
        asked = "import sys, sysconfig; print(sys.prefix, sysconfig.get_path('purelib'), sep='\\n')"
        done = subprocess.run(
            [binaries / PYTHON, "-I", "-c", asked], check=True, capture_output=True, text=True
        )
        prefix, packages = done.stdout.splitlines()
        assert Path(prefix) == self.system, "the copy would be the system itself"
        Path(packages).mkdir(parents=True)
        make_environment(self.system / "venv")
        return Path(packages)

    def _make_environment(self) -> None:
        environment = self.checkout / ".venv"
        make_environment(environment)
        if "uv" in self._kept:
            (environment / SITE / "pip.py").touch()
            self._unpack(f"uv-{pinned_uv()}", environment / SITE)
            script = environment / "bin" / "uv"
            script.write_text(uv())
            script.chmod(0o755)
        else:
            for path in Path(sysconfig.get_path("purelib")).glob("pip*"):
                shutil.copytree(path, environment / SITE / path.name)


def pinned_uv() -> str:
    """The version of uv that the Makefile names."""
    found = re.search(r"^UV := uv==(\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def uv() -> str:
    """The uv that set up this project, as light as a package can be."""
    return f"#!/bin/sh\nexec '{sysconfig.get_path('scripts')}/uv' \"$@\"\n"


def make_environment(folder: Path) -> None:
    """Make a virtual environment without pip, which takes most of the time."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)


def remove(path: Path) -> None:
    """Delete a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
