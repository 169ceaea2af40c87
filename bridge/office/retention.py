"""How long what was set aside is kept: its content is deleted in the end; that it came, and when, and why not, stays."""

from __future__ import annotations

import asyncio
import logging

import asyncpg

from bridge.stopping import stopped

log = logging.getLogger(__name__)

EVERY = 3600.0
QUEUES = """
    UPDATE {table} SET sealed = NULL WHERE id IN (
        SELECT id FROM {table} WHERE state IN ('kept', 'failed') AND sealed IS NOT NULL
                                 AND coalesce(finished_at, arrived_at) < now() - make_interval(days => $1)
        ORDER BY coalesce(finished_at, arrived_at) LIMIT 1000)
"""
REJECTED = """
    UPDATE rejected SET sealed = NULL WHERE id IN (
        SELECT id FROM rejected WHERE sealed IS NOT NULL AND arrived_at < now() - make_interval(days => $1)
        ORDER BY arrived_at LIMIT 1000)
"""
# Deliveries last: they are what nothing at all was made of.
IN_TURN = (QUEUES.format(table="inbox"), QUEUES.format(table="outbox"), REJECTED)


async def forget(pool: asyncpg.Pool, days: int, stop: asyncio.Event) -> None:
    """Delete the content of what was set aside so many days ago, every hour, until told to stop."""
    while not stop.is_set():
        try:
            for statement in IN_TURN:
                while not stop.is_set() and (done := await pool.execute(statement, days)) != "UPDATE 0":
                    log.warning("What was set aside %d days ago is not kept any longer (%s).", days, done)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            log.warning("What was set aside could not be forgotten (%s); trying again in an hour.", type(error).__name__)
        await stopped(stop, EVERY)
