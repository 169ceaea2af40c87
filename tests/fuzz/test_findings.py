"""What the fuzzer found, each by itself: any of these stopped capture for good, since the same page comes again and again."""

import json

import pytest

from archiver.capture.megolm import ALGORITHM
from tests.fuzz.real import BENT, Ordeal, seated


@pytest.fixture
async def ordeal(archive):
    async with seated(archive.url, archive.vault) as seat:
        made = Ordeal(archive.pool, archive.vault, seat, 1)
        await made.take_sessions()
        yield made


def page(room, *events, **more) -> bytes:
    joined = {room.room_id: {"timeline": {"events": events}, "state": {"events": []}}}
    return json.dumps({"next_batch": "s", "rooms": {"join": joined}, **more}).encode()


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "m.room.encrypted", "content": {"algorithm": ALGORITHM, "session_id": "\0", "ciphertext": "x"}},
        {"type": "m.room.encrypted", "content": {"algorithm": ALGORITHM, "session_id": "SESSION", "ciphertext": "\ud800"}},
        {"type": "m.room.create", "state_key": "", "content": {"room_version": "1"}},
        {"type": "x\0", "state_key": "\U0001f4a5" * 600, "sender": "\ud800", "content": {}},
        {"type": "\U0001f4a5" * 600, "state_key": "\U0001f4a5" * 600, "content": {}},
        {"type": "m.room.message", "content": {"m.relates_to": {"rel_type": "x", "event_id": "\U0001f4a5" * 600}}},
        {"type": "m.room.message", "content": {}, "prev_events": ["\U0001f4a5" * 600]},
        {"type": "m.room.message", "content": {}, "signatures": {"ander.example": {"ed25519:a": "x"}}},
        "geen gebeurtenis",
    ],
    ids=["session", "ciphertext", "second-create", "state", "long-state", "relation", "edge", "signature", "no-event"],
)
async def test_a_bad_event_is_kept_and_its_neighbours_before_and_after_are_read(ordeal, bad):
    for room in ordeal.rooms:
        event = json.loads(json.dumps(bad).replace("SESSION", room.session.session_id))
        if not isinstance(event, str):
            event = {"room_id": room.room_id, "sender": "@kwaad:x", "event_id": "$kwaad:x", **event}
        good = [ordeal.neighbour(room) for _ in range(6)]
        create = ordeal.create(room)
        raw = page(room, create, *(one.event for one in good[:3]), event, *(one.event for one in good[3:]))
        await ordeal.look_at(await ordeal.take(raw), good)
    assert ordeal.counts["flagged"] + ordeal.counts["oddities"] == len(ordeal.rooms)


@pytest.mark.parametrize("name", ["$\0", "$\ud800", "$" + "x" * 3000, "$" + "\U0001f4a5" * 600, 7, None])
async def test_an_event_of_an_early_room_with_an_id_that_can_be_none_is_an_oddity_once(ordeal, archive, name):
    room = ordeal.rooms[0]
    good = ordeal.neighbour(room)
    raw = page(room, ordeal.create(room), good.event | {"event_id": name}, good.event)
    for _ in range(2):
        await ordeal.look_at(await ordeal.take(raw), [good])
    async with archive.pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM oddity WHERE room_id = $1", room.room_id) == 1


@pytest.mark.parametrize("content", [None, [], "x", {"reason": 7}, {"reason": "\0"}])
async def test_being_removed_by_whatever_event_is_noted(ordeal, content):
    room = ordeal.rooms[10]
    event = {"type": "m.room.member", "state_key": ordeal.user_id, "content": content, "sender": "\0", "room_id": room.room_id}
    left = {room.room_id: {"timeline": {"events": [ordeal.create(room), event]}}}
    await ordeal.take(json.dumps({"next_batch": "s", "rooms": {"leave": left}}).encode())


async def test_no_to_device_message_stops_capture_or_reaches_the_log(ordeal, caplog):
    room = ordeal.rooms[10]
    good = ordeal.neighbour(room)
    withheld = {"type": "m.room_key.withheld", "sender": "@a:x"}
    names = {"room_id": "\U0001f4a5" * 600, "session_id": "\U0001f4a5" * 600, "code": "m.\0"}
    messages = [
        {"type": {"a": 1}, "content": {}}, {"type": ["x"], "content": []}, withheld | {"content": names}, withheld,
        *(ordeal.attacker.message(room, room_id) for room_id in ("!\0:x", "!a\ud800:x", "!" + "\U0001f4a5" * 900 + ":x", {})),
    ]  # fmt: skip
    await ordeal.look_at(await ordeal.take(page(room, ordeal.create(room), good.event, to_device={"events": messages})), [good])
    assert BENT not in caplog.text
