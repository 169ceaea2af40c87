"""History fetched back: what was said before the archiver joined, and what a sync left out (DESIGN D6)."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from archiver.capture.client import Homeserver, MatrixError, path
from archiver.capture.commit import Committer
from archiver.db import Pool, tenant_tx
from archiver.ledger.canonical import column

log = logging.getLogger(__name__)

PAGE = "100"
REFUSED = frozenset({400, 403, 404})  # asking again would change nothing: the gaps are looked for one by one
FILTER = '{"event_format":"federation","lazy_load_members":false}'
NEXT = """
    SELECT stretch_id, room_id, token, until_known, attempts FROM stretch
    WHERE org = $1 AND user_id = $2 AND failed IS NULL AND due_at <= now() ORDER BY due_at, found_at LIMIT 1
"""
LATER = """
    UPDATE stretch SET attempts = attempts + 1, due_at = now() + make_interval(secs => $4)
    WHERE org = $1 AND room_id = $2 AND stretch_id = $3
"""
MOVE = "UPDATE stretch SET token = $4 WHERE org = $1 AND room_id = $2 AND stretch_id = $3"
DONE = "DELETE FROM stretch WHERE org = $1 AND room_id = $2 AND stretch_id = $3"
FAIL = "UPDATE stretch SET failed = $4 WHERE org = $1 AND room_id = $2 AND stretch_id = $3"


class History:
    """Fetches the stretches that are missing, one page at a time, beside live capture."""

    def __init__(self, pool: Pool, server: Homeserver, committer: Committer) -> None:
        self._pool = pool
        self._server = server
        self._committer = committer
        self._org = committer.seat.org
        self._user_id = committer.seat.user_id

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch until told to stop. Each page is committed with its place, so a crash repeats at most one page."""
        while not stop.is_set():
            async with tenant_tx(self._pool, self._org) as tx:
                stretch = await tx.fetchrow(NEXT, self._org, self._user_id)
            if stretch is not None:
                await self._page(stretch)
                continue
            try:
                await asyncio.wait_for(stop.wait(), 0.5)
            except TimeoutError:
                continue

    async def _page(self, stretch: Any) -> None:
        room_id, place = stretch["room_id"], (self._org, stretch["room_id"], stretch["stretch_id"])
        query = {"dir": "b", "from": stretch["token"], "limit": PAGE, "filter": FILTER}
        try:
            answer = await self._server.call("GET", path("v3", "rooms", room_id, "messages"), query=query)
        except MatrixError as error:
            if error.status not in REFUSED:
                log.warning("History of %s can't be fetched now: %s", room_id, error)
                wait = float(min(600, 2 ** stretch["attempts"]))
                await self._committer.history(room_id, [], [(LATER, (*place, wait))])
                return
            log.warning("History of %s is refused: %s", room_id, error)
            await self._committer.history(room_id, [], [(FAIL, (*place, column(str(error))))])
            return
        chunk = [event for event in answer.get("chunk", []) if isinstance(event, dict)]
        state = [event for event in answer.get("state", []) if isinstance(event, dict)]
        end = answer.get("end")
        last = not isinstance(end, str) or not chunk
        step = (DONE, place) if last else (MOVE, (*place, end))
        added = await self._committer.history(room_id, state + chunk, [step])
        if stretch["until_known"] and not added and not last:
            await self._committer.history(room_id, [], [(DONE, place)])
