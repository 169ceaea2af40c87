"""The tables are made, and older ones brought up to date, by an owner who is no superuser too."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from archiver.db import connect, migrate, require_current, schema, tenant_tx
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


def more(monkeypatch: pytest.MonkeyPatch, **statements: str) -> None:
    """Migrations beside those that there are."""
    found = migrations() | {int(number.removeprefix("m")): sql for number, sql in statements.items()}
    monkeypatch.setattr(schema, "migrations", lambda: found)


async def test_a_migration_of_a_large_archive_takes_as_long_as_it_takes(owned, monkeypatch):
    more(monkeypatch, m9001="SELECT pg_sleep(1.4)", m9002="-- concurrently\nSELECT pg_sleep(1.4)")
    async with connect(owned, command_timeout=1) as pool:
        assert (await migrate(pool))[-2:] == [9001, 9002]


async def test_what_was_applied_stays_applied_when_a_later_migration_fails(owned, monkeypatch):
    more(monkeypatch, m9001="CREATE TABLE stays (x int)", m9002="CREATE TABLE goes (x int); SELECT 1 / 0")
    async with connect(owned) as pool:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(pool)
        assert await pool.fetchval("SELECT to_regclass('stays') IS NOT NULL AND to_regclass('goes') IS NULL")
        more(monkeypatch, m9002="SELECT 1")
        assert await migrate(pool) == [9002]


async def test_an_index_that_was_interrupted_is_made_again(owned):
    async with connect(owned) as pool:
        await migrate(pool)
        await pool.execute("DELETE FROM schema_migration WHERE number = 20; DROP INDEX message_sequence")
        assert await migrate(pool) == [20]
        assert await pool.fetchval("SELECT bool_and(indisvalid) FROM pg_index")
        assert await pool.fetchval("SELECT to_regclass('message_sequence') IS NOT NULL")


async def test_several_that_migrate_at_once_do_it_once(owned):
    async with connect(owned) as one, connect(owned) as other:
        done = await asyncio.gather(migrate(one), migrate(other))
        assert sorted(map(len, done)) == [0, len(migrations())]
        await require_current(one)


async def test_no_migration_writes_all_messages_anew(owned):
    async with connect(owned) as pool:
        async with pool.acquire() as connection:
            await applied(connection)
            for number, sql in migrations().items():
                if number < 14:
                    await connection.execute(sql)
                    await connection.execute("INSERT INTO schema_migration (number) VALUES ($1)", number)
        node = "SELECT pg_relation_filenode('message'), pg_relation_filenode('record'), pg_relation_filenode('audit')"
        before = await pool.fetchrow(node)
        await migrate(pool)
        assert await pool.fetchrow(node) == before
