"""A portal: one WhatsApp conversation and its Matrix room."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import asyncpg
from mautrix.api import Method, Path
from mautrix.errors import MatrixRequestError

from bridge.accounts import Accounts, clean
from bridge.ghost import Account
from bridge.members import Members
from bridge.network import NotUnderstood
from bridge.numbers import Numbers
from bridge.settings import Bridge

log = logging.getLogger(__name__)

FIND = "SELECT room_id FROM portal WHERE number_id = $1 AND contact = $2 AND closed_at IS NULL"
CLOSE = "UPDATE portal SET closed_at = now() WHERE room_id = $1"
BEGIN = "INSERT INTO portal_begun (number_id, contact) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true"
ADD = """
    WITH begun AS (DELETE FROM portal_begun WHERE number_id = $2 AND contact = $3)
    INSERT INTO portal (room_id, number_id, contact, encrypted) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
STRANGE = "SELECT room_id FROM unnest($1::text[]) AS room_id EXCEPT SELECT room_id FROM portal"
BY_ROOM = "SELECT room_id, number_id, contact, encrypted FROM portal WHERE room_id = $1"


@dataclass(frozen=True, slots=True)
class Portal:
    """A room and the conversation that it shows."""

    room_id: str
    number_id: str
    contact: str
    encrypted: bool
    group: bool = False


class Portals:
    """All conversations and their rooms."""

    def __init__(self, settings: Bridge, pool: asyncpg.Pool, numbers: Numbers, accounts: Accounts) -> None:
        self._settings = settings
        self._pool = pool
        self._numbers = numbers
        self._accounts = accounts
        self._making: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self.members = Members(accounts.bot)

    async def of(self, room_id: str) -> Portal | None:
        """The portal that a room is."""
        row = await self._pool.fetchrow(BY_ROOM, room_id)
        return Portal(**row) if row else None

    async def room(self, number_id: str, contact: str, name: str, ghost: Account) -> str:
        """The room of a conversation, made where there is none. Raises NotUnderstood for a number that we don't serve."""
        async with self._making[number_id, contact]:
            room_id: str | None = await self._pool.fetchval(FIND, number_id, contact)
            if room_id is None:
                room_id = await self._make(number_id, contact, name, ghost)
        self._making.pop((number_id, contact), None)
        return room_id

    async def close(self, room_id: str) -> None:
        """A room that is gone: its conversation goes on in another."""
        await self._pool.execute(CLOSE, room_id)

    async def is_there(self, room_id: str) -> bool:
        """Whether the bot is still in the room."""
        joined = await self._accounts.bot.call(Method.GET, Path.v3.joined_rooms)
        return room_id in joined.get("joined_rooms", [])

    async def send(
        self,
        sender: Account,
        room_id: str,
        content: dict[str, Any],
        txn: str,
        at: int | None = None,
        *,
        kind: str = "m.room.message",
    ) -> str:
        """Say something in a room, encrypted where rooms are; returns the event id. Raises MatrixRequestError."""
        if self._settings.encryption:
            members = await self.members.of(room_id)
            kind, content = "m.room.encrypted", await sender.encrypt(room_id, kind, content, members)
        return await sender.send(room_id, kind, content, txn, at)

    async def _make(self, number_id: str, contact: str, contact_name: str, ghost: Account) -> str:
        number = self._numbers.of(number_id)
        if number is None:
            raise NotUnderstood(f"the number {number_id} is not configured: add it to bridge.numbers")
        name = clean(contact_name, 100) or phone(contact)
        bridge = {
            "bridgebot": self._settings.bot,
            "creator": self._settings.bot,
            "protocol": {"id": "whatsapp", "displayname": "WhatsApp", "external_url": "https://www.whatsapp.com"},
            "channel": {
                "id": f"{contact}@s.whatsapp.net", "displayname": name, "fi.mau.receiver": number.display_phone_number,
            },
        }  # fmt: skip
        key = f"{self._settings.server_name}/{self._settings.appservice_id}"
        state = [{"type": kind, "state_key": key, "content": bridge} for kind in ("m.bridge", "uk.half-shot.bridge")]
        if self._settings.encryption:
            state.append({"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}})
        body = {
            "preset": "private_chat",
            "visibility": "private",
            "name": f"{name} (WhatsApp)",
            "invite": [number.official, *number.colleagues, ghost.user_id],
            "initial_state": state,
            "power_level_content_override": {"users": {self._settings.bot: 100, ghost.user_id: 50}},
        }
        # From room version 12 on the creator's power is implied, and may not be written down.
        body["room_version"] = "11"
        first = await self._pool.fetchval(BEGIN, number_id, contact)
        room_id = "" if first else await self._begun(key, bridge["channel"])
        if not room_id:
            answer = await self._accounts.bot.call(Method.POST, Path.v3.createRoom, body)
            room_id = str(answer["room_id"])
        await ghost.call(Method.POST, Path.v3.rooms[room_id].join)
        await self._pool.execute(ADD, room_id, number_id, contact, self._settings.encryption)
        return room_id

    async def _begun(self, key: str, channel: Any) -> str:
        """The room that was made for a conversation when we were ended before we noted it; "" when there is none."""
        bot = self._accounts.bot
        joined = (await bot.call(Method.GET, Path.v3.joined_rooms)).get("joined_rooms", [])
        for row in await self._pool.fetch(STRANGE, joined):
            try:
                told = await bot.call(Method.GET, Path.v3.rooms[row["room_id"]].state["m.bridge"][key])
            except MatrixRequestError as error:
                if error.http_status not in (403, 404):
                    raise
                continue  # no room of ours, or not wholly made
            there = told.get("channel")
            if isinstance(there, dict) and all(there.get(name) == channel[name] for name in ("id", "fi.mau.receiver")):
                log.warning("The room %s was made before a crash: it is used.", row["room_id"])
                return str(row["room_id"])
        return ""


def phone(contact: str) -> str:
    """A contact as people write it."""
    return f"+{contact}" if contact.isdecimal() else contact
