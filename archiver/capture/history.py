"""History fetched back: what was said before the archiver joined, and what a sync left out (DESIGN D6).

A pipeline beside live capture: while one page is committed, the next is checked and the one after that is on its way.
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

from archiver.capture.client import CaptureError, Homeserver, MatrixError, path
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
MOVE = "UPDATE stretch SET token = $4, attempts = 0 WHERE org = $1 AND room_id = $2 AND stretch_id = $3"
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
    run: int = 0  # how often it was set back: what was downloaded before that, and not checked by then, is downloaded again


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page of a stretch."""

    stretch: Stretch
    events: tuple[JsonObject, ...]
    begin: str
    end: str | None  # where the next page begins; None when this is the last
    run: int


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
        self._stretches.clear()  # after a failure all begins where it was committed
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
            stretch = page.stretch
            if page.run != stretch.run:
                stretch.under_way -= 1
                continue
            try:
                events = await self._committer.check(stretch.room_id, page.events)
            except CaptureError as error:
                # What comes after it may not be committed before it: the stretch goes back to where this page begins.
                stretch.token, stretch.run = page.begin, stretch.run + 1
                await self._later(stretch, error)
                stretch.under_way -= 1
            else:
                await checked.put((page, events))

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
        begin, run = stretch.token, stretch.run
        if begin is None:
            return None
        query = {"dir": "b", "from": begin, "limit": str(self._limit), "filter": FILTER}
        try:
            answer = await self._server.call("GET", path("v3", "rooms", stretch.room_id, "messages"), query=query)
        except CaptureError as error:
            if isinstance(error, MatrixError) and error.status in REFUSED:
                log.warning("History of %s is refused: %s", stretch.room_id, error)
                stretch.token = None
                await self._note(FAIL, stretch, column(str(error)))
            else:
                await self._later(stretch, error)
            return None
        if stretch.run != run:
            return None  # set back while this was on its way
        chunk, state, end = _events(answer.get("chunk")), _events(answer.get("state")), answer.get("end")
        # A page of which nothing may be seen is empty, and what comes before it may be seen: only the server knows where it ends.
        stretch.token = end if isinstance(end, str) and end != begin else None
        stretch.under_way += 1
        # The oldest first: a Megolm session is read forward in fewer steps than backward.
        return Fetched(stretch, state + chunk[::-1], begin, stretch.token, run)

    async def _later(self, stretch: Stretch, error: CaptureError) -> None:
        """Leave a stretch for now, the longer the more often in a row it fails."""
        log.warning("History of %s can't be fetched now: %s", stretch.room_id, error)
        await self._note(LATER, stretch, float(min(600, 2**stretch.attempts)))

    async def _note(self, statement: str, stretch: Stretch, *values: object) -> None:
        async with tenant_tx(self._pool, self._org) as tx:
            await tx.execute(statement, self._org, stretch.room_id, stretch.stretch_id, *values)

    async def _keep(self, page: Fetched, events: Checked) -> None:
        stretch = page.stretch
        place = self._org, stretch.room_id, stretch.stretch_id
        step = (DONE, place) if page.end is None else (MOVE, (*place, page.end))
        added = await self._committer.keep(events, [step])
        if stretch.until_known and page.events and not added and page.end is not None:
            stretch.token = None
            await self._note(DONE, stretch)
        stretch.under_way -= 1

    def _adapt(self, events: int, seconds: float) -> None:
        """Let the next page be as large as `HOLD` allows; a page that was not full says nothing."""
        if events >= MIN_PAGE:
            self._limit = max(MIN_PAGE, min(MAX_PAGE, self._limit * 2, int(events * HOLD / max(seconds, 0.001))))


def _events(value: Any) -> tuple[JsonObject, ...]:
    return tuple(event for event in value if isinstance(event, dict)) if isinstance(value, list) else ()
