"""A portal: one WhatsApp conversation and its Matrix room."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from mautrix.api import Method, Path
from mautrix.errors import MatrixConnectionError, MatrixRequestError

from bridge.accounts import Accounts
from bridge.ghost import Account
from bridge.network import NotUnderstood
from bridge.numbers import Numbers
from bridge.portal import emblem
from bridge.portal.members import Members
from bridge.portal.rooms import Conversation, described, timer
from bridge.portal.seating import INVITE, Seating
from bridge.relay.relay import column
from bridge.settings import Bridge

log = logging.getLogger(__name__)

COLUMNS = 'room_id, number_id, contact, encrypted, person, is_group AS "group", timer, official, seated'
BY_ROOM = f"SELECT {COLUMNS} FROM portal WHERE room_id = $1"  # noqa: S608 - our own constants, here and below
FIND = f"""
    SELECT {COLUMNS} FROM portal
    WHERE number_id = $1 AND official = $2 AND (person = $3 OR person IN (SELECT id FROM person WHERE merged_into = $3))
      AND (closed_at IS NULL OR ($4 AND NOT ended))
    ORDER BY closed_at DESC NULLS FIRST, made_at, room_id LIMIT 1
"""  # noqa: S608
FIND_GROUP = f"""
    SELECT {COLUMNS} FROM portal
    WHERE number_id = $1 AND official = $2 AND contact = $3 AND is_group AND (closed_at IS NULL OR ($4 AND NOT ended))
    ORDER BY closed_at DESC NULLS FIRST, made_at, room_id LIMIT 1
"""  # noqa: S608
# A room from before people were sets of names belongs to whoever had its number or id.
ADOPT = f"""
    UPDATE portal SET person = $3
    WHERE number_id = $1 AND official = $2 AND person IS NULL AND NOT is_group AND closed_at IS NULL AND contact = ANY($4)
    RETURNING {COLUMNS}
"""  # noqa: S608
# Noted before a room is made: when we were ended between making it and noting it, it is looked for.
BEGIN = "INSERT INTO portal_begun (number_id, contact) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true"
STRANGE = "SELECT room_id FROM unnest($1::text[]) AS room_id EXCEPT SELECT room_id FROM portal"
ADD = """
    WITH begun AS (DELETE FROM portal_begun WHERE number_id = $2 AND contact = $3)
    INSERT INTO portal (room_id, number_id, contact, encrypted, person, is_group, shown, official, closed_at, seated)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $9 THEN now() END, false)
    ON CONFLICT DO NOTHING
"""
CLOSE = "UPDATE portal SET closed_at = coalesce(closed_at, now()), ended = true WHERE room_id = $1"
# Where an answer goes is one conversation's only: whoever had that number before has another, or none.
FREE = """
    UPDATE portal SET contact = contact || '|' || room_id
    WHERE number_id = $1 AND contact = $2 AND room_id <> $3 AND closed_at IS NULL
"""
CONTACT = "UPDATE portal SET contact = $2 WHERE room_id = $1"
SHOWN = "UPDATE portal SET shown = $2 WHERE room_id = $1"
IS_SHOWN = "SELECT shown FROM portal WHERE room_id = $1"
TIMER = "UPDATE portal SET timer = $2 WHERE room_id = $1"
# The open rooms of people who have proved to be one, the oldest first.
DOUBLE = f"""
    SELECT {COLUMNS} FROM portal
    WHERE closed_at IS NULL AND (person = $1 OR person IN (SELECT id FROM person WHERE merged_into = $1))
    ORDER BY number_id, made_at, room_id
