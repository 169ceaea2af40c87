"""Migrations: numbered .sql files, forward only, each applied once in a transaction of its own, however long it takes.

One that begins with the line `-- concurrently` makes indexes while the archive goes on writing, which Postgres does outside a
transaction only: its statements are done one by one, and again from the first if they were interrupted.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files

import asyncpg

from archiver.db.pool import UNHURRIED, Connection, Pool

# Any constant will do, as long as every process that migrates takes the same.
MIGRATION_LOCK = 0x67726966
TURN = 0.5  # seconds between looks whether another process has done migrating
CONCURRENTLY = "-- concurrently\n"
APPLIED = "INSERT INTO schema_migration (number) VALUES ($1)"

NEEDS_RIGHTS = (
    "The tables can't be made: {error}. The role that migrates needs CREATEROLE, or have a superuser run once: CREATE ROLE "
    "griffier_service NOLOGIN NOBYPASSRLS; CREATE ROLE griffier_official NOLOGIN NOBYPASSRLS; GRANT griffier_service, "
    "griffier_official TO your_role WITH ADMIN OPTION;"
)


class SchemaError(Exception):
    """The database's tables are not those of this version."""


def migrations() -> dict[int, str]:
    """The number and the SQL of every migration, in order."""
    folder = files("archiver.db") / "migrations"
    found = {int(file.name.split("_")[0]): file.read_text() for file in folder.iterdir() if file.name.endswith(".sql")}
    return dict(sorted(found.items()))


async def applied(connection: Connection) -> set[int]:
    """The numbers of the migrations that this database has had."""
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration (number integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    return {row["number"] for row in await connection.fetch("SELECT number FROM schema_migration")}


async def migrate(pool: Pool) -> list[int]:
    """Bring the tables up to this version; return the numbers applied. Safe to run from several places at once.

    What was applied stays applied when a later one fails.
    """
    done = []
    async with pool.acquire() as connection, _turn(connection):
        present = await applied(connection)
        for number, sql in migrations().items():
            if number not in present:
                try:
                    await _apply(connection, number, sql)
                except asyncpg.InsufficientPrivilegeError as error:
                    raise SchemaError(NEEDS_RIGHTS.format(error=error)) from None
                done.append(number)
    return done


@asynccontextmanager
async def _turn(connection: Connection) -> AsyncIterator[None]:
    """One process at a time. Asked for again and again: who waits within a statement would hold up an index made concurrently."""
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", MIGRATION_LOCK):  # noqa: ASYNC110 - of another process
        await asyncio.sleep(TURN)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)


async def _apply(connection: Connection, number: int, sql: str) -> None:
    if sql.startswith(CONCURRENTLY):
        for statement in re.sub(r"--.*", "", sql).split(";"):
            if statement.strip():
                await connection.execute(statement, timeout=UNHURRIED)
        await connection.execute(APPLIED, number)
        return
    async with connection.transaction():
        await connection.execute(sql, timeout=UNHURRIED)
        await connection.execute(APPLIED, number)


async def require_current(pool: Pool) -> None:
    """Raise SchemaError unless every migration of this version has been applied."""
    async with pool.acquire() as connection:
        exists = await connection.fetchval("SELECT to_regclass('schema_migration') IS NOT NULL")
        rows = await connection.fetch("SELECT number FROM schema_migration") if exists else []
    missing = set(migrations()) - {row["number"] for row in rows}
    if missing:
        raise SchemaError(f"The database lacks {len(missing)} migration(s). Run 'griffier migrate' first.")
