"""What the pages say of a conversation on another network, in either language."""

import secrets
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient

from archiver.ledger.sealing import Vault
from tests.unit.reading.portals import BOT, CONTACT, NUMBER, OFFICIAL, Portal, source, text
from tests.unit.reading.test_bridged import HOLE, TIMER, WEEK, interruption, status
from tests.unit.web.signed_in import browsing

WORDS = {
    "nl": {
        "room": (
            "via WhatsApp", "naar WhatsApp", "NIET aangekomen", "geen bereik", "code 131026", "Dit zegt de brug", "ontsleutelen",
            "7 dagen na verzending", "Verdwenen door de timer", "In deze periode is niet vastgelegd", "Contacten",
        ),
        "channels": ("Kanalen", NUMBER, OFFICIAL, "het netwerk meldde niets meer aan de brug", "duurt nog voort"),
    },
    "en": {
        "room": (
            "via WhatsApp", "to WhatsApp", "NOT delivered", "geen bereik", "code 131026", "This is what the bridge says",
            "decrypt", "7 days after they are sent", "Disappeared by the conversation", "In this period what was said",
            "Contacts",
        ),
        "channels": ("Channels", NUMBER, OFFICIAL, "the network told the bridge nothing any more", "still lasting"),
    },
}  # fmt: skip


@pytest.fixture
async def client(archive, tmp_path) -> AsyncIterator[TestClient]:
    async with browsing(archive, tmp_path, "records-officer") as made:
        yield made


@pytest.mark.parametrize("language", WORDS)
async def test_the_pages_say_whose_it_was_what_lacks_what_failed_and_what_was_not_covered(client, archive, room, language):
    portal = await Portal(archive, room).open(**{"nl.griffier.official": OFFICIAL})
    portal.say(text("hallo", **{"nl.griffier.source": source("w")}))
    portal.say(HOLE)
    failed = portal.say(text("bent u daar"), OFFICIAL)
    portal.add("com.beeper.message_send_status", status(failed, "failed", "131026", message="geen bereik"), BOT)
    portal.state(TIMER, {"type": "after_send", "timer": WEEK * 1000}, "", CONTACT)
    portal.redact(portal.say(text("weg")), BOT, "Message disappeared")
    portal.say(interruption(f"i-{language}"), BOT)
    await portal.keep()
    for what, where in (("room", f"/rooms/{quote(room, safe='')}"), ("channels", "/channels")):
        page = await (await client.get(f"{where}?lang={language}")).text()
        for words in WORDS[language][what]:
            assert words in page, (what, words)
    assert NUMBER in await (await client.get("/")).text()


async def test_nothing_that_a_bridge_writes_becomes_markup(client, archive, room):
    evil = "<script>alert(1)</script>"
    portal = await Portal(archive, room).open(channel={"id": evil, "displayname": evil, "fi.mau.receiver": evil})
    portal.say(text("x", **{"nl.griffier.source": source("w", sender_name=evil, sender=evil, username=evil, official=evil)}))
    said = portal.say(text("y"), OFFICIAL)
    portal.add("com.beeper.message_send_status", status(said, "failed", evil, message=evil), BOT)
    portal.say(interruption("evil", number=evil, official=evil, cause=evil), BOT)
    await portal.keep()
    for where in (f"/rooms/{quote(room, safe='')}", "/channels", "/"):
        answer = await client.get(where)
        assert answer.status == 200
        assert "<script>" not in await answer.text()


async def test_a_search_names_people_as_they_were_called_then(client, archive, room):
    portal = await Portal(archive, room).open(**{"nl.griffier.official": OFFICIAL})
    word = f"dijk{secrets.token_hex(5)}"
    portal.say(text(word, **{"nl.griffier.source": source("w", sender="+31 97 0102030", from_phone=True)}), BOT, at=1)
    portal.say(text(f"{word} nogmaals"), CONTACT, at=2)
    portal.member(CONTACT, "Heel Anders", at=3)
    await portal.keep()
    page = await (await client.get(f"/search?q={word}")).text()
    assert "<bdi>Karin de Wit</bdi>" in page
    assert "<bdi>Hatice Yıldız (WA)</bdi>" in page
    assert "<bdi>Heel Anders</bdi>" not in page


async def test_a_look_at_the_channels_is_in_the_audit_trail(client, archive):
    await client.get("/channels")
    async with archive.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM audit WHERE action = 'list channels' AND actor = 'archivaris'")


async def test_the_list_of_channels_opens_what_bridges_say_and_no_other_conversation(archive, room, tmp_path, monkeypatch):
    portal = await Portal(archive, room).open(**{"nl.griffier.official": OFFICIAL})
    portal.say(text("hallo"))
    await portal.keep()
    plain = await Portal(archive, room + "2").open(bridged=False)
    await plain.keep()
    opened, open_many = [], Vault.open_many

    async def counted(self, tx, sealed):
        opened.extend(sealed)
        return await open_many(self, tx, sealed)

    monkeypatch.setattr(Vault, "open_many", counted)
    async with browsing(archive, tmp_path, "records-officer") as client:
        page = await (await client.get("/channels")).text()
        told = await (await client.get("/api/v1/channels")).json()
    assert "Karin de Wit" in page
    assert OFFICIAL in [official for channel in told["items"] for official in channel["officials"]]
    assert {room_id for room_id, _, _ in opened}.isdisjoint({room + "2"})
    assert len([each for each in opened if each[0] == room]) <= 2 * 2 + 1  # for the page and for the API; one name
