"""Fetching what the event graph shows to be missing (DESIGN D6): the event itself, and what leads up to it.

A server does not always say that it left something out, and what it leaves out it may hold all the same. Each missing event is
asked for by name; what comes may show further gaps, which are asked for in turn, until the graph is closed or the server has
no more to give. What can't be had stays a gap, with its cause, and is asked for again, ever less often.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import quote

from archiver.capture.client import CaptureError, Homeserver, MatrixError, path
from archiver.capture.commit import Committer
from archiver.capture.history import FILTER
from archiver.db import Connection, Pool, tenant_tx
from archiver.ledger.canonical import JsonObject, column
from archiver.ledger.graph import NOT_HELD, NOT_VISIBLE, WITHHELD
from archiver.ledger.record import COLUMNS, unseal
from archiver.ledger.sealing import Vault
from archiver.stopping import pause

log = logging.getLogger(__name__)

PAGE = "100"
WAIT, MAX_WAIT = 2.0, 6 * 3600.0  # seconds until the second attempt, and at most between two
# Where history is still being fetched, what is missing will mostly come with it.
DUE = """
    SELECT room_id, event_id, attempts FROM gap
    WHERE org = $1 AND state <> 'filled' AND due_at <= now()
      AND room_id IN (SELECT room_id FROM room WHERE room.org = gap.org AND room.user_id = $2)
      AND NOT EXISTS (SELECT FROM stretch WHERE stretch.org = gap.org AND stretch.room_id = gap.room_id AND failed IS NULL
                      AND stretch.user_id = $2)
    ORDER BY due_at, room_id LIMIT 20
"""
STILL_MISSING = "SELECT state <> 'filled' FROM gap WHERE org = $1 AND room_id = $2 AND event_id = $3"
# Counted before asking, so that what comes is known to have been looked for.
ASKING = """
    UPDATE gap SET attempts = attempts + 1, due_at = now() + make_interval(secs => $4)
    WHERE org = $1 AND room_id = $2 AND event_id = $3 AND state <> 'filled'
"""
KEEP = """
    UPDATE gap SET state = 'kept', cause = $4, settled_at = coalesce(settled_at, now())
    WHERE org = $1 AND room_id = $2 AND event_id = $3 AND state <> 'filled'
"""

FIRST_AFTER = """
    SELECT min(child.depth)
    FROM edge JOIN record AS child ON child.org = edge.org AND child.room_id = edge.room_id AND child.event_id = edge.event_id
    WHERE edge.org = $1 AND edge.room_id = $2 AND edge.prev_event_id = $3
"""
OWN_MEMBERSHIP = f"""
    SELECT {COLUMNS} FROM record WHERE org = $1 AND room_id = $2 AND type = 'm.room.member' AND state_key = $3
    ORDER BY depth, event_id
"""  # noqa: S608 - constants only


class Gaps:
    """Asks for what is missing, beside live capture."""

    def __init__(self, pool: Pool, server: Homeserver, committer: Committer, admin_token: str) -> None:
        self._pool = pool
        self._server = server
        self._committer = committer
        self._admin_token = admin_token
        self._org = committer.seat.org
        self._user_id = committer.seat.user_id

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop."""
        while not stop.is_set():
            async with tenant_tx(self._pool, self._org) as tx:
                due = await tx.fetch(DUE, self._org, self._user_id)
            for gap in due:
                await self._look_for(gap)
            if not due:
                await pause(stop, 0.5)

    async def _look_for(self, gap: Any) -> None:
        room_id, event_id = place = gap["room_id"], gap["event_id"]
        async with tenant_tx(self._pool, self._org) as tx:
            if not await tx.fetchval(STILL_MISSING, self._org, *place):
                return
            await tx.execute(ASKING, self._org, *place, min(MAX_WAIT, WAIT * 4.0 ** min(gap["attempts"], 20)))
        refused = False
        try:
            try:
                cause = await self._ask(room_id, event_id)
            except MatrixError as error:
                refused = error.status == 403
                cause = {403: WITHHELD, 404: NOT_HELD}.get(error.status, str(error))
            if await self._is_missing(place) and self._admin_token:
                cause = await self._ask_as_admin(room_id, event_id) or cause
        except CaptureError as error:
            log.warning("A missing event of %s can't be asked for now: %s", room_id, error)
            return
        if not await self._is_missing(place):
            log.info("A missing event of %s was fetched: %s", room_id, event_id)
            return
        async with tenant_tx(self._pool, self._org) as tx:
            # What was shown in one answer and left out of the next is a hole: only a refusal says that it is not for us to see.
            if refused and cause == WITHHELD and await _of_our_absence(tx, self._committer.seat.vault, place, self._user_id):
                cause = NOT_VISIBLE
            await tx.execute(KEEP, self._org, *place, column(cause))
        if gap["attempts"] == 0:
            log.warning("An event of %s is missing and can't be had (%s): %s", room_id, column(cause), event_id)

    async def _is_missing(self, place: tuple[str, str]) -> bool:
        async with tenant_tx(self._pool, self._org) as tx:
            return bool(await tx.fetchval(STILL_MISSING, self._org, *place))

    async def _ask(self, room_id: str, event_id: str) -> str:
        """Fetch the page of history that ends with the event; returns why it is still missing if it is. Raises MatrixError."""
        # `/context` has no federation format, but tells where in the room's history the event stands.
        around = await self._server.call("GET", path("v3", "rooms", room_id, "context", event_id), query={"limit": "0"})
        end = around.get("end")
        if not isinstance(end, str):
            return "the homeserver does not say where it stands"
        query = {"dir": "b", "from": end, "limit": PAGE, "filter": FILTER}
        answer = await self._server.call("GET", path("v3", "rooms", room_id, "messages"), query=query)
        chunk = [event for event in answer.get("chunk", []) if isinstance(event, dict)]
        await self._committer.history(room_id, chunk, [])
        return WITHHELD

    async def _ask_as_admin(self, room_id: str, event_id: str) -> str | None:
        """Fetch the event through Synapse's admin API; returns why it did not come, None when that says nothing new."""
        try:
            where = "/_synapse/admin/v1/fetch_event/" + quote(event_id, safe="")
            answer = await self._server.call("GET", where, token=self._admin_token)
        except MatrixError as error:
            return NOT_HELD if error.status == 404 else None
        event: JsonObject | None = answer.get("event")
        if isinstance(event, dict) and event.get("room_id") == room_id:
            await self._committer.history(room_id, [event], [])
        return None


async def _of_our_absence(tx: Connection, vault: Vault, place: tuple[str, str], user_id: str) -> bool:
    """Whether a missing event is of before our own coming into the room, or of between our leaving and our coming back.

    What was said then may be kept from us; what was said while we were there may not. A change of our name is no coming in.
    """
    room_id, _ = place
    after = await tx.fetchval(FIRST_AFTER, vault.org, *place)
    if after is None:
        return False
    left, joined = -1, False
    for record in await unseal(tx, vault, await tx.fetch(OWN_MEMBERSHIP, vault.org, room_id, user_id)):
        joins = record.content.get("membership") == "join"
        if joins and not joined and left < after <= record.depth:
            return True
        if joined and not joins:
            left = record.depth
        joined = joins
    return False
