"""`/livez`, `/readyz` and `/metrics` on one port (`operations.md`, Health)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], Awaitable[str | None]]
"""None when all is well, else what is not."""


class HealthServer:
    """Serves health and metrics; liveness never asks Kafka or PostgreSQL."""

    def __init__(
        self, *, host: str, port: int, live: Check, ready: Check, registry: CollectorRegistry
    ) -> None:
        self._host = host
        self._port = port
        self._live = live
        self._ready = ready
        self._registry = registry
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; returns the port, which matters when 0 was asked for."""
        app = web.Application()
        app.router.add_get("/livez", self._answer(self._live))
        app.router.add_get("/readyz", self._answer(self._ready))
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _answer(self, check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(_request: web.Request) -> web.Response:
            problem = await check()
            if problem is None:
                return web.json_response({"status": "ok"})
            return web.json_response(
                {"type": "about:blank", "title": "not ready", "status": 503, "detail": problem},
                status=503,
                content_type="application/problem+json",
            )

        return handle

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
