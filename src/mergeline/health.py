"""Liveness, readiness and metrics over HTTP.

In: two questions that the worker answers. Out: `/live` (the loop turns, or nobody would answer), `/ready`
(partitions open, database reachable) and `/metrics`. Never: a verdict of its own, or anything that needs a secret.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from mergeline.metrics import REGISTRY

READY_TIMEOUT_S: Final = 2.0


class HealthServer:
    """Serves from `start` to `stop`.

    Args:
        host: address to listen on.
        port: 0 listens nowhere.
        not_ready: what keeps the worker from being ready, or None.
    """

    def __init__(self, host: str, port: int, not_ready: Callable[[], Awaitable[str | None]]) -> None:
        self._host, self._port, self._not_ready = host, port, not_ready
        application = web.Application()
        application.add_routes([web.get("/live", _live), web.get("/ready", self._ready), web.get("/metrics", _metrics)])
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: if the port is taken.
        """
        if self._port:
            await self._runner.setup()
            await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """Listen no more."""
        await self._runner.cleanup()

    async def _ready(self, _: web.Request) -> web.Response:
        try:
            reason = await asyncio.wait_for(self._not_ready(), READY_TIMEOUT_S)
        except TimeoutError:
            reason = "the database does not answer"
        return web.Response(text=f"{reason or 'ready'}\n", status=503 if reason else 200)


async def _live(_: web.Request) -> web.Response:
    return web.Response(text="live\n")


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(body=generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})
