"""Rooms in the shape of mautrix-whatsapp's and of our own bridge's, on a real Synapse: what the archive makes of them."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import olm
import pytest

from tests.conftest import RunningStack
from tests.facility import facility
from tests.interop.app_service import Bridge
from tests.interop.by_hand import ByHand
from tests.interop.test_strict_client import until

pytestmark = [pytest.mark.stack, pytest.mark.interop]

TIMER = "com.beeper.disappearing_timer"
WEEK = {"type": "after_send", "timer": 604_800_000}
HOLE = {
    "msgtype": "m.notice", "body": "Decrypting message from WhatsApp failed, waiting for sender to re-send... (learn more)",
    "fi.mau.whatsapp.undecryptable": True, "m.mentions": {},
}  # fmt: skip


@pytest.fixture
async def bridge(stack: RunningStack) -> AsyncIterator[Bridge]:
    async with Bridge(stack) as made:
        yield made


@pytest.fixture
async def official(stack: RunningStack) -> AsyncIterator[ByHand]:
    user_id, password = await stack.register(f"bewindspersoon-{secrets.token_hex(3)}")
    async with ByHand(stack, user_id, password) as client:
        yield client


async def said(client: ByHand, room: str, content: dict[str, Any], kind: str = "m.room.message") -> str:
    what = f"rooms/{quote(room)}/send/{kind}/{secrets.token_hex(8)}"
    return str((await client.call("PUT", what, **content))["event_id"])


def text(body: str, **more: Any) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body} | more


async def page(stack: RunningStack, where: str, language: str = "nl") -> str:
    """A page of the web application, its text only."""
    async with await stack.signed_in("archivaris") as http, http.get(f"{stack.web}{where}?lang={language}") as answer:
        assert answer.status == 200, where
        return " ".join(re.sub(r"<[^>]*>", " ", await answer.text()).replace("&#39;", "'").split())


async def status(stack: RunningStack) -> dict[str, Any]:
    return json.loads((await stack.griffier("status", "--json")).stdout)


async def test_a_mautrix_room_reads_as_the_conversation_it_was(stack, bridge, official, tmp_path: Path):
    number = f"3197{secrets.randbelow(10**7):07}"
    contact, hidden = bridge.ghost(f"316{secrets.randbelow(10**8):08}"), bridge.ghost(f"lid-{secrets.randbelow(10**9)}")
    first = "Hatice Yıldız (WA)"
    await bridge.register(contact, first)
    await bridge.register(hidden, "Bram (WA)")
    room = await bridge.portal(official.user_id, [contact, hidden], number, "Hatice Yıldız (WA)")
    long_ago = int(time.time() * 1000) - 40 * 86_400_000
    ids = {"backfilled": await bridge.send(room, text("van vóór de koppeling"), contact, long_ago)}
    await official.call("POST", f"rooms/{quote(room)}/join")
    ids["hello"] = await bridge.send(room, text("Goedemorgen"), contact)
    ids["hole"] = await bridge.send(room, HOLE, contact)
    ids["left open"] = await bridge.send(room, HOLE, hidden)
    new = text("Nu wel leesbaar")
    relation = {"rel_type": "m.replace", "event_id": ids["hole"]}
    filled = new | {"body": "* Nu wel leesbaar", "m.new_content": new, "m.relates_to": relation}
    await bridge.send(room, filled | {"com.beeper.dont_render_edited": True}, contact)
    media = {"msgtype": "m.notice", "body": "Failed to bridge media", "fi.mau.whatsapp.failed_media": {"type": "m.room.message"}}
    ids["media"] = await bridge.send(room, media, contact)
    ids["phone"] = await said(official, room, text("vanaf mijn telefoon", **{"fi.mau.double_puppet_source": "mautrix-whatsapp"}))
    ids["matrix"] = await said(official, room, text("vanuit Element"))
    told = {"m.relates_to": {"rel_type": "m.reference", "event_id": ids["matrix"]}, "network": "whatsapp", "status": "SUCCESS"}
    ids["status"] = await bridge.send(room, told | {"delivered_to_users": [contact]}, kind="com.beeper.message_send_status")
    await bridge.state(room, TIMER, WEEK, contact)
    ids["fleeting"] = await bridge.send(room, text("zo weg", **{TIMER: WEEK}), contact)
    # What is deleted before it was archived has no text left: here it is deleted after.
    await until(stack, room, tmp_path, {"zo weg", "vanuit Element"})
    await bridge.redact(room, ids["fleeting"], reason="Message disappeared")
    await bridge.rename(contact, "Hatice Yıldız-Bakker (WA)")
    end = time.monotonic() + 20  # the homeserver passes a name on to the rooms in the background
    while (await bridge.call("GET", f"rooms/{quote(room)}/state/m.room.member/{quote(contact)}"))["displayname"] == first:
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    ids["renamed"] = await bridge.send(room, text("onder mijn nieuwe naam"), contact)
    await until(stack, room, tmp_path, {"onder mijn nieuwe naam", "Nu wel leesbaar"})
    lines = {line["event_id"]: line for line in await until(stack, room, tmp_path, {"onder mijn nieuwe naam"})}

    assert ids["status"] not in lines
    portal = lines[ids["hello"]]["portal"]
    assert (portal["network"], portal["receiver"], portal["official"]) == ("whatsapp", number, official.user_id)
    assert (portal["told_by"], portal["official_told_by_bridge"]) == (bridge.bot, False)
    assert [lines[ids[each]]["sender_name"] for each in ("hello", "renamed")] == [
        "Hatice Yıldız (WA)",
        "Hatice Yıldız-Bakker (WA)",
    ]
    assert lines[ids["hello"]]["via"]["identity"]["phone"] == f"+{contact.partition('_')[2].partition(':')[0]}"
    assert lines[ids["left open"]]["via"]["identity"]["lid"] == hidden.partition("lid-")[2].partition(":")[0]
    assert (lines[ids["hole"]]["body"], lines[ids["hole"]]["filled"]["was"]) == ("Nu wel leesbaar", "bridge:undecryptable")
    assert [lines[ids[each]]["unreadable"] for each in ("hole", "left open", "media")] == [
        None, "bridge:undecryptable", "bridge:failed-media",
    ]  # fmt: skip
    assert [lines[ids[each]]["via"]["how"] for each in ("hello", "phone", "matrix")] == ["contact", "offered", "sent"]
    assert lines[ids["phone"]]["doubts"] == ["claimed-source"], "without a bridge's key anybody can write that mark"
    assert lines[ids["matrix"]]["delivery"]["state"] == "delivered"
    assert [lines[ids[each]]["via"]["history"] for each in ("backfilled", "hello")] == [True, False]
    assert (lines[ids["fleeting"]]["deleted"]["by_timer"], lines[ids["fleeting"]]["body"]) == (True, "zo weg")
    assert [line["event_id"] for line in lines.values() if line["doubts"]] == [ids["phone"]]

    [listed] = [each for each in json.loads((await stack.griffier("rooms", "--json")).stdout)["rooms"] if each["room_id"] == room]
    assert listed["portal"]["receiver"] == number
    assert listed["unreadable"] == 2
    read = await page(stack, f"/rooms/{quote(room, safe='')}")
    for words in (
        f"WhatsApp op {number} , van", "Dit zegt de brug", "Berichten verdwijnen bij de deelnemers 7 dagen na verzending",
        "de brug kon het niet ontsleutelen", "de brug kon het bestand niet ophalen", "Verdwenen door de timer van het gesprek",
        "naar WhatsApp", "bezorgd", "uit de geschiedenis, later overgebracht",
        "De brug heeft dit bericht later aangevuld",
    ):  # fmt: skip
        assert words in read, words
    assert "Deleted by" not in await page(stack, f"/rooms/{quote(room, safe='')}", "en")
    assert room in [each["subject"] for each in (await status(stack))["alarms"] if each["kind"] == "disappearing-messages"]
    await bridge.state(room, TIMER, {}, contact)
    await gone(stack, "disappearing-messages", room)


async def gone(stack: RunningStack, kind: str, subject: str) -> None:
    """Wait until an alarm is over."""
    end = time.monotonic() + 20
    while any(each["kind"] == kind and each["subject"] == subject for each in (await status(stack))["alarms"]):
        assert time.monotonic() < end
        await asyncio.sleep(0.5)


async def test_what_our_bridge_reports_is_shown_where_it_matters_until_it_is_over(stack, bridge, official, tmp_path: Path):
    number = f"+31 97 {secrets.randbelow(10**8):08}"
    contact = bridge.ghost(f"316{secrets.randbelow(10**8):08}")
    await bridge.register(contact, "Bram Wolters")
    room = await bridge.portal(official.user_id, [contact], number, "Bram", **{"nl.griffier.official": official.user_id})
    await official.call("POST", f"rooms/{quote(room)}/join")
    await bridge.send(room, text("alles goed"), contact)
    management = (await bridge.call("POST", "createRoom", preset="private_chat", name="Beheer WhatsApp-brug"))["room_id"]
    now, identity = int(time.time() * 1000), secrets.token_hex(6)
    interruption = {
        "id": identity, "network": "whatsapp", "number_id": "1", "number": number, "official": official.user_id, "from": now,
        "until": None, "cause": "webhook-silent", "detail": "…",
    }  # fmt: skip
    alarm = {"id": identity, "kind": "poison", "subject": "2 webhooks", "count": 2, "since": now, "cleared": False}
    notice = {"msgtype": "m.notice", "body": "Melding van de brug"}
    await bridge.send(management, notice | {"nl.griffier.interruption": interruption})
    await bridge.send(management, notice | {"nl.griffier.alarm": alarm})
    forged = {"nl.griffier.interruption": interruption | {"id": f"vals-{identity}"}}
    await said(official, room, text("niets werkt", **forged))
    await until(stack, management, tmp_path, {"Melding van de brug"})
    await until(stack, room, tmp_path, {"niets werkt"})

    told = await status(stack)
    assert [each["id"] for each in told["interruptions"] if each["number"] == number] == [identity]
    assert [each["kind"] for each in told["alarms"] if identity in each["subject"]] == ["bridge:poison"]
    async with aiohttp.ClientSession() as http:
        metrics = await (await http.get(f"{stack.web}/metrics")).text()
    assert re.search(r"^griffier_channels_not_covered [1-9]", metrics, re.MULTILINE)
    for where in ("/channels", f"/rooms/{quote(room, safe='')}"):
        read = await page(stack, where)
        assert number in read
        assert "het netwerk meldde niets meer aan de brug" in read
        assert "duurt nog voort" in read
    out = tmp_path / "uittreksel.html"
    done = await stack.griffier("export", room, "--out", str(out), "--json")
    assert [each["id"] for each in json.loads(done.stdout)["interruptions"]] == [identity]
    cover = out.read_text().partition("<article")[0]
    assert "In deze periode is niet vastgelegd" in cover
    assert official.user_id in cover
    assert number in cover

    await bridge.send(management, notice | {"nl.griffier.interruption": interruption | {"until": now + 60_000}})
    await bridge.send(management, notice | {"nl.griffier.alarm": alarm | {"cleared": True}})
    await gone(stack, "bridge:poison", f"{bridge.bot} {identity}")
    assert not [each for each in (await status(stack))["interruptions"] if each["number"] == number]
    read = await page(stack, f"/rooms/{quote(room, safe='')}", "en")
    assert "In this period what was said on this channel was not recorded" in read
    assert "still lasting" not in read


async def test_in_an_encrypted_mautrix_room_the_bridge_s_key_speaks_for_its_ghosts_and_for_the_official(stack, tmp_path: Path):
    tag = secrets.token_hex(3)
    accounts = [await stack.register(f"{name}-{tag}") for name in ("mautrixbot", "mautrix_31600000808", "kamerlid")]
    patterns = [f"@mautrixbot-{tag}:*", f"@mautrix_*-{tag}:*"]
    async with (
        ByHand(stack, *accounts[0]) as bot, ByHand(stack, *accounts[1]) as ghost, ByHand(stack, *accounts[2]) as person,
        facility(stack, tmp_path, ARCHIVER__BRIDGES=json.dumps(patterns)) as archive,
    ):  # fmt: skip
        await archive.start()
        await archive.until("SELECT capturing FROM seat")
        room = await bot.make_room(ghost.user_id, person.user_id, archive.user_id)
        for member in (ghost, person):
            await member.call("POST", f"rooms/{quote(room)}/join")
        info = {"protocol": {"id": "whatsapp"}, "channel": {"id": "31600000808@s.whatsapp.net", "fi.mau.receiver": "31970000001"}}
        await bot.call("PUT", f"rooms/{quote(room)}/state/m.bridge/x", **info)
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        session = olm.OutboundGroupSession()
        [seat] = await archive.fetch("SELECT user_id, device_id FROM seat")
        await bot.share(room, session.id, session.session_key, (seat["user_id"], seat["device_id"]))

        async def sealed(sender: ByHand, body: str, **more: Any) -> str:
            payload = {"type": "m.room.message", "room_id": room, "content": text(body, **more)}
            content = {
                "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": session.encrypt(json.dumps(payload)), "session_id": session.id,
                "sender_key": bot.account.identity_keys["curve25519"], "device_id": bot.device_id,
            }  # fmt: skip
            return await said(sender, room, content, "m.room.encrypted")

        ids = [
            await sealed(ghost, "van de ghost"),
            await sealed(ghost, "nog niet leesbaar", **{"fi.mau.whatsapp.undecryptable": True}),
            await sealed(person, "van de telefoon", **{"fi.mau.double_puppet_source": "mautrix-whatsapp"}),
            await sealed(person, "zonder verklaring"),
        ]
        await archive.until("SELECT count(*) = 4 FROM message WHERE event_id = ANY($1)", ids)
        await archive.until("SELECT count(*) = 0 FROM unread")
        lines = {line["event_id"]: line for line in await archive.lines(room)}
        told = [(lines[each]["doubts"], (lines[each]["via"] or {}).get("how"), lines[each]["unreadable"]) for each in ids]
        assert told == [
            ([], "contact", None), ([], "contact", "bridge:undecryptable"), ([], "phone", None),
            (["other-sender"], "offered", None),
        ]  # fmt: skip
