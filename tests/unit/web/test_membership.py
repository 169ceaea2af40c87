"""An official sees what they could see as a member: the rooms they were in, while they were in them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest

from archiver.capture import media
from archiver.db import tenant_tx
from archiver.ledger.files import FileStore
from archiver.ledger.record import append, moment
from archiver.reading.membership import reader_tx
from archiver.reading.project import project_batch
from archiver.reading.words import BlindIndex
from tests.unit.reading.portals import BOT, OFFICIAL, Portal, source, text
from tests.unit.reading.test_bridged import interruption
from tests.unit.web.signed_in import browsing

pytestmark = pytest.mark.postgres

START = 1_764_000_000_000
WITHOUT_POLICY = """
    SELECT DISTINCT c.table_name FROM information_schema.columns AS c JOIN pg_class AS t ON t.relname = c.table_name
    WHERE c.table_schema = 'public' AND t.relkind = 'r' AND c.column_name = 'room_id'
      AND has_table_privilege('griffier_official', t.oid, 'SELECT')
      AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = t.oid AND polname = 'official' AND NOT polpermissive)
"""


class Room:
    """A room in which things happen one after another."""

    def __init__(self, archive: Any, room: str, start: int = START) -> None:
        self.archive, self.room, self.start, self.arrivals = archive, room, start, []

    def add(self, kind: str, content: dict[str, Any], sender: str = "@ander:x", **more: Any) -> str:
        """Something that happens next; returns its id."""
        step = len(self.arrivals) + 1
        place = {"depth": step, "origin_server_ts": self.start + step * 60_000}
        arrival = self.archive.arrival(content, self.room, type=kind, sender=sender, **(place | more))
        self.arrivals.append(arrival)
        return arrival.event_id

    def say(self, text: str, **more: Any) -> str:
        return self.add("m.room.message", {"msgtype": "m.text", "body": text, **more})

    def member(self, user: str, membership: str, sender: str | None = None) -> str:
        content = {"membership": membership, "displayname": user[1:].partition(":")[0]}
        return self.add("m.room.member", content, sender or user, state_key=user)

    def edit(self, event: str, text: str) -> str:
        relation = {"rel_type": "m.replace", "event_id": event}
        new = {"msgtype": "m.text", "body": text}
        return self.say(f"* {text}", **{"m.new_content": new, "m.relates_to": relation})

    async def keep(self) -> None:
        async with tenant_tx(self.archive.pool, 1) as tx:
            await tx.execute(
                "INSERT INTO room (org, room_id, version, membership, user_id) VALUES (1, $1, '11', 'join', '@a:x')", self.room
            )
            await append(tx, self.archive.vault, self.arrivals)
            while await project_batch(tx, self.archive.vault, BlindIndex(self.archive.vault.search_key)):
                pass

    @property
    def page(self) -> str:
        return f"/rooms/{quote(self.room, safe='')}"


async def test_an_official_reads_what_was_said_while_they_were_there(archive, room, tmp_path, word, me):
    told = Room(archive, room)
    told.add("m.room.name", {"name": "Toen zij er was"}, state_key="")
    early = told.say(f"vroeg {word}")
    told.member(me, "join")
    said = told.say(f"tijdens {word}")
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": early}}}
    told.say(f"antwoord {word}", **reply)
    told.member(me, "leave")
    told.edit(said, f"aangepast {word} naderhand")
    told.add("m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": said, "key": "🤫"}})
    told.say(f"later {word}")
    told.add("m.room.name", {"name": "Nieuwe geheime naam"}, state_key="")
    told.member("@nieuweling:x", "join")
    await told.keep()
    async with browsing(archive, tmp_path, "official", person=me, matrix_id=me) as client:
        text = await (await client.get(told.page)).text()
        found = re.sub("</?mark>", "", await (await client.get(f"/search?q={word}")).text())
        after = await (await client.get("/search?q=naderhand")).text()
        listed = await (await client.get("/")).text()
    for page in (text, found):
        assert f"tijdens {word}" in page
        assert f"antwoord {word}" in page
        assert "Toen zij er was" in page
    for page in (text, found, listed, after):
        for hidden in ("vroeg", "later", "aangepast", "geheime", "🤫", "nieuweling"):
            assert hidden not in page, hidden
    assert "Niets gevonden" in after
    assert "2 berichten" in listed
    async with browsing(archive, tmp_path, "records-officer") as client:
        text = await (await client.get(told.page)).text()
        for seen in ("vroeg", "tijdens", "aangepast", "later", "🤫", "Nieuwe geheime naam"):
            assert seen in text


async def test_a_room_in_which_they_never_were_is_not_there(archive, room, tmp_path, word, me):
    told = Room(archive, room)
    told.member(me, "invite", sender="@ander:x")
    told.say(f"besloten {word}")
    told.member(me, "join", sender="@vervalser:x")  # whoever sends it: a join is one's own
    told.say(f"nog steeds {word}")
    await told.keep()
    async with browsing(archive, tmp_path, "official", person=me, matrix_id=me) as client:
        assert (await client.get(told.page)).status == 404
        assert (await client.get(f"{told.page}/files/%24x")).status == 404
        assert word not in (await (await client.get("/")).text()) + await (await client.get("/search?q=besloten")).text()


async def test_who_comes_back_sees_both_times_and_not_the_time_between(archive, room, tmp_path, me):
    told = Room(archive, room)
    told.member(me, "join")
    told.say("eerste keer")
    told.member(me, "ban", sender="@ander:x")
    told.say("tussentijds")
    told.member(me, "leave", sender="@ander:x")
    told.member(me, "join")
    told.member(me, "join")  # another name: the same stay
    told.say("tweede keer")
    await told.keep()
    async with browsing(archive, tmp_path, "official", person=me, matrix_id=me) as client:
        text = await (await client.get(told.page)).text()
    assert "eerste keer" in text
    assert "tweede keer" in text
    assert "tussentijds" not in text


async def test_a_file_of_another_time_is_not_given(archive, room, tmp_path, me):
    told, store = Room(archive, room), FileStore(tmp_path)
    picture = {"msgtype": "m.image", "body": "kat.png", "url": "mxc://x/y", "info": {"mimetype": "image/png"}}
    before = told.add("m.room.message", picture)
    told.member(me, "join")
    during = told.add("m.room.message", picture)
    await told.keep()
    async with tenant_tx(archive.pool, 1) as tx:
        await media.enqueue(tx, archive.vault, [told.arrivals[0], told.arrivals[2]])
        for event in (before, during):
            address = await store.write(archive.vault, tx, room, moment(START), b"PNG")
            await tx.execute(media.STORED, 1, room, event, "file", address, 3, None)
    async with browsing(archive, tmp_path, "official", person=me, matrix_id=me) as client:
        statuses = [(await client.get(f"{told.page}/files/{quote(event, safe='')}")).status for event in (before, during)]
    assert statuses == [404, 200]


async def test_the_database_itself_holds_back_the_rest(archive, room, me):
    told = Room(archive, room)
    told.member(me, "join")
    told.say("van haar")
    await told.keep()
    other = Room(archive, room + "2")
    other.say("niet van haar")
    await other.keep()
    async with reader_tx(archive.pool, archive.vault, me) as tx:
        for table in ("record", "message", "room", "edge", "data_key"):
            rows = await tx.fetch(f"SELECT DISTINCT room_id FROM {table}")
            assert {row["room_id"] for row in rows} <= {room}, table
        assert await tx.fetchval("SELECT count(*) FROM message") == 1
    for table in ("web_session", "role_change", "audit", "sign_in_attempt"):
        with pytest.raises(Exception, match="permission denied"):
            async with reader_tx(archive.pool, archive.vault, me) as tx:
                await tx.fetch(f"SELECT * FROM {table}")
    with pytest.raises(Exception, match=r"read-only|permission denied"):
        async with reader_tx(archive.pool, archive.vault, me) as tx:
            await tx.execute("DELETE FROM message")


async def test_every_table_that_knows_rooms_is_closed_to_officials_who_were_not_there(archive):
    async with archive.pool.acquire() as connection:
        assert [row["table_name"] for row in await connection.fetch(WITHOUT_POLICY)] == []


def test_periods_do_not_depend_on_the_order_of_arrival():
    from archiver.reading.membership import periods

    class Record:
        content: dict[str, str]

    records = []
    for depth, membership in ((1, "join"), (5, "leave"), (9, "join")):
        record = Record()
        record.__dict__ |= {
            "room_id": "!r", "depth": depth, "sent_at": moment(START + depth), "event_id": f"${depth}", "sender": "@m:x",
            "id_matches": True, "content": {"membership": membership},
        }  # fmt: skip
        records.append(record)
    forward = periods(records, "@m:x")
    assert [(each.from_depth, each.until_depth) for each in forward] == [(1, 5), (9, 2**63 - 1)]
    assert periods(records[::-1], "@m:x") == forward


async def test_an_official_s_whatsapp_conversation_says_whose_it_is_and_when_it_was_not_covered(archive, room, tmp_path):
    portal = await Portal(archive, room).open(**{"nl.griffier.official": OFFICIAL})
    portal.say(text("hallo", **{"nl.griffier.source": source("w")}))
    await portal.keep()
    told = await Portal(archive, room + "2").open(bridged=False)  # the bridge's own room: she is not in it
    told.events = [each for each in told.events if each.event.get("state_key") != OFFICIAL]
    told.say(interruption("van-haar"), BOT)
    await told.keep()
    async with browsing(archive, tmp_path, "official", person="minister", matrix_id=OFFICIAL) as client:
        answer = await client.get(f"/rooms/{quote(room, safe='')}")
        page = await answer.text()
        assert answer.status == 200
        for words in ("via WhatsApp", "Hatice Yıldız", "hallo", "In deze periode is niet vastgelegd"):
            assert words in page
        assert (await client.get(f"/rooms/{quote(room + '2', safe='')}")).status == 404
