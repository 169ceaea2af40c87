"""The reading view and search on a real Postgres."""

import asyncio
import dataclasses
import json
import secrets

import pytest

from archiver.db import connect, tenant_tx
from archiver.ledger.record import append
from archiver.reading import project as view
from archiver.reading.progress import Progress, begin, progress
from archiver.reading.project import project_batch, rebuild
from archiver.reading.search import search
from archiver.reading.words import BlindIndex

# All but the order in which changes are told of: a rebuild is a change of everything.
VIEW = "SELECT to_jsonb(message) - 'sequence' AS row FROM message WHERE room_id = $1 ORDER BY event_id"


async def project(archive) -> None:
    index = BlindIndex(archive.vault.search_key)
    taken = 1
    while taken:
        async with tenant_tx(archive.pool, 1) as tx:
            taken = await project_batch(tx, archive.vault, index)


async def conversation(archive, room) -> str:
    """A message, its edit, the deletion of another; arriving back to front. Returns a word that occurs only here."""
    word = secrets.token_hex(5)
    first = archive.arrival({"msgtype": "m.text", "body": f"Het besluit {word} ligt voor"}, room)
    new = {"msgtype": "m.text", "body": f"Het besluit {word} is genomen"}
    relates = {"rel_type": "m.replace", "event_id": first.event_id}
    edit = archive.arrival({"msgtype": "m.text", "body": "*", "m.new_content": new, "m.relates_to": relates}, room, depth=2)
    doomed = archive.arrival({"msgtype": "m.text", "body": f"Weg ermee {word}"}, room, depth=3)
    redaction = archive.arrival({"redacts": doomed.event_id}, room, type="m.room.redaction", depth=4)
    for arrival in (redaction, edit, doomed, first):
        async with tenant_tx(archive.pool, 1) as tx:
            await append(tx, archive.vault, [arrival])
        await project(archive)
    return word


async def test_search_finds_the_present_the_earlier_and_the_deleted_text(archive, room):
    word = await conversation(archive, room)
    async with tenant_tx(archive.pool, 1) as tx:
        assert (await search(tx, archive.vault, word)).total == 2
        assert [hit.message.body for hit in (await search(tx, archive.vault, f'"{word} ligt"')).hits] == [
            f"Het besluit {word} is genomen"
        ]
        [gone] = (await search(tx, archive.vault, f"{word} -besluiten")).hits
        assert gone.message.deletion is not None
        assert (await search(tx, archive.vault, f"{word} nietbestaand")).total == 0
    async with tenant_tx(archive.pool, 2) as tx:
        assert (await search(tx, archive.other, word)).total == 0


async def test_a_rebuild_gives_exactly_the_view_that_was_kept_up_to_date(archive, room):
    await conversation(archive, room)
    async with tenant_tx(archive.pool, 1) as tx:
        before = [dict(row) for row in await tx.fetch(VIEW, room)]
    assert len(before) == 2
    await rebuild(archive.pool, archive.vault, lambda done, total: None)
    async with tenant_tx(archive.pool, 1) as tx:
        assert [dict(row) for row in await tx.fetch(VIEW, room)] == before


async def test_two_projectors_never_write_a_deleted_message_back_as_it_was(archive, room, monkeypatch):
    """The deletion comes, and another process turns to it, between the reading and the writing of the message's row."""
    doomed = archive.arrival({"msgtype": "m.text", "body": "weg ermee"}, room)
    deletion = archive.arrival({"redacts": doomed.event_id}, room, type="m.room.redaction", depth=2)
    read, index, beside = view.messages, BlindIndex(archive.vault.search_key), []

    async def meanwhile(tx, vault, roots):
        found = await read(tx, vault, roots)
        if not beside:
            beside.append("came")
            async with tenant_tx(archive.pool, 1) as other:
                await append(other, archive.vault, [deletion])
            async with tenant_tx(archive.pool, 1) as other:
                beside.append(await project_batch(other, archive.vault, index))
        return found

    await project(archive)
    async with tenant_tx(archive.pool, 1) as tx:
        await append(tx, archive.vault, [doomed])
    monkeypatch.setattr(view, "messages", meanwhile)
    async with tenant_tx(archive.pool, 1) as tx:
        assert await project_batch(tx, archive.vault, index) == 1
    assert beside == ["came", None], "the other one leaves it alone, and does not say that all is done"
    await project(archive)
    async with tenant_tx(archive.pool, 1) as tx:
        [row] = await tx.fetch(VIEW, room)
    assert json.loads(row["row"])["deleted_at"]


