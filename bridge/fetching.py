"""Files that come with messages, fetched as early as can be: at WhatsApp their addresses last minutes, and they a week.

What waits behind other messages is fetched ahead of its turn and kept, sealed, until its message is carried over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time

import asyncpg
from cryptography.exceptions import InvalidTag

from bridge.network import Incoming, Media, Network, NetworkError, NotUnderstood
from bridge.relay import column
from bridge.sealing import Seal

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
KEEP = "INSERT INTO fetched_file (number_id, media_id, sealed) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
KEPT = "SELECT sealed FROM fetched_file WHERE number_id = $1 AND media_id = $2"
FORGET = "DELETE FROM fetched_file WHERE number_id = $1 AND media_id = $2"
# A message that was carried over, or given up, long ago needs its file no more.
OLD = "DELETE FROM fetched_file WHERE fetched_at < now() - interval '30 days'"


class Files:
    """What is being fetched, and what was fetched ahead."""

    def __init__(self, pool: asyncpg.Pool, seal: Seal, network: Network) -> None:
        self._pool = pool
        self._seal = seal
        self._network = network
        self._under_way: dict[tuple[str, str], asyncio.Task[bytes]] = {}

    async def get(self, number_id: str, media: Media) -> bytes:
        """The bytes of a file, checked against its SHA-256. Raises NetworkError."""
        return await asyncio.shield(self.begin(number_id, media))

    async def forget(self, number_id: str, media: Media) -> None:
        """Its message has been carried over."""
        await self._pool.execute(FORGET, number_id, column(media.media_id))

    async def ahead(self, stop: asyncio.Event) -> None:
        """Fetch what waits for its turn, until told to stop."""
        seen, tidied, room = 0, -TIDY, asyncio.Semaphore(AHEAD)
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                try:
                    if time.monotonic() - tidied > TIDY:
                        await self._pool.execute(OLD)
                        tidied = time.monotonic()
                    last = await self._pool.fetchval(LOOKED_AT, seen) or seen
                    rows = await self._pool.fetch(WAITS, seen)
                    seen = rows[-1]["id"] if rows else last
                    for row in rows:
                        if (wanted := self._wanted(row)) is not None:
                            await room.acquire()
                            tasks.create_task(self._fetch_ahead(*wanted, room))
                except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                    log.warning("What waits for its turn can't be looked at (%s); trying again.", type(error).__name__)
                    rows = []
                if not rows:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), EVERY)
            for task in self._under_way.values():
                task.cancel()

    def _wanted(self, row: asyncpg.Record) -> tuple[str, Media] | None:
        """The file that comes with what waits."""
        try:
            told = self._network.read(json.loads(self._seal.open(row["sealed"], row["dedupe"])))
        except (NotUnderstood, InvalidTag, ValueError):
            return None
        return (told.number_id, told.media) if isinstance(told, Incoming) and told.media is not None else None

    async def _fetch_ahead(self, number_id: str, media: Media, room: asyncio.Semaphore) -> None:
        try:
            if await self._kept(number_id, media) is None:
                data = await asyncio.shield(self.begin(number_id, media))
                sealed = await asyncio.to_thread(self._seal.close, data, _context(number_id, media))
                await self._pool.execute(KEEP, number_id, column(media.media_id), sealed)
        except NetworkError as error:
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
