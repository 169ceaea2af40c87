"""What comes from WhatsApp gets its room, its people and its words, whatever happens on the way."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from mautrix.errors import MatrixRequestError
from mautrix.util.async_db import Database

from bridge.accounts import Accounts
from bridge.arriving.address_book import AddressBook
from bridge.arriving.arriving import Arriving
from bridge.arriving.contacts import Contacts
from bridge.arriving.fetching import Files
from bridge.arriving.ghosts import Ghosts
from bridge.arriving.groups import Groups
from bridge.arriving.meeting import Meeting
from bridge.arriving.missing import MissingFiles
from bridge.arriving.persons import Persons
from bridge.arriving.rendering import SOURCE
from bridge.network import ContactSynced, GroupChanged, Media, NetworkError, NotUnderstood, NotYet
from bridge.network.cloud import Cloud
from bridge.numbers import Numbers
from bridge.office import assigning
from bridge.office.alarm import Alarms
from bridge.portal.portal import Portals
from bridge.relay.relay import INBOX, Relay
from bridge.sealing import Seal
from bridge.settings import Bridge, Number
from tests.unit.bridge.homeserver import Homeserver, Room, homeserver

pytestmark = pytest.mark.postgres
MINISTER, OTHER, BOT = "@minister:x", "@staats:x", "@whatsappbot:x"
START = 1_764_000_000


class WhatsApp(Cloud):
    """Its files only."""

    def __init__(self) -> None:
        super().__init__(None, "http://127.0.0.1:1", "v25.0", str, 1000)  # type: ignore[arg-type] - calls nobody
        self.files: dict[str, bytes | NetworkError] = {}

    async def download(self, media: Media, number_id: str) -> bytes:
        found = self.files.get(media.media_id, NetworkError("there is no such file", final=True))
        if isinstance(found, NetworkError):
            raise found
        return found


@dataclass
class Half:
    """The inward half of the bridge, between a homeserver and what WhatsApp tells."""

    pool: asyncpg.Pool
    matrix: Homeserver
    whatsapp: WhatsApp
    arriving: Arriving
    late: MissingFiles
    numbers: Numbers
    seal: Seal
    portals: Portals
    count: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)

    async def tell(self, field: str = "messages", number: str = "106", **parts: Any) -> None:
        """A delivery, carried over one by one; what is not there yet waits in `changes`."""
        value = {"metadata": {"phone_number_id": number, "display_phone_number": "31970123"}, **parts}
        for _, _, change in self.whatsapp.split({"entry": [{"id": "7", "changes": [{"field": field, "value": value}]}]}):
            await self.carry(change)

    async def carry(self, change: dict[str, Any]) -> None:
        try:
            await self.arriving.carry(change)
        except NotYet:
            self.changes.append(change)

    def said(self, contact: str, message: dict[str, Any], **more: Any) -> dict[str, Any]:
        self.count += 1
        return {"from": contact, "id": f"wamid.{self.count}", "timestamp": str(START + self.count), **message, **more}

    async def text(self, contact: str, body: str, name: str = "Sam", number: str = "106", **more: Any) -> str:
        message = self.said(contact, {"type": "text", "text": {"body": body}}, **more)
        person = {"wa_id": contact, "profile": {"name": name}} | (
            {"user_id": more["from_user_id"]} if "from_user_id" in more else {}
        )
        await self.tell(messages=[message], contacts=[person], number=number)
        return message["id"]

    async def give(self, official: str, number: str = "106") -> None:
        """The number is another official's from now on."""
        async with self.pool.acquire() as connection, connection.transaction():
            await assigning.give(connection, number, official, "test")
            await assigning.close(connection, number)
        await self.numbers.load(self.pool, self.seal)

    @property
    def rooms(self) -> list[Room]:
        return list(self.matrix.rooms.values())


