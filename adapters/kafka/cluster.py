"""Keeps the metadata of an aiokafka client up to date, whatever happens to its connections.

The client has a task that fetches metadata when somebody asks for it. The task ends
without a word on any error that it does not expect, such as the RuntimeError of uvloop when it
writes to a connection that was reset just now. From then on whoever looks for the group's
coordinator, or for a partition's leader, waits for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

_PAUSE_S: Final = 0.1
_log: Final = structlog.get_logger(__name__)


def keep_informed(client: Any) -> None:
    """Restart a started client's metadata task whenever it fails, until the client is closed."""
    client._sync_task.cancel()
    client._sync_task = asyncio.create_task(_inform(client), name="cluster")


async def _inform(client: Any) -> None:
    while True:
        try:
            await client._md_synchronizer()
        except Exception as error:  # noqa: BLE001 - none of them may end it.
            _log.warning("cluster.asked_again", why=repr(error))
        await asyncio.sleep(_PAUSE_S)
        if not client._md_update_waiter.done():  # Somebody may wait for an answer already.
            client._md_update_waiter.set_result(None)
