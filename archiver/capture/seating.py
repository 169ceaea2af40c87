"""Rooms of before the guard, and rooms that the guard could not seat the archiver in: joined through Synapse's admin API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from archiver.capture.client import CaptureError, Homeserver, MatrixError, path
from archiver.capture.seat import Seat
from archiver.homeserver.scope import Scope, share
from archiver.ledger import alarm
from archiver.stopping import pause

log = logging.getLogger(__name__)

AGAIN = 600.0  # seconds between two looks at all rooms
ADMIN = "/_synapse/admin/v1/"


class Seating:
    """Sees to it that an archiver is in every room in scope."""

    def __init__(self, server: Homeserver, seat: Seat, admin_token: str, scope: Scope, archivers: tuple[str, ...]) -> None:
        self._server = server
        self._seat = seat
        self._token = admin_token
        self._scope = scope
        self._archivers = archivers

    async def run(self, stop: asyncio.Event) -> None:
        """Look at all rooms at the start and every ten minutes, until told to stop. Does nothing without an admin token."""
        if not self._token:
            return
        while not stop.is_set():
            try:
                async for room in self._rooms():
                    await self._see_to(room)
            except CaptureError as error:
                log.warning("The rooms of the homeserver can't be listed: %s", error)
            await pause(stop, AGAIN)

    async def _rooms(self) -> AsyncIterator[dict[str, Any]]:
        """Every room that somebody here is in."""
        start: Any = 0
        while start is not None:
            query = {"from": str(start), "limit": "200"}
            page = await self._server.call("GET", ADMIN + "rooms", query=query, token=self._token)
            for room in page.get("rooms", []):
                if isinstance(room, dict) and isinstance(room.get("room_id"), str) and room.get("joined_local_members", 0) > 0:
                    yield room
            start = page.get("next_batch")

    async def _see_to(self, room: dict[str, Any]) -> None:
        room_id = room["room_id"]
        if share(room_id, self._archivers) != self._seat.user_id:
            return
        where = ADMIN + "rooms/" + quote(room_id, safe="")
        try:
            members = (await self._server.call("GET", where + "/members", token=self._token)).get("members", [])
            if any(archiver in members for archiver in self._archivers):
                return
            kind = "public" if room.get("join_rules") == "public" else "private"
            if not self._scope.covers([str(member) for member in members], kind):
                return
            await self._join(room_id, where)
            log.info("Joined %s, which had no archiver.", room_id)
        except MatrixError as error:
            log.warning("The archiver is not in %s and can't join it: %s", room_id, error)
            async with self._seat.tx() as tx:
                await alarm.sound(tx, self._seat.org, alarm.CANT_JOIN, room_id, str(error))

    async def _join(self, room_id: str, where: str) -> None:
        """Join; where that needs an invitation, have one made with the power of a room admin, and give that power back."""
        body = {"user_id": self._seat.user_id}
        try:
            await self._server.call("POST", path("v3", "join", room_id), {})
        except MatrixError:
            await self._server.call("POST", where + "/make_room_admin", body, token=self._token)
            await self._server.call("POST", path("v3", "join", room_id), {})
            state = path("v3", "rooms", room_id, "state", "m.room.power_levels", "")
            levels = await self._server.call("GET", state)
            users = levels.get("users")
            if isinstance(users, dict) and self._seat.user_id in users:
                others = {user: level for user, level in users.items() if user != self._seat.user_id}
                await self._server.call("PUT", state, {**levels, "users": others})