@pytest.fixture
async def half(bridge_url: str, tmp_path) -> AsyncIterator[Half]:
    async with homeserver() as matrix, asyncpg.create_pool(bridge_url, min_size=1, max_size=4) as pool:
        numbers = [("106", "+31970123", MINISTER), ("107", "+31970456", OTHER)]
        settings = Bridge(
            homeserver_url=matrix.url, server_name="x", encryption=False, key_file=tmp_path / "key",
            numbers=tuple(Number(id=i, display_phone_number=d, official=o) for i, d, o in numbers),
        )  # fmt: skip
        seal = Seal(AESGCM(b"k" * 32))
        Seal.load(settings.key_file)
        matrix.profiles[MINISTER] = {"displayname": "Minister De Vries"}
        accounts, whatsapp = Accounts(settings, Database.create(bridge_url)), WhatsApp()
        served = Numbers(settings)
        portals, persons, late = Portals(settings, pool, served, accounts), Persons(pool), MissingFiles(pool, seal)
        book, ghosts, files = AddressBook(pool, seal), Ghosts(accounts, persons), Files(pool, seal, whatsapp)
        meeting = Meeting(settings, served, accounts, portals, persons, ghosts, book)
        handlers: dict[type, Any] = {
            GroupChanged: Groups(served, accounts, portals, persons, ghosts, meeting, files).carry,
            ContactSynced: Contacts(served, book, meeting).carry,
        }
        relay = Relay(pool, seal)
        arriving = Arriving(settings, served, accounts, portals, relay, whatsapp, meeting, files, late, handlers)
        await accounts.bot.register()
        await assigning.take_over(pool, settings.numbers, "")
        await served.load(pool, seal)
        yield Half(pool, matrix, whatsapp, arriving, late, served, seal, portals)
        await accounts.close()


def later() -> str:
    """A time after all that happened, as WhatsApp writes it."""
    return str(int(time.time()) + 1)


def officials(room: Room) -> set[str]:
    """Whose room it is by what it says of itself and by who is in it."""
    there = {key for kind, key in room.state if kind == "m.room.member" and not key.startswith("@whatsapp")}
    return there | {room.state["m.bridge", "x/griffier-whatsapp"]["nl.griffier.official"]}


def echo(half: Half, contact: str, message: dict[str, Any]) -> dict[str, Any]:
    return half.said("31970123", message, to=contact)


async def test_a_conversation_is_one_private_room_that_says_what_it_is(half):
    await half.text("31611", "een")
    await half.text("31611", "twee")
    [room] = half.rooms
    assert room.said() == ["een", "twee"]
    assert room.state["m.room.name", ""]["name"] == "Sam (WhatsApp)"
    assert room.state["m.room.create", ""] == {"m.federate": False}
    assert {key for kind, key in room.state if kind == "m.room.member"} == {BOT, MINISTER, "@whatsapp_31611:x"}
    assert "+31970123" in room.state["m.room.topic", ""]["topic"]
    assert room.state["m.room.avatar", ""]["url"].startswith("mxc://")
    bridge = room.state["m.bridge", "x/griffier-whatsapp"]
    assert bridge["channel"] == {"id": "31611@s.whatsapp.net", "displayname": "Sam", "fi.mau.receiver": "+31970123"}
    assert bridge["nl.griffier.official"] == MINISTER
    assert half.matrix.profiles["@whatsapp_31611:x"] == {"displayname": "Sam (WA)"}
    assert [event["ts"] for event in room.events] == [str((START + n) * 1000) for n in (1, 2)]


async def test_a_room_in_the_making_when_its_number_is_given_away_is_never_the_next_officials(half):
    async def meanwhile() -> int:
        half.matrix.made = None
        await half.give(OTHER)
        return 200

    half.matrix.made = meanwhile
    await half.text("31611", "aan de eerste")
    await half.text("31611", "aan de tweede", timestamp=later())
    first, second = half.rooms
    assert (officials(first), officials(second)) == ({MINISTER}, {OTHER})
    assert second.said() == ["aan de tweede"]
    assert await half.pool.fetch("SELECT room_id FROM portal WHERE closed_at IS NULL") == [("!1:x",)]


async def test_a_room_made_before_a_crash_is_used_again_but_not_for_another_official(half):
    async def crash() -> int:
        return 500

    half.matrix.made = crash
    with pytest.raises(MatrixRequestError):
        await half.text("31611", "een")
    half.matrix.made = None
    await half.text("31611", "een")
    assert (len(half.rooms), half.rooms[0].said()) == (1, ["een"])
    half.matrix.made = crash
    with pytest.raises(MatrixRequestError):
        await half.text("31622", "twee")
    half.matrix.made = None
    await half.give(OTHER)
    await half.text("31622", "aan een ander", timestamp=later())
    assert (len(half.rooms), officials(half.rooms[1]), officials(half.rooms[2])) == (3, {MINISTER}, {OTHER})
    assert half.rooms[2].said() == ["aan een ander"]


