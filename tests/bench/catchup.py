"""Catch-up of an encrypted backlog, against what only downloads it and against a plain bot that stores it."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import asyncpg
from nio import AsyncClient, MegolmEvent, RoomMessagesResponse, SyncResponse

from archiver.capture.history import FILTER
from tests.bench import table
from tests.bench.archive import reachable
from tests.bench.backlog import Room, fill, make_room, signed_in
from tests.bench.waiting import until
from tests.conftest import RunningStack, running_stack
from tests.facility import Facility, facility

EVENTS = int(os.environ.get("GRIFFIER_BENCH_BACKLOG", "10000"))
ROOMS, SENDERS = 8, 4
PAGES = (100, 500, 1000)  # events a page: the archiver begins with 500 and goes by the time that a commit takes
HELD = "SELECT count(*) >= $1 FROM record WHERE type = 'm.room.encrypted' AND sealed_payload IS NOT NULL"
# Cheap to ask: asking is no part of what is measured. Stretches are noted with the first sync, and go with their last page.
FETCHED = "SELECT bool_and(seen_at > $1) AND NOT EXISTS (SELECT FROM stretch) FROM seat"
SHOWN = "SELECT count(*) = 0 FROM unread"


async def run(folder: Path) -> None:
    """Print the ratios, and the memory that a short and a long catch-up take."""
    each = EVENTS // ROOMS
    async with contextlib.AsyncExitStack() as held:
        stack = await held.enter_async_context(running_stack(folder))
        whole = await held.enter_async_context(facility(stack, reachable(folder / "whole")))
        part = await held.enter_async_context(facility(stack, reachable(folder / "part")))
        bot = await held.enter_async_context(signed_in(stack, "bot", folder))
        senders = [await held.enter_async_context(signed_in(stack, "zender", folder)) for _ in range(SENDERS)]
        for archive in (whole, part):
            await archive.start()
            await archive.until("SELECT capturing FROM seat")
        rooms = []
        for number in range(ROOMS):
            archivers = [whole.user_id, *([part.user_id] if number < ROOMS // 4 else [])]
            rooms.append(await make_room(senders[number % SENDERS], archivers, [bot]))
        for archive in (whole, part):
            await archive.stop()
        began = time.perf_counter()
        await fill(rooms, each)
        table.title(
            f"Catch-up: {EVENTS:,} encrypted messages in {ROOMS} rooms, sent at {EVENTS / (time.perf_counter() - began):,.0f}/s "
            "by several clients while the archiver was stopped"
        )
        bare = 0.0
        for size in PAGES:
            found = await download(stack, rooms, size)
            table.rate(f"bare HTTP client that only downloads, {size} events a page", found)
            bare = max(bare, found)
        stored, read = await plain_bot(bot, stack, [room.room_id for room in rooms], EVENTS)
        table.rate(f"a plain matrix-nio bot, an INSERT per event ({read:,} of them read)", stored)
        short = await catch_up(part, each * (ROOMS // 4))
        long = await catch_up(whole, EVENTS)
        table.rate("archiver: fetched, verified, decrypted, sealed, committed", long.rate, bare, 0.6)
        table.rate("  the same, against the plain bot", long.rate, stored, 5)
        table.rate("  until the reading view and its index have it too", long.shown, bare)
        table.amount(f"memory at its highest, {each * (ROOMS // 4):,} events", short.memory, "MB")
        table.amount(f"memory at its highest, {EVENTS:,} events", long.memory, "MB")
        table.amount("  the difference", long.memory - short.memory, "MB", 20)


class CaughtUp:
    """What a catch-up took."""

    def __init__(self, events: int, seconds: float, shown: float, memory: float) -> None:
        self.rate, self.shown, self.memory = events / seconds, events / shown, memory


async def catch_up(archive: Facility, events: int) -> CaughtUp:
    """From the moment the archiver begins to fetch until all of it is committed and decrypted."""
    process = await archive.start()
    log = archive.folder / "archive-0.log"
    place = log.stat().st_size
    connection = await asyncpg.connect(archive.database)
    try:

        async def fetching() -> bool:
            return b"Capturing as" in log.read_bytes()[place:]

        await until(fetching, 60, every=0.01)
        began, now = time.perf_counter(), await connection.fetchval("SELECT now()")
        await until(lambda: connection.fetchval(FETCHED, now), 300, every=0.05)
        await until(lambda: connection.fetchval(HELD, events), 300, every=0.05)
        committed = time.perf_counter() - began
        await until(lambda: connection.fetchval(SHOWN), 300, every=0.1)
        shown = time.perf_counter() - began
    finally:
        await connection.close()
    memory = peak(process.pid)
    await archive.stop()
    return CaughtUp(events, committed, shown, memory)


def peak(pid: int) -> float:
    """The most memory that a process has had, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def download(stack: RunningStack, rooms: Sequence[Room], size: int) -> float:
    """Events a second of a client that reads the pages' bytes and looks for nothing but where the next begins."""
    count, seconds = 0, 0.0
    async with aiohttp.ClientSession() as http:
        for room in rooms:
            url = f"{stack.homeserver}/_matrix/client/v3/rooms/{room.room_id}/messages"
            headers = {"Authorization": f"Bearer {room.sender.access_token}"}
            began = time.perf_counter()
            token, raws = "", []
            while True:
                query = {"dir": "b", "limit": str(size), "filter": FILTER, **({"from": token} if token else {})}
                async with http.get(url, params=query, headers=headers) as answer:
                    raws.append(await answer.read())
                found = re.search(rb'"end":\s*"([^"]+)"', raws[-1])
                if not found:
                    break
                token = found[1].decode()
            seconds += time.perf_counter() - began
            count += sum(raw.count(b'"origin_server_ts"') for raw in raws)
    return count / seconds


async def plain_bot(bot: AsyncClient, stack: RunningStack, rooms: Sequence[str], events: int) -> tuple[float, int]:
    """A bot as people write them: sync, page back, a row per event. (Events a second, how many of them it could read.)"""
    connection = await asyncpg.connect(stack.database)
    await connection.execute("CREATE TABLE bot (event_id text PRIMARY KEY, room_id text, sender text, sent bigint, body text)")
    read = 0
    began = time.perf_counter()
    try:
        quiet = 0
        while quiet < 3:  # room keys come a hundred at a time
            synced = await bot.sync(timeout=0)
            assert isinstance(synced, SyncResponse), synced
            quiet = 0 if synced.to_device_events else quiet + 1
        for room_id in rooms:
            token: str | None = ""
            while token is not None:
                page = await bot.room_messages(room_id, token or None, limit=100)
                assert isinstance(page, RoomMessagesResponse), page
                for event in page.chunk:
                    unread = isinstance(event, MegolmEvent)
                    read += not unread and hasattr(event, "body")
                    body = None if unread else getattr(event, "body", None)
                    await connection.execute(
                        "INSERT INTO bot VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                        event.event_id, room_id, event.sender, event.server_timestamp, body,
                    )  # fmt: skip
                token = page.end if page.chunk else None
        seconds = time.perf_counter() - began
        return events / seconds, read
    finally:
        await connection.execute("DROP TABLE bot")
        await connection.close()
