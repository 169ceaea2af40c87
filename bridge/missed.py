"""Room keys that the homeserver could not deliver to us.

Synapse sends an application service its events again until they are taken, but not the messages to devices that went with
them (1.163, get_oldest_unsent_txn): a key that comes while the bridge is away would be lost, and with it what officials say until
their client makes a new one. The server still holds them for the device: `/sync` tells them and, given the token of what we have,
deletes them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time

import asyncpg
from mautrix.api import Method, Path
from mautrix.errors import MatrixConnectionError, MatrixRequestError

from bridge.ghost import Account

log = logging.getLogger(__name__)

EVERY = 300.0  # seconds between two looks when nothing is missed: what the server holds for the device stays little
SOONEST = 1.0  # seconds between two looks, however much is missed
NOTHING_ELSE = json.dumps({"room": {"rooms": []}, "presence": {"not_types": ["*"]}, "account_data": {"not_types": ["*"]}})
FORGET = "DELETE FROM key_taken WHERE taken_at < now() - interval '2 days'"


class Missed:
    """Asks for the key messages of one account's device."""

    def __init__(self, account: Account, pool: asyncpg.Pool) -> None:
        self._account = account
        self._pool = pool
        self._asking = asyncio.Lock()
        self._asked = -SOONEST

    async def fetch(self) -> bool:
        """Take what the server still holds; returns whether it was asked. Raises MatrixRequestError, MatrixConnectionError."""
        async with self._asking:
            if time.monotonic() - self._asked < SOONEST:
                return False
            while True:
                since = await self._account.store.get_next_batch()
                query = {"timeout": "0", "set_presence": "offline", "filter": NOTHING_ELSE} | ({"since": since} if since else {})
                answer = await self._account.call(Method.GET, Path.v3.sync, None, query)
                events = answer.get("to_device", {}).get("events", [])
                for event in events:
                    await self._account.take_key(
                        event | {"to_user_id": self._account.user_id, "to_device_id": self._account.client.device_id}
                    )
                await self._account.store.put_next_batch(answer["next_batch"])
                if not events:
                    break
            self._asked = time.monotonic()
            return True

    async def run(self, stop: asyncio.Event) -> None:
        """Look now and then, until told to stop."""
        while not stop.is_set():
            try:
                await self.fetch()
                await self._pool.execute(FORGET)
            except (MatrixRequestError, MatrixConnectionError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.warning("Whether keys were missed can't be asked now: %s", type(error).__name__)
            try:
                async with asyncio.timeout(EVERY):
                    await stop.wait()
            except TimeoutError:
                pass
