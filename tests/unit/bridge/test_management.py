"""Whom the bot listens to: people of this homeserver who invited it, and the management room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from mautrix.errors import MatrixRequestError

from bridge.network import HistoryProgress, NotYet
from bridge.numbers import Numbers
from bridge.office.alarm import Alarms
from bridge.office.importing import Imports
from bridge.office.interruption import Interruptions
from bridge.office.management import Management, Question, Reply
from bridge.sealing import Seal
from bridge.settings import Bridge

pytestmark = pytest.mark.postgres
BOT, ADMIN = "@whatsappbot:rijk", "@beheer:rijk"


class Bot:
    """Notes what it is told to do; the room that is `gone` is not there."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.said: list[tuple[str, str]] = []
        self.gone = ""

    async def call(self, method: Any, path: Any, body: Any = None, query: Any = None) -> dict[str, Any]:
        self.done.append((str(method), str(path)))
        if str(path).endswith("/state/m.room.encryption"):
            raise error(404)
        return {"room_id": "!new", "chunk": []}

    async def send(self, room_id: str, kind: str, content: dict[str, Any], txn: str, at: int | None = None) -> str:
        if room_id == self.gone:
            raise error(403)
        self.said.append((room_id, content["body"]))
        return "$said"


def error(status: int) -> MatrixRequestError:
    made = MatrixRequestError(status, "", "M_FORBIDDEN", "")
    made.http_status = status
    return made


