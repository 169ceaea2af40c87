"""An official's own page: what is archived of them, and who looked at it; theirs alone."""

from __future__ import annotations

import re
import secrets

import pytest

from archiver.db import tenant_tx
from archiver.ledger.audit import note
from archiver.reading import own, rooms
from tests.unit.reading.portals import NUMBER, OFFICIAL, Portal, source, text
from tests.unit.web.signed_in import browsing
from tests.unit.web.test_membership import START, Room

pytestmark = pytest.mark.postgres


@pytest.fixture
def me() -> str:
    return f"@m{secrets.token_hex(4)}:x"


async def test_an_official_sees_what_is_archived_of_them_and_who_looked(archive, room, tmp_path, me):
    told = Room(archive, room)
    told.add("m.room.name", {"name": "Overleg"}, state_key="")
    told.say("van voor mijn tijd")
    told.member(me, "join")
    told.add("m.room.message", {"msgtype": "m.text", "body": "van mij"}, me)
    told.say("van een ander")
    await told.keep()
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(
            "INSERT INTO sender_device (org, user_id, curve25519, ed25519, device_id, cross_signed) "
            "VALUES (1, $1, 'c', 'e', 'MIJNTELEFOON', true)", me,
        )  # fmt: skip
        await note(tx, 1, "een.archivaris", "read", room_id=room, role="records-officer")
        await note(tx, 1, "een.archivaris", "read", room_id=room, role="records-officer")
        await note(tx, 1, "een.inspecteur", "search results", role="inspector", shown={room: ["$x"], "!ander:x": ["$y"]})
        await note(tx, 1, me, "read", room_id=room, role="official")
        await note(tx, 1, "een.archivaris", "read", room_id="!ander:x", role="records-officer")
    async with browsing(archive, tmp_path, "official", person=me, matrix_id=me) as client:
        answer = await client.get("/own")
        page = await answer.text()
    assert answer.status == 200
    assert "Overleg" in page
    assert "MIJNTELEFOON" in page
    assert "door u geverifieerd" in page
    assert re.search(r"november 2025</th><td>2</td><td>1</td>", page)
    assert "archivaris</td><td>gelezen (2 keer)" in page
    assert "inspecteur</td><td>gevonden bij zoeken" in page
    assert "een.archivaris" not in page  # the role and the day, not the person
    assert "ambtsdrager</td>" not in page  # their own looks
    assert "!ander:x" not in page
    assert "U kunt nog niets markeren" in page
    assert "er wordt niets vernietigd" in page
    async with tenant_tx(archive.pool, 1) as tx:
        assert await tx.fetchval("SELECT count(*) FROM audit WHERE actor = $1 AND action = 'own page'", me) == 1


async def test_of_a_long_conversation_no_more_is_counted_than_is_said(archive, room, tmp_path, me, monkeypatch):
    monkeypatch.setattr(own, "COUNTED", 3)
    monkeypatch.setattr(own, "COUNTED_IN_EACH", 3)
    told, other = Room(archive, room), Room(archive, room + "2")
    told.member(me, "join")
    other.member(me, "join")
    other.say("van daarvoor")  # in the shorter one, but from before the moment to which all is counted
    for number in range(6):
        told.say(f"bericht {number}")
    other.add("m.room.message", {"msgtype": "m.text", "body": "naderhand"}, me, origin_server_ts=START + 3_600_000, depth=40)
    told.member(me, "leave")
    for number in range(6):
        told.say(f"later {number}")
    await told.keep()
    await other.keep()
    async with browsing(archive, tmp_path, "official", person=me, matrix_id=me) as client:
        page = await (await client.get("/own")).text()
    assert re.search(r"november 2025</th><td>5</td><td>1</td>", page), page  # the newest four, and one of the other
    assert "De berichten zijn geteld vanaf" in page


async def test_a_room_s_head_counts_an_official_s_messages_to_a_thousand(archive, room, tmp_path, me, monkeypatch):
    monkeypatch.setattr(rooms, "COUNTED", 5)
    monkeypatch.setattr(rooms, "COUNTS_OF_OFFICIAL", rooms.COUNTS_OF_OFFICIAL.replace("LIMIT 1001", "LIMIT 6"))
    told = Room(archive, room)
    told.member(me, "join")
    for number in range(9):
        told.say(f"bericht {number}")
    await told.keep()
    async with browsing(archive, tmp_path, "official", person=me, matrix_id=me) as client:
        assert "meer dan 5 berichten" in await (await client.get(told.page)).text()
        answer = await (await client.get(f"/api/v1{told.page}")).json()
    assert (answer["messages"], answer["more_than"]) == (5, True)
    assert answer["last_at"] > answer["first_at"]


async def test_who_has_nothing_in_the_archive_is_told_what_to_do(archive, tmp_path, me):
    async with browsing(archive, tmp_path, "official", person=me, matrix_id=me) as client:
        page = await (await client.get("/own")).text()
    for words in (
        "Er is nog geen gesprek van u in het archief",
        "Het archief kent nog geen apparaat van u",
        "Er is geen nummer van u",
    ):
        assert words in page


async def test_their_number_and_when_it_was_not_covered_are_there(archive, room, tmp_path):
    portal = await Portal(archive, room).open(**{"nl.griffier.official": OFFICIAL})
    portal.say(text("hallo", **{"nl.griffier.source": source("w")}))
    await portal.keep()
    async with browsing(archive, tmp_path, "official", person="minister", matrix_id=OFFICIAL) as client:
        page = await (await client.get("/own")).text()
    assert "WhatsApp" in page
    assert NUMBER in page


@pytest.mark.parametrize("role", ["records-officer", "advisor", "inspector", "admin", "auditor"])
async def test_it_is_nobody_else_s_page(archive, tmp_path, role):
    async with browsing(archive, tmp_path, role) as client:
        assert (await client.get("/own")).status == 403


async def test_an_official_of_whom_no_account_is_known_is_told_so(archive, tmp_path):
    async with browsing(archive, tmp_path, "official", person="zonder") as client:
        answer = await client.get("/own")
        assert answer.status == 403
        assert "chataccount" in await answer.text()
