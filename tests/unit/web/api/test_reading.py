"""What programs read: the same as people do, by the same rules, noted before it is shown."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import replace
from urllib.parse import quote

import pytest

from archiver.db import tenant_tx
from archiver.ledger.event import Rules, event_id
from archiver.ledger.files import FileStore
from archiver.web import exports
from tests.unit.web.api.conftest import Program, token_of
from tests.unit.web.signed_in import WHY, session_of, use
from tests.unit.web.test_files import CONTENT, keep
from tests.unit.web.test_membership import Room

pytestmark = pytest.mark.postgres


def at(room: str, *more: str) -> str:
    return "/rooms/" + "/".join([quote(room, safe=""), *(quote(part, safe="") for part in more)])


async def bodies(officer: Program, path: str) -> list[str]:
    status, page = await officer.ask(path)
    assert status == 200, page
    return [each["body"] for each in page["items"]]


async def test_a_conversation_is_read_page_by_page_the_newest_first(officer, talk):
    path, found = at(talk.room, "messages") + "?limit=2", []
    while path:
        answer = await officer.send(path)
        page = await answer.json()
        found += [each["body"] for each in page["items"]]
        path = at(talk.room, "messages") + f"?limit=2&cursor={page['next']}" if page["next"] else ""
        assert ("Link" in answer.headers) == bool(page["next"])
    assert found == ["vijfde", "vierde kademuur", "derde", "tweede, verbeterd", "eerste"]


async def test_a_period_of_a_conversation_is_read(officer, talk):
    _, page = await officer.ask(at(talk.room, "messages"))
    times = {each["body"]: each["sent_at"] for each in page["items"]}
    wish = {"sent_from": times["tweede, verbeterd"], "sent_until": times["vierde kademuur"]}
    query = "?" + "&".join(f"{name}={quote(value)}" for name, value in wish.items())
    assert await bodies(officer, at(talk.room, "messages") + query) == ["derde", "tweede, verbeterd"]


async def test_a_message_has_its_versions_and_its_deletion(officer, talk):
    edited, deleted = talk.arrivals[3].event_id, talk.arrivals[5].event_id
    _, said = await officer.ask(at(talk.room, "messages", edited))
    assert [version["body"] for version in said["versions"]] == ["tweede", "tweede, verbeterd"]
    _, said = await officer.ask(at(talk.room, "messages", deleted))
    assert (said["body"], said["deleted"]["by"], said["deleted"]["reason"]) == ("derde", "@ander:x", "per ongeluk")


async def test_the_proof_is_the_event_whose_hash_is_its_id(officer, talk):
    for arrival in talk.arrivals:  # of edits and deletions too
        status, proof = await officer.ask(at(talk.room, "messages", arrival.event_id, "proof"))
        assert status == 200
        assert event_id(json.loads(proof["event"]), Rules("11")) == arrival.event_id == proof["event_id"]
        assert proof["checks"] == {"id_matches": True, "content_matches": True, "signed_by": ["x"], "not_verified": []}


async def test_who_follows_a_conversation_misses_nothing_that_comes_late_or_changes(officer, archive, talk):
    _, page = await officer.ask(at(talk.room, "changes") + "?limit=3")
    assert page["more"]
    _, rest = await officer.ask(at(talk.room, "changes") + f"?cursor={page['next']}")
    assert sorted(each["body"] for each in page["items"] + rest["items"]) == [
        "derde", "eerste", "tweede, verbeterd", "vierde kademuur", "vijfde",
    ]  # fmt: skip
    assert not rest["more"]
    _, none = await officer.ask(at(talk.room, "changes") + f"?cursor={rest['next']}")
    assert (none["items"], none["next"]) == ([], rest["next"])
    late = Room(archive, talk.room)
    late.say("van lang geleden")  # sent before everything, archived after it
    late.edit(talk.arrivals[2].event_id, "eerste, aangepast")
    late.arrivals = late.arrivals[:2]
    await _keep_more(archive, late)
    _, new = await officer.ask(at(talk.room, "changes") + f"?cursor={rest['next']}")
    assert {each["body"] for each in new["items"]} == {"van lang geleden", "eerste, aangepast"}


async def test_search_finds_what_a_page_finds(officer, talk):
    status, found = await officer.ask(f"/search?q=kademuur&room_id={quote(talk.room)}")
    assert status == 200
    assert [(hit["snippet"], hit["room_name"]) for hit in found["items"]] == [("vierde kademuur", "Overleg over de kademuur")]
    assert found["total"] == 1
    status, problem = await officer.ask("/search?q=-alleen")
    assert (status, problem["type"], problem["errors"][0]["code"]) == (422, "/api/v1/#problem-query", "only-not")


async def test_search_goes_on_from_page_to_page_with_filters(officer, talk):
    found, path = [], f"/search?room_id={quote(talk.room)}&limit=2&order=oldest"
    while path:
        _, page = await officer.ask(path)
        found += [hit["snippet"] for hit in page["items"]]
        path = f"/search?room_id={quote(talk.room)}&limit=2&order=oldest&cursor={page['next']}" if page["next"] else ""
    assert found == ["eerste", "tweede, verbeterd", "derde", "vierde kademuur", "vijfde"]
    for has, said in (("edit", "tweede, verbeterd"), ("deletion", "derde")):
        _, page = await officer.ask(f"/search?room_id={quote(talk.room)}&has={has}")
        assert [hit["snippet"] for hit in page["items"]] == [said]


async def test_conversations_are_listed_with_filters_and_pages(officer, archive, talk, room):
    someone, made = f"@m{secrets.token_hex(4)}:x", []
    for number in range(3):
        other = Room(archive, f"{room[:-2]}{number}:x")
        other.add("m.room.name", {"name": f"kamer {number}"}, state_key="")
        other.member(someone, "join")
        for each in range(number + 1):
            other.say(f"iets {each}")
        await other.keep()
        made.append(other.room)
    for sort, expected in (("latest", made[::-1]), ("earliest", made), ("largest", made[::-1])):
        found, path = [], f"/rooms?limit=2&official={someone}&sort={sort}"
        while path:
            _, page = await officer.ask(path)
            found += [each["room_id"] for each in page["items"]]
            path = f"/rooms?limit=2&official={someone}&sort={sort}&cursor={page['next']}" if page["next"] else ""
        assert sorted(found) == sorted(made)
        assert sort == "earliest" or found == expected
    for nothing in ("network=signal", "active_until=1990-01-01T00:00:00Z", "state=unreadable"):
        _, none = await officer.ask(f"/rooms?official={someone}&{nothing}")
        assert none == {"next": None, "items": []}
    _, one = await officer.ask(at(talk.room))
    assert (one["name"], one["messages"], one["deleted"]) == ("Overleg over de kademuur", 5, 1)
    assert one["members"] == ["@minister:x"]


async def test_every_look_is_in_the_audit_trail_with_the_token_it_was_done_with(officer, archive, talk):
    for path in (
        at(talk.room, "messages"),
        at(talk.room, "changes"),
        at(talk.room, "messages", talk.arrivals[2].event_id, "proof"),
    ):
        await officer.ask(path)
    async with tenant_tx(archive.pool, 1) as tx:
        rows = await tx.fetch("SELECT actor, action, detail->>'token' AS token FROM audit WHERE room_id = $1", talk.room)
        mine = await tx.fetchval("SELECT token_id::text FROM personal_token WHERE person = $1", rows[0]["actor"])
    assert [(row["action"], row["token"]) for row in rows] == [("read", mine)] * 3


async def test_a_program_says_why_it_reads_and_that_is_in_the_trail(api, archive, talk):
    program = Program(api, await token_of(archive, "records-officer", person="met doel"))
    path = at(talk.room, "messages")
    for headers in ({"Griffier-Purpose": ""}, {"Griffier-Purpose": "x" * 300}, {"Griffier-Purpose": "--"}):
        status, problem = await program.ask(path, headers={**headers, "Griffier-Case-Number": ""})
        assert (status, problem["type"]) == (403, "/api/v1/#problem-purpose")
    bare = await api.get(f"/api/v1{path}", headers={"Authorization": f"Bearer {program.token}"})
    assert bare.status == 403
    assert "eerste" not in await bare.text()
    assert (await program.ask(path))[0] == 200
    async with tenant_tx(archive.pool, 1) as tx:
        told = await tx.fetch("SELECT purpose, case_number FROM audit WHERE room_id = $1", talk.room)
    assert [tuple(row) for row in told] == [(WHY.text, WHY.case_number)]
    use(api, await session_of(archive, "inspector"))  # a browser has said so on a page
    assert (await api.get(f"/api/v1{path}")).status == 200


async def test_an_official_s_program_sees_what_they_saw(api, archive, room):
    me, word = f"@m{secrets.token_hex(4)}:x", "w" + secrets.token_hex(5)
    told = Room(archive, room)
    before = told.say(f"vroeg {word}")
    told.member(me, "join")
    said = told.say(f"tijdens {word}")
    told.member(me, "leave")
    told.edit(said, f"later {word}")
    await told.keep()
    hidden = Room(archive, room + "2")
    hidden.say(f"elders {word}")
    await hidden.keep()
    program = Program(api, await token_of(archive, "official", matrix_id=me))
    assert await bodies(program, at(room, "messages")) == [f"tijdens {word}"]
    for path in (at(room, "messages", before), at(room, "messages", before, "proof"), at(room + "2"), at(room + "2", "messages")):
        assert (await program.ask(path))[0] == 404
    _, listed = await program.ask("/rooms")
    assert [each["room_id"] for each in listed["items"]] == [room]
    _, found = await program.ask(f"/search?q={word}")
    assert [hit["snippet"] for hit in found["items"]] == [f"tijdens {word}"]
    nobody = Program(api, await token_of(archive, "official"))
    status, problem = await nobody.ask("/rooms")
    assert (status, problem["type"]) == (403, "/api/v1/#problem-no-account")


async def test_another_organisation_s_conversation_is_not_there(officer, archive, room):
    async with tenant_tx(archive.pool, 2) as tx:
        await tx.execute(
            "INSERT INTO room (org, room_id, version, membership, user_id) VALUES (2, $1, '11', 'join', '@a:x')", room
        )
    for more in ((), ("messages",), ("changes",), ("messages", "$x"), ("messages", "$x", "proof"), ("messages", "$x", "file")):
        assert (await officer.ask(at(room, *more)))[0] == 404


@pytest.mark.parametrize(("scan", "status"), [("clean", 200), (None, 200), ("waiting", 409), ("infected", 403)])
async def test_a_file_is_downloaded_when_it_is_safe(officer, archive, room, tmp_path, scan, status):
    _, file = await keep(archive, room, FileStore(tmp_path), scan)
    event = file.partition("?")[0].rpartition("/")[2]
    path = f"/rooms/{quote(room, safe='')}/messages/{event}/file"
    answer = await officer.send(path)
    assert (answer.status, CONTENT in await answer.read()) == (status, status == 200)
    if status == 200:
        assert answer.headers["Content-Disposition"] == "attachment"
        assert answer.content_type == "application/octet-stream"
    despite = await officer.send(path + "?despite=infected")
    assert (despite.status == 200) == (scan != "waiting")


async def test_a_message_with_what_no_json_may_hold_is_read(officer, archive, room):
    told = Room(archive, room)
    event = told.add("m.room.encrypted", {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "y"})
    said = rb'{"type": "m.room.message", "content": {"msgtype": "m.text", "body": "half \ud800 en \u0000 niets", "x": NaN}}'
    told.arrivals = [replace(told.arrivals[0], payload=said)]
    await told.keep()
    assert await bodies(officer, at(room, "messages")) == ["half ? en \0 niets"]
    _, found = await officer.ask(f"/search?q=niets&room_id={quote(room)}")
    assert [hit["snippet"] for hit in found["items"]] == ["half ? en \0 niets"]
    status, proof = await officer.ask(at(room, "messages", event, "proof"))
    assert (status, proof["payload"]) == (200, said.decode())


async def _keep_more(archive, late: Room) -> None:
    from archiver.ledger.record import append
    from archiver.reading.project import project_batch
    from archiver.reading.words import BlindIndex

    async with tenant_tx(archive.pool, 1) as tx:
        await append(tx, archive.vault, late.arrivals)
        while await project_batch(tx, archive.vault, BlindIndex(archive.vault.search_key)):
            pass


async def test_an_export_is_asked_for_made_and_downloaded(officer, api, archive, talk):
    status, made = await officer.ask("/exports", "POST", json={"rooms": [talk.room], "format": "jsonl"})
    assert (status, made["state"], made["rooms"]) == (202, "waiting", [talk.room])
    path = f"/exports/{made['export_id']}"
    assert (await officer.send(path + "/file")).status == 404
    stop = asyncio.Event()
    working = asyncio.create_task(api.app[exports.WORKSHOP].run(stop))
    try:
        async with asyncio.timeout(60):
            while (job := (await officer.ask(path))[1])["state"] != "done":
                assert job["state"] in ("waiting", "running"), job
                await asyncio.sleep(0.1)
    finally:
        stop.set()
        await working
    answer = await officer.send(path + "/file")
    lines = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert [line["body"] for line in lines if line["type"] == "m.room.message"] == [
        "eerste",
        "tweede, verbeterd",
        "derde",
        "vierde kademuur",
        "vijfde",
    ]
    assert (await officer.ask(path, "DELETE"))[0] == 409  # it is done
    _, listed = await officer.ask("/exports")
    assert [each["export_id"] for each in listed["items"]] == [made["export_id"]]
    other = Program(api, await token_of(archive, "records-officer"))
    for more, method in (("", "GET"), ("/file", "GET"), ("", "DELETE")):
        assert (await other.ask(path + more, method))[0] == 404
    for wish, refused in (
        ({"rooms": ["!nergens:x"], "format": "jsonl"}, "not-found"),
        ({"rooms": [talk.room], "format": "docx"}, "invalid"),
        ({"rooms": [], "format": "jsonl"}, "invalid"),
    ):
        assert (await officer.ask("/exports", "POST", json=wish))[1]["type"] == f"/api/v1/#problem-{refused}"
