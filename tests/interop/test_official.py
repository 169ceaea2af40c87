"""The official's client of the tests: what it says it sent, the homeserver took in, once."""

from __future__ import annotations

import pytest

from tests.chaos.comparison import held_by_homeserver
from tests.conftest import RunningStack
from tests.facility import proxy
from tests.interop.client import Official

pytestmark = [pytest.mark.stack, pytest.mark.interop]


@pytest.mark.parametrize("shown", [True, False], ids=["echo-comes", "echo-waits"])
async def test_what_was_taken_in_although_the_answer_was_lost_is_said_once(stack: RunningStack, shown: bool) -> None:
    lost: list[str] = []

    def lose(path: str) -> bool:
        """The answers to the first three requests to send; and as long as these are lost, those that would show the event."""
        if "/send/m.room.encrypted/" in path and len(lost) < 3:
            lost.append(path)
            return True
        return not shown and path.endswith("/sync") and 0 < len(lost) < 3

    user = await stack.register(f"tunnel-{shown}".lower())
    async with proxy(stack.homeserver) as between, Official(between.url, *user) as official:
        room = (await official.do("create_room", name="Tunnel"))["room"]
        between.lost = lose
        one = await official.do("send_surely", room=room, body="in de tunnel", timeout=130)
        other = await official.do("send_surely", room=room, body="erna", timeout=130)
        said = await official.do("send_surely", room=room, redacts=one["event_id"], timeout=130)
    held = await held_by_homeserver(stack, room)
    mine = [one for one in held if held[one]["type"] == "m.room.encrypted" and held[one]["sender"] == official.user_id]
    assert mine == [other["event_id"], one["event_id"]]
    assert said["event_id"] in held
    # What the server shows is not sent again; what it does not show is, as the same request.
    assert (len(lost), len(set(lost))) == ((2, 2) if shown else (3, 1))
