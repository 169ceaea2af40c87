"""The list of conversations: chosen, sorted, a page at a time, and no more opened than is shown."""

from __future__ import annotations

import re
import secrets
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from archiver.db import tenant_tx
from archiver.ledger.sealing import Vault
from archiver.reading import conversations
from archiver.reading.conversations import Choice, Place
from archiver.reading.project import rebuild
from tests.unit.reading.portals import OFFICIAL, Portal, source, text
from tests.unit.web.signed_in import browsing
from tests.unit.web.test_membership import Room

pytestmark = pytest.mark.postgres

NOTED = "SELECT detail FROM audit WHERE actor = $1 AND action = 'list rooms' ORDER BY audit_id DESC LIMIT 1"
KEPT = "SELECT messages, unreadable, deleted, pruned FROM conversation WHERE org = 1 AND room_id = $1"
COUNTED = """
    SELECT count(*), count(unreadable), count(deleted_at), count(*) FILTER (WHERE pruned) FROM message
    WHERE org = 1 AND room_id = $1
"""


async def made(archive: Any, room: str, name: str, *, messages: int = 1, member: str = "@ander:x", late: int = 0) -> Room:
    """A conversation with this name; `late` moves it a number of days on."""
    told = Room(archive, room)
    told.later = late * 86_400_000
    told.add("m.room.name", {"name": name}, state_key="")
    told.member(member, "join")
    for number in range(messages):
        told.say(
            f"bericht {number}",
        )
    for arrival in told.arrivals:
        arrival.event["origin_server_ts"] += told.later
    await told.keep()
    return told


def shown(page: str) -> list[str]:
    """The names in a page of the list, in their order."""
    return re.findall(r'<h2><a href="/rooms/[^"]*"><bdi>([^<]*)</bdi>', page)


async def page_of(client: Any, **query: Any) -> str:
    answer = await client.get("/?" + urlencode(query))
    assert answer.status == 200
    return await answer.text()


@pytest.fixture
def mark() -> str:
    return f"m{secrets.token_hex(4)}"


async def test_conversations_are_chosen_by_account_network_period_and_state(archive, room, tmp_path, mark):
    me = f"@{mark}:x"
    await made(archive, room, f"{mark} eerst", member=me, late=1)
    told = await made(archive, room + "b", f"{mark} later", member=me, late=40)
    portal = await Portal(archive, room + "c").open(**{"nl.griffier.official": OFFICIAL})
    portal.say(text("hallo", **{"nl.griffier.source": source("w")}))
    await portal.keep()
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute("INSERT INTO gap (org, room_id, event_id) VALUES (1, $1, '$weg')", told.room)
    async with browsing(archive, tmp_path, "records-officer", person=mark) as client:
        assert shown(await page_of(client, official=me)) == [f"{mark} later", f"{mark} eerst"]
        assert shown(await page_of(client, official=me, sort="earliest")) == [f"{mark} eerst", f"{mark} later"]
        assert shown(await page_of(client, official=me, **{"from": "2025-12-20"})) == [f"{mark} later"]
        assert shown(await page_of(client, official=me, to="2025-12-20")) == [f"{mark} eerst"]
        assert shown(await page_of(client, official=me, state="incomplete")) == [f"{mark} later"]
        assert shown(await page_of(client, official=me, state="complete")) == [f"{mark} eerst"]
        assert shown(await page_of(client, official=me, network="whatsapp")) == []
        assert "Geen gesprek" in await page_of(client, official=me, network="whatsapp")
        bridged = await page_of(client, official=OFFICIAL, network="whatsapp")
        assert "WhatsApp" in bridged
        assert len(shown(bridged)) >= 1
    async with tenant_tx(archive.pool, 1) as tx:
        assert '"network": "whatsapp"' in await tx.fetchval(NOTED, mark)


async def test_a_page_of_the_list_goes_on_where_the_one_before_stopped_both_ways(archive, room, tmp_path, mark, monkeypatch):
    me = f"@{mark}:x"
    names = [f"{mark} {number}" for number in range(7)]
    for number, name in enumerate(names):
        await made(archive, f"{room}{number}", name, member=me, late=number)
    async with tenant_tx(archive.pool, 1) as tx:
        for sort in conversations.SORTS:
            found, place, pages = [], None, []
            await conversations.see_to(tx, archive.vault, Choice(official=me))
            for _ in range(5):
                listed = await conversations.conversations(tx, archive.vault, Choice(official=me, sort=sort), place, 3)
                assert listed.total == 7
                found += [each.name for each in listed.headlines]
                pages.append(listed)
                place = listed.later
                if place is None:
                    break
            assert sorted(found) == names, sort
            assert len(pages) == 3
            back = await conversations.conversations(tx, archive.vault, Choice(official=me, sort=sort), pages[2].earlier, 3)
            assert [each.name for each in back.headlines] == [each.name for each in pages[1].headlines], sort
            assert pages[0].earlier is None
            first = await conversations.conversations(tx, archive.vault, Choice(official=me, sort=sort), back.earlier, 3)
            assert first.headlines == pages[0].headlines
            assert first.earlier is None


