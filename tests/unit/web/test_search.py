"""The search page: filters, words in their context, pages, what an official may see, and searches that somebody keeps."""

from __future__ import annotations

import re
import secrets
from html import unescape
from uuid import uuid4

import pytest

from archiver.db import tenant_tx
from archiver.ledger.record import append
from archiver.ledger.trail import Selection, acts
from archiver.reading import progress, saved, search, sweep
from archiver.reading.project import project_batch
from archiver.reading.words import BlindIndex
from archiver.web.roles import Role
from tests.unit.conftest import dump
from tests.unit.web.signed_in import browsing, served, session_of, use
from tests.unit.web.test_membership import Room

pytestmark = pytest.mark.postgres


async def talk(archive, room, word) -> Room:
    """A conversation of which each message is found by one filter."""
    told = Room(archive, room)
    told.add("m.room.name", {"name": f"Beraad {word}"}, state_key="")
    told.member("@ander:x", "join")
    told.say(f"De dijken van {word} zijn hoog")
    said = {"msgtype": "m.text", "body": f"Zie https://voorbeeld.example/{word} over een dijk"}
    told.add("m.room.message", said, "@vermeer:x")
    edited = told.say(f"Om drie uur {word}")
    told.edit(edited, f"Om vier uur {word}")
    gone = told.say(f"Vergeet dit {word}")
    told.add("m.room.redaction", {"redacts": gone})
    told.add("m.room.message", {"msgtype": "m.file", "body": f"nota {word}.pdf", "url": "mxc://x/y"})
    await told.keep()
    return told


def texts_of(page: str) -> list[str]:
    """What each hit says, without marks."""
    return [unescape(re.sub("<[^>]+>", "", each)) for each in re.findall(r'class="hits__text">(.*?)</p>', page, re.DOTALL)]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ("has=link", ["Zie https"]), ("has=edit", ["Om vier uur"]), ("has=deletion", ["Vergeet dit"]), ("has=file", ["nota"]),
        ("has=link&has=edit", []), ("sender=@vermeer:x", ["Zie https"]), ("sender=VERMEER", []), ("network=whatsapp", []),
        ("from=2025-11-25", []), ("to=2025-11-23", []), ("from=2025-11-24&to=2025-11-24&has=file", ["nota"]),
    ],
)  # fmt: skip
async def test_filters_narrow_what_is_found(archive, room, tmp_path, word, filters, found):
    await talk(archive, room, word)
    async with browsing(archive, tmp_path, Role.RECORDS_OFFICER) as client:
        answer = await client.get(f"/search?q={word}&{filters}")
        page = await answer.text()
    if answer.status == 400:
        assert "Niemand in deze gesprekken heet zo" in page  # who never was a member has no name here
        return
    assert [text.startswith(start) for text, start in zip(texts_of(page), found, strict=True)] == [True] * len(found)


async def test_a_room_and_a_sender_are_found_by_part_of_their_names_and_no_word_is_needed(archive, room, tmp_path, word):
    await talk(archive, room, word)
    other = Room(archive, room + "2")
    other.say("elders")
    await other.keep()
    async with browsing(archive, tmp_path, Role.RECORDS_OFFICER) as client:
        page = await (await client.get(f"/search?room=beraad {word[:9]}&sender=ander")).text()
        assert len(texts_of(page)) == 4
        assert "elders" not in page
        page = await (await client.get(f"/search?room={room}&q=-dijk")).text()
        assert len(texts_of(page)) == 3
        wrong = {"room": "bestaatniet", "sender": "bestaatniet", "official": "@niemand:x", "from": "gisteren"}
        for field, value in wrong.items():
            answer = await client.get(f"/search?q=x&{field}={value}")
            page = await answer.text()
            assert answer.status == 400
            assert f'id="{field}_error"' in page
            assert value in page  # what was written is still there


