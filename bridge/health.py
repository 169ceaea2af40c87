"""Whether the bridge can carry messages, for who watches it."""

from __future__ import annotations

import asyncio

import asyncpg
from aiohttp import web

from bridge.accounts import Accounts
from bridge.relay import Relay
from bridge.settings import Bridge


class Health:
    """GET /healthz."""

    def __init__(self, settings: Bridge, pool: asyncpg.Pool, accounts: Accounts, relay: Relay) -> None:
        self._settings = settings
        self._pool = pool
        self._accounts = accounts
        self._relay = relay

    def routes(self) -> list[web.RouteDef]:
        """Where it answers."""
        return [web.get("/healthz", self.healthy)]

    async def healthy(self, request: web.Request) -> web.Response:
        """Whether the bridge can carry messages."""
        try:
            await self._pool.fetchval("SELECT 1", timeout=3)
            await asyncio.wait_for(self._accounts.bot.client.whoami(), 5)
        except Exception as error:
            return web.json_response({"status": f"not ready: {type(error).__name__}"}, status=503)
        if self._settings.encryption and not self._accounts.signed:
            return web.json_response({"status": "the bot's device is not cross-signed"}, status=503)
        return web.json_response({"status": "ok", **await self._relay.counts()})
