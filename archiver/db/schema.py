"""Migrations: numbered .sql files, forward only, each applied once in a transaction of its own."""

from __future__ import annotations

from importlib.resources import files

import asyncpg

from archiver.db.pool import Connection, Pool

# Any constant will do, as long as every process that migrates takes the same.
MIGRATION_LOCK = 0x67726966


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
    """Bring the tables up to this version; return the numbers applied. Safe to run from several places at once."""
    done = []
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        present = await applied(connection)
        for number, sql in migrations().items():
            if number not in present:
                try:
                    await connection.execute(sql)
                except asyncpg.InsufficientPrivilegeError as error:
                    raise SchemaError(NEEDS_RIGHTS.format(error=error)) from None
                await connection.execute("INSERT INTO schema_migration (number) VALUES ($1)", number)
                done.append(number)
    return done


async def require_current(pool: Pool) -> None:
    """Raise SchemaError unless every migration of this version has been applied."""
    async with pool.acquire() as connection:
        exists = await connection.fetchval("SELECT to_regclass('schema_migration') IS NOT NULL")
        rows = await connection.fetch("SELECT number FROM schema_migration") if exists else []
    missing = set(migrations()) - {row["number"] for row in rows}
    if missing:
        raise SchemaError(f"The database lacks {len(missing)} migration(s). Run 'griffier migrate' first.")