async def test_the_list_opens_no_more_than_it_shows(archive, room, mark, monkeypatch):
    me, opened = f"@{mark}:x", []
    for number in range(6):
        await made(archive, f"{room}{number}", f"{mark} {number}", member=me, late=number, messages=5)
    open_many = Vault.open_many

    async def counted(self, tx, sealed):
        opened.extend(sealed)
        return await open_many(self, tx, sealed)

    async with tenant_tx(archive.pool, 1) as tx:
        await conversations.see_to(tx, archive.vault, Choice(official=me))
        monkeypatch.setattr(Vault, "open_many", counted)
        listed = await conversations.conversations(tx, archive.vault, Choice(official=me), None, 2)
    assert len(listed.headlines) == 2
    assert len(opened) == 2  # the two names
    assert {room_id for room_id, _, _ in opened} == {each.room_id for each in listed.headlines}


async def test_what_is_kept_of_a_conversation_is_what_counting_finds(archive, room, mark):
    told = await made(archive, room, mark, messages=4)
    gone = told.say("weg")
    told.add("m.room.redaction", {"redacts": gone}, redacts=gone)
    told.edit(told.say("een"), "twee")
    await told.archive.pool.execute("DELETE FROM room WHERE room_id = $1", room)
    await told.keep()
    async with tenant_tx(archive.pool, 1) as tx:
        assert tuple(await tx.fetchrow(KEPT, room)) == tuple(await tx.fetchrow(COUNTED, room)) == (6, 0, 1, 0)
    await rebuild(archive.pool, archive.vault, lambda _, __: None)
    async with tenant_tx(archive.pool, 1) as tx:
        assert tuple(await tx.fetchrow(KEPT, room)) == (6, 0, 1, 0)
        await tx.execute("DELETE FROM message WHERE org = 1 AND room_id = $1 AND event_id = $2", room, gone)
        assert tuple(await tx.fetchrow(KEPT, room)) == tuple(await tx.fetchrow(COUNTED, room)) == (5, 0, 0, 0)
        assert await tx.fetchval("SELECT last_at FROM conversation WHERE org = 1 AND room_id = $1", room) == await tx.fetchval(
            "SELECT max(sent_at) FROM message WHERE org = 1 AND room_id = $1", room
        )


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"from": "9999-99-99"}, "Deze datum is niet te lezen"),
        ({"from": "0001-01-01"}, "Deze datum is niet te lezen"),
        ({"from": "2026-02-02", "to": "2026-01-01"}, "De periode eindigt voordat hij begint"),
        ({"state": "' OR 1=1"}, "Kies er een uit de lijst"),
        ({"sort": "room_id; DROP"}, "Kies er een uit de lijst"),
        ({"at": "verzonnen"}, "Deze link naar een bladzijde van de lijst klopt niet"),
        ({"at": "WyJsYXRlc3QiLCAiMTk5OS0wMS0wMSIsICJcdTAwMDAiLCB0cnVlXQ=="}, None),  # a NUL in a room id
        ({"official": "\0", "network": "\ud800"}, None),
    ],
)  # fmt: skip
async def test_what_can_not_be_read_in_the_address_is_said_beside_it(archive, tmp_path, query, words):
    async with browsing(archive, tmp_path, "records-officer") as client:
        told = urlencode(query, errors="surrogatepass")
        answer = await client.get(f"/?{told}")
        page = await answer.text()
        assert answer.status == (400 if words else 200)
        assert "Gesprekken" in page
        assert words is None or words in page


async def test_a_place_in_another_order_is_no_place_in_this_one(archive, tmp_path):
    from archiver.web.place import place_in_list

    async with browsing(archive, tmp_path, "records-officer") as client:
        token = quote(place_in_list(Place(5, "!a:x"), "largest"))
        assert (await client.get(f"/?sort=largest&at={token}")).status == 200
        assert (await client.get(f"/?sort=latest&at={token}")).status == 400


async def test_an_official_s_list_counts_only_what_they_could_see(archive, room, tmp_path, mark):
    me = f"@{mark}:x"
    told = Room(archive, room)
    told.add("m.room.name", {"name": f"{mark} kamer"}, state_key="")
    for _ in range(3):
        told.say("ervoor")
    told.member(me, "join")
    told.say("erbij")
    told.member(me, "leave")
    told.say("erna")
    await told.keep()
    async with browsing(archive, tmp_path, "official", person=me, matrix_id=me) as client:
        page = await page_of(client)
        assert shown(page) == [f"{mark} kamer"]
        assert "1 bericht ·" in page
        assert shown(await page_of(client, official="@ander:x")) == []
