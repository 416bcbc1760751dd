"""The catalogue with ladders so short that every rung is reached within seconds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from orchestrator.settings import Settings

_SHORT: Final = """
response_timeout = "1500ms"
expires_after = "20s"
every = "600ms"
pending_every = "800ms"
pending_until = "10s"
tell_after = "2500ms"
call_after = "6s"
"""
_GIVES_UP: Final = """
rungs = ["inquire", "resend"]
times = 3
cancel = true
cancel_every = "400ms"
cancel_quick = 2
cancel_slowest = "2s"
cancel_until = "10s"
"""
_LATE: Final = {
    "citi": 'late_no = ["charge", "loss"]',
    "harbour": 'late_no = ["park"]',
    "alipayhk": 'late_yes = ["reverse", "charge", "loss"]',
    "pacificair": 'late_yes = ["charge", "loss"]',
}
"""A different remedy for each, so that all are taken."""


def short_ladders(folder: Path) -> Path:
    """Write the catalogue of `deploy/` with short ladders, and return its folder."""
    deploy = folder / "deploy"
    shutil.copytree(Settings().deploy / "programmes", deploy / "programmes")
    (deploy / "participants").mkdir()
    for name, (do, undo) in {
        "citi": ("deduct", "return"),
        "harbour": ("deduct", "return"),
        "alipayhk": ("credit", "reverse"),
        "pacificair": ("credit", "reverse"),
    }.items():
        text = f'id = "{name}"\nversion = 1\nname = "{name}"\n'
        text += f"[legs.{do}]\n{_SHORT}{_GIVES_UP}{_LATE[name]}\n"
        # A return is repeated for ever; of a reversal there is an end, and then a person's turn.
        limits = "" if undo == "return" else "times = 6\n"
        text += f"[legs.{undo}]\n{_SHORT}{limits}"
        (deploy / "participants" / f"{name}.toml").write_text(text)
    return deploy
