"""What the homeserver never told of is found in the rooms themselves, once, however long the rooms are."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import asyncpg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge.departing import overlooked
from bridge.departing.overlooked import Overlooked
from bridge.relay.relay import OUTBOX, Relay
from bridge.sealing import Seal

pytestmark = pytest.mark.postgres
ROOM, MINISTER, NEWCOMER = "!kamer:x", "@minister:x", "@nieuw:x"
SPEAKS = """
    INSERT INTO assignment (number_id, user_id, role, valid_from, set_by)
    VALUES ('1', $1, 'colleague', now() - make_interval(hours => $2), 'beheer')
"""


class Timeline:
    """A room, as the bot pages through it."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.asked: list[int] = []

    def say(self, sender: str = MINISTER, ago: float = 60, **more: Any) -> str:
        event_id = f"$e{len(self.events)}"
        at = int((time.time() - ago) * 1000)
        self.events.append({"event_id": event_id, "type": "m.room.message", "sender": sender, "origin_server_ts": at} | more)
        return event_id

    async def call(self, method: Any, path: Any, body: Any, query: dict[str, str]) -> dict[str, Any]:
        if "/context/" in str(path):
            at = [event["event_id"] for event in self.events].index(unquote(str(path)).rpartition("/")[2])
            return {"events_before": self.events[max(0, at - 10) : at][::-1]}
        start, limit = int(query.get("from", "0")), int(query["limit"])
        self.asked.append(start)
        chunk = self.events[start : start + limit]
        return {"chunk": chunk, "start": str(start)} | ({"end": str(start + len(chunk))} if chunk else {})


async def wanted(event: dict[str, Any]) -> bool:
    return event["sender"] in (MINISTER, NEWCOMER)


@pytest.fixture
async def scene(bridge_url):
    async with asyncpg.create_pool(bridge_url, min_size=1, max_size=2) as pool:
        await pool.execute("INSERT INTO portal (room_id, number_id, contact, encrypted) VALUES ($1, '1', '316', true)", ROOM)
        for user, hours in ((MINISTER, 48), (NEWCOMER, 0)):
            await pool.execute(SPEAKS, user, hours)
        relay, room = Relay(pool, Seal(AESGCM(bytes(32)))), Timeline()
        yield SimpleNamespace(pool=pool, relay=relay, room=room, looks=Overlooked(pool, room, relay, wanted, 60))


async def outbox(scene) -> list[str]:
    return [row["event_id"] for row in await scene.pool.fetch("SELECT event_id FROM outbox ORDER BY id")]


async def test_what_is_missing_is_found_in_the_rooms_order_and_only_once(scene, monkeypatch):
    monkeypatch.setattr(overlooked, "PAGE", 3)
    told = {"event_id": scene.room.say(), "room_id": ROOM}
    await scene.relay.take_out([told])
    lost = [scene.room.say() for _ in range(5)]
    scene.room.say(sender="@ghost:x")
    scene.room.say(unsigned={"redacted_because": {}})
    fresh = scene.room.say(ago=1)
    assert await scene.looks.look(ROOM) == 5
    assert await outbox(scene) == ["$e0", *lost]
    assert await scene.looks.look(ROOM) == 0
    scene.room.events[-1]["origin_server_ts"] -= 60_000
    assert await scene.looks.look(ROOM) == 1
    assert (await outbox(scene))[-1] == fresh


async def test_what_was_said_before_the_room_was_noted_is_found(scene):
    first = scene.room.say(ago=3600)
    assert await scene.looks.look(ROOM) == 1
    assert await outbox(scene) == [first]


async def test_a_long_room_is_not_read_from_its_beginning_each_time(scene, monkeypatch):
    monkeypatch.setattr(overlooked, "PAGE", 10)
    for _ in range(30):
        scene.room.say()
    for _ in range(2):  # the second begins where the first did: what was being stored meanwhile is not passed over
        await scene.looks.look(ROOM)
        await scene.pool.execute("UPDATE portal SET looked_at = looked_at - interval '11 minutes'")
    scene.room.asked.clear()
    late = scene.room.say()
    await scene.looks.look(ROOM)
    assert scene.room.asked[0] == 30
    assert (await outbox(scene))[-1] == late


async def test_what_was_said_before_somebody_spoke_for_the_number_stays_where_it_is(scene):
    scene.room.say(sender=NEWCOMER)
    assert await scene.looks.look(ROOM) == 0
    await scene.pool.execute("UPDATE assignment SET valid_from = now() - interval '2 minutes'")
    assert await scene.looks.look(ROOM) == 1


async def test_each_message_goes_in_its_turn_whatever_the_homeserver_forgot(scene):
    told = [scene.room.say(ago=25 - number) for number in range(25)]
    here = [event for event in scene.room.events if event["event_id"] in (told[5], told[23], told[24])]
    await scene.relay.take_out([event | {"room_id": ROOM} for event in here])
    went: list[str] = []

    async def carry(event: dict[str, Any]) -> str:
        went.append(event["event_id"])
        await scene.relay.carried("1", f"wamid.{event['event_id']}", ROOM, event["event_id"])
        return "done"

    async def give_up(event: dict[str, Any], reason: str) -> None:
        raise AssertionError(reason)

    stop = asyncio.Event()
    running = asyncio.create_task(scene.relay.run(OUTBOX, scene.looks.in_turn(carry), give_up, stop))
    async with asyncio.timeout(60):
        while len(went) < 25:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    stop.set()
    await running
    assert went == told


async def test_what_waits_for_something_else_holds_up_nobody(scene):
    first, second = scene.room.say(), scene.room.say()
    await scene.relay.take_out([event | {"room_id": ROOM} for event in scene.room.events])
    await scene.pool.execute("UPDATE outbox SET state = 'aside', awaits = '$x' WHERE event_id = $1", first)

    async def carry(event: dict[str, Any]) -> str:
        return str(event["event_id"])

    assert await scene.looks.in_turn(carry)({"room_id": ROOM} | scene.room.events[1]) == second


async def test_an_event_that_is_no_event_stops_nothing(scene):
    scene.room.events += [{"event_id": "$x", "type": "m.room.message", "sender": MINISTER, "origin_server_ts": "gisteren"}]
    said = scene.room.say()
    assert await scene.looks.look(ROOM) == 1
    assert said in await outbox(scene)


def test_a_room_is_looked_into_the_more_often_the_more_is_said_there(scene, monkeypatch):
    now = time.monotonic()
    clock = [now]
    monkeypatch.setattr(overlooked.time, "monotonic", lambda: clock[0])
    assert scene.looks._due(ROOM)
    scene.looks._looked[ROOM] = now

    def due_after() -> float:
        for seconds in range(0, 8000, 10):
            clock[0] = now + seconds
            if scene.looks._due(ROOM):
                return seconds
        raise AssertionError

    assert due_after() == overlooked.LONGEST
    clock[0] = now
    scene.relay.stirred(ROOM)
    assert due_after() == 60