async def test_a_room_that_somebody_else_has_made_is_never_taken_for_one_of_the_bridges(half):
    await half.text("31611", "een")
    [room] = half.rooms
    planted = half.matrix.rooms["!kwaad:x"] = Room(dict(room.state), maker="@kwaad:x")
    await half.pool.execute("DELETE FROM portal")
    del half.matrix.rooms["!0:x"]
    await half.pool.execute("INSERT INTO portal_begun VALUES ('106', '31611')")
    await half.text("31611", "twee")
    assert (planted.said(), half.rooms[1].said()) == ([], ["twee"])


async def test_what_was_said_to_a_former_official_goes_to_their_room_and_never_to_the_next_ones(half):
    await half.text("31611", "aan de minister")
    await half.give(OTHER)
    await half.text("31611", "aan de opvolger", timestamp=later())
    await half.text("31611", "nog aan de minister")
    await half.text("31622", "ook aan de minister")
    typed = echo(half, "31611", {"type": "text", "text": {"body": "door de minister getypt"}})
    await half.tell("smb_message_echoes", message_echoes=[typed])
    first, second, third = half.rooms
    said = "Minister De Vries (via telefoon): door de minister getypt"
    assert (first.said(), officials(first)) == (["aan de minister", "nog aan de minister", said], {MINISTER})
    assert (second.said(), officials(second)) == (["aan de opvolger"], {OTHER})
    assert (third.said(), officials(third)) == (["ook aan de minister"], {MINISTER})
    assert {event["content"][SOURCE]["official"] for event in (*first.events, *third.events)} == {MINISTER}
    assert first.events[-1]["content"]["com.beeper.per_message_profile"]["id"] == MINISTER
    assert await half.pool.fetch("SELECT room_id FROM portal WHERE closed_at IS NULL") == [("!1:x",)]
    await half.text("31622", "aan de opvolger", timestamp=later())
    assert await half.pool.fetchval("SELECT contact FROM portal WHERE closed_at IS NULL AND room_id <> '!1:x'") == "31622"


async def test_what_was_said_while_the_number_was_nobodys_is_kept(half):
    await half.pool.execute("UPDATE assignment SET valid_from = now() - interval '9 days'")
    await half.pool.execute("UPDATE assignment SET valid_until = now() - interval '2 days' WHERE number_id = '106'")
    await half.give(OTHER)
    day_before = str(int(time.time()) - 86_400)
    with pytest.raises(NotUnderstood, match="nobody's"):
        await half.text("31611", "aan niemand", timestamp=day_before)
    assert half.rooms == []


async def test_a_group_of_a_former_official_is_not_the_next_ones(half):
    in_group = {"type": "text", "text": {"body": "in de groep"}, "group_id": "Y2Fw"}
    await half.tell(messages=[half.said("31611", in_group)])
    await half.give(OTHER)
    await half.tell(messages=[half.said("31611", in_group, timestamp=later())])
    await half.tell(messages=[half.said("31611", in_group)])
    assert [(officials(room), len(room.said())) for room in half.rooms] == [({MINISTER}, 2), ({OTHER}, 1)]


async def test_who_may_no_longer_be_in_a_room_is_out_of_it_however_often_it_takes(half):
    await half.text("31611", "een")
    await half.text("31622", "twee")
    await half.pool.execute("UPDATE portal SET closed_at = now() WHERE room_id = '!1:x'")
    seating, stop = half.portals.seating, asyncio.Event()
    await assigning.add_colleague(half.pool, "106", OTHER, "test")
    await half.numbers.load(half.pool, half.seal)
    assert await seating.of_number("106") == 0
    assert [OTHER in officials(room) for room in half.rooms] == [True, False]
    for room in half.rooms:
        room.member(OTHER, "join")
        room.member("@archief:x", "join")
    await assigning.remove_colleague(half.pool, "106", OTHER, "test")
    await half.numbers.load(half.pool, half.seal)
    busy = [429, 500, 200, 500]

    async def moved(move: str) -> int:
        return busy.pop() if busy else 200

    half.matrix.moved = moved
    assert await seating.of_number("106") == 1
    half.matrix.moved = None
    running = asyncio.create_task(seating.run(stop))  # as after a restart: every room is looked at
    async with asyncio.timeout(5):
        while any(room.state["m.room.member", OTHER] != {"membership": "leave"} for room in half.rooms):  # noqa: ASYNC110 - a homeserver
            await asyncio.sleep(0.02)
    stop.set()
    await running
    assert all({MINISTER, "@archief:x"} <= {key for _, key in room.state} for room in half.rooms)
    assert half.rooms[0].by[OTHER] == BOT


