"""A signature that could not be judged when its event came is judged when the key comes, beside the record."""

import datetime as dt
import json
import secrets
import time

import asyncpg
import pytest
from signedjson.key import decode_verify_key_bytes, generate_signing_key
from signedjson.sign import verify_signed_json
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.crypto.event_signing import add_hashes_and_signatures
from unpaddedbase64 import decode_base64

from archiver.capture import server_keys, signatures
from archiver.capture.server_keys import ServerKeys, needed
from archiver.capture.signatures import Signatures
from archiver.db import tenant_tx
from archiver.export.jsonl import line
from archiver.ledger.event import Rules, check, event_id, signed_form
from archiver.ledger.record import Arrival, append
from archiver.reading.project import project_batch
from archiver.reading.rooms import rooms
from archiver.reading.walk import page_before
from archiver.reading.words import BlindIndex
from tests.unit.capture.test_server_keys import FakeHomeserver, answer

VERSION = "11"


@pytest.fixture
def name() -> str:
    return f"s{secrets.token_hex(4)}.example"


def signed(room: str, name: str, key, **more) -> dict:
    """An event of another server, hashed and signed by Synapse's own functions."""
    event = {
        "type": "m.room.message", "room_id": room, "sender": f"@a:{name}", "content": {"msgtype": "m.text", "body": "hoi"},
        "depth": 1, "origin_server_ts": int(time.time() * 1000), "prev_events": [], "auth_events": [], "hashes": {},
        "signatures": {}, **more,
    }  # fmt: skip
    add_hashes_and_signatures(KNOWN_ROOM_VERSIONS[VERSION], event, name, key)
    return event


async def capture(archive, room: str, keys: ServerKeys, *events: dict) -> list[str]:
    """What the committer does with the signatures of what arrives; returns the event ids."""
    found, rules = await keys.learn(needed(events)), Rules(VERSION)
    arrivals = []
    for event in events:
        identity = event_id(signed_form(event, rules), rules)
        arrivals.append(Arrival(room, identity, event, rules, check(signed_form(event, rules), identity, rules, keys.known)))
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(
            "INSERT INTO room (org, room_id, version, membership, user_id) VALUES (1, $1, $2, 'join', '@archief:x') "
            "ON CONFLICT DO NOTHING",
            room,
            VERSION,
        )
        await append(tx, archive.vault, arrivals)
        await server_keys.keep(tx, 1, found)
        await signatures.wait(tx, 1, arrivals, keys.known)
    return [arrival.event_id for arrival in arrivals]


async def later(archive, room: str) -> dict:
    async with tenant_tx(archive.pool, 1) as tx:
        rows = await tx.fetch("SELECT * FROM later_check WHERE room_id = $1", room)
    return {row["event_id"]: (tuple(row["signed_by"]), tuple(row["unsigned_by"])) for row in rows}


async def test_a_key_that_comes_later_judges_what_waited_for_it_and_the_record_stays_as_it_was(archive, room, name):
    key, server = generate_signing_key("een"), FakeHomeserver()
    keys = ServerKeys(server, "rijk.example")
    good = signed(room, name, key)
    forged = signed(room, name, key, content={"msgtype": "m.text", "body": "vals"}) | {"sender": f"@b:{name}"}
    first, second = await capture(archive, room, keys, good, forged)
    waiting = Signatures(archive.pool, archive.vault, keys)
    assert await waiting.ask(name, 0) == 0
    assert await later(archive, room) == {}
    server.answers = [answer(key, int(time.time() * 1000) + 86_400_000, name=name)]
    assert await waiting.ask(name, 1) == 2
    assert await later(archive, room) == {first: ((name,), ()), second: ((), (name,))}
    assert await waiting.ask(name, 2) == 0
    async with tenant_tx(archive.pool, 1) as tx:
        told = await tx.fetch("SELECT DISTINCT signed_by, unsigned_by FROM record WHERE room_id = $1", room)
        assert [(row["signed_by"], row["unsigned_by"]) for row in told] == [([], [name])]
        while await project_batch(tx, archive.vault, BlindIndex(archive.vault.search_key)):
            pass
        [found] = await rooms(tx, archive.vault, room)
        page = await page_before(tx, archive.vault, found, None, 10)
    lines = {each["event_id"]: each["checks"] for each in json.loads(json.dumps([line(entry) for entry in page.rows]))}
    assert (lines[first]["not_verified"], lines[first]["later"]["signed_by"]) == ([name], [name])
    assert lines[second]["later"]["not_verified"] == [name]


