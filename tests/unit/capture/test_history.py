"""History as a pipeline: its memory, its turns, its pages, its place after a crash."""

from __future__ import annotations

import asyncio
import secrets
from types import SimpleNamespace

import pytest

from archiver.capture.client import HomeserverUnreachable, MatrixError
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
        self.refuses: Exception | None = None
        self.down: dict[str, int] = {}  # how often a room's history can't be had
        self.hidden: set[int] = set()  # pages of which nothing may be seen

    async def call(self, method, path, query):
        room_id = path.split("/")[-2].replace("%21", "!").replace("%3A", ":")
        page = int(query["from"])
        await asyncio.sleep(0)
        if self.refuses:
            raise self.refuses
        if self.down.get(room_id):
            self.down[room_id] -= 1
            raise HomeserverUnreachable("a page of the proxy's")
        self.served.append((room_id, page))
        chunk = [] if page in self.hidden else [{"type": "x", "page": page}]
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
        self.fails: list[tuple[str, int]] = []  # what can't be checked, once for each time it is named

    async def check(self, room_id, events):
        for event in events:
            if (room_id, event["page"]) in self.fails:
                self.fails.remove((room_id, event["page"]))
                raise HomeserverUnreachable("the version of the room can't be had")
        return Checked(room_id, Rules("11"), tuple((event, None) for event in events), [])

    async def keep(self, page, then):
        self.most_ahead = max(self.most_ahead, len(self.server.served) - len(self.kept))
        if len(self.kept) == self.dies_at:
            raise ConnectionError("the database is gone")
        places = [(page.room_id, event["page"]) for event, _ in page.events]
        self.kept += places  # before it is committed: once it is, the test may look
        await self.history(page.room_id, [], then)
        return any(place not in self.known for place in places)

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


@pytest.mark.parametrize("until_known", [False, True])
async def test_a_page_of_which_nothing_may_be_seen_does_not_end_the_history(archive, rooms, until_known):
    server = Server(pages=6)
    server.hidden = {1, 3, 4}
    committer = Committer(archive.pool, server)
    await stretches(archive, rooms[:1], until_known=until_known)
    await run_until_done(archive, History(archive.pool, server, committer))
    assert committer.kept == [(rooms[0], page) for page in (2, 5, 6)]


async def hasten(archive):
    """Let no stretch wait for longer than a moment."""
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute("UPDATE stretch SET due_at = least(due_at, now() + interval '0.1 s')")


async def test_a_room_whose_history_can_t_be_had_now_ends_no_other(archive, rooms):
    server = Server(pages=4)
    server.down = {rooms[0]: 2}
    committer = Committer(archive.pool, server)
    await stretches(archive, rooms)
    history = History(archive.pool, server, committer)
    running = asyncio.create_task(run_until_done(archive, history))
    async with asyncio.timeout(20):
        while {room for room, _ in committer.kept} != set(rooms):
            await asyncio.sleep(0.02)
            await hasten(archive)
    assert committer.kept[:8] == [(room, page) for page in range(1, 5) for room in rooms[1:]], "the others went on"
    await running
    assert sorted(committer.kept) == sorted((room, page) for room in rooms for page in range(1, 5))


async def test_an_unreachable_homeserver_is_waited_for_ever_longer(archive, rooms):
    server = Server(pages=1)
    server.refuses = HomeserverUnreachable("502 from the proxy")
    history = History(archive.pool, server, Committer(archive.pool, server))
    await stretches(archive, rooms[:1])
    waits = []
    for _ in range(3):
        [stretch] = await history._due()
        assert await history._page(stretch) is None
        async with tenant_tx(archive.pool, 1) as tx:
            waits.append(await tx.fetchval("SELECT round(extract(epoch FROM due_at - now())) FROM stretch"))
            await tx.execute("UPDATE stretch SET due_at = now()")
    assert waits == [1, 2, 4]


async def test_a_page_that_can_t_be_checked_now_is_fetched_again_and_none_is_left_out(archive, rooms):
    server = Server(pages=12)
    committer = Committer(archive.pool, server)
    committer.fails = [(rooms[0], 1), (rooms[0], 5), (rooms[0], 5)]
    await stretches(archive, rooms[:2])
    history = History(archive.pool, server, committer)
    running = asyncio.create_task(run_until_done(archive, history))
    while not running.done():
        await asyncio.sleep(0.05)
        await hasten(archive)
    await running
    for room in rooms[:2]:
        assert [page for kept, page in committer.kept if kept == room] == list(range(1, 13)), "every page, once, in order"
    assert {stretch.under_way for stretch in history._stretches.values()} <= {0}


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
