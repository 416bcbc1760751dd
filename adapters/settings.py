"""The settings with which a command of `uprp` works."""

from __future__ import annotations

import os
from typing import Any

import typer
from pydantic import SecretStr, ValidationError

from adapters.console import EXIT_USAGE, complain
from adapters.embedded.environment import FOLDER, DetachedEnvironment
from orchestrator.settings import Settings, unknown_variables

_KAFKA = "UPRP_KAFKA__BOOTSTRAP_SERVERS"
_POSTGRES = "UPRP_POSTGRES__DSN"


def read_settings() -> Settings:
    """The settings of this process; where no server is named, those of `uprp up` in this folder.

    Exits with 2 on a setting that is wrong or unknown, naming it.
    """
    for name, near in unknown_variables():
        complain(f"{name} is not a setting; did you mean {near}?\nnext: uprp config show")
        raise typer.Exit(EXIT_USAGE)
    try:
        settings = Settings()
    except ValidationError as error:
        for found in error.errors(include_url=False, include_input=False):
            name = "__".join(str(part) for part in found["loc"]).upper()
            complain(f"UPRP_{name}: {found['msg']}")
        raise typer.Exit(EXIT_USAGE) from None
    if _KAFKA in os.environ and _POSTGRES in os.environ:
        return settings
    return _with_embedded(settings)


def _with_embedded(settings: Settings) -> Settings:
    if not FOLDER.exists():
        return settings
    found = DetachedEnvironment(FOLDER).status()
    if not found.running:
        return settings
    changes: dict[str, Any] = {}
    if _KAFKA not in os.environ:
        servers = {"bootstrap_servers": found.bootstrap_servers}
        changes["kafka"] = settings.kafka.model_copy(update=servers)
    if _POSTGRES not in os.environ:
        dsn = {"dsn": SecretStr(found.dsn or "")}
        changes["postgres"] = settings.postgres.model_copy(update=dsn)
    return settings.model_copy(update=changes)