async def test_an_official_who_leaves_is_asked_back_once_a_day_and_that_is_said(half):
    alarms = half.portals.seating.alarms = Alarms(half.pool)
    await half.text("31611", "een")
    [room] = half.rooms
    for again in ("invite", "leave"):
        room.member(MINISTER, "leave")
        await half.portals.seating.bring("!0:x")
        assert room.state["m.room.member", MINISTER] == {"membership": again}
        assert [alarm.kind for alarm in await alarms.open()] == ["seat"]
    room.member(MINISTER, "join")
    await half.portals.seating.bring("!0:x")
    assert await alarms.open() == []


async def test_nobody_but_the_bridge_invites_to_a_conversation(half):
    await half.text("31611", "een")
    [room] = half.rooms
    power = room.state["m.room.power_levels", ""]
    assert power["invite"] == 50
    half.portals.seating._reserved.clear()
    for before in ({name: level for name, level in power.items() if name != "invite"}, power | {"invite": 0}):
        room.state["m.room.power_levels", ""] = before  # as rooms were made once
        half.portals.seating._reserved.clear()
        await half.portals.seating.bring("!0:x")
        assert room.state["m.room.power_levels", ""] == power
    asked = len(half.matrix.asked)
    await half.portals.seating.bring("!0:x")
    half.portals.seating._reserved.clear()
    await half.portals.seating.bring("!0:x")
    assert ("PUT", "m.room.power_levels") not in half.matrix.asked[asked:]


async def test_a_name_is_followed_and_one_officials_name_for_somebody_is_not_anothers(half):
    await half.text("31611", "hoi")
    await half.text("31611", "hallo", number="107")
    entry = {"type": "contact", "action": "add", "contact": {"full_name": "Kapper", "phone_number": "31611"}}
    await half.tell("smb_app_state_sync", state_sync=[entry | {"metadata": {"timestamp": str(START)}}])
    await half.text("31611", "nieuwe naam", name="Sam Bos")
    await half.text("31611", "nieuwe naam", name="Sam Bos", number="107")
    assert [room.state["m.room.name", ""]["name"] for room in half.rooms] == ["Kapper (WhatsApp)", "Sam Bos (WhatsApp)"]
    assert half.matrix.profiles["@whatsapp_31611:x"]["displayname"] == "Sam Bos (WA)"


async def test_how_a_former_official_wrote_somebody_down_is_not_the_next_ones_to_see(half):
    async def written(name: str, contact: str) -> None:
        entry = {"type": "contact", "action": "add", "contact": {"full_name": name, "phone_number": contact}}
        await half.tell("smb_app_state_sync", state_sync=[entry | {"metadata": {"timestamp": str(START)}}])

    await written("Geliefde", "31611")
    await half.text("31611", "hoi")
    await half.give("@nieuw:x")
    assert await half.pool.fetchval("SELECT count(*) FROM address_book") == 0
    await half.text("31611", "hoi", timestamp=later())
    await written("Burger", "31622")
    await half.text("31622", "hoi", timestamp=later())
    await half.text("31622", "nog aan de eerste")
    names = [room.state["m.room.name", ""]["name"] for room in half.rooms]
    assert names == ["Geliefde (WhatsApp)", "Sam (WhatsApp)", "Burger (WhatsApp)", "Sam (WhatsApp)"]


async def test_another_number_goes_on_in_the_same_room_under_the_same_ghost(half):
    await half.text("31611", "eerst", from_user_id="NL.1")
    system = {"type": "system", "system": {"wa_id": "31622", "type": "user_changed_number", "body": "changed"}}
    moved = half.said("31611", system)
    for _ in range(2):
        await half.tell(messages=[moved])
    await half.text("31622", "daarna", from_user_id="NL.2")
    [room] = half.rooms
    assert [event["sender"] for event in room.events if event["content"]["body"] in ("eerst", "daarna")] == [
        "@whatsapp_31611:x"
    ] * 2
    told = [body for body in room.said() if "Heeft een ander nummer: +31611 → +31622" in body]
    assert len(told) == 1
    assert room.state["m.bridge", "x/griffier-whatsapp"]["channel"]["id"] == "31622@s.whatsapp.net"
    assert await half.pool.fetchval("SELECT contact FROM portal") == "31622"
    await half.text("31633", "nog een", from_user_id="NL.2")
    assert any("als +31633 · NL.2" in body and "eerder als +31622" in body for body in room.said())


