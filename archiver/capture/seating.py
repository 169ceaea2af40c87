"""Rooms of before the guard, and rooms that the guard could not seat the archiver in: joined through Synapse's admin API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from typing import Any
from urllib.parse import quote

from archiver.capture.client import CaptureError, Homeserver, MatrixError, path
from archiver.capture.seat import Seat
from archiver.homeserver.kinds import CREATE, State, kinds
from archiver.homeserver.levels import level, needed
from archiver.homeserver.portals import in_scope
from archiver.homeserver.scope import Scope, matches, share
from archiver.ledger import alarm
from archiver.stopping import pause

log = logging.getLogger(__name__)

AGAIN = 600.0  # seconds between two looks at all rooms
ADMIN = "/_synapse/admin/v1/"
KEEPS_POWER = "keeps-power"  # an alarm about a room in which the archiver has more power than it needs
LEVELS = ("m.room.power_levels", "")


class Seating:
    """Sees to it that an archiver is in every room in scope."""

    def __init__(
        self,
        server: Homeserver,
        seat: Seat,
        admin_token: str,
        scope: Scope,
        archivers: tuple[str, ...],
        bridges: tuple[str, ...] = (),
    ) -> None:
        self._server = server
        self._seat = seat
        self._token = admin_token
        self._scope = scope
        self._archivers = archivers
        self._bridges = bridges

    async def run(self, stop: asyncio.Event) -> None:
        """Look at all rooms at the start and every ten minutes, until told to stop. Does nothing without an admin token."""
        if not self._token:
            return
        while not stop.is_set():
            await self.look()
            await pause(stop, AGAIN)

    async def look(self) -> None:
        """Look at all rooms once."""
        async with self._seat.tx() as tx:
            sounding = await alarm.sounding(tx, self._seat.org)
        powerful = {told["subject"] for told in sounding if told["kind"] == KEEPS_POWER}
        try:
            async for room_id in self._rooms():
                await self._see_to(room_id, powerful)
        except CaptureError as error:
            log.warning("The rooms of the homeserver can't be listed: %s", error)

    async def _rooms(self) -> AsyncIterator[str]:
        """Every room that somebody here is in."""
        start: Any = 0
        while start is not None:
            query = {"from": str(start), "limit": "200"}
            page = await self._server.call("GET", ADMIN + "rooms", query=query, token=self._token)
            for room in page.get("rooms", []):
                if isinstance(room, dict) and isinstance(room.get("room_id"), str) and room.get("joined_local_members", 0) > 0:
                    yield room["room_id"]
            start = page.get("next_batch")

    async def _see_to(self, room_id: str, powerful: Collection[str]) -> None:
        if share(room_id, self._archivers) != self._seat.user_id:
            return
        where = _where(room_id)
        try:
            members = (await self._server.call("GET", where + "/members", token=self._token)).get("members", [])
            if any(archiver in members for archiver in self._archivers):
                if room_id in powerful and self._seat.user_id in members:
                    await self._give_back(room_id, 0)
                return
            if not await self._in_scope(room_id, [str(member) for member in members]):
                return
            await self._join(room_id, where)
            log.info("Joined %s, which had no archiver.", room_id)
        except MatrixError as error:
            log.warning("The archiver is not in %s and can't join it: %s", room_id, error)
            async with self._seat.tx() as tx:
                await alarm.sound(tx, self._seat.org, alarm.CANT_JOIN, room_id, str(error))

    async def _in_scope(self, room_id: str, members: list[str]) -> bool:
        """Whether the room is archived; its state is asked for only where it makes a difference."""
        if self._scope.every_kind and not any(matches(member, self._bridges) for member in members):
            return self._scope.covers(members, ())
        events = await self._events(room_id)
        state = _contents(events)
        kinds_ = frozenset() if self._scope.every_kind else await kinds(state, self._archivers, self._state_if_known)
        maker = next((str(event.get("sender")) for event in events if (event["type"], event["state_key"]) == CREATE), "")
        return in_scope(self._scope, maker, state, members, kinds_, self._bridges)

    async def _events(self, room_id: str) -> list[dict[str, Any]]:
        return list((await self._server.call("GET", _where(room_id) + "/state", token=self._token)).get("state", []))

    async def _state(self, room_id: str) -> State:
        return _contents(await self._events(room_id))

    async def _state_if_known(self, room_id: str) -> State:
        try:
            return await self._state(room_id)
        except MatrixError:  # a room that was replaced need not be known here
            return {}

    async def _join(self, room_id: str, where: str) -> None:
        """Join; where that needs an invitation, have one made with the power of a room admin, and give that power back."""
        body = {"user_id": self._seat.user_id}
        try:
            await self._server.call("POST", path("v3", "join", room_id), {})
        except MatrixError:
            before = (await self._state(room_id)).get(LEVELS, {})
            await self._server.call("POST", where + "/make_room_admin", body, token=self._token)
            await self._server.call("POST", path("v3", "join", room_id), {})
            await self._give_back(room_id, level(before, self._seat.user_id))

    async def _give_back(self, room_id: str, former: int) -> None:
        """Keep no more power than the archiver had, or than a message needs; failing is an alarm, and tried again."""
        where = path("v3", "rooms", room_id, "state", *LEVELS)
        org, user_id = self._seat.org, self._seat.user_id
        try:
            levels = await self._server.call("GET", where)
            keeps = max(former, needed(levels))
            if level(levels, user_id) > keeps:
                told = levels.get("users")
                users = {user: has for user, has in told.items() if user != user_id} if isinstance(told, dict) else {}
                if level({**levels, "users": users}, user_id) < keeps:
                    users[user_id] = keeps
                await self._server.call("PUT", where, {**levels, "users": users})
        except CaptureError as error:
            log.warning("The archiver is in %s and can't give back the power that it joined with: %s", room_id, error)
            async with self._seat.tx() as tx:
                await alarm.sound(tx, org, KEEPS_POWER, room_id, f"the archiver has more power than it needs: {error}")
        else:
            async with self._seat.tx() as tx:
                await alarm.clear(tx, org, room_id, KEEPS_POWER)


def _where(room_id: str) -> str:
    return ADMIN + "rooms/" + quote(room_id, safe="")


def _contents(events: list[dict[str, Any]]) -> State:
    return {(event["type"], event["state_key"]): event["content"] for event in events}
