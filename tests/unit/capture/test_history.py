"""History as a pipeline: its memory, its turns, its pages, its place after a crash."""

from __future__ import annotations

import asyncio
import secrets
from types import SimpleNamespace

import pytest

from archiver.capture.client import MatrixError
from archiver.capture.commit import Checked
from archiver.capture.history import AHEAD, FIRST_PAGE, HOLD, MAX_PAGE, MIN_PAGE, History
from archiver.db import tenant_tx
from archiver.ledger.audit import uuid7
from archiver.ledger.event import Rules

pytestmark = pytest.mark.postgres

ADD = """
    INSERT INTO stretch (org, stretch_id, room_id, token, cause, until_known, user_id)
    VALUES (1, $1, $2, $3, 'joined', $4, '@a:x')
"""


class Server:
    """Rooms with so many pages of history; page N ends where N + 1 begins."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.served: list[tuple[str, int]] = []
        self.refuses: MatrixError | None = None

    async def call(self, method, path, query):
        room_id = path.split("/")[-2].replace("%21", "!").replace("%3A", ":")
        page = int(query["from"])
        await asyncio.sleep(0)
        if self.refuses:
            raise self.refuses
        self.served.append((room_id, page))
        chunk = [{"type": "x", "page": page}]
        return {"chunk": chunk, "end": str(page + 1)} if page < self.pages else {"chunk": chunk}


class Committer:
    """Commits the place; remembers what came, in which order."""

    def __init__(self, pool, server: Server) -> None:
        self.seat = SimpleNamespace(org=1, user_id="@a:x")
        self.pool, self.server = pool, server
        self.kept: list[tuple[str, int]] = []
        self.most_ahead = 0
        self.known: set[tuple[str, int]] = set()
        self.dies_at = -1

    async def check(self, room_id, events):
        return Checked(room_id, Rules("11"), tuple((event, None) for event in events), [])

    async def keep(self, page, then):
        self.most_ahead = max(self.most_ahead, len(self.server.served) - len(self.kept))
        [(event, _)] = page.events
        if len(self.kept) == self.dies_at:
            raise ConnectionError("the database is gone")
        await self.history(page.room_id, [], then)
        place = page.room_id, event["page"]
        self.kept.append(place)
        return place not in self.known

    async def history(self, room_id, events, then):
        async with tenant_tx(self.pool, 1) as tx:
            for statement, values in then:
                await tx.execute(statement, *values)
        return 0


async def stretches(archive, rooms, *, until_known=False):
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute("DELETE FROM stretch")
        for room in rooms:
            await tx.execute(ADD, uuid7(), room, "1", until_known)


async def open_stretches(archive):
    async with tenant_tx(archive.pool, 1) as tx:
        return await tx.fetch("SELECT room_id, token, failed, attempts FROM stretch")


async def run_until_done(archive, history, seconds=20):
    stop = asyncio.Event()
    running = asyncio.create_task(history.run(stop))
    try:
        async with asyncio.timeout(seconds):
            while await open_stretches(archive) and not running.done():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        if running.done():
            running.result()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def rooms():
    return [f"!{secrets.token_hex(4)}:x" for _ in range(3)]


async def test_however_long_a_history_is_only_a_few_pages_are_held_at_once(archive, rooms):
    server = Server(pages=60)
    committer = Committer(archive.pool, server)
    await stretches(archive, rooms[:1])
    await run_until_done(archive, History(archive.pool, server, committer))
    assert committer.kept == [(rooms[0], page) for page in range(1, 61)], "every page, once, in order"
    assert 1 < committer.most_ahead <= 2 * AHEAD + 3, "the queues, and one page in the hands of each stage"


async def test_rooms_take_turns_a_page_each(archive, rooms):
    server = Server(pages=5)
    committer = Committer(archive.pool, server)
    await stretches(archive, rooms)
    await run_until_done(archive, History(archive.pool, server, committer))
    assert committer.kept == [(room, page) for page in range(1, 6) for room in rooms]


async def test_a_stretch_ends_at_the_first_page_that_holds_nothing_new(archive, rooms):
    server = Server(pages=1000)
    committer = Committer(archive.pool, server)
    committer.known = {(rooms[0], page) for page in range(4, 1001)}
    await stretches(archive, rooms[:1], until_known=True)
    await run_until_done(archive, History(archive.pool, server, committer))
    assert {(rooms[0], page) for page in range(1, 5)} <= set(committer.kept)
    assert len(server.served) < 20, "what was on its way when it ended, and no more"


async def test_after_a_crash_it_goes_on_at_the_last_page_that_was_committed(archive, rooms):
    server = Server(pages=10)
    dying = Committer(archive.pool, server)
    dying.dies_at = 4
    await stretches(archive, rooms[:1])
    with pytest.raises(ExceptionGroup):
        await run_until_done(archive, History(archive.pool, server, dying))
    assert [row["token"] for row in await open_stretches(archive)] == ["5"]
    after = Committer(archive.pool, server)
    await run_until_done(archive, History(archive.pool, server, after))
    assert dying.kept + after.kept == [(rooms[0], page) for page in range(1, 11)]


async def test_history_that_is_refused_is_kept_with_the_reason_and_what_fails_for_now_is_tried_later(archive, rooms):
    server = Server(pages=2)
    history = History(archive.pool, server, Committer(archive.pool, server))
    for status, failed, attempts in ((503, False, 1), (403, True, 1)):
        server.refuses = MatrixError(status, {"errcode": "M_X"}, "messages")
        if status == 503:
            await stretches(archive, rooms[:1])
        [stretch] = await history._due()
        assert await history._page(stretch) is None
        [row] = await open_stretches(archive)
        assert (row["failed"] is not None, row["attempts"]) == (failed, attempts)
        assert await history._due() == [], "not now"
        async with tenant_tx(archive.pool, 1) as tx:
            await tx.execute("UPDATE stretch SET due_at = now()")


async def test_pages_grow_as_far_as_a_live_message_may_wait_for_them(archive):
    history = History(archive.pool, Server(0), Committer(archive.pool, Server(0)))
    assert history._limit == FIRST_PAGE
    for _ in range(5):
        history._adapt(history._limit, HOLD / 10)
    assert history._limit == MAX_PAGE
    history._adapt(1000, HOLD * 4)
    assert history._limit == 250
    history._adapt(3, HOLD * 40)
    assert history._limit == 250, "the last page of a room says nothing"
    history._adapt(250, 60)
    assert history._limit == MIN_PAGE
