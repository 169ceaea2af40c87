"""A conversation as a chat: what is shown, where, to whom, and what a hostile address gets."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from archiver.db import tenant_tx
from archiver.reading.completeness import Gap
from archiver.reading.rooms import rooms
from archiver.reading.timeline import Cursor
from archiver.reading.walk import page_after, page_before
from archiver.reading.weave import weave
from archiver.web.place import place
from tests.unit.web.signed_in import browsing
from tests.unit.web.test_membership import START, Room

pytestmark = pytest.mark.postgres

NOTED = "SELECT action, detail FROM audit WHERE room_id = $1 ORDER BY audit_id"


def link(room: Room, event: str, more: str = "") -> str:
    return f"{room.page}/messages/{quote(event, safe='')}{more}"


def ids(page: str) -> list[str]:
    """The ids of what a page shows, in their order."""
    return re.findall(r'<article class="(?:message|happening)[^>]* id="([^"]*)"', page)


async def text_of(client: Any, address: str, status: int = 200) -> str:
    answer = await client.get(address)
    assert answer.status == status, address
    return await answer.text()


@pytest.fixture
async def talk(archive, room) -> Room:
    """A conversation in which everything happens."""
    told = Room(archive, room)
    told.add("m.room.create", {"room_version": "11"}, state_key="")
    told.member("@ander:x", "join")
    told.add("m.room.name", {"name": "Begroting"}, state_key="")
    told.ids = {"first": told.say("Goedemorgen")}
    told.ids["reply"] = told.say("Ook goedemorgen", **{"m.relates_to": {"m.in_reply_to": {"event_id": told.ids["first"]}}})
    told.add("m.room.member", {"membership": "join", "displayname": "Andere Naam"}, "@ander:x", state_key="@ander:x")
    told.ids["root"] = told.say("Hier begint een draad")
    in_thread = {"rel_type": "m.thread", "event_id": told.ids["root"], "is_falling_back": True,
                 "m.in_reply_to": {"event_id": told.ids["root"]}}  # fmt: skip
    told.ids["answer"] = told.say("In de draad", **{"m.relates_to": in_thread})
    told.ids["edited"] = told.say("De prijs is 5")
    told.ids["edit"] = told.edit(told.ids["edited"], "De prijs is 6")
    told.ids["reaction"] = told.add(
        "m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": told.ids["edited"], "key": "👍"}}
    )
    told.ids["gone"] = told.say("Verkeerd verstuurd")
    told.add("m.room.redaction", {"redacts": told.ids["gone"], "reason": "vergissing"})
    told.add("m.room.name", {"name": "Begroting 2026"}, state_key="")
    await told.keep()
    return told


async def test_a_conversation_shows_what_was_said_and_what_happened_in_its_place(talk, archive, tmp_path):
    async with browsing(archive, tmp_path, "records-officer") as client:
        page = await text_of(client, talk.page)
    said = (
        "is dit gesprek begonnen", "doet mee aan het gesprek", "heeft het gesprek “", "Goedemorgen", "Ook goedemorgen",
        "heet nu", "Hier begint een draad", "In de draad", "De prijs is 6", "Verkeerd verstuurd", "het heette “",
    )  # fmt: skip
    places = [page.index(words, page.index('<div class="chat">')) for words in said]
    assert places == sorted(places)
    assert "1 antwoord in de draad" in page
    assert "👍" in page
    assert "De prijs is 5" in page
    assert "Verwijderd door" in page
    assert "vergissing" in page
    assert f'href="{link(talk, talk.ids["first"])}#{quote(talk.ids["first"], safe="")}"' in page


async def test_names_are_those_of_that_time(talk, archive, tmp_path):
    async with browsing(archive, tmp_path, "records-officer") as client:
        page = await text_of(client, talk.page)
    articles = re.findall(r"<article.*?</article>", page, re.DOTALL)
    said = {words: article for article in articles for words in ("Goedemorgen<", "De prijs is 6") if words in article}
    assert '<span class="sender" title="@ander:x">ander</span>' in said["Goedemorgen<"]
    assert '<span class="sender" title="@ander:x">Andere Naam</span>' in said["De prijs is 6"]


@pytest.mark.parametrize(("asked", "shown"), [("edit", "edited"), ("reaction", "edited"), ("reply", "reply"), ("gone", "gone")])
async def test_a_link_to_an_event_shows_its_message_in_its_context(talk, archive, tmp_path, asked, shown):
    async with browsing(archive, tmp_path, "records-officer") as client:
        page = await text_of(client, link(talk, talk.ids[asked]))
    [aim] = re.findall(r'<article class="[^"]*\baim\b[^"]*" id="([^"]*)"', page)
    assert aim == talk.ids[shown]
    assert "Goedemorgen" in page
    async with tenant_tx(archive.pool, 1) as tx:
        noted = [dict(row) for row in await tx.fetch(NOTED, talk.room)]
    assert noted[-1]["action"] == "read"
    assert talk.ids[asked] in noted[-1]["detail"]
    assert "records-officer" in noted[-1]["detail"]


async def test_a_thread_is_its_beginning_and_its_replies(talk, archive, tmp_path):
    async with browsing(archive, tmp_path, "records-officer") as client:
        page = await text_of(client, f"{talk.page}/threads/{quote(talk.ids['root'], safe='')}")
        assert ids(page) == [talk.ids["root"], talk.ids["answer"]]
        assert "Antwoord op" not in page  # what older apps are told of a thread is no answer
        await text_of(client, f"{talk.page}/threads/{quote(talk.ids['first'], safe='')}", 404)


async def test_pages_go_on_either_way_and_no_row_is_lost_or_shown_twice(archive, room):
    told = Room(archive, room)
    for number in range(23):
        if number % 4 == 0:
            told.add("m.room.topic", {"topic": str(number)}, state_key="")
        else:
            told.say(str(number))
    # Three at one moment: the cursor must tell them apart.
    for arrival in told.arrivals[10:13]:
        arrival.event["origin_server_ts"] = START + 11 * 60_000
    await told.keep()
    wanted = [arrival.event_id for arrival in told.arrivals]
    async with tenant_tx(archive.pool, 1) as tx:
        [found] = await rooms(tx, archive.vault, room)
        back, at = [], None
        while True:
            page = await page_before(tx, archive.vault, found, at, 5)
            assert (page.newer is None) == (at is None)
            back = [row.event_id for row in page.rows] + back
            at = page.older
            if at is None:
                break
        on, at = [], Cursor(datetime(1, 1, 1, tzinfo=UTC), 0, "")
        while at is not None:
            page = await page_after(tx, archive.vault, found, at, 5)
            assert (page.older is None) == (not on)
            on += [row.event_id for row in page.rows]
            at = page.newer
    assert sorted(back) == sorted(wanted)
    assert on == back


async def test_a_day_is_jumped_to_and_a_day_without_messages_says_so(archive, room, tmp_path):
    told = Room(archive, room)
    for number in range(3):
        told.say(f"op dag {number}")
        told.arrivals[-1].event["origin_server_ts"] = START + number * 3 * 86_400_000
    await told.keep()
    async with browsing(archive, tmp_path, "records-officer") as client:
        page = await text_of(client, f"{told.page}?date=2025-11-27")
        assert "op dag 0" not in page
        assert f'aim" id="{told.arrivals[1].event_id}"' in page
        page = await text_of(client, f"{told.page}?date=2025-11-28")
        assert "Op vrijdag 28 november 2025 is niets gezegd. Dit kwam daarna." in page
        assert f'aim" id="{told.arrivals[2].event_id}"' in page
        page = await text_of(client, f"{told.page}?date=2030-01-01")
        assert "Dit is het einde van het gesprek" in page
        assert "op dag 2" in page


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("date=31-12-2026", "Deze datum is niet te lezen"),
        ("date=0000-00-00", "Deze datum is niet te lezen"),
        ("date=999999-01-01", "Deze datum is niet te lezen"),
        ("before=verzonnen", "Deze link naar een plaats in het gesprek klopt niet"),
        ("after=W10=", "Deze link naar een plaats in het gesprek klopt niet"),
        ("before=" + "A" * 5000, "Deze link naar een plaats in het gesprek klopt niet"),
        ("after=WyIyMDI2LTAxLTAxIiwgMSwgIlx1MDAwMFx1ZDgwMCJd", None),  # a place with an id that no column holds
        ("before=WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzIzOjU5IiwgMSwgIngiXQ==", "Deze link"),  # before the year 1
    ],
)
async def test_a_forged_place_or_an_absurd_day_gets_a_clear_page(talk, archive, tmp_path, query, words):
    async with browsing(archive, tmp_path, "records-officer") as client:
        page = await text_of(client, f"{talk.page}?{query}", 400 if words else 200)
        assert "Begroting 2026" in page
        assert words is None or words in page


@pytest.mark.parametrize("event", ["$niets", "x" * 3000, "\0", "%00", "../..", "$a/b", "'; DROP TABLE x; --", "\ud800", "💥"])
@pytest.mark.parametrize("page", ["messages/{}", "messages/{}/proof", "messages/{}/proof.json", "threads/{}"])
async def test_an_event_that_is_not_there_is_not_found_whatever_its_id(talk, archive, tmp_path, event, page):
    part = quote(event, safe="", errors="surrogatepass")
    async with browsing(archive, tmp_path, "records-officer") as client:
        await text_of(client, f"{talk.page}/{page.format(part)}", 404)


async def test_an_official_sees_of_changes_too_only_those_of_their_own_time(archive, room, tmp_path):
    me, told = "@lid:x", Room(archive, room)
    old = told.add("m.room.topic", {"topic": "van vroeger"}, state_key="")
    told.member("@oud:x", "join")
    told.member(me, "join")
    during = told.add("m.room.topic", {"topic": "van nu"}, state_key="")
    told.member("@erbij:x", "join")
    told.member(me, "leave")
    late = told.add("m.room.topic", {"topic": "van later"}, state_key="")
    await told.keep()
    async with browsing(archive, tmp_path, "official", person=me, matrix_id=me) as client:
        page = await text_of(client, told.page)
        assert "van nu" in page
        assert "erbij" in page
        assert len(ids(page)) == 4
        assert "van later" not in page
        assert "oud doet mee" not in re.sub("[\u2068\u2069]", "", page)
        for event, status in ((old, 404), (during, 200), (late, 404)):
            for more in ("", "/proof", "/proof.json"):
                await text_of(client, link(told, event, more), status)


async def test_another_organisation_s_conversation_is_not_found(archive, room, tmp_path):
    told = Room(replace(archive, vault=archive.other), room)
    said = told.say("van een ander")
    async with tenant_tx(archive.pool, 2) as tx:
        from archiver.ledger.record import append

        await tx.execute(
            "INSERT INTO room (org, room_id, version, membership, user_id) VALUES (2, $1, '11', 'join', '@a:x')", room
        )
        await append(tx, archive.other, told.arrivals)
    async with browsing(archive, tmp_path, "records-officer") as client:
        for address in (told.page, link(told, said), link(told, said, "/proof"), link(told, said, "/proof.json")):
            await text_of(client, address, 404)


async def test_what_is_missing_is_shown_where_it_is_missing(archive, room, tmp_path):
    told = Room(archive, room)
    told.say("ervoor")
    told.add("m.room.message", {"msgtype": "m.text", "body": "erna"}, prev_events=["$weg"])
    await told.keep()
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute("UPDATE gap SET state = 'kept', cause = 'not-held' WHERE room_id = $1", room)
    async with browsing(archive, tmp_path, "records-officer") as client:
        page = await text_of(client, told.page)
    places = [page.index(words, page.index('<div class="chat">')) for words in ("ervoor", "Hier ontbreekt een bericht", "erna")]
    assert places == sorted(places)
    assert "de homeserver heeft het niet" in page


async def test_a_message_that_can_not_be_read_says_why_and_what_to_do(archive, room, tmp_path):
    told = Room(archive, room)
    told.add("m.room.encrypted", {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "s"})
    told.arrivals[-1] = replace(told.arrivals[-1], unreadable="withheld:m.unverified")
    await told.keep()
    async with browsing(archive, tmp_path, "records-officer") as client:
        page = await text_of(client, told.page)
    assert "geeft sleutels alleen aan geverifieerde apparaten" in page
    assert "griffier doctor" in page


def test_a_lack_is_woven_in_before_what_came_after_it():
    class Row:
        def __init__(self, event_id: str, minute: int) -> None:
            self.event_id, self.sent_at = event_id, datetime(2026, 1, 1, 0, minute, tzinfo=UTC)

    rows: Any = [Row("$a", 10), Row("$b", 20)]

    def gap(minute: int, before: str = "$reactie") -> Gap:
        at = datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
        return Gap(f"$g{minute}", None, at, at, 1, before)

    def woven(*gaps: Gap, first: bool, last: bool) -> list[list[str]]:
        return [[lack.event_id for lack in strand.lacks] for strand in weave(rows, gaps, (), first=first, last=last)]  # type: ignore[union-attr]

    assert woven(gap(5), gap(15), gap(25), first=True, last=True) == [["$g5"], ["$g15"], ["$g25"]]
    assert woven(gap(5), gap(15), gap(25), first=False, last=False) == [[], ["$g15"]]
    assert woven(gap(20, "$b"), first=False, last=False) == [[], ["$g20"]]


def test_a_place_survives_its_link():
    at = Cursor(datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC), 7, "$x")
    from archiver.web.place import read_place

    assert read_place(place(at)) == at
