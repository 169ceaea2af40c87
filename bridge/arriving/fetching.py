"""Files that come with messages, fetched as early as can be: at WhatsApp their addresses last minutes, and they a week.

What waits behind other messages is fetched ahead of its turn and kept, sealed, until its message is carried over.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time

import asyncpg
from cryptography.exceptions import InvalidTag

from bridge.network import Incoming, Media, Network, NetworkError, NotUnderstood
from bridge.relay.relay import column
from bridge.sealing import Seal
from bridge.stopping import stopped

log = logging.getLogger(__name__)

AHEAD = 4  # files fetched at once ahead of their turn
EVERY = 1.0  # seconds between two looks at what waits
TIDY = 3600.0  # seconds between two looks at what was never asked for
# What is carried over at once is not looked at here: opening it a second time would be for nothing.
WAITS = """
    SELECT id, dedupe, sealed FROM inbox
    WHERE id > $1 AND state IN ('waiting', 'aside') AND sealed IS NOT NULL AND arrived_at < now() - interval '1 second'
    ORDER BY id LIMIT 200
"""
# What is done need not be passed over again at each look.
LOOKED_AT = "SELECT max(id) FROM inbox WHERE id > $1 AND arrived_at < now() - interval '1 second'"
KEEP = "INSERT INTO fetched_file (number_id, media_id, sealed, dedupe) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
IS_KEPT = "SELECT EXISTS (SELECT FROM fetched_file WHERE number_id = $1 AND media_id = $2)"
KEPT = "SELECT sealed FROM fetched_file WHERE number_id = $1 AND media_id = $2"
FORGET = "DELETE FROM fetched_file WHERE number_id = $1 AND media_id = $2"
# A message that was carried over, or given up, long ago needs its file no more; one that waits may find it nowhere else.
OLD = """
    DELETE FROM fetched_file WHERE fetched_at < now() - interval '30 days' AND NOT EXISTS (
        SELECT FROM inbox WHERE state IN ('waiting', 'aside') AND inbox.sealed IS NOT NULL
                            AND CASE WHEN fetched_file.dedupe IS NULL THEN arrived_at <= fetched_at
                                     ELSE inbox.dedupe = fetched_file.dedupe END)
"""
AGAIN = 60.0  # seconds after which what still waits is looked at once more, and a file that could not be fetched is tried again
LONGEST = 6 * 3600.0  # between two attempts at one file, which come ever later: WhatsApp blocks who fails often
REMEMBERED = 10_000  # files that could not be fetched


class Files:
    """What is being fetched, and what was fetched ahead."""

    def __init__(self, pool: asyncpg.Pool, seal: Seal, network: Network) -> None:
        self._pool = pool
        self._seal = seal
        self._network = network
        self._under_way: dict[tuple[str, str], asyncio.Task[bytes]] = {}
        self._failed: dict[tuple[str, str], tuple[int, float]] = {}  # how often, and until when it is let be

    async def get(self, number_id: str, media: Media) -> bytes:
        """The bytes of a file, checked against its SHA-256. Raises NetworkError."""
        return await asyncio.shield(self.begin(number_id, media))

    async def forget(self, number_id: str, media: Media) -> None:
        """Its message has been carried over."""
        self._failed.pop((number_id, media.media_id), None)
        await self._pool.execute(FORGET, number_id, column(media.media_id))

    async def ahead(self, stop: asyncio.Event) -> None:
        """Fetch what waits for its turn, until told to stop."""
        seen, tidied, began, room = 0, -TIDY, time.monotonic(), asyncio.Semaphore(AHEAD)
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                try:
                    if time.monotonic() - tidied > TIDY:
                        await self._pool.execute(OLD)
                        tidied = time.monotonic()
                    if time.monotonic() - began > AGAIN:
                        seen, began = 0, time.monotonic()
                    last = await self._pool.fetchval(LOOKED_AT, seen) or seen
                    rows = await self._pool.fetch(WAITS, seen)
                    seen = rows[-1]["id"] if rows else last
                    for row in rows:
                        if (wanted := self._wanted(row)) is not None and self._is_due(*wanted):
                            await room.acquire()
                            tasks.create_task(self._fetch_ahead(*wanted, row["dedupe"], room))
                except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                    log.warning("What waits for its turn can't be looked at (%s); trying again.", type(error).__name__)
                    rows = []
                if not rows:
                    await stopped(stop, EVERY)
            for task in self._under_way.values():
                task.cancel()

    def _wanted(self, row: asyncpg.Record) -> tuple[str, Media] | None:
        """The file that comes with what waits."""
        try:
            told = self._network.read(json.loads(self._seal.open(row["sealed"], row["dedupe"])))
        except (NotUnderstood, InvalidTag, ValueError):
            return None
        return (told.number_id, told.media) if isinstance(told, Incoming) and told.media is not None else None

    def _is_due(self, number_id: str, media: Media) -> bool:
        _, until = self._failed.get((number_id, media.media_id), (0, 0.0))
        return time.monotonic() >= until

    def _later(self, number_id: str, media: Media, *, final: bool) -> None:
        """It could not be fetched: it is tried again after twice as long each time, or never."""
        key = number_id, media.media_id
        times, _ = self._failed.pop(key, (0, 0.0))
        if len(self._failed) >= REMEMBERED:
            del self._failed[next(iter(self._failed))]
        wait = math.inf if final else min(LONGEST, AGAIN * 2.0 ** min(times, 12))
        self._failed[key] = times + 1, time.monotonic() + wait

    async def _fetch_ahead(self, number_id: str, media: Media, dedupe: str, room: asyncio.Semaphore) -> None:
        try:
            if not await self._pool.fetchval(IS_KEPT, number_id, column(media.media_id)):
                data = await asyncio.shield(self.begin(number_id, media))
                sealed = await asyncio.to_thread(self._seal.close, data, _context(number_id, media))
                await self._pool.execute(KEEP, number_id, column(media.media_id), sealed, dedupe)
        except NetworkError as error:
            self._later(number_id, media, final=error.final)
            log.info("A file could not be fetched ahead of its turn: %s", error)  # it is tried again when it is
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log.warning("A file could not be kept until its turn: %s", type(error).__name__)
        except Exception as error:  # whatever a file does, it stops nothing: its message meets the same when it has its turn
            log.warning("A file could not be fetched ahead of its turn: %s", type(error).__name__)
        finally:
            room.release()

    def begin(self, number_id: str, media: Media) -> asyncio.Task[bytes]:
        """The one fetching of this file: whoever asks for it meanwhile waits for the same."""
        key = (number_id, media.media_id)
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._fetch(number_id, media))
            task.add_done_callback(lambda done: self._ended(key, done))
        return task

    async def _fetch(self, number_id: str, media: Media) -> bytes:
        kept = await self._kept(number_id, media)
        return kept if kept is not None else await self._network.download(media, number_id)

    def _ended(self, key: tuple[str, str], task: asyncio.Task[bytes]) -> None:
        self._under_way.pop(key, None)
        if not task.cancelled():
            task.exception()  # told to whoever waits; with nobody waiting, it is no news

    async def _kept(self, number_id: str, media: Media) -> bytes | None:
        sealed = await self._pool.fetchval(KEPT, number_id, column(media.media_id))
        if sealed is None:
            return None
        try:
            return await asyncio.to_thread(self._seal.open, sealed, _context(number_id, media))
        except InvalidTag:
            return None


def _context(number_id: str, media: Media) -> str:
    """What a kept file is bound to: moved to another row, it can't be opened."""
    return f"file|{number_id}|{column(media.media_id)}"
