"""One archive filled by several archivers: they share the rooms of a homeserver, or each has a homeserver of its own."""

from __future__ import annotations

import secrets

import pytest

from tests.conftest import running_stack
from tests.facility import facility
from tests.interop.client import Official

pytestmark = [pytest.mark.stack, pytest.mark.interop]

SEATED = "SELECT membership = 'join' AND notice_seen_at IS NOT NULL FROM room WHERE room_id = $1 AND user_id = $2"
READ = "SELECT unreadable IS NULL FROM record WHERE event_id = $1"


async def test_archivers_share_the_rooms_of_a_homeserver_and_each_minds_its_own(stack, tmp_path):
    user_id, password = await stack.register(f"verdeler-{secrets.token_hex(3)}")
    second, second_password = await stack.register(f"archief-{secrets.token_hex(4)}")
    async with Official(stack.homeserver, user_id, password) as official, facility(stack, tmp_path) as archive:
        first = archive.user_id
        await archive.start()
        await archive.start(ARCHIVER__USER_ID=second, ARCHIVER__PASSWORD=second_password)
        await archive.until("SELECT count(*) = 2 FROM seat WHERE capturing")
        rooms = {}
        for name, invited in (("Van de eerste", [first]), ("Van de tweede", [second]), ("Van beide", [first, second])):
            rooms[name] = (await official.do("create_room", name=name, invite=invited))["room"]
        await archive.until(SEATED, rooms["Van de eerste"], first)
        await archive.until(SEATED, rooms["Van de tweede"], second)
        both = rooms["Van beide"]
        await archive.until("SELECT notice_seen_at IS NOT NULL FROM room WHERE room_id = $1", both)
        await official.do("wait_members", room=both, count=4)
        for room in rooms.values():
            word = secrets.token_hex(5)
            sent = (await official.do("send", room=room, body=word))["event_id"]
            await archive.until(READ, sent)
            assert word in await archive.texts(room)
        assert not await archive.fetch("SELECT FROM room WHERE membership <> 'join'")
        assert not await archive.fetch("SELECT FROM alarm")

        # The one through which a room was captured is gone; the other, still a member, takes the room over.
        [there] = await archive.fetch("SELECT user_id FROM room WHERE room_id = $1", both)
        leaving = there["user_id"]
        staying = second if leaving == first else first
        await official.do("kick", room=both, user=leaving)
        sent = (await official.do("send", room=both, body="na het vertrek"))["event_id"]
        await archive.until(READ, sent)
        after = (await official.do("send", room=both, body="nog iets"))["event_id"]
        await archive.until(READ, after)
        await archive.until("SELECT membership = 'join' AND user_id = $2 FROM room WHERE room_id = $1", both, staying)


async def test_one_facility_serves_several_homeservers(stack, folder, tmp_path):
    async with running_stack(folder) as other, facility(stack, tmp_path) as archive:
        abroad, abroad_password = await other.register(f"archief-{secrets.token_hex(4)}")
        await archive.start()
        await archive.start(
            HOMESERVER__URL=other.homeserver, ARCHIVER__USER_ID=abroad, ARCHIVER__PASSWORD=abroad_password
        )  # fmt: skip
        await archive.until("SELECT count(*) = 2 FROM seat WHERE capturing")
        for server, archiver in ((stack, archive.user_id), (other, abroad)):
            user_id, password = await server.register(f"ergens-{secrets.token_hex(3)}")
            async with Official(server.homeserver, user_id, password) as official:
                room = (await official.do("create_room", name="Ergens", encrypted=False))["room"]
                early = (await official.do("send", room=room, body="van ervoor"))["event_id"]
                await official.do("invite", room=room, user=archiver)
                await archive.until(SEATED, room, archiver)
                await archive.until("SELECT count(*) = 1 FROM record WHERE event_id = $1", early)
                word = secrets.token_hex(5)
                await official.do("send", room=room, body=word)
                await archive.until("SELECT count(*) > 0 FROM message WHERE room_id = $1 AND kind = 'text'", room)
                assert {"van ervoor", word} <= set(await archive.texts(room))
        assert not await archive.fetch("SELECT FROM stretch")
