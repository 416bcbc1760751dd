"""Where fetched and copied artefacts live, and who may enter a folder."""

import fcntl
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from adapters.embedded.processes import Account, Progress, Steps

# Used as root only, when the folder of choice lies where an unprivileged account cannot enter.
SHARED_CACHE: Final = Path("/var/cache/uprp")
SHARED_DATA: Final = Path("/var/lib/uprp")


def cache_folder() -> Path:
    """Return the folder for artefacts: UPRP_CACHE_DIR, XDG_CACHE_HOME/uprp or ~/.cache/uprp."""
    if chosen := os.environ.get("UPRP_CACHE_DIR"):
        return Path(chosen).absolute()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).absolute() / "uprp"
    return Path.home() / ".cache" / "uprp"


def open_to_all(path: Path) -> bool:
    """Tell whether any account may read `path`, and enter it and every folder above it."""
    needed = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
    if path.exists() and path.stat().st_mode & needed != needed:
        return False
    return all(
        folder.stat().st_mode & stat.S_IXOTH
        for folder in path.absolute().parents
        if folder.exists()
    )


def hand_over(folder: Path, account: Account) -> None:
    """Give a folder to an account, which alone may enter it from then on."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)


@contextmanager
def lock(path: Path) -> Generator[int]:
    """Open a lock file; `locked` waits for it, and leaving the context lets go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield handle
    finally:
        os.close(handle)


def locked(handle: int, progress: Progress, who: str) -> Steps:
    """Wait until no other process holds the lock; the kernel frees it when a holder dies."""
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                progress(f"Waiting for another process: {who}")
                told = True
            yield
        else:
            return
