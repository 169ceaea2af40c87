"""Connections to the archive's Postgres, and the transaction that belongs to one organisation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg

Connection: TypeAlias = Any  # asyncpg ships no types: its connection, or the pool's proxy of one
Pool: TypeAlias = asyncpg.Pool
# Seconds for a statement over a whole table of an archive of years: it takes as long as it takes.
UNHURRIED = 30 * 86_400.0


class DatabaseError(Exception):
    """The archive's database can't be reached or used; the message says what to do."""


@asynccontextmanager
async def connect(url: str, size: int = 8, command_timeout: float = 60) -> AsyncIterator[Pool]:
    """Open a pool of at most `size` connections; raises DatabaseError if the server can't be reached.

    A statement may take `command_timeout` seconds, unless it says otherwise.
    """
    if not url:
        raise DatabaseError(
            "No database is set. Give the configuration file with --config, or set database.url. "
            "(The demo's file is data/demo/griffier.yaml.)"
        )
    try:
        pool = await asyncpg.create_pool(
            url, min_size=1, max_size=size, command_timeout=command_timeout, server_settings={"application_name": "griffier"}
        )
    except (OSError, asyncpg.PostgresError, ValueError) as error:
        raise DatabaseError(f"The archive's database can't be reached: {error}. Check database.url.") from error
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), timeout=3)
        except TimeoutError:
            pool.terminate()


@asynccontextmanager
async def tenant_tx(pool: Pool, org: int) -> AsyncIterator[Connection]:
    """A transaction as the unprivileged role, in which row-level security shows only `org` (DESIGN D17)."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(as_organisation(org))
        yield connection


def as_organisation(org: int) -> str:
    """What makes the transaction that is open one of the unprivileged role and of this organisation only; one round trip."""
    return f"SET LOCAL ROLE griffier_service; SET LOCAL griffier.org = '{org:d}'"