async def opened(event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return event["type"], event["content"] if isinstance(event["content"], dict) else {}


@pytest.fixture
async def room(bridge_url: str) -> AsyncIterator[tuple[Management, Bot, asyncpg.Pool]]:
    numbers = [{"id": "106", "display_phone_number": "+31 97", "official": "@minister:rijk"}]
    settings, bot = Bridge(server_name="rijk", admins=[ADMIN], encryption=False, numbers=numbers), Bot()

    async def send(sender: Bot, room_id: str, content: dict[str, Any], txn: str) -> str:
        return await sender.send(room_id, "m.room.message", content, txn)

    async def is_there(room_id: str) -> bool:
        return room_id != bot.gone

    portals: Any = SimpleNamespace(send=send, is_there=is_there)
    async with asyncpg.create_pool(bridge_url, min_size=1, max_size=3) as pool:
        accounts: Any = SimpleNamespace(bot=bot)
        numbers = Numbers(settings)
        seal = Seal(AESGCM(b"\1" * 32))
        opening: Any = SimpleNamespace(opened=opened)
        told = Interruptions(pool, numbers), Alarms(pool), Imports(pool, numbers)
        yield Management(settings, pool, seal, accounts, portals, opening, *told), bot, pool


def invite(sender: str) -> dict[str, Any]:
    content = {"membership": "invite"}
    return {
        "type": "m.room.member",
        "event_id": f"$i{sender}",
        "room_id": "!chat",
        "sender": sender,
        "state_key": BOT,
        "content": content,
    }


def message(sender: str, body: str = "lijst", **more: Any) -> dict[str, Any]:
    content = {"msgtype": "m.text", "body": body} | more
    return {"type": "m.room.message", "event_id": f"${sender}{body}", "room_id": "!chat", "sender": sender, "content": content}


async def echo(said: Question) -> Reply:
    return Reply(f"{said.sender} zei {said.text}", "en", redact="geheim" in said.text)


async def test_the_bot_comes_to_who_invites_it_and_answers_them_alone(room):
    management, bot, pool = room
    assert await management.wanted(invite(ADMIN))
    await management.take_in([invite(ADMIN)])
    assert await management.wanted(message(ADMIN))  # at once, before the bot has come
    await management.take_in([message(ADMIN), message(ADMIN)])
    assert not await management.wanted(message("@gast:rijk"))
    assert not await management.wanted(message(BOT))
    assert not await management.wanted(message(ADMIN) | {"room_id": "!elders"})
    while await management._one(echo):
        pass
    assert bot.said == [("!chat", f"{ADMIN} zei lijst")]
    assert any(path.endswith("/join") for _, path in bot.done)
    assert await pool.fetchval("SELECT bool_and(sealed = '') FROM asked")  # nothing of it is kept
    assert await pool.fetchval("SELECT language FROM direct_room") == "en"


async def test_an_invitation_from_another_homeserver_is_declined(room):
    management, bot, _ = room
    await management.take_in([invite("@vreemd:elders")])
    while await management._one(echo):
        pass
    assert [path.rsplit("/", 1)[1] for _, path in bot.done] == ["leave"]
    assert not await management.wanted(message("@vreemd:elders"))


async def test_notices_and_odd_content_are_not_answered(room):
    management, bot, _ = room
    await management.take_in([invite(ADMIN)])
    odd = [message(ADMIN, "1", msgtype="m.notice"), message(ADMIN, "2") | {"content": 5}, message(ADMIN, "3") | {"content": {}}]
    await management.take_in(odd)
    while await management._one(echo):
        pass
    assert bot.said == []


async def test_what_holds_a_secret_is_redacted(room):
    management, bot, _ = room
    await management.take_in([invite(ADMIN), message(ADMIN, "geheim")])
    while await management._one(echo):
        pass
    assert any("/redact/" in path for _, path in bot.done)


async def test_a_management_room_that_is_gone_is_made_anew_and_nothing_is_told_twice(room):
    management, bot, pool = room
    await management.say({"msgtype": "m.notice", "body": "een"}, "1")
    assert await management.wanted(message(ADMIN) | {"room_id": "!new"})
    await pool.execute("UPDATE bridge_state SET value = '!old' WHERE name = 'management_room'")
    management._room, bot.gone = "!old", "!old"
    await management._alarms.ring("poison", "x", "WhatsApp → Matrix")
    await management._tell()
    await management._tell()
    assert [room_id for room_id, _ in bot.said] == ["!new", "!new"]
    assert await pool.fetchval("SELECT value FROM bridge_state WHERE name = 'management_room'") == "!new"


async def test_what_cannot_be_read_is_said_so_after_a_while(room):
    management, bot, pool = room

    async def closed(event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        raise NotYet("no key")

    await management.take_in([invite(ADMIN)])
    await management._one(echo)
    management._opening.opened = closed
    await management.take_in([message(ADMIN)])
    for attempt in range(7):
        assert bot.said == []
        assert await management._one(echo), attempt
        await pool.execute("UPDATE asked SET due_at = now()")
    [(room_id, told)] = bot.said
    assert room_id == "!chat"
    assert "Stuur het opnieuw" in told
    assert not await management._one(echo)


async def test_how_far_the_history_is_is_told_once_for_each_phase_and_once_at_the_end(room):
    management, bot, pool = room
    for phase, percent in ((0, 12), (0, 33), (0, 12), (1, 40), (1, 50), (2, 99), (2, 100), (2, 100)):
        assert await management._imports.note(HistoryProgress("106", phase, 1, percent)) == "done"
        await management._tell()
    assert await management._imports.note(HistoryProgress("999", 0, 1, 5)) == "kept"
    await management._tell()
    told = [body.partition(" · ")[0] for _, body in bot.said]
    assert told == [
        "📜 +31 97: WhatsApp vertelt de geschiedenis, de laatste dag (12%).",
        "📜 +31 97: WhatsApp vertelt de geschiedenis, tot 90 dagen terug (40%).",
        "📜 +31 97: WhatsApp vertelt de geschiedenis, tot 180 dagen terug (99%).",
        "📜 +31 97: WhatsApp heeft de hele geschiedenis verteld.",
    ]
    assert [(phase.phase, phase.percent) for phase in await management._imports.of("106")] == [(0, 33), (1, 50), (2, 100)]
    await pool.execute("UPDATE history_import SET at = now() - interval '8 days'")
    await management._imports.note(HistoryProgress("106", 0, 1, 5))  # connected anew
    await management._tell()
    assert len(bot.said) == 5
