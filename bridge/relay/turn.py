"""One bridge at a time on a database: two would send twice, and drive the same encryption keys apart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from bridge.stopping import stopped

log = logging.getLogger(__name__)

TAKE = "SELECT pg_try_advisory_lock(hashtextextended('griffier bridge', 0))"
EVERY = 1.0  # seconds between two looks
SILENT = 15.0  # seconds without an answer after which the connection is taken to be lost
AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class TurnLostError(RuntimeError):
    """Another process has taken over, or may have."""


@asynccontextmanager
async def turn(url: str, stop: asyncio.Event) -> AsyncIterator[bool]:
    """This process's turn, as soon as no other has it; False when told to stop first. The lock goes with its connection: kill -9
    frees it at once. Raises TurnLostError, within what is done meanwhile, when another has it.
    """
    connection = await _take(url, stop)
    if connection is None:
        yield False
        return
    working = asyncio.current_task()
    keeping = asyncio.create_task(_keep(url, connection))
    keeping.add_done_callback(lambda done: working.cancel() if working and _lost(done) else None)
    try:
        yield True
    except asyncio.CancelledError:
        if working is None or (lost := _lost(keeping)) is None:
            raise
        working.uncancel()
        raise lost from None
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def _lost(keeping: asyncio.Task[None]) -> BaseException | None:
    return keeping.exception() if keeping.done() and not keeping.cancelled() else None


async def _take(url: str, stop: asyncio.Event) -> asyncpg.Connection | None:
    """Stand by until the lock is free; None when told to stop first."""
    connection = await asyncpg.connect(url, command_timeout=SILENT, server_settings={"application_name": "griffier bridge"})
    said = False
    while not stop.is_set():
        if await connection.fetchval(TAKE):
            return connection
        if not said:
            log.info("Another bridge process has this database. This one stands by.")
            said = True
        await stopped(stop, EVERY)
    await connection.close(timeout=5)
    return None


async def _keep(url: str, connection: asyncpg.Connection) -> None:
    """See that the lock is still held. While the database is away nobody has it: it is taken again first of all."""
    try:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await connection.fetchval("SELECT 1")
            except AWAY:
                connection.terminate()
                connection = await _again(url)
    finally:
        connection.terminate()


async def _again(url: str) -> asyncpg.Connection:
    while True:
        try:
            connection = await asyncpg.connect(url, command_timeout=SILENT, timeout=SILENT)
            if await connection.fetchval(TAKE):
                return connection
        except AWAY:
            await asyncio.sleep(0.2)
            continue
        connection.terminate()
        raise TurnLostError("Another bridge process has taken over this database: this one stops.")