async def test_a_number_that_somebody_else_has_now_gets_a_room_of_its_own_and_both_rooms_say_so(half):
    await half.text("31611", "van de een", from_user_id="NL.1")
    for _ in range(2):
        await half.text("31611", "van een ander", from_user_id="NL.2", name="Ina")
    before, after = half.rooms
    assert [event["sender"] for event in after.events if event["content"]["body"] == "van een ander"] == [
        "@whatsapp_31611=-2:x"
    ] * 2
    for room in half.rooms:
        assert (
            sum("+31611 · NL.2 schrijft vanaf nu onder een ander WhatsApp-id: mogelijk iemand anders" in b for b in room.said())
            == 1
        )
    assert before.said()[0] == "van de een"
    assert "van een ander" not in before.said()


async def test_two_who_prove_to_be_one_go_on_in_the_older_room_and_nothing_is_lost(half):
    message = {
        "id": "wamid.id",
        "timestamp": str(START),
        "from_user_id": "NL.1",
        "type": "text",
        "text": {"body": "zonder nummer"},
    }
    await half.tell(messages=[message], contacts=[{"user_id": "NL.1", "profile": {"name": "Bo", "username": "bo"}}])
    in_newer = await half.text("31611", "met nummer", name="Bo")
    await half.text("31611", "allebei", name="Bo", from_user_id="NL.1")
    older, newer = half.rooms
    assert older.said()[0] == "zonder nummer"
    assert older.said()[-1] == "allebei"
    assert newer.said()[0] == "met nummer"
    assert "!0:x" in newer.said()[1]
    assert newer.state["m.room.tombstone", ""]["replacement_room"] == "!0:x"
    await half.text("31611", "verder", name="Bo")
    assert older.said()[-1] == "verder"
    await half.tell(messages=[half.said("31611", {"type": "reaction", "reaction": {"message_id": in_newer, "emoji": "👍"}})])
    assert older.said()[-1].startswith("Reageerde met 👍")


async def test_two_who_prove_to_be_one_in_a_group_are_told_so_in_their_own_rooms(half):
    alone = {"id": "wamid.id", "timestamp": str(START), "from_user_id": "NL.1", "type": "text", "text": {"body": "zonder nummer"}}
    await half.tell(messages=[alone], contacts=[{"user_id": "NL.1", "profile": {"name": "Bo"}}])
    await half.text("31611", "met nummer", name="Bo")
    await half.text("31611", "allebei", name="Bo", from_user_id="NL.1", group_id="Y2Fw")
    older, newer, group = half.rooms
    assert group.said() == ["allebei"]
    assert "!0:x" in newer.said()[-1]
    assert "!1:x" in older.said()[-1]
    assert newer.state["m.room.tombstone", ""]["replacement_room"] == "!0:x"
    await half.text("31611", "verder", name="Bo")
    assert older.said()[-1] == "verder"


async def test_what_is_typed_on_the_phone_is_the_officials_and_can_change_what_they_said_in_matrix(half):
    asked = await half.text("31611", "vraag")
    [room] = half.rooms
    first = echo(half, "31611", {"type": "text", "text": {"body": "getypt"}})
    edit = {"original_message_id": first["id"], "message": {"type": "text", "text": {"body": "verbeterd"}}}
    reaction = {"message_id": asked, "emoji": "👍"}
    changes = [{"type": "edit", "edit": edit}, {"type": "reaction", "reaction": reaction}]
    await half.tell("smb_message_echoes", message_echoes=[first, *(echo(half, "31611", change) for change in changes)])
    who = "Minister De Vries (via telefoon)"
    assert room.said() == ["vraag", f"{who}: verbeterd"]
    assert room.events[1]["content"]["com.beeper.per_message_profile"]["displayname"] == who
    assert room.events[1]["content"][SOURCE]["from_phone"] is True
    assert room.events[-1]["type"] == "m.reaction"
    # What they said from Matrix is theirs alone to change there: the bot tells of the edit, and deletes in their name.
    room.member(MINISTER, "join")
    room.events.append(
        {"type": "m.room.message", "event_id": "$uit", "sender": MINISTER, "content": {"body": "uit Matrix"}, "ts": "1"}
    )
    await half.pool.execute(
        "INSERT INTO carried (number_id, message_id, room_id, event_id) VALUES ('106', 'wamid.uit', '!0:x', '$uit')"
    )
    edit = {"original_message_id": "wamid.uit", "message": {"type": "text", "text": {"body": "beter"}}}
    await half.tell("smb_message_echoes", message_echoes=[echo(half, "31611", {"type": "edit", "edit": edit})])
    assert room.events[-1]["content"]["m.relates_to"] == {"m.in_reply_to": {"event_id": "$uit"}}
    assert room.said()[-1] == f"✏️ Bewerkt · Edited\n{who}: beter"
    revoke = echo(half, "31611", {"type": "revoke", "revoke": {"original_message_id": "wamid.uit"}})
    await half.tell("smb_message_echoes", message_echoes=[revoke])
    assert (room.events[-1]["sender"], room.events[-1]["redacts"]) == (BOT, "$uit")
    assert "Minister De Vries" in room.events[-1]["content"]["reason"]


