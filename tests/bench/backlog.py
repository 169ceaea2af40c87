"""A backlog of encrypted messages, sent for real by several clients at the homeserver's own full speed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nio import AsyncClient, AsyncClientConfig, JoinError, RoomCreateError, RoomSendResponse, RoomVisibility

from tests.bench.events import WORDS
from tests.conftest import RunningStack


@contextlib.asynccontextmanager
async def signed_in(stack: RunningStack, name: str, folder: Path) -> AsyncIterator[AsyncClient]:
    """A plain matrix-nio client of a new account, its keys published."""
    user_id, password = await stack.register(f"{name}-{secrets.token_hex(3)}")
    place = folder / user_id[1:].replace(":", "-")
    place.mkdir()
    client = AsyncClient(stack.homeserver, user_id, store_path=str(place), config=AsyncClientConfig(encryption_enabled=True))
    try:
        await client.login(password)
        await client.sync(timeout=0, full_state=True)
        await client.keys_upload()
        yield client
    finally:
        await client.close()


@dataclass(frozen=True, slots=True)
class Sent:
    """A message, and when its client began to encrypt it and had the homeserver's answer, in seconds since 1970."""

    event_id: str
    began: float
    answered: float


@dataclass(frozen=True, slots=True)
class Room:
    """An encrypted room and the client that talks in it."""

    room_id: str
    sender: AsyncClient

    async def say(self, count: int) -> list[Sent]:
        """Send `count` messages one after the other."""
        told = []
        for _ in range(count):
            content = {"msgtype": "m.text", "body": " ".join(secrets.choice(WORDS) for _ in range(12))}
            began = time.time()
            sent = await self.sender.room_send(self.room_id, "m.room.message", content, ignore_unverified_devices=True)
            assert isinstance(sent, RoomSendResponse), sent
            told.append(Sent(sent.event_id, began, time.time()))
        return told


async def make_room(
    sender: AsyncClient, members: Sequence[str], bots: Sequence[AsyncClient] = (), seated: Sequence[str] = ()
) -> Room:
    """A room with these accounts; the archivers among the members join by themselves, and the guard seats `seated`."""
    encrypted = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    invite = [*members, *(bot.user_id for bot in bots)]
    made = await sender.room_create(visibility=RoomVisibility.private, invite=invite, initial_state=[encrypted])
    assert not isinstance(made, RoomCreateError), made
    for bot in bots:
        joined = await bot.join(made.room_id)
        assert not isinstance(joined, JoinError), joined
    for _ in range(100):
        await sender.sync(timeout=200)
        room = sender.rooms.get(made.room_id)
        if room and all(user in room.users and user not in room.invited_users for user in (*invite, *seated)):
            break
    else:
        raise AssertionError("the archiver did not join")
    if sender.should_query_keys:
        await sender.keys_query()
    return Room(made.room_id, sender)


async def fill(rooms: Sequence[Room], each: int) -> None:
    """The same number of messages in each room, in all of them at once."""
    await asyncio.gather(*(room.say(each) for room in rooms))
