"""History fetched back: what was said before the archiver joined, and what a sync left out (DESIGN D6).

A pipeline beside live capture: while one page is committed, the next is checked in a thread and the one after that is on its way.
Its queues are short, so memory does not grow with the length of a history; its pages are as large as can be committed in the time
that a live message may have to wait for; rooms take turns, a page each.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Queue
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from archiver.capture.client import Homeserver, MatrixError, path
from archiver.capture.commit import Checked, Committer
from archiver.db import Pool, tenant_tx
from archiver.ledger.canonical import JsonObject, column
from archiver.stopping import pause

log = logging.getLogger(__name__)

FIRST_PAGE, MIN_PAGE, MAX_PAGE = 500, 50, 1000  # events; Synapse gives no more than 1,000
HOLD = 0.15  # seconds that a page may keep the seat to itself, and a live message waiting
AHEAD = 1  # pages that may wait before each stage
REFUSED = frozenset({400, 403, 404})  # asking again would change nothing: the gaps are looked for one by one
FILTER = '{"event_format":"federation","lazy_load_members":false}'
DUE = """
    SELECT stretch_id, room_id, token, until_known, attempts FROM stretch
    WHERE org = $1 AND user_id = $2 AND failed IS NULL AND due_at <= now() ORDER BY found_at LIMIT 1000
"""
LATER = """
    UPDATE stretch SET attempts = attempts + 1, due_at = now() + make_interval(secs => $4)
    WHERE org = $1 AND room_id = $2 AND stretch_id = $3
"""
MOVE = "UPDATE stretch SET token = $4 WHERE org = $1 AND room_id = $2 AND stretch_id = $3"
DONE = "DELETE FROM stretch WHERE org = $1 AND room_id = $2 AND stretch_id = $3"
FAIL = "UPDATE stretch SET failed = $4 WHERE org = $1 AND room_id = $2 AND stretch_id = $3"


@dataclass(slots=True)
class Stretch:
    """A missing stretch, and how far ahead of its committed place it has been downloaded."""

    stretch_id: UUID
    room_id: str
    token: str | None  # where the next page begins; None when nothing is left to download
    until_known: bool
    attempts: int
    under_way: int = 0  # pages downloaded and not yet committed


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page of a stretch."""

    stretch: Stretch
    events: tuple[JsonObject, ...]
    end: str | None  # where the next page begins; None when this is the last


class History:
    """Fetches the stretches that are missing, beside live capture."""

    def __init__(self, pool: Pool, server: Homeserver, committer: Committer, pause: float = 0) -> None:
        self._pool = pool
        self._server = server
        self._committer = committer
        self._org = committer.seat.org
        self._user_id = committer.seat.user_id
        self._pause = pause
        self._stretches: dict[UUID, Stretch] = {}
        self._limit = FIRST_PAGE

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch until told to stop. Each page is committed with its place, so a crash repeats what was under way and no more."""
        fetched: Queue[Fetched] = Queue(AHEAD)
        checked: Queue[tuple[Fetched, Checked]] = Queue(AHEAD)
        async with asyncio.TaskGroup() as stages:
            stages.create_task(self._download(fetched, stop))
            stages.create_task(self._check(fetched, checked))
            stages.create_task(self._commit(checked))

    async def _download(self, fetched: Queue[Fetched], stop: asyncio.Event) -> None:
        while not stop.is_set():
            turn = await self._due()
            for stretch in turn:
                page = await self._page(stretch)
                if page is not None:
                    await fetched.put(page)
            if not turn:
                await pause(stop, 0.2)

    async def _check(self, fetched: Queue[Fetched], checked: Queue[tuple[Fetched, Checked]]) -> None:
        while True:
            page = await fetched.get()
            await checked.put((page, await self._committer.check(page.stretch.room_id, page.events)))

    async def _commit(self, checked: Queue[tuple[Fetched, Checked]]) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            page, events = await checked.get()
            began = clock()
            await self._keep(page, events)
            self._adapt(len(page.events), clock() - began)
            await asyncio.sleep(self._pause)

    async def _due(self) -> list[Stretch]:
        """The stretches of which a page may be downloaded now."""
        async with tenant_tx(self._pool, self._org) as tx:
            rows = await tx.fetch(DUE, self._org, self._user_id)
        due = {row["stretch_id"] for row in rows}
        # One with pages under way is remembered even when it is not due: its place in the database is behind them.
        self._stretches = {key: kept for key, kept in self._stretches.items() if key in due or kept.under_way}
        for row in rows:
            known = self._stretches.setdefault(row["stretch_id"], Stretch(**row))
            known.attempts = row["attempts"]
        return [kept for key, kept in self._stretches.items() if key in due and kept.token is not None]

    async def _page(self, stretch: Stretch) -> Fetched | None:
        """The next page of a stretch; None when it can't be had, which is noted."""
        room_id, place = stretch.room_id, (self._org, stretch.room_id, stretch.stretch_id)
        if stretch.token is None:
            return None
        query = {"dir": "b", "from": stretch.token, "limit": str(self._limit), "filter": FILTER}
        try:
            answer = await self._server.call("GET", path("v3", "rooms", room_id, "messages"), query=query)
        except MatrixError as error:
            if error.status not in REFUSED:
                log.warning("History of %s can't be fetched now: %s", room_id, error)
                wait = float(min(600, 2**stretch.attempts))
                await self._committer.history(room_id, [], [(LATER, (*place, wait))])
                return None
            log.warning("History of %s is refused: %s", room_id, error)
            stretch.token = None
            await self._committer.history(room_id, [], [(FAIL, (*place, column(str(error))))])
            return None
        chunk, state, end = _events(answer.get("chunk")), _events(answer.get("state")), answer.get("end")
        stretch.token = end if isinstance(end, str) and chunk else None
        stretch.under_way += 1
        # The oldest first: a Megolm session is read forward in fewer steps than backward.
        return Fetched(stretch, state + chunk[::-1], stretch.token)

    async def _keep(self, page: Fetched, events: Checked) -> None:
        stretch = page.stretch
        place = self._org, stretch.room_id, stretch.stretch_id
        step = (DONE, place) if page.end is None else (MOVE, (*place, page.end))
        added = await self._committer.keep(events, [step])
        if stretch.until_known and not added and page.end is not None:
            stretch.token = None
            await self._committer.history(stretch.room_id, [], [(DONE, place)])
        stretch.under_way -= 1

    def _adapt(self, events: int, seconds: float) -> None:
        """Let the next page be as large as `HOLD` allows; a page that was not full says nothing."""
        if events >= MIN_PAGE:
            self._limit = max(MIN_PAGE, min(MAX_PAGE, self._limit * 2, int(events * HOLD / max(seconds, 0.001))))


def _events(value: Any) -> tuple[JsonObject, ...]:
    return tuple(event for event in value if isinstance(event, dict)) if isinstance(value, list) else ()