async def test_a_key_that_is_not_in_the_answer_is_waited_for_on(archive, room, name):
    gone, present, server = generate_signing_key("weg"), generate_signing_key("nu"), FakeHomeserver()
    keys = ServerKeys(server, "rijk.example")
    await capture(archive, room, keys, signed(room, name, gone))
    server.answers = [answer(present, int(time.time() * 1000) + 86_400_000, name=name)]
    assert await Signatures(archive.pool, archive.vault, keys).ask(name, 0) == 0
    async with tenant_tx(archive.pool, 1) as tx:
        assert await tx.fetchval("SELECT count(*) FROM signature_wait WHERE server_name = $1", name) == 1
        due, attempts = await tx.fetchrow("SELECT due_at, attempts FROM server_wait WHERE server_name = $1", name)
    assert (attempts, due > dt.datetime.now(dt.UTC)) == (1, True)


async def test_a_later_event_with_a_newer_answer_hurries_what_waits(archive, room, name):
    key, server = generate_signing_key("een"), FakeHomeserver()
    keys = ServerKeys(server, "rijk.example")
    [first] = await capture(archive, room, keys, signed(room, name, key))
    keys._vain.clear()  # some time later
    server.answers = [answer(key, int(time.time() * 1000) + 86_400_000, name=name)]
    await capture(archive, room, keys, signed(room, name, key, depth=2))
    async with tenant_tx(archive.pool, 1) as tx:
        due = await tx.fetch(signatures.DUE, 1)
    assert name in {row["server_name"] for row in due}
    await Signatures(archive.pool, archive.vault, keys).ask(name, 0)
    assert await later(archive, room) == {first: ((name,), ())}


async def test_the_answer_of_a_server_is_archived_so_that_others_can_check_its_signature(archive, room, name):
    key, server = generate_signing_key("een"), FakeHomeserver()
    server.answers = [answer(key, int(time.time() * 1000) + 86_400_000, name=name)]
    keys = ServerKeys(server, "rijk.example")
    event = signed(room, name, key)
    await capture(archive, room, keys, event)
    assert await later(archive, room) == {}
    async with tenant_tx(archive.pool, 1) as tx:
        [row] = await tx.fetch("SELECT answer FROM server_key_answer WHERE server_name = $1", name)
        [kept] = await tx.fetch("SELECT key_id, valid_until, expired_at FROM server_key WHERE server_name = $1", name)
    told = json.loads(row["answer"])
    [(key_id, public)] = told["verify_keys"].items()
    verify_key = decode_verify_key_bytes(key_id, decode_base64(public["key"]))
    verify_signed_json(told, name, verify_key)
    assert (kept["key_id"], kept["expired_at"]) == (key_id, None)
    again = ServerKeys(server, "rijk.example")
    async with tenant_tx(archive.pool, 1) as tx:
        await again.load(tx, 1)
    assert again.known[name, key_id].until == told["valid_until_ts"]


async def test_what_one_organisations_homeserver_says_of_a_servers_key_is_never_anothers(archive, name):
    """A hostile homeserver of one organisation gives a name of its own choosing to a key of its own."""
    hostile, real = FakeHomeserver(), FakeHomeserver()
    for org, server in ((1, hostile), (2, real)):
        server.answers = [answer(generate_signing_key("zelfde"), int(time.time() * 1000) + 86_400_000, name=name)]
        found = await ServerKeys(server, "rijk.example").ask(name, {})
        assert len(found) == 1
        async with tenant_tx(archive.pool, org) as tx:
            await server_keys.keep(tx, org, found)
    for org, server in ((1, hostile), (2, real)):
        again = ServerKeys(server, "rijk.example")
        async with tenant_tx(archive.pool, org) as tx:
            await again.load(tx, org)
            assert await tx.fetchval("SELECT count(*) FROM server_key WHERE server_name = $1", name) == 1
        [(key_id, told)] = server.answers[0]["verify_keys"].items()
        assert again.known[name, key_id].key.to_base64() == told["key"]


async def test_later_checks_can_only_be_added(archive, room, name):
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(signatures.ADD_CHECK, 1, room, "$x", [name], [])
    async with archive.pool.acquire() as connection:
        for statement in ("UPDATE later_check SET signed_by = '{}'", "DELETE FROM later_check", "TRUNCATE later_check"):
            with pytest.raises(asyncpg.PostgresError, match="append-only"):
                await connection.execute(statement)
