"""Who runs the bridge does it from a strict client: in the management room, and in an encrypted direct chat with the bot."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.conftest import RunningStack, data_folder, running_stack
from tests.interop.client import Official
from tests.interop.test_strict_client import webhook

pytestmark = [pytest.mark.stack, pytest.mark.interop]
BOT = "@whatsappbot:rijk.localhost"


@pytest.fixture(scope="module")
async def stack() -> AsyncIterator[RunningStack]:
    """A stack of these tests' own: they add numbers and pause them."""
    with data_folder() as folder:
        async with running_stack(folder) as running:
            yield running


@pytest.fixture(scope="module")
async def minister(stack: RunningStack) -> AsyncIterator[Official]:
    async with Official(stack.homeserver, "minister", stack.secret("password_minister")) as client:
        yield client


@pytest.fixture(scope="module")
async def admin(stack: RunningStack) -> AsyncIterator[Official]:
    async with Official(stack.homeserver, "beheer", stack.secret("operator_password")) as client:
        yield client


@pytest.fixture(scope="module")
async def management(admin: Official) -> str:
    """The room that the bridge made for its admins, and invited them to."""
    room: str = (await admin.do("wait_invite"))["room"]
    assert (await admin.do("room_name", room=room))["name"] == "Beheer WhatsApp-brug"
    await admin.do("wait_members", room=room, count=4)  # the bot and what keeps its keys, the admin and the archive
    return room


async def ask(client: Official, room: str, text: str) -> str:
    """Say something to the bot; returns what it answers."""
    sent = await client.do("send", room=room, body=text)
    told = await client.do("wait_for_reply", room=room, event_id=sent["event_id"])
    assert (told["sender"], told["failure"]) == (BOT, None)
    return str(told["body"])


async def number(stack: RunningStack) -> dict[str, str]:
    async with aiohttp.ClientSession() as http:
        first, *_ = await (await http.get(f"{stack.simulator}/phone_numbers")).json()
        return dict(first)


async def test_an_admin_runs_the_bridge_from_the_management_room(stack, admin, management):
    own = await number(stack)
    assert "pauzeer NUMMER" in await ask(admin, management, "help")
    assert own["official"] in await ask(admin, management, "lijst")
    assert "Did you mean: pause NUMBER?" in await ask(admin, management, "puase 1")
    async with aiohttp.ClientSession() as http:
        [account] = await (await http.get(f"{stack.simulator}/sim/accounts")).json()
        new = {"id": "106540352240777", "display_phone_number": "+31 97 0102 00777"}
        async with http.post(f"{stack.simulator}/sim/accounts/{account['id']}/numbers", json=new) as answer:
            assert answer.status == 200
    assert "00777" in await ask(admin, management, f"wijs toe {new['id']} @j.vermeer:rijk.localhost")
    assert "in orde" in await ask(admin, management, "test +31 97 0102 00777")
    assert "@j.vermeer:rijk.localhost (official)" in await ask(admin, management, f"lijst {new['id']}")
    assert "wordt niet meer bediend" in await ask(admin, management, f"ontkoppel {new['id']}")


async def test_a_pause_is_seen_as_an_interruption_and_what_came_meanwhile_is_carried_over(stack, admin, management, minister):
    own, contact, word = await number(stack), f"3166{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    assert "gepauzeerd" in await ask(admin, management, f"pauzeer {own['id']}")
    told = await admin.do("wait_for_text", room=management, text="niet gedekt sinds")
    interruption = told["content"]["nl.griffier.interruption"]
    assert (interruption["cause"], interruption["official"], interruption["until"]) == ("paused", own["official"], None)
    value = {
        "metadata": {"phone_number_id": own["id"], "display_phone_number": own["display_phone_number"]},
        "contacts": [{"wa_id": contact, "profile": {"name": "Wacht"}}],
        "messages": [
            {
                "from": contact,
                "id": f"wamid.{word}",
                "timestamp": str(int(time.time())),
                "type": "text",
                "text": {"body": f"tijdens de pauze {word}"},
            }
        ],
    }
    raw = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
    assert await webhook(stack, raw) == 200
    async with aiohttp.ClientSession() as http:
        health = await (await http.get(stack.webhook.removesuffix("/webhook") + "/healthz")).json()
    assert [(one["number_id"], one["cause"]) for one in health["interruptions"]] == [(own["id"], "paused")]
    await asyncio.sleep(2)
    assert "gepauzeerd" not in await ask(admin, management, f"hervat {own['id']}")
    room = (await minister.do("wait_invite"))["room"]
    await minister.do("wait_for_text", room=room, text=f"tijdens de pauze {word}")
    over = await admin.do("wait_for_text", room=management, text="niet gedekt van")
    ended = over["content"]["nl.griffier.interruption"]
    assert ended["id"] == interruption["id"]
    assert ended["until"] > ended["from"] == interruption["from"]


async def test_an_official_talks_with_the_bot_in_an_encrypted_direct_chat(stack, minister):
    own = await number(stack)
    room = (await minister.do("create_room", name="", invite=[BOT], direct=True))["room"]
    await minister.do("wait_members", room=room, count=3)
    assert f"({own['id']})" in await ask(minister, room, "list")
    assert await ask(minister, room, f"pause {own['id']}") == "Only an admin may do that."
    assert own["display_phone_number"] in await ask(minister, room, "status")


async def test_a_token_that_is_pasted_is_taken_out_of_the_chat(stack, admin, management):
    sent = await admin.do("send", room=management, body="verbind 1 EAAG" + "x" * 60)
    await admin.do("wait_for_text", room=management, text="Trek het token in")
    end = time.monotonic() + 10
    while time.monotonic() < end:
        events = (await admin.do("timeline", room=management))["events"]
        [said] = [event for event in events if event["event_id"] == sent["event_id"]]
        if said.get("body") is None:
            return
        await asyncio.sleep(0.3)
    raise AssertionError("it is still there")


async def test_a_management_room_that_was_deleted_is_made_again(stack, admin, management):
    headers = {"Authorization": f"Bearer {stack.admin_token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        url = f"{stack.homeserver}/_synapse/admin/v1/rooms/{management}"
        async with http.delete(url, json={"purge": True, "force_purge": True}) as answer:
            assert answer.status == 200
        own = await number(stack)
        headers = {"Authorization": f"Bearer {stack.secret('provisioning_token')}"}
        port = int(stack.webhook.split(":")[2].split("/")[0]) + 3
        base = f"http://127.0.0.1:{port}/_griffier/provision/v1/numbers/{own['id']}"
        for what in ("pause", "resume"):
            async with http.post(f"{base}/{what}", headers=headers) as answer:
                assert answer.status == 200, await answer.text()
    room = (await admin.do("wait_invite"))["room"]
    assert room != management
    await admin.do("wait_for_text", room=room, text="niet gedekt van")
