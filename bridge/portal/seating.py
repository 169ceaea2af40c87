"""Who is in a conversation's room, brought in line with who may be: whenever either changes, and at each start."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import asyncpg
from mautrix.api import Method, Path
from mautrix.errors import MatrixConnectionError, MatrixRequestError

from bridge.ghost import Account
from bridge.numbers import Numbers

log = logging.getLogger(__name__)

ROOM = "SELECT room_id, number_id, official, closed_at IS NULL AS open, seated FROM portal"
BY_ROOM = f"{ROOM} WHERE room_id = $1 AND official <> ''"
OF_NUMBER = f"{ROOM} WHERE number_id = $1 AND official <> '' ORDER BY made_at"
ALL = "SELECT room_id FROM portal WHERE official <> '' ORDER BY closed_at DESC NULLS FIRST, made_at DESC"
SEATED = "UPDATE portal SET seated = true WHERE room_id = $1"
ONCE = "INSERT INTO noticed (room_id, kind, day) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING true"
INVITE = 50  # the power that it takes to invite: the bridge's accounts have it, and nobody else
AGAIN = 15.0  # seconds after which a room is tried again that could not be brought in line
GATHER = 0.5  # seconds in which changes of a room are taken together


@dataclass(frozen=True, slots=True)
class Room:
    """A conversation's room, as far as it decides who may be there."""

    room_id: str
    number_id: str
    official: str
    open: bool
    seated: bool  # whether its people have been invited


class Rings(Protocol):
    """Who is told that somebody must look at something, and that it is over."""

    async def ring(self, kind: str, about: str, subject: str) -> None: ...

    async def clear(self, kind: str, about: str) -> bool: ...


class Seating:
    """Invites who may be in a room and takes out who may no longer; whom it does not know, it leaves alone."""

    def __init__(self, pool: asyncpg.Pool, numbers: Numbers, bot: Account) -> None:
        self.alarms: Rings | None = None
        self._pool = pool
        self._numbers = numbers
        self._bot = bot
        self._reserved: set[str] = set()  # rooms in which it is known who may invite
        self._due: dict[str, None] = {}  # in the order in which they became so
        self._wake = asyncio.Event()

    def due(self, room_id: str) -> None:
        """Something has changed in a room: it is looked at soon."""
        self._due[room_id] = None
        self._wake.set()

    async def bring(self, room_id: str) -> None:
        """Bring one room in line. Raises MatrixRequestError, MatrixConnectionError: then it is not."""
        if (row := await self._pool.fetchrow(BY_ROOM, room_id)) is not None:
            await self._bring(Room(**row))

    async def of_number(self, number_id: str) -> int:
        """Bring a number's rooms in line; returns how many could not be, which are tried again."""
        rooms = [Room(**row) for row in await self._pool.fetch(OF_NUMBER, number_id)]
        return sum([not await self._tried(room.room_id) for room in rooms])

    async def run(self, stop: asyncio.Event) -> None:
        """Look at every room once, and at each that changes, until told to stop."""
        self._due |= dict.fromkeys(row["room_id"] for row in await self._pool.fetch(ALL))
        while not stop.is_set():
            self._wake.clear()
            for room_id in list(self._due):
                if stop.is_set():
                    return
                await self._tried(room_id)
            waits = [asyncio.create_task(self._wake.wait()), asyncio.create_task(stop.wait())]
            _, pending = await asyncio.wait(waits, timeout=AGAIN if self._due else None, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            if not stop.is_set():
                await asyncio.sleep(GATHER)

    async def _tried(self, room_id: str) -> bool:
        self._due.pop(room_id, None)
        try:
            await self.bring(room_id)
        except (MatrixRequestError, MatrixConnectionError, asyncpg.PostgresError, OSError) as error:
            log.warning("The room %s can't be brought in line with who may be in it now: %s", room_id, type(error).__name__)
            self._due[room_id] = None
            return False
        return True

    async def _bring(self, room: Room) -> None:
        present = room.official == self._numbers.official(room.number_id)
        may = self._numbers.officials(room.number_id) if present else frozenset({room.official})
        ever = self._numbers.officials(room.number_id) | self._numbers.once_officials(room.number_id)
        there = await self._there(room)
        if there is None:
            return  # the room is gone
        for user_id in sorted(ever - may):
            if _is_in(there.get(user_id)):
                await self._move(room, user_id, "kick")
        if not room.seated or (present and room.open):
            for user_id in sorted(may):
                await self._have(room, user_id, there.get(user_id))
        if not room.seated:
            await self._pool.execute(SEATED, room.room_id)
        await self._reserve_invitations(room)

    async def _reserve_invitations(self, room: Room) -> None:
        """Only the bridge invites: rooms of before that was so are changed."""
        if room.room_id in self._reserved:
            return
        where = Path.v3.rooms[room.room_id].state["m.room.power_levels"]
        try:
            power = await self._bot.call(Method.GET, where)
            if power.get("invite", 0) != INVITE:
                await self._bot.call(Method.PUT, where, power | {"invite": INVITE})
                log.info("Who is in the room %s is for the bridge to say from now on.", room.room_id)
        except MatrixRequestError as error:
            if error.http_status not in (403, 404):
                raise
            log.warning("Who may invite to the room %s can't be changed: %s", room.room_id, getattr(error, "errcode", ""))
        self._reserved.add(room.room_id)

    async def _there(self, room: Room) -> dict[str, dict[str, Any]] | None:
        """Everyone's membership of a room; None when it is gone."""
        try:
            answer = await self._bot.call(Method.GET, Path.v3.rooms[room.room_id].members)
        except MatrixRequestError as error:
            if error.http_status not in (403, 404):
                raise
            return None
        return {str(event["state_key"]): event for event in answer.get("chunk", [])}

    async def _have(self, room: Room, user_id: str, event: dict[str, Any] | None) -> None:
        """Invite somebody who is not there."""
        if not _is_in(event):
            if await self._invitable(room, user_id, event):
                await self._move(room, user_id, "invite")
        elif self.alarms is not None:
            await self.alarms.clear("seat", f"{room.room_id}|{user_id}")

    async def _invitable(self, room: Room, user_id: str, event: dict[str, Any] | None) -> bool:
        """Who has left is asked again, but once a day; and who runs the bridge is told, since nobody reads what comes in."""
        if event is None or event.get("sender") != user_id:
            return True
        if self.alarms is not None:
            await self.alarms.ring("seat", f"{room.room_id}|{user_id}", f"{user_id} in {room.room_id}")
        return bool(await self._pool.fetchval(ONCE, room.room_id, f"invited {user_id}", datetime.now(UTC).date()))

    async def _move(self, room: Room, user_id: str, how: str) -> None:
        """Only what can't be done at all is let go: who is in it or out of it already, an account that is no more."""
        try:
            await self._bot.call(Method.POST, Path.v3.rooms[room.room_id][how], {"user_id": user_id})
        except MatrixRequestError as error:
            if error.http_status not in (400, 403, 404):
                raise
            log.info("%s of %s in %s: %s", how, user_id, room.room_id, getattr(error, "errcode", ""))


def _is_in(event: dict[str, Any] | None) -> bool:
    content = event.get("content") if event is not None else None
    return isinstance(content, dict) and content.get("membership") in ("join", "invite")
