"""A portal: one WhatsApp conversation and its Matrix room."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncpg
from mautrix.api import Method, Path

from bridge.accounts import Accounts, clean
from bridge.ghost import Account
from bridge.network import NotUnderstood
from bridge.numbers import Numbers
from bridge.settings import Bridge

FIND = "SELECT room_id FROM portal WHERE number_id = $1 AND contact = $2 AND closed_at IS NULL"
CLOSE = "UPDATE portal SET closed_at = now() WHERE room_id = $1"
ADD = "INSERT INTO portal (room_id, number_id, contact, encrypted) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
BY_ROOM = "SELECT room_id, number_id, contact, encrypted FROM portal WHERE room_id = $1"


@dataclass(frozen=True, slots=True)
class Portal:
    """A room and the conversation that it shows."""

    room_id: str
    number_id: str
    contact: str
    encrypted: bool


class Portals:
    """All conversations and their rooms."""

    def __init__(self, settings: Bridge, pool: asyncpg.Pool, numbers: Numbers, accounts: Accounts) -> None:
        self._settings = settings
        self._pool = pool
        self._numbers = numbers
        self._accounts = accounts
        self._making = asyncio.Lock()

    async def of(self, room_id: str) -> Portal | None:
        """The portal that a room is."""
        row = await self._pool.fetchrow(BY_ROOM, room_id)
        return Portal(**row) if row else None

    async def room(self, number_id: str, contact: str, name: str, ghost: Account) -> str:
        """The room of a conversation, made where there is none. Raises NotUnderstood for a number that we don't serve."""
        async with self._making:
            room_id: str | None = await self._pool.fetchval(FIND, number_id, contact)
            if room_id is None:
                room_id = await self._make(number_id, contact, name, ghost)
        return room_id

    async def close(self, room_id: str) -> None:
        """A room that is gone: its conversation goes on in another."""
        await self._pool.execute(CLOSE, room_id)

    async def is_there(self, room_id: str) -> bool:
        """Whether the bot is still in the room."""
        joined = await self._accounts.bot.call(Method.GET, Path.v3.joined_rooms)
        return room_id in joined.get("joined_rooms", [])

    async def send(self, sender: Account, room_id: str, content: dict[str, Any], txn: str, at: int | None = None) -> str:
        """Say something in a room, encrypted where rooms are; returns the event id. Raises MatrixRequestError."""
        kind = "m.room.message"
        if self._settings.encryption:
            members = await self._members(room_id)
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
            "invite": [number.official, ghost.user_id],
            "initial_state": state,
            "power_level_content_override": {"users": {self._settings.bot: 100, ghost.user_id: 50}},
        }
        # From room version 12 on the creator's power is implied, and may not be written down.
        body["room_version"] = "11"
        answer = await self._accounts.bot.call(Method.POST, Path.v3.createRoom, body)
        room_id = str(answer["room_id"])
        await ghost.call(Method.POST, Path.v3.rooms[room_id].join)
        await self._pool.execute(ADD, room_id, number_id, contact, self._settings.encryption)
        return room_id

    async def _members(self, room_id: str) -> list[str]:
        """Everyone who is in the room or invited to it: who is invited may read what was said meanwhile."""
        answer = await self._accounts.bot.call(Method.GET, Path.v3.rooms[room_id].members)
        chunk = answer.get("chunk", [])
        return sorted(event["state_key"] for event in chunk if event.get("content", {}).get("membership") in ("join", "invite"))


def phone(contact: str) -> str:
    """A contact as people write it."""
    return f"+{contact}" if contact.isdecimal() else contact
