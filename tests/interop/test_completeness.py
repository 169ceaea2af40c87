"""What the homeserver leaves out is found by the event graph, and fetched; what can't be had is shown with its cause."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import RunningStack
from tests.facility import facility, proxy
from tests.interop.client import Official

pytestmark = [pytest.mark.stack, pytest.mark.interop]

CAPTURING = "SELECT capturing FROM seat"
HELD = "SELECT count(*) = $2 FROM record WHERE event_id = ANY($1)"


@pytest.fixture(scope="module")
async def official(stack: RunningStack) -> AsyncIterator[Official]:
    user_id, password = await stack.register(f"volledig-{secrets.token_hex(3)}")
    async with Official(stack.homeserver, user_id, password) as client:
        yield client


async def test_what_a_sync_leaves_out_without_saying_so_is_found_and_fetched(stack, official, tmp_path):
    hidden: set[str] = set()

    def drop(path: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Leave the hidden events out of every sync, and never say `limited`."""
        if path.endswith("/sync"):
            for room in answer.get("rooms", {}).get("join", {}).values():
                timeline = room.get("timeline", {})
                for event in timeline.get("events", []):
                    if "laat weg" in str(event["content"].get("kenmerk", "")):
                        hidden.add(event["event_id"])
                timeline["events"] = [event for event in timeline.get("events", []) if event["event_id"] not in hidden]
                timeline["limited"] = False
        return answer

    async with proxy(stack.homeserver) as between, facility(stack, tmp_path, homeserver=between.url) as archive:
        between.change = drop
        await archive.start()
        await archive.until(CAPTURING)
        room = (await official.do("create_room", name="Gaten", encrypted=False, invite=[archive.user_id]))["room"]
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        ids = []
        for number in range(12):
            content = {"msgtype": "m.text", "body": f"bericht {number}"}
            if number in (3, 4, 5, 9):
                content["kenmerk"] = "laat weg"
            ids.append((await official.do("send", room=room, content=content))["event_id"])
        await archive.until(HELD, ids, len(ids))
        assert len(hidden) == 4
        texts = await archive.texts(room)
        assert {f"bericht {number}" for number in range(12)} <= set(texts)
        filled = {row["event_id"] for row in await archive.fetch("SELECT event_id FROM gap WHERE state = 'filled'")}
        assert filled == {ids[5], ids[9]}, "two holes: the one of three messages shows by its last"
        assert not await archive.fetch("SELECT FROM gap WHERE state <> 'filled' AND room_id = $1", room)


async def test_a_server_that_refuses_history_leaves_gaps_with_their_cause_that_close_when_it_gives_in(stack, official, tmp_path):
    refusing = True

    def drop(path: str, answer: dict[str, Any]) -> dict[str, Any]:
        if path.endswith("/sync"):
            for room in answer.get("rooms", {}).get("join", {}).values():
                timeline = room.get("timeline", {})
                timeline["events"] = [e for e in timeline.get("events", []) if e["content"].get("body") != "zoek"]
        return {**answer, "end": None, "chunk": []} if refusing and "/context/" in path else answer

    async with proxy(stack.homeserver) as between, facility(stack, tmp_path, homeserver=between.url) as archive:
        between.change = drop
        await archive.start()
        await archive.until(CAPTURING)
        room = (await official.do("create_room", name="Weigert", encrypted=False, invite=[archive.user_id]))["room"]
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        lost = (await official.do("send", room=room, content={"msgtype": "m.text", "body": "zoek"}))["event_id"]
        await official.do("send", room=room, content={"msgtype": "m.text", "body": "erna"})
        assert await archive.until("SELECT cause FROM gap WHERE event_id = $1 AND state = 'kept'", lost)
        [told] = [listed for listed in json.loads((await archive.run("rooms", "--json")).stdout)["rooms"] if listed["holes"]]
        [gap] = told["gaps"]
        assert (gap["event_id"], gap["cause"]) == (lost, "the homeserver does not say where it stands")
        page = tmp_path / "gat.html"
        assert (await archive.run("export", room, "--out", str(page))).returncode == 0
        assert "Ontbrekend bericht" in page.read_text()
        refusing = False
        await archive.until("SELECT state = 'filled' FROM gap WHERE event_id = $1", lost, seconds=40)
        assert "zoek" in await archive.texts(room)