async def test_one_organisation_does_not_wait_for_the_view_of_another(archive):
    async with tenant_tx(archive.pool, 1) as tx, tenant_tx(archive.pool, 2) as other:
        assert await project_batch(tx, archive.vault, BlindIndex(archive.vault.search_key)) is not None
        assert await project_batch(other, archive.other, BlindIndex(archive.other.search_key)) is not None


async def test_a_rebuild_waits_for_who_is_at_it_and_leaves_nothing_undone(archive, room):
    await conversation(archive, room)
    async with tenant_tx(archive.pool, 1) as tx:
        before = [dict(row) for row in await tx.fetch(VIEW, room)]
    # Somebody else is at it when the rebuild begins, and again right after its first step.
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(view.WAIT_LOCK, 1)
        rebuilding = asyncio.create_task(rebuild(archive.pool, archive.vault, lambda done, total: None))
        await asyncio.sleep(0.3)
        assert not rebuilding.done()
        second = asyncio.create_task(hold(archive))
        await asyncio.sleep(0.1)
    await asyncio.gather(rebuilding, second)
    async with tenant_tx(archive.pool, 1) as tx:
        assert [dict(row) for row in await tx.fetch(VIEW, room)] == before
        assert await tx.fetchval("SELECT count(*) FROM unread") == 0


async def test_a_rebuild_of_a_large_archive_takes_as_long_as_it_takes(archive, room):
    await conversation(archive, room)
    async with connect(archive.url, command_timeout=1) as pool:
        async with archive.pool.acquire() as slow, slow.transaction():
            await slow.execute("LOCK TABLE message IN SHARE MODE")
            rebuilding = asyncio.create_task(rebuild(pool, archive.vault, lambda done, total: None))
            await asyncio.sleep(1.5)
            assert not rebuilding.done()
        assert await rebuilding > 0


async def hold(archive) -> None:
    """Be at it for a moment, in the queue behind the first step of a rebuild."""
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(view.WAIT_LOCK, 1)
        await asyncio.sleep(0.3)


@pytest.mark.parametrize(
    "more",
    [
        {"content": {"msgtype": "m.text", "body": "x", "m.relates_to": {"m.in_reply_to": {"event_id": "$a\0"}}}},
        {"content": {"msgtype": "m.text", "body": "x", "m.relates_to": {"m.in_reply_to": {"event_id": "$\ud800"}}}},
        {"content": {"msgtype": "m.text", "body": "x", "nl.griffier.source": {"network": "whats\0app"}}},
        {"content": {}, "unsigned": {"redacted_because": {"sender": "@kwaad\0:x", "content": {}}}},
    ],
    ids=["nul-reply", "surrogate-reply", "network", "deleter"],
)
async def test_what_no_column_can_hold_does_not_stop_the_reading_view(archive, room, more):
    """One such message would stop the view of every room for good: it is the next one to be read at each attempt."""
    odd = archive.arrival({"body": "x"}, room)
    odd = dataclasses.replace(odd, event=odd.event | more)
    async with tenant_tx(archive.pool, 1) as tx:
        await append(tx, archive.vault, [odd, archive.arrival({"msgtype": "m.text", "body": "buur"}, room)])
    await project(archive)
    async with tenant_tx(archive.pool, 1) as tx:
        assert len(await tx.fetch(VIEW, room)) == 2


async def test_what_is_said_now_is_shown_before_what_is_made_anew(archive, room):
    await project(archive)
    arrivals = [archive.arrival({"msgtype": "m.text", "body": f"oud {n}"}, room, depth=n) for n in range(view.BATCH + 1)]
    async with tenant_tx(archive.pool, 1) as tx:
        await append(tx, archive.vault, arrivals)
    await project(archive)
    new = archive.arrival({"msgtype": "m.text", "body": "nieuw"}, room, depth=2_000)
    async with tenant_tx(archive.pool, 1) as tx:
        total = await begin(tx, 1)
        assert (await progress(tx, 1)) == Progress(0, total)
        await append(tx, archive.vault, [new])
        await project_batch(tx, archive.vault, BlindIndex(archive.vault.search_key))
        assert await tx.fetchval("SELECT true FROM message WHERE org = 1 AND event_id = $1", new.event_id)
        assert (await progress(tx, 1)) == Progress(view.BATCH - 1, total)
    async with tenant_tx(archive.pool, 2) as tx:
        assert await progress(tx, 2) is None
    await project(archive)
    async with tenant_tx(archive.pool, 1) as tx:
        assert await progress(tx, 1) is None
