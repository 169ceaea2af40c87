"""The ledger on a real Postgres: appended once, never altered, sealed, one organisation's own."""

import contextlib
import dataclasses

import asyncpg
import pytest

from archiver.db import migrate, tenant_tx
from archiver.ledger.audit import note
from archiver.ledger.event import Checks, Rules
from archiver.ledger.record import COLUMNS, Arrival, Reading, append, moment, relation, set_payloads, unseal
from archiver.ledger.sealing import SealingError, Vault
from archiver.reading.message import compose
from tests.unit.conftest import Archive, dump

ALL = f"SELECT {COLUMNS} FROM record WHERE room_id = $1 ORDER BY sent_at, event_id"


async def add(archive: Archive, *arrivals) -> set:
    async with tenant_tx(archive.pool, 1) as tx:
        return await append(tx, archive.vault, arrivals)


async def test_replaying_a_batch_changes_nothing(archive, room):
    one, two = (archive.arrival({"body": body}, room) for body in ("een", "twee"))
    assert len(await add(archive, one, two, one)) == 2
    assert await add(archive, two, one) == set()


async def test_a_data_key_whose_transaction_failed_seals_nothing_more(archive, room):
    """A full disk or a stopped database at the first message of a room: what is sealed afterwards must open after a restart."""
    with contextlib.suppress(ConnectionError):
        async with tenant_tx(archive.pool, 1) as tx:
            await append(tx, archive.vault, [archive.arrival({"body": "nooit bewaard"}, room)])
            await append(tx, archive.vault, [archive.arrival({"body": "ook niet"}, room)])
            raise ConnectionError
    await add(archive, archive.arrival({"body": "wel bewaard"}, room))
    async with tenant_tx(archive.pool, 1) as tx:
        restarted = await Vault.open(tx, 1, archive.key)
        [record] = await unseal(tx, restarted, await tx.fetch(ALL, room))
    assert record.content == {"body": "wel bewaard"}


async def test_what_is_opened_is_what_arrived(archive, room):
    content = {"body": "half \ud800 teken", "nul": "\0", "diep": [[[["x"]]]], "groot": 10**30}
    event = archive.arrival({"body": "x"}, room).event | {"content": content, "unsigned": {"age": 3}}
    await add(archive, Arrival(room, "$vreemd", event, Rules("11"), Checks(True, True, (), ())))
    async with tenant_tx(archive.pool, 1) as tx:
        [record] = await unseal(tx, archive.vault, await tx.fetch(ALL, room))
    assert record.event == event


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE record SET sender = '@ander:x' WHERE room_id = $1",
        "UPDATE record SET sealed_event = '\\x00' WHERE room_id = $1",
        "UPDATE record SET commitment = '\\x00' WHERE room_id = $1",
        "DELETE FROM record WHERE room_id = $1",
    ],
)
async def test_not_even_the_owner_of_the_tables_can_alter_or_remove_a_record(archive, room, statement):
    await add(archive, archive.arrival({"body": "blijft"}, room))
    async with archive.pool.acquire() as connection:
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await connection.execute(statement, room)
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await connection.execute("TRUNCATE record")


async def test_the_audit_trail_can_only_grow(archive):
    async with tenant_tx(archive.pool, 1) as tx:
        await note(tx, 1, "test", "read", room_id="!x")
    async with archive.pool.acquire() as connection:
        for statement in ("UPDATE audit SET actor = 'niemand'", "DELETE FROM audit", "TRUNCATE audit"):
            with pytest.raises(asyncpg.PostgresError, match="append-only"):
                await connection.execute(statement)


async def test_a_payload_is_set_once_and_stays(archive, room):
    await add(archive, archive.arrival({"ciphertext": "…"}, room, type="m.room.encrypted"))
    async with tenant_tx(archive.pool, 1) as tx:
        [record] = await unseal(tx, archive.vault, await tx.fetch(ALL, room))
        await set_payloads(tx, archive.vault, [Reading(record, b'{"type":"m.room.message","content":{"body":"eerst"}}', 0)])
        await set_payloads(tx, archive.vault, [Reading(record, b'{"type":"m.room.message","content":{"body":"later"}}', 0)])
        [opened] = await unseal(tx, archive.vault, await tx.fetch(ALL, room))
    assert (opened.content["body"], opened.said_type) == ("eerst", "m.room.message")