async def test_every_form_of_a_word_is_marked_where_it_stands(archive, room, tmp_path, word):
    await talk(archive, room, word)
    async with browsing(archive, tmp_path, Role.RECORDS_OFFICER) as client:
        page = await (await client.get(f"/search?q=dijk {word}")).text()
    assert f"De <mark>dijken</mark> van <mark>{word}</mark> zijn hoog" in page
    assert "2 gevonden" in page


async def test_what_is_not_understood_is_told_at_its_place(archive, tmp_path):
    async with browsing(archive, tmp_path, Role.RECORDS_OFFICER) as client:
        answer = await client.get('/search?q=water "dijk')
        page = await answer.text()
    assert answer.status == 400
    assert "Het aanhalingsteken bij teken 7 wordt niet gesloten." in page
    assert 'value="water &#34;dijk"' in page


async def test_pages_follow_each_other_without_a_message_twice_or_left_out(archive, room, tmp_path, word):
    told = Room(archive, room)
    for number in range(60):
        told.say(f"bericht{number:02} {word}")
    await told.keep()
    for sort in ("newest", "oldest", "relevance"):
        seen, address = [], f"/search?q={word}&sort={sort}"
        async with browsing(archive, tmp_path, Role.RECORDS_OFFICER) as client:
            while address:
                page = await (await client.get(address)).text()
                seen += texts_of(page)
                following = re.search(r'rel="next" href="([^"]+)"', page)
                address = unescape(following.group(1)) if following else ""
        numbers = [int(text[7:9]) for text in seen]
        assert numbers == sorted(range(60), reverse=sort != "oldest")


async def test_by_relevance_everything_is_reached_however_slow_the_search_is(archive, room, tmp_path, word, monkeypatch):
    monkeypatch.setattr(sweep, "COUNTING", 0.0)
    monkeypatch.setattr(search, "COUNTED", 70)
    told = Room(archive, room)
    for number in range(150):
        told.say(f"bericht{number:03} {word}" + f" en nog eens {word}" * (number % 3))
    await told.keep()
    address, windows = f"/search?q={word}&sort=relevance", [[]]
    async with browsing(archive, tmp_path, Role.RECORDS_OFFICER) as client:
        while address:
            page = await (await client.get(address)).text()
            if not windows[0]:  # said while the first page is read: it is not put among what was in order already
                told.say(f"bericht999 {word}")
                async with tenant_tx(archive.pool, 1) as tx:
                    await append(tx, archive.vault, told.arrivals[-1:])
                    await project_batch(tx, archive.vault, BlindIndex(archive.vault.search_key))
            windows[-1] += [int(text[7:10]) for text in texts_of(page)]
            following = re.search(r'rel="next" href="([^"]+)"', page)
            older = re.search(r'href="([^"]+)">Zoek in oudere berichten', page)
            onward = following or older
            address = unescape(onward[1]) if onward else ""
            if older and not following:
                windows.append([])
    for first, window in zip((80, 10, 0), windows, strict=True):
        of_window = range(first, min(first + 70, 150)) if first else range(10)
        assert window == sorted(of_window, key=lambda number: (-(number % 3), -number))


async def test_while_not_all_can_be_found_a_search_says_so(archive, room, tmp_path, word):
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(progress.BEGIN, 1, 4000)
        await tx.execute(progress.WENT_ON, 1, 1000)
    try:
        async with browsing(archive, tmp_path, Role.RECORDS_OFFICER) as client:
            page = await (await client.get(f"/search?q={word}")).text()
            told = await (await client.get(f"/api/v1/search?q={word}")).json()
    finally:
        async with tenant_tx(archive.pool, 1) as tx:
            await tx.execute(progress.ENDED, 1)
    assert "1.000 van 4.000 berichten en andere gebeurtenissen zijn doorzoekbaar" in page
    assert told["indexing"] == {"searchable": 1000, "total": 4000}
    async with browsing(archive, tmp_path, Role.RECORDS_OFFICER) as client:
        assert "doorzoekbaar" not in await (await client.get(f"/search?q={word}")).text()
        assert (await (await client.get(f"/api/v1/search?q={word}")).json())["indexing"] is None


