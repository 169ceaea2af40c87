"""What an official's strict client sends arrives on WhatsApp as it was meant, and what becomes of it is seen in that client."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from typing import Any

import aiohttp
import asyncpg
import pytest

pytestmark = [pytest.mark.stack, pytest.mark.interop]

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)  # a picture of one point
OGG = b"OggS" + bytes(200)
FAIL = """
    CREATE OR REPLACE FUNCTION fail() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'away'; END $$ LANGUAGE plpgsql;
    CREATE TRIGGER fail BEFORE INSERT ON application_services_txns EXECUTE FUNCTION fail();
"""


class Phone:
    """Somebody on WhatsApp, at the simulator."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.number = f"3166{secrets.randbelow(10**7):07}"
        self._url, self._http = url, http

    async def ask(self, path: str, body: Any = None) -> Any:
        async with self._http.request("GET" if body is None else "POST", self._url + path, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def say(self, text: str) -> str:
        return (await self.ask(f"/sim/contacts/{self.number}/send", {"text": text, "name": "Sanne Bakker"}))["id"]

    async def got(self, count: int, seconds: float = 30) -> list[dict[str, Any]]:
        """What the official sent to this phone, once there is so much of it."""
        end = time.monotonic() + seconds
        while True:
            mine = [item for item in await self.ask("/sim/messages") if item["to"] == self.number]
            if len(mine) >= count or time.monotonic() > end:
                assert len(mine) == count, [item["type"] for item in mine]
                return mine
            await asyncio.sleep(0.2)


@pytest.fixture
async def phone(stack):
    async with aiohttp.ClientSession() as http:
        made = Phone(stack.simulator, http)
        yield made
        await made.ask(f"/sim/contacts/{made.number}", {"receipts": "read"})


async def conversation(phone: Phone, minister) -> tuple[str, dict[str, Any]]:
    """The phone begins one; returns the official's room and what was said."""
    word = secrets.token_hex(4)
    await phone.say(f"dag minister {word}")
    room = (await minister.do("wait_invite"))["room"]
    return room, await minister.do("wait_for_text", room=room, text=word)


async def test_what_the_homeserver_never_told_us_is_found_and_sent(stack, minister, phone):
    room, _ = await conversation(phone, minister)
    await minister.do("send", room=room, content={"msgtype": "m.text", "body": "gewoon"})
    await phone.got(1)
    # Synapse notes an event as dealt with before what it tells of it is stored: what fails in between is lost to us.
    homeserver = await asyncpg.connect(stack.database + "_synapse")
    await homeserver.execute(FAIL)
    try:
        await minister.do("send", room=room, content={"msgtype": "m.text", "body": "vergeten"})
        await asyncio.sleep(2)
    finally:
        await homeserver.execute("DROP TRIGGER fail ON application_services_txns")
        await homeserver.close()
    await minister.do("send", room=room, content={"msgtype": "m.text", "body": "daarna"})
    texts = [item["text"]["body"] for item in await phone.got(3, seconds=60)]
    assert (texts[0], sorted(texts)) == ("gewoon", ["daarna", "gewoon", "vergeten"])
    await asyncio.sleep(12)  # another look
    await phone.got(3)


async def test_replies_files_voice_reactions_and_what_can_not_be(stack, minister, phone):
    room, first = await conversation(phone, minister)
    answer = {"msgtype": "m.text", "body": "*goed*", "format": "org.matrix.custom.html", "formatted_body": "<b>goed</b>"}
    relation = {"m.relates_to": {"m.in_reply_to": {"event_id": first["event_id"]}}}
    replied = (await minister.do("send", room=room, content=answer | relation))["event_id"]
    await minister.do(
        "send_file", room=room, name="gevel.png", mime="image/png", base64=base64.b64encode(PNG).decode(), msgtype="m.image"
    )
    voice = {
        "name": "spraak.ogg",
        "mime": "audio/ogg",
        "base64": base64.b64encode(OGG).decode(),
        "msgtype": "m.audio",
        "voice": True,
    }
    await minister.do("send_file", room=room, **voice)
    reaction = (await minister.do("react", room=room, event_id=first["event_id"], key="👍"))["event_id"]
    await phone.got(4)
    await minister.do("redact", room=room, event_id=reaction)
    text, picture, sound, given, taken = await phone.got(5)
    asked = next(one for one in await phone.ask(f"/sim/chats/{phone.number}") if "dag minister" in str(one))
    assert (text["text"]["body"], text["context"]["message_id"]) == ("*goed*", asked["id"])
    async with aiohttp.ClientSession() as http, http.get(f"{stack.simulator}/sim/media/{picture['image']['id']}") as got:
        assert await got.read() == PNG
    assert sound["audio"]["voice"] is True
    assert given["reaction"] == {"message_id": asked["id"], "emoji": "👍"}
    assert taken["reaction"] == {"message_id": asked["id"], "emoji": ""}

    new = {"msgtype": "m.text", "body": "beter"}
    edit = {"msgtype": "m.text", "body": "* beter", "m.new_content": new}
    await minister.do("send", room=room, content=edit | {"m.relates_to": {"rel_type": "m.replace", "event_id": replied}})
    corrected = (await phone.got(6))[-1]
    assert (corrected["text"]["body"], corrected["context"]["message_id"]) == ("✏️ beter", text["id"])
    await minister.do("wait_for_text", room=room, text="de oude blijft daar zichtbaar")
    await minister.do("redact", room=room, event_id=replied)
    told = await minister.do("wait_for_text", room=room, text="hier verwijderd, maar staat nog bij WhatsApp")
    assert told["failure"] is None


async def test_delivery_and_reading_are_told_both_ways(stack, minister, phone):
    await phone.ask(f"/sim/contacts/{phone.number}", {"receipts": "read"})
    room, first = await conversation(phone, minister)
    sent = (await minister.do("send", room=room, body="Komt eraan"))["event_id"]
    told = await minister.do("referring", room=room, event_id=sent, type="com.beeper.message_send_status", count=3)
    assert [one["nl.griffier.delivery"]["state"] for one in told["contents"]] == ["sent", "delivered", "read"]
    [ghost] = {user for one in told["contents"] for user in one.get("delivered_to_users", [])}
    assert (await minister.do("read_by", room=room, event_id=sent))["users"] == [ghost]
    await minister.do("read", room=room, event_id=first["event_id"])
    chat = await phone.ask(f"/sim/chats/{phone.number}")
    asked = next(one["id"] for one in chat if "dag minister" in str(one))
    for _ in range(100):
        marked = [one["message_id"] for one in await phone.ask("/sim/marked")]
        if asked in marked:
            break
        await asyncio.sleep(0.2)
    assert marked.count(asked) == 1


async def test_a_failed_send_is_shown_with_its_reason_and_a_closed_window_offers_templates(stack, minister, phone):
    room, _ = await conversation(phone, minister)
    await phone.ask("/sim/faults", {"on": "send", "how": "failed", "code": 131026, "to": phone.number})
    lost = (await minister.do("send", room=room, body="Niet bezorgd"))["event_id"]
    notice = await minister.do("wait_for_text", room=room, text="WhatsApp kan het niet bezorgen")
    assert "niet bij WhatsApp aangekomen" in notice["body"]
    [status] = (await minister.do("referring", room=room, event_id=lost, type="com.beeper.message_send_status"))["contents"]
    assert (status["status"], status["nl.griffier.delivery"]["code"]) == ("FAIL_PERMANENT", 131026)
    await phone.ask(f"/sim/contacts/{phone.number}/window", {"open": False})
    await minister.do("send", room=room, body="Bent u daar nog?")
    offer = await minister.do("wait_for_text", room=room, text="1️⃣ afspraak (nl)")
    assert "alleen goedgekeurde sjablonen" in offer["body"]
    await minister.do("send", room=room, body="!sjabloon 1 de minister | vrijdag")
    await minister.do("wait_for_text", room=room, text="Uw afspraak met de minister is op vrijdag. Tot dan!")
    _, template = await phone.got(2)
    assert template["template"]["name"] == "afspraak"
    await phone.say("ja, hier ben ik")
    await minister.do("wait_for_text", room=room, text="typ !verstuur")
    await minister.do("send", room=room, body="!verstuur")
    assert (await phone.got(3))[-1]["text"]["body"] == "Bent u daar nog?"
