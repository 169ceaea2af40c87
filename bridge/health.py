"""Whether the bridge can carry messages, for who watches it."""

from __future__ import annotations

import asyncio

import asyncpg
from aiohttp import web

from bridge.accounts import Accounts
from bridge.alarm import Alarms
from bridge.interruption import Interruptions
from bridge.relay import Relay
from bridge.settings import Bridge


class Health:
    """GET /healthz."""

    def __init__(
        self,
        settings: Bridge,
        pool: asyncpg.Pool,
        accounts: Accounts,
        relay: Relay,
        interruptions: Interruptions,
        alarms: Alarms,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._accounts = accounts
        self._relay = relay
        self._interruptions = interruptions
        self._alarms = alarms

    def routes(self) -> list[web.RouteDef]:
        """Where it answers."""
        return [web.get("/healthz", self.healthy)]

    async def healthy(self, request: web.Request) -> web.Response:
        """Whether the bridge can carry messages, and which numbers are not covered now (ids only: anybody may ask)."""
        try:
            await self._pool.fetchval("SELECT 1", timeout=3)
            await asyncio.wait_for(self._accounts.bot.client.whoami(), 5)
        except Exception as error:
            return web.json_response({"status": f"not ready: {type(error).__name__}"}, status=503)
        if self._settings.encryption and not self._accounts.signed:
            return web.json_response({"status": "the bot's device is not cross-signed"}, status=503)
        interruptions = [
            {"number_id": one.number_id, "cause": one.cause, "from": one.began_at.isoformat(timespec="seconds")}
            for one in await self._interruptions.open()
        ]
        told = {"status": "ok", "interruptions": interruptions, "alarms": len(await self._alarms.open())}
        return web.json_response(told | await self._relay.counts())
