"""What is missing: asked for, and called by its cause."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from archiver.capture.client import HomeserverUnreachable, MatrixError
from archiver.capture.gaps import DUE, Gaps
from archiver.db import tenant_tx
from archiver.ledger.audit import uuid7
from archiver.ledger.graph import NOT_VISIBLE, WITHHELD
from archiver.ledger.record import append

pytestmark = pytest.mark.postgres

US = "@archief:x"
ADD_ROOM = "INSERT INTO room (org, room_id, version, membership, user_id) VALUES (1, $1, '11', 'join', $2)"
ADD_STRETCH = """
    INSERT INTO stretch (org, stretch_id, room_id, token, cause, until_known, user_id)
    VALUES (1, $1, $2, 't', 'joined', false, $3)
"""
REFUSED = MatrixError(403, {"errcode": "M_FORBIDDEN"}, "context")


class Server:
    """Answers in turn; the last answer for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def call(self, *_, **__):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Committer:
    def __init__(self, vault):
        self.seat = SimpleNamespace(org=1, user_id=US, vault=vault)

    async def history(self, *_):
        return 0


def ours(archive, room, depth, membership, sender=US, **content):
    content = {"membership": membership, **content}
    return archive.arrival(content, room, type="m.room.member", state_key=US, sender=sender, depth=depth)


async def keep(archive, room, arrivals, missing):
    """Keep these, and one event for each depth in `missing` that comes after an event nobody has: `$depth`."""
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(ADD_ROOM, room, US)
        after = [archive.arrival({"body": "x"}, room, depth=depth, prev_events=[f"${depth}"]) for depth in missing]
        await append(tx, archive.vault, [*arrivals, *after])


async def look(archive, room, missing, server, admin_token=""):
    """Look for a missing event; returns its state, cause and whether it is asked for later."""
    gaps = Gaps(archive.pool, server, Committer(archive.vault), admin_token)
    await gaps._look_for({"room_id": room, "event_id": missing, "attempts": 0})
    async with tenant_tx(archive.pool, 1) as tx:
        row = await tx.fetchrow(
            "SELECT state, cause, due_at > now() FROM gap WHERE room_id = $1 AND event_id = $2", room, missing
        )
    return tuple(row)


async def test_what_is_refused_is_not_for_us_to_see_only_if_it_is_of_a_time_when_we_were_not_there(archive, room):
    members = [
        ours(archive, room, 9, "invite", "@a:x"),
        ours(archive, room, 10, "join"),
        ours(archive, room, 20, "join", displayname="Archief"),
        ours(archive, room, 30, "leave"),
        ours(archive, room, 40, "join"),
        ours(archive, room, 50, "join", displayname="Het archief"),
    ]
    there = {5: False, 10: False, 15: True, 20: True, 25: True, 30: True, 35: False, 40: False, 45: True, 60: True}
    await keep(archive, room, members, there)
    found = {depth: (await look(archive, room, f"${depth}", Server(REFUSED)))[1] for depth in there}
    assert found == {depth: WITHHELD if was_there else NOT_VISIBLE for depth, was_there in there.items()}


async def test_what_is_shown_in_one_answer_and_left_out_of_the_next_is_a_hole_whenever_it_was_said(archive, room):
    await keep(archive, room, [ours(archive, room, 10, "join")], [5])
    assert await look(archive, room, "$5", Server({"end": "t"}, {"chunk": []})) == ("kept", WITHHELD, True)


@pytest.mark.parametrize("admin_token", ["", "t"])
async def test_a_homeserver_that_does_not_answer_is_asked_later_and_nothing_is_said_of_the_event(archive, room, admin_token):
    await keep(archive, room, [ours(archive, room, 10, "join")], [5])
    first = REFUSED if admin_token else HomeserverUnreachable("502 from the proxy")
    server = Server(first, HomeserverUnreachable("502 from the proxy"))
    assert await look(archive, room, "$5", server, admin_token) == ("open", None, True)


async def test_history_that_another_account_was_fetching_keeps_nothing_from_being_asked_for(archive, room):
    await keep(archive, room, [], [5])
    for user_id, due in (("@vorige:x", True), (US, False)):
        async with tenant_tx(archive.pool, 1) as tx:
            await tx.execute(ADD_STRETCH, uuid7(), room, user_id)
            assert any(row["room_id"] == room for row in await tx.fetch(DUE, 1, US)) == due