async def test_one_organisation_sees_nothing_of_another_even_if_a_query_forgets_to_ask(archive, room):
    await add(archive, archive.arrival({"body": "van een"}, room))
    async with tenant_tx(archive.pool, 2) as tx:
        assert await tx.fetch(ALL, room) == []
        assert await tx.fetchval("SELECT count(*) FROM data_key WHERE room_id = $1", room) == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await tx.execute("INSERT INTO unread (org, room_id, event_id) VALUES (1, $1, '$x')", room)
    async with archive.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL ROLE griffier_service")
        assert await connection.fetch(ALL, room) == []


async def test_a_sealed_value_in_another_row_is_refused(archive, room):
    await add(archive, archive.arrival({"body": "een"}, room), archive.arrival({"body": "twee"}, room))
    async with tenant_tx(archive.pool, 1) as tx:
        one, two = (dict(row) for row in await tx.fetch(ALL, room))
        with pytest.raises(SealingError):
            await unseal(tx, archive.vault, [one | {"sealed_event": two["sealed_event"]}])


async def test_a_destroyed_data_key_leaves_the_record_and_takes_the_content(archive, room):
    await add(archive, archive.arrival({"body": "vernietigd"}, room))
    async with archive.pool.acquire() as connection:
        await connection.execute("DELETE FROM data_key WHERE room_id = $1", room)
    archive.vault._by_id.clear()
    archive.vault._by_month.clear()
    async with tenant_tx(archive.pool, 1) as tx:
        [record] = await unseal(tx, archive.vault, await tx.fetch(ALL, room))
    assert record.event == {}
    assert record.sender == "@minister:x"


async def test_a_dump_of_the_database_holds_no_word(archive, room):
    await add(
        archive,
        archive.arrival({"body": "stikstofdossier"}, room),
        archive.arrival({"name": "Torentjesoverleg"}, room, type="m.room.name", state_key=""),
    )
    everything = dump(archive.url).lower()
    for word in ("stikstofdossier", "torentjesoverleg"):
        assert word.encode() not in everything
        assert word.encode().hex().encode() not in everything


@pytest.mark.parametrize(
    ("version", "believed"), [("1", "$beside"), ("10", "$beside"), ("11", "$within"), ("12", "$within"), ("later", "$within")]
)
def test_a_deletion_names_its_message_where_the_room_version_says_and_nowhere_else(version, believed):
    """The homeserver checks one place only; any member can write another person's message in the other."""
    both = {"type": "m.room.redaction", "redacts": "$beside", "content": {"redacts": "$within"}}
    assert relation(both, Rules(version)) == ("m.redaction", believed)
    assert Arrival("!r", "$d", both, Rules(version), Checks(True, True, (), ())).deletes == ("!r", believed)
    other = both | {"content": {}} if believed == "$within" else {name: both[name] for name in ("type", "content")}
    assert relation(other, Rules(version)) == ("m.redaction", None)
    assert Arrival("!r", "$d", other, Rules(version), Checks(True, True, (), ())).deletes is None


async def test_a_member_cannot_make_the_message_of_another_look_deleted_in_an_older_room(archive, room):
    mine, other = (archive.arrival({"msgtype": "m.text", "body": body}, room) for body in ("mijn", "ander"))
    lure = archive.arrival({"redacts": other.event_id}, room, type="m.room.redaction", redacts=mine.event_id)
    await add(archive, mine, other, dataclasses.replace(lure, rules=Rules("10")))
    async with tenant_tx(archive.pool, 1) as tx:
        told = await tx.fetch("SELECT relates_to FROM record WHERE room_id = $1 AND rel_type = 'm.redaction'", room)
    assert [row["relates_to"] for row in told] == [mine.event_id]


async def test_migrating_again_changes_nothing(archive):
    assert await migrate(archive.pool) == []


@pytest.mark.parametrize("nonsense", [-1, None, "gisteren", 10**18, float("inf"), float("nan"), True])
def test_a_nonsense_time_becomes_one_that_can_be_stored(nonsense):
    assert moment(nonsense).year in (1970, 9999)


@pytest.mark.parametrize(
    "payload",
    [b"[" * 100_000, b'{"a":' * 30_000, b"\xff\xfe", b"9" * 6_000, b""],
    ids=["list", "object", "bytes", "number", "empty"],
)
async def test_a_payload_that_cannot_be_read_is_kept_byte_for_byte(archive, room, payload):
    arrival = archive.arrival({"ciphertext": "…"}, room, type="m.room.encrypted")
    await add(archive, dataclasses.replace(arrival, payload=payload))
    async with tenant_tx(archive.pool, 1) as tx:
        [record] = await unseal(tx, archive.vault, await tx.fetch(ALL, room))
    assert record.payload == payload
    assert (record.said_type, record.content) == ("?", {})
    assert compose(record, []).kind == "other"