async def test_history_is_told_once_with_its_times_and_its_files_fill_their_places(half):
    live = half.said("31611", {"type": "text", "text": {"body": "nu"}})
    old = [
        half.said("31611", {"type": "text", "text": {"body": "toen"}}),
        half.said("31611", {"type": "media_placeholder"}),
        live,
    ]
    chunk = {"metadata": {"phase": 0, "chunk_order": 1, "progress": 5}, "threads": [{"id": "31611", "messages": old}]}
    await half.tell(messages=[live])
    for _ in range(2):
        await half.tell("history", history=[chunk])
    [room] = half.rooms
    assert [body.partition(":")[0] for body in room.said()] == ["nu", "toen", "📎"]
    assert [event["content"][SOURCE].get("history") for event in room.events] == [None, True, True]
    half.whatsapp.files["9"] = b"plaatje"
    digest = hashlib.sha256(b"plaatje").hexdigest()
    image = {"type": "image", "image": {"id": "9", "mime_type": "image/png", "sha256": digest, "caption": "de foto"}}
    for _ in range(2):
        await half.tell("history", messages=[old[1] | image])
    assert room.said() == ["nu", "toen", "de foto"]
    assert room.events[-1]["content"]["com.beeper.dont_render_edited"] is True
    assert half.matrix.files[-1] == b"plaatje"
    assert len(room.events) == 4


async def test_an_edit_a_deletion_and_a_reaction_wait_for_their_message_and_are_told_when_it_never_comes(half):
    await half.text("31611", "begin")
    original = half.said("31611", {"type": "text", "text": {"body": "ruw"}})
    edit = {"original_message_id": original["id"], "message": {"type": "text", "text": {"body": "net"}}}
    orphan = {"original_message_id": "wamid.weg", "message": {"type": "text", "text": {"body": "los"}}}
    changes = [
        half.said("31611", {"type": "edit", "edit": edit}),
        half.said("31611", {"type": "edit", "edit": orphan}),
        half.said("31611", {"type": "revoke", "revoke": {"original_message_id": "wamid.weg"}}),
        half.said("31611", {"type": "reaction", "reaction": {"message_id": "wamid.weg", "emoji": "🙏"}}),
    ]
    await half.tell(messages=changes)
    [room] = half.rooms
    assert room.said() == ["begin"]
    assert len(half.changes) == 4
    await half.tell(messages=[original])
    waiting, half.changes = half.changes, []
    for change in waiting:
        await half.carry(change)
    assert room.said() == ["begin", "net"]
    for change in half.changes:
        await half.arriving.not_carried(change, "not there")
    edited, deleted, reacted = room.said()[2:]
    assert edited.startswith("los\n✏️ Bewerkt; het oorspronkelijke bericht is hier niet")
    assert "verwijderd dat hier niet is" in deleted
    assert reacted.startswith("Reageerde met 🙏")


