"""Where the bridge speaks with those who run it: the management room, and direct chats with its bot."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
from cryptography.exceptions import InvalidTag
from mautrix.api import Method, Path
from mautrix.errors import MatrixRequestError

from bridge.accounts import Accounts
from bridge.departing.opening import Opening
from bridge.network import NotYet
from bridge.office.alarm import Alarms
from bridge.office.importing import Imports
from bridge.office.interruption import Interruptions
from bridge.portal.portal import Portals
from bridge.sealing import Seal
from bridge.settings import Bridge

log = logging.getLogger(__name__)

NAME = "Beheer WhatsApp-brug"
TOPIC = "Meldingen en opdrachten van de WhatsApp-brug. Stuur: help · Notices and commands of the WhatsApp bridge. Send: help"
EVERY = 2.0  # seconds between two looks at what is to be told or answered
AWAY = 10.0  # seconds after a look that failed
NOT_READ = 6  # attempts at something that can't be decrypted: its key may come within the half minute
NOT_READABLE = (
    "Dit bericht kan ik niet lezen: de sleutel ervan is niet aangekomen. Stuur het opnieuw; helpt dat niet, begin dan een "
    "nieuwe chat met mij. · I can't read this message: its key did not arrive. Send it again; if that does not help, start a "
    "new chat with me."
)
KEYS = "beheer-sleutels"  # nobody's ghost, in the management room: keys that the bot misses are found there (bridge/missed.py)

ROOM = "SELECT value FROM bridge_state WHERE name = 'management_room'"
SET_ROOM = """
    INSERT INTO bridge_state (name, value) VALUES ('management_room', $1)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = now()
"""
DIRECT = "SELECT user_id, language FROM direct_room WHERE room_id = $1"
ALL_DIRECT = "SELECT room_id, user_id FROM direct_room"
ADD_DIRECT = (
    "INSERT INTO direct_room (room_id, user_id) VALUES ($1, $2) ON CONFLICT (room_id) DO UPDATE SET user_id = excluded.user_id"
)
DROP_DIRECT = "DELETE FROM direct_room WHERE room_id = $1"
ROOMS_OF = "SELECT room_id FROM direct_room WHERE user_id = $1"
LANGUAGE = "UPDATE direct_room SET language = $2 WHERE room_id = $1"
ADD = "INSERT INTO asked (event_id, room_id, sealed) VALUES ($1, $2, $3) ON CONFLICT (event_id) DO NOTHING"
NEXT = """
    SELECT event_id, sealed, attempts FROM asked WHERE done_at IS NULL AND due_at <= now()
    ORDER BY arrived_at, event_id LIMIT 1