async def test_the_messages_around_a_hit_are_shown_when_asked_and_are_in_the_trail(archive, room, tmp_path, word):
    told = Room(archive, room)
    before, hit, after = told.say("eerder gezegd"), told.say(f"midden {word}"), told.say("later gezegd")
    await told.keep()
    person = f"p{secrets.token_hex(4)}"
    async with browsing(archive, tmp_path, Role.RECORDS_OFFICER, person=person) as client:
        page = await (await client.get(f"/search?q={word}")).text()
        assert "eerder gezegd" not in page
        [address] = re.findall(r'href="([^"]+around=[^"]+)"', page)
        page = await (await client.get(unescape(address))).text()
        assert page.index("eerder gezegd") < page.index(f"<mark>{word}") < page.index("later gezegd")
    async with tenant_tx(archive.pool, 1) as tx:
        told_of = await acts(tx, 1, Selection(person), None, 10)
    assert [act.action for act in told_of] == ["search results", "search", "search results", "search"]
    assert set(told_of[0].detail["shown"][room]) == {before, hit, after}
    assert told_of[2].detail["shown"] == {room: [hit]}
    assert not any(word in str(act.detail) for act in told_of)


async def test_an_official_finds_and_counts_only_what_they_saw(archive, room, tmp_path, word, me):
    told = Room(archive, room)
    told.say(f"vroeg {word}")
    told.member(me, "join")
    said = [told.say(f"tijdens{number:03} {word}") for number in range(130)]
    told.member(me, "leave")
    for event in said[:65]:
        told.edit(event, "naderhand aangepast")  # the index forgot nothing and knows more
    told.add("m.room.redaction", {"redacts": said[129]})
    await told.keep()
    other = Room(archive, room + "2")
    other.say(f"elders {word}")
    await other.keep()
    for sort in ("newest", "oldest", "relevance"):
        seen, address, counted = [], f"/search?q={word}&sort={sort}", []
        async with browsing(archive, tmp_path, Role.OFFICIAL, person=me, matrix_id=me) as client:
            while address:
                page = await (await client.get(address)).text()
                seen += texts_of(page)
                counted += re.findall(r"Meer dan (\d+) gevonden|(\d+) gevonden", page)
                following = re.search(r'rel="next" href="([^"]+)"', page)
                address = unescape(following.group(1)) if following else ""
            after = await (await client.get("/search?q=naderhand")).text()
            gone = await (await client.get(f"/search?q={word}&has=deletion")).text()
            edits = await (await client.get(f"/search?q={word}&has=edit")).text()
        numbers = [int(re.match(r"tijdens(\d+)", text).group(1)) for text in seen]
        whole = sorted(range(130), reverse=sort != "oldest")
        assert numbers == (whole[:100] if sort == "relevance" else whole)
        assert counted == [("100", "")]
        for page in (after, gone, edits):
            assert "Niets gevonden" in page
            assert texts_of(page) == []


async def test_the_filter_by_official_is_the_conversations_they_were_in(archive, room, tmp_path, word, me):
    told = Room(archive, room)
    told.member(me, "join")
    told.say(f"met haar {word}")
    await told.keep()
    other = Room(archive, room + "2")
    other.say(f"zonder haar {word}")
    await other.keep()
    async with browsing(archive, tmp_path, Role.RECORDS_OFFICER) as client:
        page = await (await client.get(f"/search?q={word}&official={me}")).text()
    assert [text.startswith("met haar") for text in texts_of(page)] == [True]


