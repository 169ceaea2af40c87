"""Who left learns nothing of what came of their messages afterwards; who came, nothing of what was before."""

from __future__ import annotations

import re
import secrets
from urllib.parse import quote

import pytest

from archiver.reading.membership import bounds, reader_tx
from archiver.reading.rooms import COUNTS_OF_OFFICIAL
from archiver.reading.walk import SEEN, WALK
from archiver.web.roles import Role
from tests.unit.web.api.conftest import Program, token_of
from tests.unit.web.signed_in import browsing, served
from tests.unit.web.test_membership import Room

pytestmark = pytest.mark.postgres


async def test_what_must_not_occur_does_not_tell_an_official_of_later_words(archive, room, tmp_path, word, me):
    told, secret = Room(archive, room), "s" + secrets.token_hex(5)
    told.member(me, "join")
    said = told.say(f"tijdens {word} gezegd")
    told.member(me, "leave")
    told.edit(said, f"aangepast {word} {secret}")
    await told.keep()
    same = [f"-{secret}", "-anders", f'-"{word} {secret}"', f"({word} OF -{secret})", f"-({secret} {word})", "gezegd"]
    none = [secret, "-gezegd", f'"{word} {secret}"', f'-"{word} gezegd"']
    async with browsing(archive, tmp_path, Role.OFFICIAL, person=me, matrix_id=me) as client:
        for beside in same:
            assert "hits__text" in await (await client.get("/search", params={"q": f"{word} {beside}"})).text(), beside
        for beside in none:
            assert "hits__text" not in await (await client.get("/search", params={"q": f"{word} {beside}"})).text(), beside


async def test_the_api_proves_to_an_official_what_the_page_proves_and_no_more(archive, room, tmp_path, me):
    told = Room(archive, room)
    before = told.add("m.room.topic", {"topic": "GEHEIM onderwerp"}, state_key="")
    told.add("m.room.topic", {"topic": "nieuw"}, state_key="")
    told.member(me, "join")
    during = told.say("tijdens")
    told.member(me, "leave")
    after = told.say("naderhand")
    await told.keep()
    addresses = [f"/messages/{quote(event, safe='')}/proof" for event in (before, during, after)]
    async with browsing(archive, tmp_path, Role.OFFICIAL, person=me, matrix_id=me) as client:
        assert [(await client.get(told.page + each)).status for each in addresses] == [404, 200, 404]
    async with served(archive, tmp_path) as client:
        program = Program(client, await token_of(archive, Role.OFFICIAL, matrix_id=me))
        answers = [await program.ask(told.page + each) for each in addresses]
        assert [status for status, _ in answers] == [404, 200, 404]
        assert "GEHEIM" not in str(answers)
        officer = Program(client, await token_of(archive, Role.RECORDS_OFFICER))
        assert [(await officer.ask(told.page + each))[0] for each in addresses] == [200] * 3


async def test_a_deletion_and_a_gap_of_after_they_left_are_not_counted_for_them(archive, room, tmp_path, me):
    told = Room(archive, room)
    told.member(me, "join")
    first, second = told.say("eerste"), told.say("tweede")
    told.add("m.room.redaction", {"redacts": first})
    told.member(me, "leave")
    told.add("m.room.redaction", {"redacts": second})
    told.add("m.room.message", {"msgtype": "m.text", "body": "later"}, prev_events=["$ontbreekt" + secrets.token_hex(8)])
    await told.keep()
    async with browsing(archive, tmp_path, Role.OFFICIAL, person=me, matrix_id=me) as client:
        listed, incomplete = [await (await client.get(f"/?state={state}")).text() for state in ("complete", "incomplete")]
    assert told.page in listed
    assert told.page not in incomplete
    assert re.findall(r"(\d+) verwijderd", listed) == ["1"]
    assert "Geen ontbrekende berichten bekend" in listed
    async with served(archive, tmp_path) as client:
        program = Program(client, await token_of(archive, Role.OFFICIAL, matrix_id=me))
        _, found = await program.ask(told.page)
        assert (found["messages"], found["deleted"]) == (2, 1)
        assert (found["completeness"]["missing"], found["completeness"]["gaps"]) == (0, [])
        assert found["completeness"]["closed_up_to"]
        officer = Program(client, await token_of(archive, Role.RECORDS_OFFICER))
        _, found = await officer.ask(told.page)
        assert (found["deleted"], found["completeness"]["missing"]) == (2, 1)


async def test_a_gap_that_what_they_saw_points_at_is_told(archive, room, tmp_path, me):
    told, gone = Room(archive, room), "$ontbreekt" + secrets.token_hex(8)
    told.member(me, "join")
    told.add("m.room.message", {"msgtype": "m.text", "body": "gezegd"}, prev_events=[gone])
    told.member(me, "leave")
    await told.keep()
    async with served(archive, tmp_path) as client:
        program = Program(client, await token_of(archive, Role.OFFICIAL, matrix_id=me))
        _, found = await program.ask(told.page)
    assert [gap["event_id"] for gap in found["completeness"]["gaps"]] == [gone]


async def test_a_conversation_is_among_those_with_deletions_only_for_who_was_there_then(archive, room, tmp_path, me):
    told = Room(archive, room)
    told.member(me, "join")
    said = told.say("gezegd")
    told.member(me, "leave")
    told.add("m.room.redaction", {"redacts": said})
    await told.keep()
    async with browsing(archive, tmp_path, Role.OFFICIAL, person=me, matrix_id=me) as client:
        assert told.page not in await (await client.get("/?state=deleted")).text()
    async with browsing(archive, tmp_path, Role.RECORDS_OFFICER) as client:
        assert told.page in await (await client.get("/?state=deleted")).text()


async def test_what_changed_since_is_not_told_to_officials(archive, room, tmp_path, me):
    told = Room(archive, room)
    told.member(me, "join")
    told.say("gezegd")
    await told.keep()
    async with served(archive, tmp_path) as client:
        program = Program(client, await token_of(archive, Role.OFFICIAL, matrix_id=me))
        assert (await program.ask(f"{told.page}/changes"))[0] == 403
        officer = Program(client, await token_of(archive, Role.RECORDS_OFFICER))
        assert (await officer.ask(f"{told.page}/changes"))[0] == 200


async def test_what_was_said_after_they_left_is_not_even_looked_at(archive, room, me):
    told = Room(archive, room)
    told.say("van voor zij kwam")
    told.member(me, "join")
    told.say("tijdens")
    told.member(me, "leave")
    for number in range(200):
        told.say(f"later {number}")
    await told.keep()
    walk = WALK.format(sign="<", way="DESC", seen=SEEN)
    async with reader_tx(archive.pool, archive.vault, me) as tx:
        await tx.execute("SET LOCAL enable_seqscan = off")
        await tx.execute("SET LOCAL enable_bitmapscan = off")
        first, last = await bounds(tx, 1, [room])
        asked = [(COUNTS_OF_OFFICIAL, (1, [room])), (walk, (1, room, last, 0, "", first, last, 100))]
        for statement, values in asked:
            plan = [row[0] for row in await tx.fetch("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) " + statement, *values)]
            [place, *_] = [number for number, line in enumerate(plan) if "message_room on message" in line]
            assert "sent_at" in plan[place + 1], plan
            assert not any("Rows Removed by Filter: 2" in line for line in plan), plan
