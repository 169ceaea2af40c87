"""Room keys that the homeserver could not deliver to us.

Synapse sends an application service its events again until they are taken, but not the messages to devices that went with
them (1.163, get_oldest_unsent_txn): a key that comes while the bridge is away would be lost, and with it what officials say until
their client makes a new one. The server still holds them for the device, to be had by `/sync`. That is refused to the bot, as the
application service's own account; a ghost in the room may, and it was given the same key.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import defaultdict

from mautrix.api import Method, Path
from mautrix.errors import MatrixConnectionError, MatrixRequestError
from mautrix.types import RoomID, SessionID

from bridge.accounts import Accounts
from bridge.ghost import Account
from bridge.members import Members

log = logging.getLogger(__name__)

SOONEST = 1.0  # seconds between two looks by the same ghost, however much is missed
NOTHING_ELSE = json.dumps({"room": {"rooms": []}, "presence": {"not_types": ["*"]}, "account_data": {"not_types": ["*"]}})


class Missed:
    """Finds keys that the bot lacks, where the ghosts beside it have them."""

    def __init__(self, accounts: Accounts, members: Members) -> None:
        self._accounts = accounts
        self._members = members
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._asked: dict[str, float] = {}

    async def fetch(self, room_id: str, session_id: str) -> bool:
        """Find a room key for the bot; returns whether it is there now. A server's refusal is no error."""
        for user_id in await self._members.of(room_id):
            try:
                ghost = await self._accounts.member(user_id)
                if ghost is not None and await self._held(ghost, room_id, session_id):
                    return True
            except (MatrixRequestError, MatrixConnectionError) as error:
                log.warning("%s can't ask for keys that were missed: %s", user_id, type(error).__name__)
        return False

    async def _held(self, ghost: Account, room_id: str, session_id: str) -> bool:
        """Whether a ghost has the key, asked for if need be; the bot has it then."""
        place = RoomID(room_id), SessionID(session_id)
        session = await ghost.store.get_group_session(*place)
        if session is None and await self._synced(ghost):
            session = await ghost.store.get_group_session(*place)
        if session is None:
            return False
        await self._accounts.bot.store.put_group_session(place[0], session.sender_key, place[1], session)
        return True

    async def _synced(self, ghost: Account) -> bool:
        """Take what the server still holds for a ghost's device; returns False when that has just been done."""
        async with self._asking[ghost.user_id]:
            if time.monotonic() - self._asked.get(ghost.user_id, -SOONEST) < SOONEST:
                return False
            while True:
                since = await ghost.store.get_next_batch()
                query = {"timeout": "0", "set_presence": "offline", "filter": NOTHING_ELSE} | ({"since": since} if since else {})
                answer = await ghost.call(Method.GET, Path.v3.sync, None, query)
                events = answer.get("to_device", {}).get("events", [])
                for event in events:
                    await ghost.take_key(event | {"to_user_id": ghost.user_id, "to_device_id": ghost.client.device_id})
                await ghost.store.put_next_batch(
                    answer["next_batch"]
                )  # given back with the next request, it lets the server forget
                if not events:
                    break
            self._asked[ghost.user_id] = time.monotonic()
            return True
