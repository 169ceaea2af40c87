"""What officials said and the homeserver never told us.

Synapse notes that it has dealt with an event before what it tells us of it is stored: when it ends in between, or its database
fails just then, it tells us nothing of that event, ever (1.163, ApplicationServicesHandler and _TransactionController). So the
rooms themselves are looked into: those where people talk every minute or so, the others once an hour, and all after a start; and
before a message goes, what was said just before it, so that each goes in its turn.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from mautrix.api import Method, Path
from mautrix.errors import MatrixConnectionError, MatrixRequestError

from bridge import network
from bridge.departing.departing import EVENTS
from bridge.ghost import Account
from bridge.network import Behind
from bridge.relay.lanes import Work
from bridge.relay.relay import Relay, column
from bridge.stopping import stopped

log = logging.getLogger(__name__)

OPEN = "SELECT room_id FROM portal WHERE closed_at IS NULL ORDER BY made_at DESC"
FROM = "SELECT looked_from FROM portal WHERE room_id = $1"
# What was being stored while we looked may have its place before the end that we saw: a while of it is looked into again.
LOOKED = """
    UPDATE portal SET looked_from = looked_to, looked_to = $2, looked_at = now()
    WHERE room_id = $1 AND (looked_at IS NULL OR looked_at < now() - interval '10 minutes')
"""
UNKNOWN = "SELECT event_id FROM unnest($1::text[]) AS event_id EXCEPT SELECT event_id FROM outbox WHERE event_id = ANY($1)"
# Whether somebody spoke for the number by then: what they said before is not to go because they do now.
SPOKE = """
    SELECT EXISTS (SELECT FROM assignment JOIN portal USING (number_id)
                   WHERE room_id = $1 AND user_id = $2 AND valid_from <= to_timestamp($3::float8 / 1000))
"""
# What was said before a message and came into the outbox after it, or itself waits for what was said before it.
BEHIND = f"""
    SELECT event_id FROM outbox
    WHERE event_id = ANY($1) AND state IN ('waiting', 'aside')
      AND (problem = '{network.BEHIND}' OR id > (SELECT id FROM outbox WHERE event_id = $2))
