"""Whether the bridge can carry messages, for who watches it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
from aiohttp import web

from bridge.accounts import Accounts
from bridge.office.alarm import Alarms
from bridge.office.interruption import Interruptions
from bridge.relay.relay import Relay
from bridge.settings import Bridge

HELD = 3.0  # seconds that an answer is good for: Meta's public address has this one too, and who asks needs no sign-in


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
        self._one_at_a_time = asyncio.Lock()
        self._looked = 0.0
        self._told: tuple[int, dict[str, Any]] | None = None

    def routes(self) -> list[web.RouteDef]:
        """Where it answers."""
        return [web.get("/healthz", self.healthy)]

    async def healthy(self, request: web.Request) -> web.Response:
        """Whether the bridge can carry messages, and which numbers are not covered now (ids only: anybody may ask).

        However many ask, the database and the homeserver are asked once in HELD seconds.
        """
        async with self._one_at_a_time:
            if self._told is None or time.monotonic() - self._looked >= HELD:
                self._told, self._looked = await self._look(), time.monotonic()
        status, told = self._told
        return web.json_response(told, status=status)

    async def _look(self) -> tuple[int, dict[str, Any]]:
        try:
            await self._pool.fetchval("SELECT 1", timeout=3)
            await asyncio.wait_for(self._accounts.bot.client.whoami(), 5)
            if self._settings.encryption and not self._accounts.signed:
                return 503, {"status": "the bot's device is not cross-signed"}
            interruptions = [
                {"number_id": one.number_id, "cause": one.cause, "from": one.began_at.isoformat(timespec="seconds")}
                for one in await self._interruptions.open()
            ]
            told = {"status": "ok", "interruptions": interruptions, "alarms": len(await self._alarms.open())}
            return 200, told | await self._relay.counts()
        except Exception as error:
            return 503, {"status": f"not ready: {type(error).__name__}"}
