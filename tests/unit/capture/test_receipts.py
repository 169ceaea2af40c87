"""Read receipts: asked for only when they are wanted, kept as they came, and no receipt stops a page."""

import json

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.capture import receipts
from archiver.capture.page import parse
from archiver.capture.service import sync_filter
from archiver.db import tenant_tx
from archiver.settings import Archiver

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["m.read", "ts", "$a", "@a:x"]), inner)),
    max_leaves=8,
)


def page(room: str, content: object):
    event = {"type": "m.receipt", "content": content}
    return parse({"next_batch": "s1", "rooms": {"join": {room: {"ephemeral": {"events": [event]}}}}})


def test_receipts_are_asked_for_only_when_they_are_to_be_kept():
    off, on = json.loads(sync_filter(Archiver())), json.loads(sync_filter(Archiver(read_receipts=True)))
    assert off["room"]["ephemeral"] == {"not_types": ["*"]}
    assert on["room"]["ephemeral"] == {"types": ["m.receipt"]}
    assert off["event_format"] == on["event_format"] == "federation"


async def test_each_place_where_a_reader_was_is_kept_once_and_private_receipts_are_not(archive, room):
    told = {
        "$een": {"m.read": {"@a:x": {"ts": 1_764_000_000_000, "thread_id": "main"}}, "m.read.private": {"@geheim:x": {"ts": 1}}},
        "$twee": {"m.read": {"@a:x": {"ts": 1_764_000_001_000}, "@b:x": {"ts": "gisteren"}, "@nul\0:x": 3}},
    }
    for _ in range(2):
        async with tenant_tx(archive.pool, 1) as tx:
            await receipts.keep(tx, 1, page(room, told).rooms)
    async with tenant_tx(archive.pool, 1) as tx:
        rows = await tx.fetch("SELECT event_id, user_id, thread, read_at FROM receipt WHERE room_id = $1 ORDER BY 1, 2", room)
    assert [(row["event_id"], row["user_id"], row["thread"]) for row in rows] == [
        ("$een", "@a:x", "main"), ("$twee", "@a:x", ""), ("$twee", "@b:x", ""), ("$twee", "@nul\N{REPLACEMENT CHARACTER}:x", ""),
    ]  # fmt: skip
    assert rows[0]["read_at"].timestamp() == 1_764_000_000


@given(values)
def test_whatever_a_server_calls_a_receipt_a_page_can_be_read(content):
    assert page("!r:x", content).next_batch == "s1"


async def test_receipts_can_only_be_added(archive, room):
    async with tenant_tx(archive.pool, 1) as tx:
        await receipts.keep(tx, 1, page(room, {"$x": {"m.read": {"@a:x": {"ts": 1}}}}).rooms)
    async with archive.pool.acquire() as connection:
        for statement in ("UPDATE receipt SET user_id = ''", "DELETE FROM receipt", "TRUNCATE receipt"):
            with pytest.raises(asyncpg.PostgresError, match="append-only"):
                await connection.execute(statement)
