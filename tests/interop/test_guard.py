"""The archiver is in every room in scope, can't be taken out of it or silenced, and does not spoil a direct chat's name."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from tests.conftest import RunningStack
from tests.facility import facility
from tests.interop.client import Official

pytestmark = [pytest.mark.stack, pytest.mark.interop]


@pytest.fixture(scope="module")
async def official(stack: RunningStack) -> AsyncIterator[Official]:
    user_id, password = await stack.register(f"gastheer-{secrets.token_hex(3)}")
    async with Official(stack.homeserver, user_id, password) as client:
        yield client


async def test_removal_and_silencing_are_refused_with_a_text_that_explains(stack, official):
    room = (await official.do("create_room", name="Vast"))["room"]
    for action in ("kick", "ban"):
        with pytest.raises(AssertionError, match="kan er niet uit worden verwijderd"):
            await official.do(action, room=room, user=stack.archiver)
    levels = await official.do("get_state", room=room, type="m.room.power_levels")
    with pytest.raises(AssertionError, match="ten minste niveau 50"):
        await official.do("state", room=room, type="m.room.power_levels", content=levels | {"events_default": 50})
    allowed = levels | {"events_default": 50, "users": levels["users"] | {stack.archiver: 50}}
    await official.do("state", room=room, type="m.room.power_levels", content=allowed)


async def test_a_room_in_which_few_may_speak_gets_its_notice_too(stack, official, tmp_path):
    room = (await official.do("create_room", name="Mededelingen", power_levels={"events_default": 50}))["room"]
    notice = await official.do("wait_for_text", room=room, text="wordt gearchiveerd")
    assert notice["sender"] == stack.archiver


async def test_a_direct_chat_keeps_the_name_of_the_other_person(stack, official):
    other, password = await stack.register(f"gast-{secrets.token_hex(3)}")
    room = (await official.do("create_room", invite=[other], direct=True))["room"]
    async with Official(stack.homeserver, other, password) as guest:
        await guest.do("wait_invite")
        await official.do("wait_members", room=room, count=3)
        marked = await official.do("get_state", room=room, type="io.element.functional_members")
        assert marked["service_members"] == [stack.archiver]
        assert (await official.do("room_name", room=room))["name"] == other.partition(":")[0].removeprefix("@")


async def test_rooms_of_before_the_guard_are_joined_and_what_cannot_be_joined_is_an_alarm(stack, official, tmp_path):
    room = (await official.do("create_room", name="Van vroeger", encrypted=False))["room"]
    await official.do("send", room=room, body="van voor het archief")
    more = {"HOMESERVER__ADMIN_TOKEN": stack.admin_token, "ARCHIVER__SCOPE": '{"officials": ["@gastheer-*"]}'}
    async with facility(stack, tmp_path, **more) as archive:
        await archive.start()
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room, seconds=40)
        await archive.until("SELECT count(*) > 0 FROM record WHERE room_id = $1 AND type = 'm.room.create'", room)
        assert "van voor het archief" in await archive.texts(room)
        others = await archive.fetch("SELECT room_id FROM room WHERE room_id <> $1", room)
        assert len(others) < 10, "only rooms of officials in scope"