"""  # noqa: S608
OF_PEOPLE = "SELECT room_id FROM portal WHERE number_id = $1 AND person = ANY($2) AND closed_at IS NULL ORDER BY made_at, room_id"
TAKE_OVER = "UPDATE portal SET person = $2 WHERE room_id = $1"
PLACE = "SELECT room_id, event_id FROM carried WHERE number_id = $1 AND message_id = $2"


@dataclass(frozen=True, slots=True)
class Portal:
    """A room and the conversation that it shows."""

    room_id: str
    number_id: str
    contact: str  # where an answer goes: a number, a business-scoped id, or a group
    encrypted: bool
    person: int | None = None
    group: bool = False
    timer: int = 0  # seconds that messages last; 0: they stay
    official: str = ""  # whose room it is, and stays
    seated: bool = True  # whether its people have been invited


class Portals:
    """All conversations and their rooms."""

    def __init__(self, settings: Bridge, pool: asyncpg.Pool, numbers: Numbers, accounts: Accounts) -> None:
        self._settings = settings
        self._pool = pool
        self._numbers = numbers
        self._accounts = accounts
        self.members = Members(accounts.bot)
        self.seating = Seating(pool, numbers, accounts.bot)
        self.members.on_change = self.seating.due
        self._making: dict[tuple[str, str], asyncio.Lock] = {}
        self._emblem = ""
        self._present: set[tuple[str, str]] = set()  # (room, account) that is known to have joined
        self._said: dict[str, str] = {}  # room to the digest of what it says of itself

    async def of(self, room_id: str) -> Portal | None:
        """The portal that a room is."""
        row = await self._pool.fetchrow(BY_ROOM, room_id)
        return Portal(**row) if row else None

    async def find(self, number_id: str, official: str, person: int, ever: Sequence[str] = ()) -> Portal | None:
        """The room of an official's conversation with a person; `ever` is every number and id that was the person's.

        An open one, or of a former official the last.
        """
        row = await self._pool.fetchrow(FIND, number_id, official, person, self._is_former(number_id, official))
        if row is None and ever:
            row = await self._pool.fetchrow(ADOPT, number_id, official, person, list(ever))
        return Portal(**row) if row else None

    async def find_group(self, number_id: str, official: str, group: str) -> Portal | None:
        """The room of an official's group: an open one, or of a former official the last."""
        row = await self._pool.fetchrow(FIND_GROUP, number_id, official, column(group), self._is_former(number_id, official))
        return Portal(**row) if row else None

    def lock(self, number_id: str, whose: str) -> asyncio.Lock:
        """Held while a conversation's room is looked for and made: there is one."""
        if len(self._making) > 10_000:
            self._making = {key: lock for key, lock in self._making.items() if lock.locked()}
        return self._making.setdefault((number_id, whose), asyncio.Lock())

    async def make(self, number_id: str, contact: str, conversation: Conversation, person: int | None, ghosts: Sequence[Account]) -> Portal:  # fmt: skip  # noqa: E501
        """Make the room of a conversation, private to its officials. Raises MatrixRequestError.

        They are invited with its first event: their clients then know its ghosts by the time that these speak.
        """
        former = self._is_former(number_id, conversation.official)
        officials = {conversation.official} if former else self._numbers.officials(number_id)
        initial = [
            {"type": kind, "state_key": key, "content": content}
            for (kind, key), content in conversation.state(self._key).items()
            if kind not in ("m.room.name", "m.room.topic")
        ]
        if self._settings.encryption:
            initial.append({"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}})
        if picture := await self._picture():
            initial.append({"type": "m.room.avatar", "state_key": "", "content": {"url": picture}})
        service = {"service_members": [self._settings.bot]}
        initial.append({"type": "io.element.functional_members", "state_key": "", "content": service})
        state = conversation.state(self._key)
        power = {self._settings.bot: 100} | ({} if conversation.group else {ghost.user_id: 50 for ghost in ghosts})
        body = {
            "preset": "private_chat",
            "visibility": "private",
            "name": state["m.room.name", ""]["name"],
            "topic": state["m.room.topic", ""]["topic"],
            "invite": [*sorted(officials), *(ghost.user_id for ghost in ghosts)],
            "initial_state": initial,
            "power_level_content_override": {"users": power, "invite": INVITE},  # who is in it is for the bridge to say
            "creation_content": {"m.federate": False},
        }
        # From room version 12 on the creator's power is implied, and may not be written down.
        body["room_version"] = "11"
        first = await self._pool.fetchval(BEGIN, number_id, column(contact))
        room_id = "" if first else await self._begun(state["m.bridge", self._key])
        if not room_id:
            answer = await self._accounts.bot.call(Method.POST, Path.v3.createRoom, body)
            room_id = str(answer["room_id"])
        for ghost in ghosts:
            await self.seat(room_id, ghost)
        self.members.changed(room_id)
        made = Portal(
            room_id, number_id, column(contact), self._settings.encryption, person, conversation.group, 0, conversation.official
        )
        former = self._is_former(number_id, made.official)  # it may have been given away meanwhile
        async with self._pool.acquire() as connection, connection.transaction():
            if not former:
                await connection.execute(FREE, number_id, made.contact, room_id)
            parts = made.encrypted, person, made.group, conversation.digest(), made.official, former
            await connection.execute(ADD, room_id, number_id, made.contact, *parts)
        await self.welcome(made)
        return made

    async def welcome(self, portal: Portal) -> None:
        """Invite the people of a room that has just been made. Raises MatrixRequestError."""
        await self.seating.bring(portal.room_id)
        self.members.changed(portal.room_id)

    async def _picture(self) -> str:
        """The picture that a room begins with, put on the homeserver once; a room is made without it too."""
        if not self._emblem:
            try:
                self._emblem = str(await self._accounts.bot.client.upload_media(emblem.png(), mime_type="image/png"))
            except (MatrixRequestError, MatrixConnectionError) as error:
                log.warning("The picture of rooms can't be put on the homeserver: %s", type(error).__name__)
        return self._emblem

    async def _begun(self, bridge: dict[str, Any]) -> str:
        """The room that was made for a conversation when we were ended before we noted it; "" when there is none.

        Anybody here can ask the bot into a room that says so of itself: only what the bot has made counts.
        """
        bot = self._accounts.bot
        joined = (await bot.call(Method.GET, Path.v3.joined_rooms)).get("joined_rooms", [])
        for row in await self._pool.fetch(STRANGE, joined):
            where = Path.v3.rooms[row["room_id"]].state
            try:
                made = await bot.call(Method.GET, where["m.room.create"], query={"format": "event"})
                there = await bot.call(Method.GET, where["m.bridge"][self._key])
            except MatrixRequestError as error:
                if error.http_status not in (403, 404):
                    raise
                continue  # no room of ours, or not wholly made
            if made.get("sender") == bot.user_id and _whose(there) == _whose(bridge):
                log.warning("The room %s was made before a crash: it is used.", row["room_id"])
                return str(row["room_id"])
        return ""

    async def show(self, portal: Portal, contact: str, conversation: Conversation) -> None:
        """Have the room say of itself what is true now: names and numbers change."""
        digest = conversation.digest()
        if self._said.get(portal.room_id) == digest:
            return
        if await self._pool.fetchval(IS_SHOWN, portal.room_id) != digest:
            if portal.contact != column(contact):
                async with self._pool.acquire() as connection, connection.transaction():
                    await connection.execute(FREE, portal.number_id, column(contact), portal.room_id)
                    await connection.execute(CONTACT, portal.room_id, column(contact))
            for (kind, key), content in conversation.state(self._key).items():
                await self.set_state(portal.room_id, kind, content, key)
            await self._pool.execute(SHOWN, portal.room_id, digest)
        self._said[portal.room_id] = digest

    async def set_state(self, room_id: str, kind: str, content: dict[str, Any], key: str = "") -> None:
        """Write a state event as the bot, unless the room has it so already."""
        where = Path.v3.rooms[room_id].state[kind][key]
        try:
            if await self._accounts.bot.call(Method.GET, where) == content:
                return
        except MatrixRequestError as error:
            if error.http_status != 404:
                raise
        await self._accounts.bot.call(Method.PUT, where, content)

    async def seat(self, room_id: str, account: Account) -> None:
        """Have one of our accounts in a room."""
        if (room_id, account.user_id) in self._present:
            return
        try:
            await account.call(Method.POST, Path.v3.rooms[room_id].join)
        except MatrixRequestError as error:
            if error.http_status != 403:
                raise
            await self._accounts.bot.call(Method.POST, Path.v3.rooms[room_id].invite, {"user_id": account.user_id})
            await account.call(Method.POST, Path.v3.rooms[room_id].join)
        self._present.add((room_id, account.user_id))
        self.members.changed(room_id)

    async def unseat(self, room_id: str, account: Account) -> None:
        """Have one of our accounts leave a room."""
        self._present.discard((room_id, account.user_id))
        try:
            await account.call(Method.POST, Path.v3.rooms[room_id].leave)
        except MatrixRequestError as error:
            if error.http_status not in (403, 404):
                raise
        self.members.changed(room_id)

    async def double(self, person: int) -> list[Portal]:
        """The open rooms of a person and of whoever has proved to be the same, by number, the oldest first."""
        return [Portal(**row) for row in await self._pool.fetch(DOUBLE, person)]

    async def open_rooms(self, number_id: str, people: Sequence[int]) -> list[str]:
        """The open rooms of a number's conversations with these people."""
        return [row["room_id"] for row in await self._pool.fetch(OF_PEOPLE, number_id, people)]

    async def take_over(self, portal: Portal, person: int) -> None:
        """A room is somebody else's, who has proved to be the same."""
        await self._pool.execute(TAKE_OVER, portal.room_id, person)

    async def about(self, portal: Portal) -> tuple[str, str]:
        """The subject and the description of a group, as its room has them: no column holds them. Raises MatrixRequestError."""
        bot, room = self._accounts.bot, Path.v3.rooms[portal.room_id]
        try:
            channel = (await bot.call(Method.GET, room.state["m.bridge"][self._key])).get("channel")
            topic = (await bot.call(Method.GET, room.state["m.room.topic"])).get("topic")
        except MatrixRequestError as error:
            if error.http_status not in (403, 404):
                raise
            return "", ""
        return str(channel.get("displayname", "")) if isinstance(channel, dict) else "", described(str(topic))

    async def set_timer(self, portal: Portal, seconds: int) -> None:
        """How long messages last in a conversation from now on."""
        await self.set_state(portal.room_id, "com.beeper.disappearing_timer", timer(seconds))

    async def keep_timer(self, portal: Portal, seconds: int) -> None:
        """It has been told."""
        await self._pool.execute(TIMER, portal.room_id, seconds)

    async def close(self, room_id: str) -> None:
        """A room that is gone: its conversation goes on in another."""
        await self._pool.execute(CLOSE, room_id)

    async def is_there(self, room_id: str) -> bool:
        """Whether the bot is still in the room."""
        joined = await self._accounts.bot.call(Method.GET, Path.v3.joined_rooms)
        return room_id in joined.get("joined_rooms", [])

    async def place_of(self, number_id: str, message_id: str) -> tuple[str, str] | None:
        """(room, event) of a WhatsApp message."""
        row = await self._pool.fetchrow(PLACE, number_id, column(message_id))
        return (row["room_id"], row["event_id"]) if row else None

    async def send(
        self,
        sender: Account,
        room_id: str,
        content: dict[str, Any],
        txn: str,
        at: int | None = None,
        kind: str = "m.room.message",
    ) -> str:
        """Say something in a room, encrypted where rooms are; returns the event id. Raises MatrixRequestError."""
        if self._settings.encryption:
            members = await self.members.of(room_id)
            kind, content = "m.room.encrypted", await sender.encrypt(room_id, kind, content, members)
        return await sender.send(room_id, kind, content, txn, at)

    def conversation(
        self, number_id: str, official: str, contact: str, name: str, *, group: bool = False, description: str = ""
    ) -> Conversation:
        """What the room of an official's conversation says of itself. Raises NotUnderstood for a number that we don't serve."""
        number = self._numbers.of(number_id)
        if number is None:
            raise NotUnderstood(f"the number {number_id} is not configured: add it to bridge.numbers")
        display = number.display_phone_number
        several = self._numbers.several(official)
        label = (getattr(number, "label", "") or display) if several else ""
        return Conversation(self._settings.bot, official, display, contact, name, label, group, description)

    def _is_former(self, number_id: str, official: str) -> bool:
        """Whether a number was an official's, and is no longer."""
        return official != self._numbers.official(number_id)

    @property
    def _key(self) -> str:
        return f"{self._settings.server_name}/{self._settings.appservice_id}"


def _whose(bridge: dict[str, Any]) -> tuple[Any, ...]:
    """Of the content of m.bridge: which conversation, through which number, and of which official."""
    channel = bridge.get("channel")
    channel = channel if isinstance(channel, dict) else {}
    return channel.get("id"), channel.get("fi.mau.receiver"), bridge.get("nl.griffier.official")
