"""The catalogue with ladders so short that every rung is reached within seconds."""

from __future__ import annotations

import shutil
import tomllib
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
_HEALTH: Final = """
[health]
breaker_window = "5s"
breaker_failure_percent = 70
open_for = "2s"
"""
_HOLDS: Final = {"pacificair", "unionpay"}
"""While they are out, new sagas wait for them; for the others they are refused."""
_LATE: Final = {
    "citi": 'late_no = ["charge", "loss"]',
    "harbour": 'late_no = ["park"]',
    "alipayhk": 'late_yes = ["reverse", "charge", "loss"]',
    "pacificair": 'late_yes = ["charge", "loss"]',
    "unionpay": 'late_yes = ["loss"]',
}
"""A different remedy for each, so that all are taken."""


def short_ladders(folder: Path) -> Path:
    """Write the catalogue of `deploy/` with short ladders, and return its folder."""
    deploy, ours = folder / "deploy", Settings().deploy
    shutil.copytree(ours / "programmes", deploy / "programmes")
    (deploy / "participants").mkdir()
    for path in sorted((ours / "participants").glob("*.toml")):
        name = path.stem
        text = f'id = "{name}"\nversion = 1\nname = "{name}"\n'
        for verb in tomllib.loads(path.read_text("utf-8"))["legs"]:
            text += f"[legs.{verb}]\n{_SHORT}"
            if verb != "balance":  # Nobody is called for a question.
                text += 'call_after = "6s"\n'
            if verb in ("deduct", "credit"):
                text += f"{_GIVES_UP}{_LATE.get(name, '')}\n"
            elif verb == "reverse":  # A return is repeated for ever; of this there is an end.
                text += "times = 6\n"
        text += _HEALTH
        if name in _HOLDS:
            text += 'when_unavailable = "hold"\nhold_for = "10s"\n'
        (deploy / "participants" / path.name).write_text(text)
    return deploy