"""
# What is answered is forgotten: the archive has it.
DONE = "UPDATE asked SET done_at = now(), sealed = '' WHERE event_id = $1"
LATER = "UPDATE asked SET attempts = attempts + 1, due_at = now() + make_interval(secs => $2) WHERE event_id = $1"


@dataclass(frozen=True, slots=True)
class Question:
    """Something that a person said to the bot."""

    event_id: str
    room_id: str
    sender: str
    text: str
    language: str  # in which they last spoke here


@dataclass(frozen=True, slots=True)
class Reply:
    """What the bot answers. `redact`: what they said is not to stay where it is, since it holds a secret."""

    text: str
    language: str
    redact: bool = False


Answer = Callable[[Question], Awaitable[Reply | None]]


class Management:
    """The management room, the direct chats, and what is said in them."""

    def __init__(
        self,
        settings: Bridge,
        pool: asyncpg.Pool,
        seal: Seal,
        accounts: Accounts,
        portals: Portals,
        opening: Opening,
        interruptions: Interruptions,
        alarms: Alarms,
        imports: Imports,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._seal = seal
        self._accounts = accounts
        self._portals = portals
        self._opening = opening
        self._interruptions = interruptions
        self._alarms = alarms
        self._imports = imports
        self._room = ""
        self._language = "nl"  # of the management room
        self._direct: dict[str, str] | None = None  # room: who is listened to there
        self._wake = asyncio.Event()

    # What Synapse brings.

    async def wanted(self, event: dict[str, Any]) -> bool:
        """Whether an event is said to the bot, or invites it."""
        if event.get("sender") == self._settings.bot:
            return False
        if event.get("type") == "m.room.member":
            content = event.get("content")
            return (
                event.get("state_key") == self._settings.bot
                and isinstance(content, dict)
                and content.get("membership") == "invite"
            )
        if "state_key" in event or event.get("type") not in ("m.room.message", "m.room.encrypted"):
            return False
        room_id = str(event.get("room_id"))
        if room_id == await self._known_room():
            return True
        if self._direct is None:
            self._direct = {row["room_id"]: row["user_id"] for row in await self._pool.fetch(ALL_DIRECT)}
        return self._direct.get(room_id, "") == event.get("sender")

    async def take_in(self, events: list[dict[str, Any]]) -> None:
        """Commit what was said; it is answered afterwards."""
        rows = [
            (event["event_id"], str(event["room_id"]), self._seal.close(json.dumps(event).encode(), event["event_id"]))
            for event in events
        ]
        # Who invites and speaks at once is heard too.
        invites = [
            (str(event["room_id"]), str(event["sender"]))
            for event in events
            if event["type"] == "m.room.member" and self._local(str(event["sender"]))
        ]
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.executemany(ADD, rows)
            await connection.executemany(ADD_DIRECT, invites)
        if self._direct is not None:
            self._direct.update(invites)
        self._wake.set()

    # What the bot says.

    async def say(self, content: dict[str, Any], txn: str) -> None:
        """Say something in the management room, which is made where there is none. Raises MatrixRequestError."""
        room_id = await self.room()
        try:
            await self._portals.send(self._accounts.bot, room_id, content, txn)
        except MatrixRequestError as error:
            if error.http_status not in (403, 404) or await self._portals.is_there(room_id):
                raise
            log.warning("The management room is gone: a new one is made.")
            self._room = ""
            await self._portals.send(self._accounts.bot, await self.room(anew=True), content, txn)

    async def room(self, *, anew: bool = False) -> str:
        """The management room, with every admin in it or invited."""
        if self._room and not anew:
            return self._room
        room_id = "" if anew else await self._known_room()
        if room_id and not await self._portals.is_there(room_id):
            room_id = ""
        if not room_id:
            room_id = await self._make()
            await self._pool.execute(SET_ROOM, room_id)
        if self._settings.encryption:
            keeper = await self._accounts.ghost(KEYS)
            await keeper.call(
                Method.PUT, Path.v3.profile[keeper.user_id].displayname, {"displayname": "WhatsApp-brug (sleutels)"}
            )
            await self._portals.seat(room_id, keeper)
        await self._invite_admins(room_id)
        self._room = room_id
        return room_id

    async def run(self, answer: Answer, stop: asyncio.Event) -> None:
        """Tell and answer until told to stop."""
        while not stop.is_set():
            self._wake.clear()
            pause = EVERY
            try:
                await self.room()
                await self._tell()
                while await self._one(answer):
                    pass
            except Exception as error:  # the homeserver or the database is away, most often: what is to be told waits
                log.warning("The management room could not be served: %s", type(error).__name__)
                pause = AWAY
            waits = [asyncio.create_task(self._wake.wait()), asyncio.create_task(stop.wait())]
            _, pending = await asyncio.wait(waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()

    # Inside.

    async def _known_room(self) -> str:
        return self._room or str(await self._pool.fetchval(ROOM) or "")

    async def _make(self) -> str:
        state = []
        if self._settings.encryption:
            state.append({"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}})
        body = {
            "preset": "private_chat",
            "visibility": "private",
            "name": NAME,
            "topic": TOPIC,
            "invite": list(self._settings.admins),
            "initial_state": state,
            "room_version": "11",
            "creation_content": {"m.federate": False},
        }
        answer = await self._accounts.bot.call(Method.POST, Path.v3.createRoom, body)
        return str(answer["room_id"])

    async def _invite_admins(self, room_id: str) -> None:
        answer = await self._accounts.bot.call(Method.GET, Path.v3.rooms[room_id].members)
        known = {
            event.get("state_key"): event.get("content", {}).get("membership")
            for event in answer.get("chunk", [])
            if isinstance(event, dict)
        }
        for admin in self._settings.admins:
            if known.get(admin) is None:  # one who left is not called back at each start
                await self._invite(room_id, admin)

    async def _invite(self, room_id: str, user_id: str) -> None:
        try:
            await self._accounts.bot.call(Method.POST, Path.v3.rooms[room_id].invite, {"user_id": user_id})
        except MatrixRequestError as error:  # in it already, or the room is gone
            log.info("An invitation of %s to %s: %s", user_id, room_id, error.http_status)

    async def _tell(self) -> None:
        for one in await self._interruptions.untold():
            txn = f"{one.id}-{'ended' if one.ended_at else 'began'}"
            await self.say(one.content(), txn)
            await self._tell_official(one.official, one.content(), txn)
            await self._interruptions.told(one)
        for alarm in await self._alarms.untold():
            state = "cleared" if alarm.cleared_at else "raised"
            await self.say(alarm.content(), f"alarm-{alarm.id}-{alarm.since.timestamp()}-{state}".replace("/", "_"))
            await self._alarms.told(alarm)
        for phase, display in await self._imports.untold():
            state = "whole" if phase.whole else "began"
            txn = f"history-{phase.number_id}-{phase.phase}-{phase.began_at.timestamp()}-{state}"
            await self.say(phase.content(display), txn)
            await self._imports.told(phase)

    async def _tell_official(self, official: str, content: dict[str, Any], txn: str) -> None:
        """Who talks with the bot hears of their own number."""
        plain = {name: content[name] for name in ("msgtype", "body")}
        for row in await self._pool.fetch(ROOMS_OF, official):
            with contextlib.suppress(MatrixRequestError):
                await self._speak(row["room_id"], plain, txn)

    async def _one(self, answer: Answer) -> bool:
        """Answer the next thing that was said; returns whether there was one."""
        row = await self._pool.fetchrow(NEXT)
        if row is None:
            return False
        try:
            event = json.loads(self._seal.open(row["sealed"], row["event_id"]))
            done = await self._take(event, row["attempts"], answer)
        except (InvalidTag, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("Something said to the bot can't be understood: %s", type(error).__name__)
            done = True
        except MatrixRequestError as error:
            log.warning("Something said to the bot could not be answered: %s", error.http_status)
            done = row["attempts"] >= NOT_READ
        if done:
            await self._pool.execute(DONE, row["event_id"])
        else:
            await self._pool.execute(LATER, row["event_id"], min(60.0, 0.5 * 2.0 ** row["attempts"]))
        return True

    async def _take(self, event: dict[str, Any], attempts: int, answer: Answer) -> bool:
        room_id, sender = str(event["room_id"]), str(event["sender"])
        if event["type"] == "m.room.member":
            await self._invited(room_id, sender)
            return True
        try:
            kind, content = await self._opening.opened(event)
        except NotYet:
            if attempts < NOT_READ:
                return False
            log.warning("Something said to the bot could not be decrypted.")
            told = {
                "msgtype": "m.notice",
                "body": NOT_READABLE,
                "m.relates_to": {"m.in_reply_to": {"event_id": event["event_id"]}},
            }
            await self._speak(room_id, told, f"unread-{event['event_id']}", encrypted=True)
            return True
        if kind != "m.room.message" or content.get("msgtype") != "m.text":
            return True
        row = await self._pool.fetchrow(DIRECT, room_id)
        language = row["language"] if row else self._language
        reply = await answer(Question(event["event_id"], room_id, sender, str(content.get("body", "")), language))
        if reply is None:
            return True
        if reply.redact:
            await self._redact(room_id, event["event_id"])
        said = {"msgtype": "m.notice", "body": reply.text, "m.relates_to": {"m.in_reply_to": {"event_id": event["event_id"]}}}
        await self._speak(room_id, said, f"answer-{event['event_id']}", encrypted=event["type"] == "m.room.encrypted")
        if row:
            await self._pool.execute(LANGUAGE, room_id, reply.language)
        else:
            self._language = reply.language
        return True

    async def _invited(self, room_id: str, sender: str) -> None:
        """Come to where somebody of this homeserver wants to talk; nobody else's rooms."""
        bot = self._accounts.bot
        if not self._local(sender):
            log.warning("An invitation by somebody of another homeserver was declined.")
            await bot.call(Method.POST, Path.v3.rooms[room_id].leave)
            return
        try:
            await bot.call(Method.POST, Path.v3.rooms[room_id].join)
        except MatrixRequestError as error:
            if error.http_status not in (403, 404):
                raise
            await self._pool.execute(DROP_DIRECT, room_id)  # withdrawn meanwhile
            self._direct = None

    def _local(self, user_id: str) -> bool:
        return user_id.endswith(f":{self._settings.server_name}")

    async def _redact(self, room_id: str, event_id: str) -> None:
        where = Path.v3.rooms[room_id].redact[event_id][f"secret-{event_id}"]
        try:
            await self._accounts.bot.call(Method.PUT, where, {"reason": "bevat een geheim · holds a secret"})
        except MatrixRequestError as error:
            log.warning("A message that holds a secret could not be removed (%s).", error.http_status)

    async def _speak(self, room_id: str, content: dict[str, Any], txn: str, *, encrypted: bool | None = None) -> None:
        """Say something in a direct chat, encrypted where that is."""
        if encrypted is None:
            try:
                await self._accounts.bot.call(Method.GET, Path.v3.rooms[room_id].state["m.room.encryption"])
                encrypted = True
            except MatrixRequestError as error:
                if error.http_status != 404:
                    raise
                encrypted = False
        if encrypted and self._settings.encryption:
            await self._portals.send(self._accounts.bot, room_id, content, txn)
        else:
            await self._accounts.bot.send(room_id, "m.room.message", content, txn)