async def test_an_edit_that_was_told_of_before_its_message_came_is_applied_when_it_does(half, monkeypatch):
    monkeypatch.setattr("bridge.relay.setback.NOT_YET", 0.1)
    relay, stop = half.arriving._relay, asyncio.Event()
    original = half.said("31611", {"type": "text", "text": {"body": "ruw"}})
    part = {"original_message_id": original["id"], "message": {"type": "text", "text": {"body": "net"}}}
    edit = half.said("31611", {"type": "edit", "edit": part})

    async def arrives(message: dict[str, Any], check: Callable[[list[str]], bool]) -> None:
        value = {"metadata": {"phone_number_id": "106"}, "messages": [message]}
        entry = {"id": "7", "changes": [{"field": "messages", "value": value}]}
        await relay.take_in(list(half.whatsapp.split({"entry": [entry]})))
        async with asyncio.timeout(10):
            while not half.rooms or not check(half.rooms[0].said()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    task = asyncio.create_task(relay.run(INBOX, half.arriving.carry, half.arriving.not_carried, stop))
    await arrives(edit, lambda said: said[-1:] != [] and said[-1].startswith("net\n✏️ Bewerkt; het oorspronkelijke"))
    await asyncio.sleep(0.3)
    await arrives(original, lambda said: said[1:] == ["net"])
    stop.set()
    await asyncio.wait_for(task, 8)


async def test_a_message_is_not_lost_with_its_file_which_is_filled_in_when_it_can_be_had(half):
    image = {"type": "image", "image": {"id": "5", "mime_type": "image/png", "caption": "de gevel", "file_size": "2100000"}}
    half.whatsapp.files["5"] = NetworkError("WhatsApp does not answer", final=False)
    message = half.said("31611", image)
    await half.tell(messages=[message])
    [room] = half.rooms
    [told] = room.said()
    assert told.startswith("📎 image.png (2.1 MB): Het bestand kon nog niet worden opgehaald; dat wordt opnieuw geprobeerd.")
    assert told.endswith("(WhatsApp does not answer)\nde gevel")
    late = await half.late.of("106", message["id"])
    change = {"kind": "messages", "field": "messages", "item": message, "value": {"metadata": {"phone_number_id": "106"}}}
    with pytest.raises(NetworkError):
        await half.arriving.fill(change, late, last=False)
    half.whatsapp.files["5"] = b"plaatje"
    await half.arriving.fill(change, late, last=False)
    assert room.said() == ["de gevel"]
    assert room.events[-1]["content"]["m.new_content"]["msgtype"] == "m.image"
    await half.tell(messages=[half.said("31611", {"type": "image", "image": {"id": "6", "mime_type": "image/png"}})])
    assert "Het bestand kon niet worden opgehaald" in room.said()[-1]
    assert await half.pool.fetchval("SELECT count(*) FROM missing_file") == 1  # what there is no more is not tried again


async def test_a_group_follows_its_people_and_its_name(half):
    news = {"group_id": "Y2Fw", "timestamp": str(START)}
    await half.tell(
        "group_lifecycle_update", groups=[news | {"type": "group_create", "subject": "Overleg", "description": "wekelijks"}]
    )
    added = news | {"type": "group_participants_add", "added_participants": [{"wa_id": 31611111111}, {"user_id": "NL.5"}]}
    await half.tell("group_participants_update", groups=[added])
    await half.text("31611111111", "een", group_id="Y2Fw")
    await half.text("31622", "vraag @31611111111", name="Ina", group_id="Y2Fw")
    [room] = half.rooms
    assert {key for (kind, key), state in room.state.items() if kind == "m.room.member" and state["membership"] == "join"} == {
        BOT, "@whatsapp_31611111111:x", "@whatsapp__n_l.5:x", "@whatsapp_31622:x",
    }  # fmt: skip
    assert room.events[-1]["content"]["m.mentions"] == {"user_ids": ["@whatsapp_31611111111:x"]}
    assert room.state["m.bridge", "x/griffier-whatsapp"]["channel"]["id"] == "Y2Fw@g.us"
    assert "wekelijks" in room.state["m.room.topic", ""]["topic"]
    changed = news | {"type": "group_settings_update", "group_subject": {"text": "Anders", "update_successful": True}}
    gone = news | {"type": "group_participants_remove", "removed_participants": [{"wa_id": "31622"}]}
    for _ in range(2):
        await half.tell("group_settings_update", groups=[changed])
        await half.tell("group_participants_update", groups=[gone])
    assert room.state["m.room.name", ""]["name"] == "Anders (WhatsApp)"
    assert "wekelijks" in room.state["m.room.topic", ""]["topic"]
    columns = await half.pool.fetch("SELECT to_jsonb(portal)::text AS whole FROM portal")
    assert not any(word in row["whole"] for row in columns for word in ("Overleg", "Anders", "wekelijks"))
    assert room.state["m.room.member", "@whatsapp_31622:x"]["membership"] == "leave"
    assert sum("Anders" in body for body in room.said()) == 1
    # A group's admin deletes what somebody else said.
    said = await half.text("31611111111", "ongepast", group_id="Y2Fw")
    await half.tell(messages=[half.said("31633", {"type": "revoke", "revoke": {"original_message_id": said}}, group_id="Y2Fw")])
    assert "ongepast" not in room.said()
    assert (room.events[-1]["sender"], "+31633" in room.events[-1]["content"]["reason"]) == (BOT, True)


async def test_a_timer_is_told_once_and_kept(half):
    await half.text("31611", "hoi")
    for duration in (604_800, 604_800, 0):
        system = {"type": "system", "system": {"type": "ephemeral_setting", "ephemeral_duration": duration}}
        await half.tell(messages=[half.said("31611", system)])
    [room] = half.rooms
    told = [body for body in room.said() if body.startswith("⏱")]
    assert ["na 7 dagen" in body for body in told] == [True, False]
    assert room.state["com.beeper.disappearing_timer", ""] == {}
    await half.tell(messages=[half.said("31611", {"type": "text", "text": {"body": "kort"}, "expiration": 86_400})])
    assert room.state["com.beeper.disappearing_timer", ""] == {"type": "after_send", "timer": 86_400_000}
    assert next(e for e in room.events if e["content"]["body"] == "kort")["content"][SOURCE]["expires_after"] == 86_400


async def test_a_room_from_before_people_were_sets_of_names_is_their_room_still(half):
    await half.text("31611", "eerst")
    await half.pool.execute("UPDATE portal SET person = NULL, shown = ''")
    await half.pool.execute("TRUNCATE identity, person")
    await half.text("31612", "een ander")
    half.arriving._meeting._persons._known.clear()
    await half.text("31611", "later")
    assert [room.said() for room in half.rooms] == [["eerst", "later"], ["een ander"]]


async def test_a_sticker_is_one_and_a_contact_is_a_card(half):
    half.whatsapp.files["7"] = b"RIFF\0\0\0\0WEBPVP8X\n\0\0\0\x02\0\0\0" + (511).to_bytes(3, "little") * 2
    sticker = {"type": "sticker", "sticker": {"id": "7", "mime_type": "image/webp", "animated": True}}
    contact = {"type": "contacts", "contacts": [{"name": {"formatted_name": "Lies"}, "phones": [{"phone": "+316"}]}]}
    await half.tell(messages=[half.said("31611", sticker), half.said("31611", contact)])
    [room] = half.rooms
    first, second = room.events
    assert (first["type"], first["content"]["info"]["w"], first["content"]["info"]["is_animated"]) == ("m.sticker", 512, True)
    assert (second["content"]["filename"], second["content"]["body"]) == ("contact.vcf", "👤 Lies\n+316")
    assert half.matrix.files[-1].startswith(b"BEGIN:VCARD")


def test_officials_are_in_the_registration_only_where_the_bridge_may_speak_as_them(tmp_path):
    number = Number(id="106", display_phone_number="+31970123", official=MINISTER)
    for double in (False, True):
        settings = Bridge(server_name="x", key_file=tmp_path / "key", numbers=(number,), double_puppet=double)
        users = settings.registration()["namespaces"]["users"]
        assert ({"exclusive": False, "regex": "@minister:x"} in users) is double
        assert [user["exclusive"] for user in users if "whatsapp" in user["regex"]] == [True, True]


async def test_a_number_that_one_official_was_told_is_in_no_room_or_profile_of_another(half):
    await half.pool.execute("UPDATE number SET waba_id = '7'")

    async def hidden(body: str) -> None:
        message = half.said("", {"type": "text", "text": {"body": body}, "from_user_id": "NL.1"})
        del message["from"]
        await half.tell(messages=[message], contacts=[{"user_id": "NL.1", "profile": {"name": ""}}])

    await hidden("zonder nummer")
    await half.text("31611", "met nummer", name="", number="107", from_user_id="NL.1")
    await hidden("nog eens")
    first, second = half.rooms
    assert first.said() == ["zonder nummer", "nog eens"]
    assert "31611" not in str(first.state)
    assert "31611" in str(second.state)
    assert half.matrix.profiles["@whatsapp__n_l.1:x"] == {"displayname": "NL.1 (WA)"}


async def test_an_official_who_has_not_joined_is_named_as_the_room_knows_them(half):
    await half.text("31611", "vraag")
    [room] = half.rooms
    del half.matrix.profiles[MINISTER]
    room.state["m.room.member", MINISTER] = {"membership": "invite", "displayname": "Minister De Vries"}
    await half.tell("smb_message_echoes", message_echoes=[echo(half, "31611", {"type": "text", "text": {"body": "getypt"}})])
    assert room.said()[-1] == "Minister De Vries (via telefoon): getypt"
