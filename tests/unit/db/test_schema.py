"""The tables are made, and older ones brought up to date, by an owner who is no superuser too."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from archiver.db import connect, migrate, tenant_tx
from archiver.db.schema import applied, migrations
from tests.unit.conftest import Archive

pytestmark = pytest.mark.postgres

# What an archive of the first migration may hold, for each organisation.
OLD_ROWS = """
    INSERT INTO organisation (org, name, search_key) VALUES ($1, 'ministerie', '');
    INSERT INTO seat (org, user_id, sealed_secrets) VALUES ($1, '@archief:x', '');
    INSERT INTO room (org, room_id, version, membership) VALUES ($1, '!r:x', '11', 'join');
    INSERT INTO stretch (org, stretch_id, room_id, token, cause, until_known)
        VALUES ($1, gen_random_uuid(), '!r:x', 't', 'joined', false);
    INSERT INTO record (org, room_id, event_id, type, sender, sent_at, depth, id_matches, content_matches, signed_by, unsigned_by,
                        sealed_event, commitment)
        VALUES ($1, '!r:x', '$here', 'm.room.message', '@a:ver.example', now(), 1, true, true, '{}', '{ver.example}', '', '');
    INSERT INTO edge (org, room_id, event_id, prev_event_id)
        VALUES ($1, '!r:x', '$here', '$gone'), ($1, '!r:x', '$later', '$here');
"""
OLD_KEY = "INSERT INTO server_key (server_name, key_id, public_key) VALUES ('ver.example', 'ed25519:a', 'k')"
OPEN_TO_OWNER = """
    SELECT c.relname FROM pg_class AS c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'schema_migration'
      AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
"""


@pytest.fixture
async def owned(archive: Archive) -> AsyncIterator[str]:
    """An empty database of a role that may make roles and databases, and is no superuser."""
    name, password = f"eigenaar_{secrets.token_hex(4)}", secrets.token_hex(8)
    async with archive.pool.acquire() as connection:
        await connection.execute(f"CREATE ROLE {name} LOGIN CREATEROLE CREATEDB PASSWORD '{password}'")
        await connection.execute(f"GRANT griffier_service, griffier_official TO {name} WITH ADMIN OPTION")
        await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    parts = urlsplit(archive.url)
    yield urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}", path=f"/{name}"))
    async with archive.pool.acquire() as connection:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.execute(f"DROP OWNED BY {name} CASCADE")
        await connection.execute(f"DROP ROLE {name}")


async def test_an_owner_who_is_no_superuser_brings_an_archive_with_rows_up_to_date(owned):
    first, *_ = migrations()
    connection = await asyncpg.connect(owned)
    try:
        assert not await connection.fetchval("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
        await applied(connection)
        await connection.execute(migrations()[first])
        await connection.execute("INSERT INTO schema_migration (number) VALUES ($1)", first)
        for org in (1, 2):
            await connection.execute(f"SET griffier.org = '{org}'")
            for statement in OLD_ROWS.split(";\n")[:-1]:
                await connection.execute(statement.replace("$1", str(org)))
        await connection.execute(
            "INSERT INTO server_key (server_name, key_id, public_key) VALUES ('ver.example', 'ed25519:a', 'k')"
        )
    finally:
        await connection.close()
    async with connect(owned) as pool:
        assert await migrate(pool) == list(migrations())[1:]
        for org in (1, 2):
            async with tenant_tx(pool, org) as tx:
                assert [row["event_id"] for row in await tx.fetch("SELECT event_id FROM gap")] == ["$gone"]
                for table in ("room", "stretch"):
                    assert [row["user_id"] for row in await tx.fetch(f"SELECT user_id FROM {table}")] == ["@archief:x"]
                [waits] = await tx.fetch("SELECT event_id, server_name FROM signature_wait")
                assert tuple(waits) == ("$here", "ver.example")
                assert await tx.fetchval("SELECT count(*) FROM server_wait WHERE server_name = 'ver.example'") == 1
                [key] = await tx.fetch("SELECT org, server_name, key_id, public_key FROM server_key")
                assert tuple(key) == (org, "ver.example", "ed25519:a", "k")


async def test_every_table_is_an_organisations_own_even_to_its_owner(owned):
    async with connect(owned) as pool:
        await migrate(pool)
        assert [row["relname"] for row in await pool.fetch(OPEN_TO_OWNER)] == []