"""  # noqa: S608 - our own words
JUST = 3600.0  # seconds before a message in which what was said is looked for when it goes
LONGEST = 3600.0  # seconds between two looks into a room where nobody talks
FRESH = 15.0  # seconds in which we are told in the ordinary way
PAGE = 200
BREATH = 0.2  # seconds between two rooms: at most five a second
ROUND = 5.0  # seconds between two rounds

Wanted = Callable[[dict[str, Any]], Awaitable[bool]]


class Overlooked:
    """Looks into portals' rooms for events that are not in the outbox and should be."""

    def __init__(self, pool: asyncpg.Pool, bot: Account, relay: Relay, wanted: Wanted, soonest: float) -> None:
        self._pool = pool
        self._bot = bot
        self._relay = relay
        self._wanted = wanted
        self._soonest = soonest  # seconds between two looks into a room where people talk
        self._looked: dict[str, float] = {}  # room: when, on the loop's clock
        self._stirred: dict[str, float] = {}  # room: when something was last carried over there
        relay.stirred = self._stir

    async def run(self, stop: asyncio.Event) -> None:
        """Look into each room when it is due, until told to stop."""
        while not stop.is_set():
            try:
                rooms = dict.fromkeys(row["room_id"] for row in await self._pool.fetch(OPEN))
                for room_id in rooms:
                    if self._due(room_id) and not await stopped(stop, BREATH):
                        await self._tried(room_id)
                self._stirred = {room: at for room, at in self._stirred.items() if room in rooms}
                self._looked = {room: at for room, at in self._looked.items() if room in rooms}
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.warning("Rooms can't be looked into now (%s); trying again.", type(error).__name__)
            await stopped(stop, ROUND)

    def in_turn(self, carry: Work) -> Work:
        """Carry each event when what was said before it has gone; raises Behind while it has not."""

        async def work(event: dict[str, Any]) -> str:
            if event.get("type") in EVENTS and (first := await self._before(event)):
                raise Behind(first)
            return await carry(event)

        return work

    async def look(self, room_id: str) -> int:
        """Put what is missing of a room in the outbox, in the room's order; returns how much that is.

        Raises MatrixRequestError, MatrixConnectionError.
        """
        found, place = 0, await self._pool.fetchval(FROM, room_id)
        until = (time.time() - FRESH) * 1000
        query = {"dir": "f", "limit": str(PAGE), "filter": json.dumps({"types": sorted(EVENTS)})}
        while True:
            answer = await self._bot.call(
                Method.GET, Path.v3.rooms[room_id].messages, None, query | ({"from": place} if place else {})
            )
            chunk = answer.get("chunk", [])
            found += await self._missing(room_id, [event for event in chunk if not _deleted(event)], until)
            if not chunk or "end" not in answer:
                break
            place = str(answer["end"])
        if place:
            await self._pool.execute(LOOKED, room_id, place)
        return found

    async def _before(self, event: dict[str, Any]) -> str:
        """The last of what was said just before an event and has yet to go; empty when nothing has, or the server can't say."""
        room_id, event_id = str(event["room_id"]), str(event["event_id"])
        query = {"limit": "20", "filter": json.dumps({"types": sorted(EVENTS)})}
        try:
            answer = await self._bot.call(Method.GET, Path.v3.rooms[room_id].context[event_id], None, query)
        except (MatrixRequestError, MatrixConnectionError) as error:
            log.warning("What was said before in %s can't be seen now: %s", room_id, type(error).__name__)
            return ""
        since = _sent(event) - JUST * 1000
        told = [before for before in answer.get("events_before", [])[::-1] if not _deleted(before) and _sent(before) >= since]
        if not told:
            return ""
        await self._missing(room_id, told, time.time() * 1000)
        ids = [column(str(before.get("event_id"))) for before in told]
        waiting = {row["event_id"] for row in await self._pool.fetch(BEHIND, ids, column(event_id))}
        return next((known for known in reversed(ids) if known in waiting), "")

    async def _missing(self, room_id: str, said: list[dict[str, Any]], until: float) -> int:
        known = [column(str(event.get("event_id"))) for event in said]
        unknown = {row["event_id"] for row in await self._pool.fetch(UNKNOWN, known)}
        missing = [
            {"room_id": room_id} | event
            for event in said
            if event.get("event_id") in unknown and _sent(event) <= until and await self._spoke(room_id, event)
        ]
        if missing:
            log.warning("%d event(s) in %s, of which the homeserver has told us nothing, go now.", len(missing), room_id)
            await self._relay.take_out(missing)
        return len(missing)

    async def _spoke(self, room_id: str, event: dict[str, Any]) -> bool:
        """Whether an event is to go: it is wanted now, and whoever said it spoke for the number then."""
        if not await self._wanted({"room_id": room_id} | event):
            return False
        return bool(await self._pool.fetchval(SPOKE, room_id, column(str(event.get("sender"))), _sent(event)))

    def _stir(self, room_id: str) -> None:
        self._stirred[room_id] = time.monotonic()

    def _due(self, room_id: str) -> bool:
        """A room is looked into after a tenth of the time that nobody has talked in it."""
        now = time.monotonic()
        looked, stirred = self._looked.get(room_id), self._stirred.get(room_id)
        idle = LONGEST if stirred is None else (now - stirred) / 10
        return looked is None or now - looked >= min(LONGEST, max(self._soonest, idle))

    async def _tried(self, room_id: str) -> None:
        try:
            await self.look(room_id)
        except (MatrixRequestError, MatrixConnectionError) as error:
            log.warning("The room %s can't be looked into now: %s", room_id, type(error).__name__)
        self._looked[room_id] = time.monotonic()


def _sent(event: dict[str, Any]) -> float:
    """Milliseconds since 1970, as the homeserver says; 0 when it says nothing of use."""
    at = event.get("origin_server_ts")
    return at if isinstance(at, int) else 0


def _deleted(event: dict[str, Any]) -> bool:
    """What was deleted before it went has nothing left that could go."""
    unsigned = event.get("unsigned")
    return isinstance(unsigned, dict) and "redacted_because" in unsigned