async def test_a_search_is_kept_run_renamed_and_removed_and_says_nothing_at_rest(archive, room, tmp_path, word):
    await talk(archive, room, word)
    person, name = f"p{secrets.token_hex(4)}", f"naam{secrets.token_hex(5)}"
    async with served(archive, tmp_path) as client:
        token = use(client, await session_of(archive, Role.RECORDS_OFFICER, person=person))
        form = {"form_token": token, "q": f"dijk {word}", "sort": "oldest", "name": name}
        answer = await client.post("/searches", data=[*form.items(), ("has", "link")], allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/searches")
        page = await (await client.get("/searches")).text()
        [address] = [unescape(each) for each in re.findall(r'href="(/search\?[^"]+)"', page)]
        assert texts_of(await (await client.get(address)).text()) == [f"Zie https://voorbeeld.example/{word} over een dijk"]
        assert not any(secret in dump(archive.url) for secret in (name.encode(), f"dijk {word}".encode()))
        [one] = await kept(archive, person)
        answer = await client.post(f"/searches/{one.search_id}/rename", data={"form_token": token, "name": " "})
        assert answer.status == 400
        assert "een naam van hoogstens 100 tekens" in await answer.text()
        await client.post(f"/searches/{one.search_id}/rename", data={"form_token": token, "name": "anders"})
        assert [(each.name, each.asked) for each in await kept(archive, person)] == [("anders", one.asked)]
        assert "anders" in await (await client.get(f"/searches/{one.search_id}/remove")).text()
        assert len(await kept(archive, person)) == 1, "not before they have said yes"
        await client.post(f"/searches/{one.search_id}/remove", data={"form_token": token})
        assert await kept(archive, person) == []
    async with tenant_tx(archive.pool, 1) as tx:
        told = await acts(tx, 1, Selection(person), None, 20)
    assert [act.action for act in told] == ["remove search", "rename search", "search results", "search", "save search"]
    assert not any(secret in str(act.detail) for act in told for secret in (word, name, "anders"))


async def kept(archive, person) -> list[saved.SavedSearch]:
    async with tenant_tx(archive.pool, 1) as tx:
        return await saved.saved(tx, archive.vault, person)


async def test_somebody_elses_search_and_that_of_another_organisation_are_not_there(archive, tmp_path):
    async with tenant_tx(archive.pool, 1) as tx:
        theirs = await saved.keep(tx, archive.vault, "een ander", "van een ander", [("q", "x")])
    async with tenant_tx(archive.pool, 2) as tx:
        elsewhere = await saved.keep(tx, archive.other, "archivaris", "elders", [("q", "x")])
    async with served(archive, tmp_path) as client:
        token = use(client, await session_of(archive, Role.RECORDS_OFFICER))
        for search_id in (theirs, elsewhere, uuid4(), "x"):
            assert (await client.get(f"/searches/{search_id}/remove")).status == 404
            for act in ("rename", "remove"):
                answer = await client.post(f"/searches/{search_id}/{act}", data={"form_token": token, "name": "x"})
                assert answer.status == 404
        assert "van een ander" not in await (await client.get("/searches")).text()


@pytest.mark.parametrize("role", [Role.ADMIN, Role.AUDITOR])
async def test_who_does_not_read_does_not_search(archive, tmp_path, role):
    async with browsing(archive, tmp_path, role) as client:
        for path in ("/search?q=x", "/searches"):
            assert (await client.get(path)).status == 403


async def test_a_place_in_a_link_that_was_tampered_with_leads_to_the_first_page(archive, room, tmp_path, word):
    await talk(archive, room, word)
    async with browsing(archive, tmp_path, Role.RECORDS_OFFICER) as client:
        for place in ("x", "W10=", "WyIhYSIsICIkYiIsICIwMDAxLTAxLTAxIiwgMF0=", "WyIhYSIsICIkYiIsICI5OTk5LTEyLTMxIiwgMF0="):
            answer = await client.get("/search", params={"q": word, "after": place})
            assert answer.status == 200
            assert len(texts_of(await answer.text())) == 5