async def test_what_was_said_before_it_may_see_the_room_is_where_its_knowledge_begins(stack, official, tmp_path):
    async with facility(stack, tmp_path) as archive:
        await archive.start()
        await archive.until(CAPTURING)
        room = (await official.do("create_room", name="Besloten", encrypted=False))["room"]
        visibility = {"history_visibility": "joined"}
        await official.do("state", room=room, type="m.room.history_visibility", content=visibility)
        await official.do("send", room=room, body="nog niet voor het archief")
        await official.do("invite", room=room, user=archive.user_id)
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        sent = (await official.do("send", room=room, body="wel voor het archief"))["event_id"]
        await archive.until(HELD, [sent], 1)
        await archive.until("SELECT bool_and(cause = 'not-visible') FROM gap WHERE room_id = $1 AND state = 'kept'", room)
        [told] = json.loads((await archive.run("rooms", "--json")).stdout)["rooms"]
        assert (told["holes"], told["unseen"]) == (0, True)
        assert "nog niet voor het archief" not in await archive.texts(room)


async def test_it_signs_in_with_an_access_token_and_as_an_application_service(stack, official, tmp_path):
    user_id, password = await stack.register(f"sleutel-{secrets.token_hex(3)}")
    token = await stack.log_in(user_id, password)
    service = {
        "ARCHIVER__USER_ID": f"@whatsapp_archief{secrets.token_hex(3)}:{stack.server_name}",
        "ARCHIVER__PASSWORD": "",
        "ARCHIVER__AS_TOKEN": stack.secret("as_token"),
    }
    for ways in ({"ARCHIVER__USER_ID": user_id, "ARCHIVER__PASSWORD": "", "ARCHIVER__ACCESS_TOKEN": token}, service):
        async with facility(stack, tmp_path, **ways) as archive:
            await archive.start()
            await archive.until(CAPTURING)
            room = (await official.do("create_room", name="Aanmelden", invite=[archive.user_id]))["room"]
            await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
            await official.do("wait_members", room=room, count=3)
            word = secrets.token_hex(5)
            sent = (await official.do("send", room=room, body=word))["event_id"]
            await archive.until(HELD, [sent], 1)
            assert word in await archive.texts(room), "a strict client gave this device the key: it is cross-signed"


async def test_a_key_that_never_came_through_a_broken_session_is_asked_for_and_the_session_made_anew(stack, official, tmp_path):
    async with facility(stack, tmp_path) as archive:
        first = await archive.start()
        await archive.until(CAPTURING)
        room = (await official.do("create_room", name="Gebroken", invite=[archive.user_id]))["room"]
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        await official.do("wait_members", room=room, count=3)
        sent = (await official.do("send", room=room, body="voor de breuk"))["event_id"]
        await archive.until("SELECT unreadable IS NULL FROM record WHERE event_id = $1", sent)
        first.terminate()
        await first.wait()
        await archive.fetch("DELETE FROM olm_session")
        await archive.start()
        await archive.until("SELECT capturing AND seen_at > now() - interval '3 seconds' FROM seat")
        await official.do("new_session", room=room)
        sent = (await official.do("send", room=room, body="na de breuk"))["event_id"]
        await archive.until("SELECT unreadable = 'no-key' OR unreadable IS NULL FROM record WHERE event_id = $1", sent)
        await archive.until("SELECT unreadable IS NULL FROM record WHERE event_id = $1", sent, seconds=40)
        assert "na de breuk" in await archive.texts(room)
        [device] = await archive.fetch(
            "SELECT DISTINCT d.cross_signed, d.user_id FROM sender_device AS d JOIN megolm_session AS m "
            "ON m.giver = d.user_id AND m.sender_key = d.curve25519 JOIN record AS r ON r.sender = d.user_id "
            "WHERE m.room_id = $1 AND r.event_id = $2",
            room,
            sent,
        )
        assert device["cross_signed"]
