"""Translates what the driver raises while the database is away into the errors of the ports."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg

from orchestrator.errors import Unavailable

TEMPORARY_ERRORS: Final = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
    asyncpg.DiskFullError,
    # What asyncpg says of a session that the server ended between two statements of a batch.
    asyncpg.InternalClientError,
)
"""Errors that may not come again when the same is tried later."""


class translated:  # noqa: N801  # A context manager, named as contextlib names its own.
    """Within the block, temporary errors of the driver become Unavailable; others are defects."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TEMPORARY_ERRORS):
            raise Unavailable(f"PostgreSQL: {error or type(error).__name__}") from error
