"""All that people send is archived, whatever kind it is; and where a room goes on, the archive follows."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator

import pytest

from tests.conftest import RunningStack
from tests.facility import facility
from tests.interop.client import Official

pytestmark = [pytest.mark.stack, pytest.mark.interop]


@pytest.fixture(scope="module")
async def official(stack: RunningStack) -> AsyncIterator[Official]:
    user_id, password = await stack.register(f"veelzijdig-{secrets.token_hex(3)}")
    async with Official(stack.homeserver, user_id, password) as client:
        yield client


def reference(event_id: str) -> dict:
    return {"rel_type": "m.reference", "event_id": event_id}


async def test_every_kind_of_message_and_of_change_is_kept_and_read(stack, official, tmp_path):
    async with facility(stack, tmp_path) as archive:
        await archive.start()
        await archive.until("SELECT capturing FROM seat")
        room = (await official.do("create_room", name="Alles", invite=[archive.user_id]))["room"]
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        await official.do("wait_members", room=room, count=3)
        kinds: dict[str, str] = {}

        async def send(kind: str, content: dict, type: str = "m.room.message") -> str:  # noqa: A002
            kinds[kind] = (await official.do("send", room=room, content=content, type=type))["event_id"]
            return kinds[kind]

        first = await send("text", {"msgtype": "m.text", "body": "Zullen we stemmen?", "format": "org.matrix.custom.html"})
        await send("emote", {"msgtype": "m.emote", "body": "schudt het hoofd"})
        thread = {"rel_type": "m.thread", "event_id": first, "is_falling_back": True, "m.in_reply_to": {"event_id": first}}
        await send("thread", {"msgtype": "m.text", "body": "in de draad", "m.relates_to": thread})
        await send("mention", {"msgtype": "m.text", "body": "@minister", "m.mentions": {"user_ids": ["@minister:x"]}})
        place = {"msgtype": "m.location", "body": "Binnenhof", "geo_uri": "geo:52.0797,4.3129"}
        await send("location", place)
        await send("sticker", {"body": "duim", "url": "mxc://nergens/niets", "info": {}}, "m.sticker")
        text, start = "org.matrix.msc1767.text", "org.matrix.msc3381.poll.start"
        question = {
            "question": {text: "Wanneer?"}, "kind": "org.matrix.msc3381.poll.disclosed", "max_selections": 1,
            "answers": [{"id": "a", text: "Maandag"}, {"id": "b", text: "Dinsdag"}],
        }  # fmt: skip
        poll = await send("poll", {start: question, text: "Wanneer?"}, start)
        for number, answer in enumerate("ab"):
            vote = {"m.relates_to": reference(poll), "org.matrix.msc3381.poll.response": {"answers": [answer]}}
            await send(f"vote {number}", vote, "org.matrix.msc3381.poll.response")
        ended = {"m.relates_to": reference(poll), "org.matrix.msc3381.poll.end": {}, text: "gesloten"}
        await send("poll end", ended, "org.matrix.msc3381.poll.end")
        call = {"call_id": "c1", "party_id": "p", "version": "1"}
        offer = {"type": "offer", "sdp": "v=0"}
        await send("call", {**call, "lifetime": 60000, "offer": offer}, "m.call.invite")
        await send("call's candidates", {**call, "candidates": []}, "m.call.candidates")
        await send("call's end", {**call, "reason": "user_hangup"}, "m.call.hangup")
        reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": first, "key": "👍"}}
        kinds["reaction"] = (await official.do("send", room=room, type="m.reaction", content=reaction))["event_id"]
        await send("unknown", {"body": "van een kind dat nog moet worden uitgevonden"}, "nl.voorbeeld.iets")
        for type_, content in (
            ("m.room.pinned_events", {"pinned": [first]}),
            ("m.room.topic", {"topic": "Van alles"}),
            ("m.room.history_visibility", {"history_visibility": "invited"}),
            ("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": 10}),
        ):
            kinds[type_] = (await official.do("state", room=room, type=type_, content=content))["event_id"]
        levels = await official.do("get_state", room=room, type="m.room.power_levels")
        told = levels | {"state_default": 51}
        kinds["levels"] = (await official.do("state", room=room, type="m.room.power_levels", content=told))["event_id"]
        kinds["redaction"] = (await official.do("redact", room=room, event_id=kinds["emote"], reason="vergissing"))["event_id"]
        name = f"Naam {secrets.token_hex(4)}"
        await official.do("rename", name=name)
        last = (await official.do("send", room=room, body="slot"))["event_id"]

        await archive.until("SELECT count(*) = $2 FROM record WHERE event_id = ANY($1) AND unreadable IS NULL",
                            [*kinds.values(), last], len(kinds) + 1)  # fmt: skip
        count = "SELECT count(*) = 2 FROM record WHERE room_id = $1 AND type = 'm.room.member' AND state_key = $2"
        await archive.until(count, room, official.user_id)
        assert not await archive.fetch("SELECT FROM gap WHERE room_id = $1", room)
        await archive.until("SELECT count(*) = 0 FROM unread")
        lines = {line["event_id"]: line for line in await archive.lines(room)}
        assert lines[kinds["thread"]]["thread"] == first
        assert lines[kinds["location"]]["place"] == "geo:52.0797,4.3129"
        assert lines[poll]["body"] == "Wanneer?\n– Maandag\n– Dinsdag"
        assert [vote["answers"] for vote in lines[poll]["votes"]] == [["Maandag"], ["Dinsdag"]]
        assert (lines[poll]["poll_ended"] or {})["by"] == official.user_id
        assert lines[kinds["call"]]["kind"] == "call"
        assert lines[first]["reactions"][0]["key"] == "👍"
        assert lines[kinds["emote"]]["deleted"]["reason"] == "vergissing"
        assert lines[kinds["emote"]]["body"] == "schudt het hoofd"
        assert lines[kinds["unknown"]]["type"] == "nl.voorbeeld.iets"
        assert lines[last]["sender_name"] == name
        companions = {kinds[kind] for kind in ("vote 0", "vote 1", "poll end", "reaction", "call's candidates", "redaction")}
        assert not companions & set(lines), "what belongs to a message is shown with it"


async def test_the_archive_follows_a_room_to_where_it_goes_on(stack, official, tmp_path):
    async with facility(stack, tmp_path) as archive:
        await archive.start()
        await archive.until("SELECT capturing FROM seat")
        old = (await official.do("create_room", name="Verhuist", encrypted=False))["room"]
        await official.do("state", room=old, type="m.room.join_rules", content={"join_rule": "public"})
        await official.do("invite", room=old, user=archive.user_id)
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", old)
        await official.do("send", room=old, body="voor de verhuizing")
        new = (await official.do("upgrade", room=old, version="11"))["room"]
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", new)
        await official.do("send", room=new, body="na de verhuizing")
        sent = "SELECT count(*) > 0 FROM message WHERE room_id = $1 AND kind = 'text'"
        await archive.until(sent, new)
        assert "na de verhuizing" in await archive.texts(new)
        assert "voor de verhuizing" in await archive.texts(old)
        listed = json.loads((await archive.run("rooms", "--json")).stdout)["rooms"]
        assert {old, new} <= {room["room_id"] for room in listed}
