"""What comes from WhatsApp and is wrong harms nothing around it, and is never silently dropped."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg
import pytest

from tests.interop.test_strict_client import until, webhook

pytestmark = [pytest.mark.stack, pytest.mark.interop]


async def delivery(stack, contact: str, messages: list[dict[str, Any]], name: str = "Vreemd") -> bytes:
    """A webhook body as WhatsApp makes it."""
    async with aiohttp.ClientSession() as http:
        [number] = await (await http.get(f"{stack.simulator}/phone_numbers")).json()
    value = {
        "metadata": {"phone_number_id": number["id"], "display_phone_number": number["display_phone_number"]},
        "contacts": [{"wa_id": contact, "profile": {"name": name}}],
        "messages": [
            {"from": contact, "id": f"wamid.{secrets.token_hex(8)}", "timestamp": str(int(time.time())), **message}
            for message in messages
        ],
    }
    return json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()


def text(body: str) -> dict[str, Any]:
    return {"type": "text", "text": {"body": body}}


async def test_what_the_homeserver_or_whatsapp_refuses_is_told_in_the_room_and_holds_nothing_up(stack, minister, tmp_path):
    contact, word = f"3161{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    messages = [
        text(f"eerst {word}"),
        text(f"lang {word} " + "x" * 60_000),
        text(f"lang vóór de tijd {word}") | {"timestamp": "-5"},
        text(f"ver na de tijd {word}") | {"timestamp": "253402300799"},
        {"type": "image", "image": {"id": "bestaat-niet", "caption": f"bijschrift {word}"}},
        {"type": "document", "document": {"id": "../../x", "caption": f"uitbraak {word}"}},
        text(f"met nul\0 en half \ud800 teken {word}"),
        text(f"laatst {word}"),
    ]
    raw = await delivery(stack, contact, messages, name="N\0aam " + "w" * 400)
    assert await webhook(stack, raw) == 200
    room = (await minister.do("wait_invite"))["room"]
    lines = await until(stack, room, tmp_path, {f"laatst {word}"}, seconds=60)
    bodies = [line["body"] for line in lines]
    for told in ("eerst", "lang vóór de tijd", "ver na de tijd", "laatst"):
        assert f"{told} {word}" in bodies
    [long] = [line for line in lines if line["body"].startswith(f"lang {word}")]
    assert long["attachment"]["name"] == "bericht.txt"
    for caption in ("bijschrift", "uitbraak"):
        [told] = [body for body in bodies if f"{caption} {word}" in body]
        assert "Het bestand kon niet worden opgehaald" in told
    assert any("met nul" in body for body in bodies)
    async with aiohttp.ClientSession() as http:
        health = await (await http.get(stack.webhook.removesuffix("/webhook") + "/healthz")).json()
    assert health["in_failed"] == 0
    assert health["in_waiting"] == 0


async def test_a_value_that_cannot_be_read_leaves_its_neighbours_alone(stack, minister, tmp_path):
    contact, word = f"3162{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    odd = [text(f"diep {word}") | {"extra": "DIEP"}, text(f"groot {word}") | {"extra": "GROOT"}, text(f"heel {word}")]
    raw = await delivery(stack, contact, odd)
    raw = raw.replace(b'"DIEP"', b"[" * 3000 + b"]" * 3000).replace(b'"GROOT"', b"9" * 5000)
    assert await webhook(stack, raw) == 200
    room = (await minister.do("wait_invite"))["room"]
    wanted = {f"diep {word}", f"groot {word}", f"heel {word}"}
    assert wanted <= {line["body"] for line in await until(stack, room, tmp_path, wanted)}


async def test_a_reaction_taken_back_on_whatsapp_is_shown_as_taken_back(stack, minister, tmp_path):
    contact, word = f"3163{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    message = f"wamid.{secrets.token_hex(8)}"

    def reaction(emoji: str) -> dict[str, Any]:
        return {"type": "reaction", "reaction": {"message_id": message, "emoji": emoji}}

    assert await webhook(stack, await delivery(stack, contact, [text(f"goed? {word}") | {"id": message}])) == 200
    room = (await minister.do("wait_invite"))["room"]
    steps = [reaction("👍"), reaction("😮"), reaction(""), text(f"einde {word}")]
    assert await webhook(stack, await delivery(stack, contact, steps)) == 200
    lines = await until(stack, room, tmp_path, {f"einde {word}"})
    [asked] = [line for line in lines if line["body"] == f"goed? {word}"]
    assert [(r["key"], r["deleted"]) for r in asked["reactions"]] == [("👍", True), ("😮", True)]


async def test_only_the_bridge_is_believed_on_where_a_message_comes_from(stack, minister, tmp_path):
    room = (await minister.do("create_room", name="Vals"))["room"]
    forged = {"network": "whatsapp", "sender": "+31600000101", "message_id": "wamid.vals"}
    content = {"msgtype": "m.text", "body": "van buiten, zegt hij", "nl.griffier.source": forged}
    await minister.do("send", room=room, content=content)
    [line] = [x for x in await until(stack, room, tmp_path, {content["body"]}) if x["body"] == content["body"]]
    assert (line["network"], line["source"], line["doubts"]) == ("matrix", None, ["claimed-source"])
    out = tmp_path / "vals.html"
    assert (await stack.griffier("export", room, "--out", str(out))).returncode == 0
    page = out.read_text()
    assert "is geen brug" in page
    assert base64.b64encode(b"+31600000101").decode() not in page
    assert "+31600000101" not in page


async def test_a_conversation_whose_room_is_gone_goes_on_in_a_new_one(stack, minister, tmp_path):
    contact, word = f"3164{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    assert await webhook(stack, await delivery(stack, contact, [text(f"eerste kamer {word}")])) == 200
    room = (await minister.do("wait_invite"))["room"]
    await until(stack, room, tmp_path, {f"eerste kamer {word}"})
    headers = {"Authorization": f"Bearer {stack.admin_token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        url = f"{stack.homeserver}/_synapse/admin/v1/rooms/{room}"
        async with http.delete(url, json={"purge": True, "force_purge": True}) as answer:
            assert answer.status == 200
    assert await webhook(stack, await delivery(stack, contact, [text(f"tweede kamer {word}")])) == 200
    new = (await minister.do("wait_invite"))["room"]
    assert new != room
    assert f"tweede kamer {word}" in {line["body"] for line in await until(stack, new, tmp_path, {f"tweede kamer {word}"})}


async def test_a_room_that_was_made_before_a_crash_is_found_and_used(stack, minister, tmp_path):
    contact, word = f"3166{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    assert await webhook(stack, await delivery(stack, contact, [text(f"vóór de klap {word}")])) == 200
    room = (await minister.do("wait_invite"))["room"]
    await until(stack, room, tmp_path, {f"vóór de klap {word}"})
    database = urlsplit(stack.database)
    bridge = await asyncpg.connect(urlunsplit(database._replace(path=f"{database.path}_bridge")))
    # As it is when the bridge is killed between the homeserver's answer and its own commit.
    await bridge.execute("INSERT INTO portal_begun SELECT number_id, contact FROM portal WHERE room_id = $1", room)
    await bridge.execute("DELETE FROM portal WHERE room_id = $1", room)
    assert await webhook(stack, await delivery(stack, contact, [text(f"na de klap {word}")])) == 200
    assert f"na de klap {word}" in {line["body"] for line in await until(stack, room, tmp_path, {f"na de klap {word}"})}
    assert await bridge.fetchval("SELECT count(*) FROM portal_begun WHERE contact = $1", contact) == 0
    await bridge.close()


async def test_a_message_of_the_officials_that_makes_no_sense_is_told_and_holds_nothing_up(stack, minister, tmp_path):
    contact, word = f"3165{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    assert await webhook(stack, await delivery(stack, contact, [text(f"zeg het maar {word}")])) == 200
    room = (await minister.do("wait_invite"))["room"]
    await until(stack, room, tmp_path, {f"zeg het maar {word}"})
    await minister.do("send", room=room, content={"msgtype": "m.image", "body": f"geheim {word}", "url": 5})
    await minister.do("send", room=room, content={"msgtype": "m.file", "body": "x", "file": {"x": 1}})
    await minister.do("send", room=room, body=f"wel goed {word}")
    end = time.monotonic() + 20
    sent: list[dict[str, Any]] = []
    async with aiohttp.ClientSession() as http:
        while not sent and time.monotonic() < end:
            messages = await (await http.get(f"{stack.simulator}/sim/messages")).json()
            sent = [item for item in messages if item["to"] == contact]
            await asyncio.sleep(0.3)
    assert [item["text"]["body"] for item in sent] == [f"wel goed {word}"]
    lines = await until(stack, room, tmp_path, {f"wel goed {word}"})
    told = [line for line in lines if "niet bij WhatsApp aangekomen" in line["body"]]
    assert len(told) == 2
    assert all(word not in line["body"] for line in told)
