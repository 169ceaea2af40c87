"""An invitation is told once: whatever happens between that and joining, the archiver joins."""

import json

import pytest

from archiver.capture.client import HomeserverUnreachable, MatrixError
from archiver.capture.joining import join_due
from archiver.db import tenant_tx
from tests.fuzz.real import Ordeal, seated

WAITS = "SELECT room_id, attempts, due_at > now() AS later FROM invitation WHERE user_id = $1"


class Server:
    """A homeserver that lets in, or does not."""

    def __init__(self, *answers: Exception) -> None:
        self.answers = list(answers)
        self.joined: list[str] = []

    async def call(self, method, path, body, query):
        if self.answers:
            raise self.answers.pop(0)
        self.joined.append(path.rpartition("/")[2])
        return {}


@pytest.fixture
async def invited(archive):
    """A seat whose page with an invitation and an upgraded room is committed, and that has joined neither as yet."""
    async with seated(archive.url, archive.vault) as seat:
        ordeal = Ordeal(archive.pool, archive.vault, seat, 1)
        room = ordeal.rooms[10]
        stone = {"type": "m.room.tombstone", "state_key": "", "sender": "@a:y", "content": {"replacement_room": "!nieuw:y"}}
        joined = {room.room_id: {"timeline": {"events": [ordeal.create(room), stone | {"room_id": room.room_id}]}}}
        page = {"next_batch": "s", "rooms": {"join": joined, "invite": {"!uit:x": {}}}}
        await ordeal.take(json.dumps(page).encode())
        yield seat


async def waiting(archive, seat):
    async with tenant_tx(archive.pool, 1) as tx:
        return {row["room_id"]: (row["attempts"], row["later"]) for row in await tx.fetch(WAITS, seat.user_id)}


async def test_a_process_that_comes_after_a_crash_joins_what_the_one_before_was_invited_to(archive, invited):
    assert set(await waiting(archive, invited)) == {"!uit:x", "!nieuw:y"}
    server = Server()
    await join_due(server, invited)
    assert sorted(server.joined) == ["%21nieuw%3Ay", "%21uit%3Ax"]
    assert not await waiting(archive, invited)


async def test_an_outage_is_waited_out_and_a_refusal_is_an_alarm(archive, invited):
    await join_due(Server(HomeserverUnreachable("weg"), MatrixError(502, {}, "join")), invited)
    assert await waiting(archive, invited) == {"!uit:x": (1, True), "!nieuw:y": (1, True)}
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute("UPDATE invitation SET due_at = now()")
    await join_due(Server(MatrixError(403, {}, "join"), MatrixError(404, {}, "join")), invited)
    assert not await waiting(archive, invited)
    async with tenant_tx(archive.pool, 1) as tx:
        assert await tx.fetchval("SELECT count(*) FROM alarm WHERE subject IN ('!uit:x', '!nieuw:y')") == 2
