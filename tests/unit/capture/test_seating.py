"""Which rooms capture joins by itself, and that it keeps no more power there than it needs to be heard."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from archiver.capture.client import MatrixError
from archiver.capture.seating import Seating
from archiver.db import tenant_tx
from archiver.homeserver.scope import Scope
from tests.fuzz.real import seated

MAKER, OTHER = "@maker:x", "@ander:x"
ALARMS = "SELECT kind FROM alarm WHERE subject = $1"


class Server:
    """A homeserver with rooms: their state, and who may join without being invited."""

    def __init__(
        self, rooms: dict[str, list[dict]], *, closed: bool = False, members: dict[str, tuple[str, ...]] | None = None
    ) -> None:
        self.rooms = rooms
        self.members = members or {}
        self.closed = closed
        self.fixed = False  # whether power levels can't be set
        self.joined: list[str] = []
        self.levels: dict = {}

    async def call(self, method, path, body=None, query=None, *, token=None):
        parts = [unquote(part) for part in path.split("/")]
        if path.endswith("/admin/v1/rooms"):
            return {"rooms": [{"room_id": room, "joined_local_members": 2} for room in self.rooms]}
        if parts[-1] == "members":
            people = self.members.get(parts[-2], (MAKER, OTHER))
            return {"members": [*people, *(self.user_id for room in self.joined if room == parts[-2])]}
        if parts[-1] == "state":
            if parts[-2] not in self.rooms:
                raise MatrixError(404, {}, "state")
            return {"state": self.rooms[parts[-2]]}
        if parts[-2] == "join":
            if self.closed:
                raise MatrixError(403, {}, "join")
            self.joined.append(parts[-1])
        elif parts[-1] == "make_room_admin":
            self.closed = False
            self.levels = {**self.levels, "users": {**self.levels.get("users", {}), self.user_id: 100}}
        elif method == "GET":
            return self.levels
        elif self.fixed:
            raise MatrixError(403, {}, "levels")
        else:
            self.levels = body
        return {}


def state(kind: str, content: dict, key: str = "") -> dict:
    return {"type": kind, "state_key": key, "content": content}


def made(*more: dict, people: tuple[str, ...] = (MAKER, OTHER), **create) -> list[dict]:
    members = [state("m.room.member", {"membership": "join"}, person) for person in people]
    return [state("m.room.create", create), state("m.room.join_rules", {"join_rule": "invite"}), *members, *more]


@pytest.fixture
async def seat(archive):
    async with seated(archive.url, archive.vault) as held:
        yield held


async def look(server, seat, *kinds):
    server.user_id = seat.user_id
    scope = Scope(kinds=kinds) if kinds else Scope()
    await Seating(server, seat, "token", scope, (seat.user_id,)).look()


ROOMS = {
    "!direct:x": made(**{"nl.griffier.kind": "direct"}),
    "!private:x": made(**{"nl.griffier.kind": "private"}),
    "!pending:x": made(state("m.room.member", {"membership": "invite", "is_direct": True}, "@derde:x")),
    "!old-of-two:x": made(),
    "!old-of-three:x": made(people=(MAKER, OTHER, "@derde:x")),
    "!public:x": made(state("m.room.join_rules", {"join_rule": "public"})),
    "!upgraded:x": made(people=(MAKER, OTHER, "@derde:x"), predecessor={"room_id": "!direct:x"}),
    "!from-elsewhere:x": made(predecessor={"room_id": "!nowhere:y"}),
}
JOINED = {
    ("private", "public"): {"!private:x", "!old-of-three:x", "!public:x"},
    ("public",): {"!public:x"},
    ("direct",): {"!direct:x", "!pending:x", "!upgraded:x"},
    (): set(ROOMS),
}


@pytest.mark.parametrize("kinds", JOINED, ids=str)
async def test_only_a_room_whose_kind_is_known_to_be_in_scope_is_joined(seat, kinds):
    server = Server(ROOMS)
    await look(server, seat, *kinds)
    assert set(server.joined) == JOINED[kinds]


@pytest.mark.parametrize(
    ("levels", "kept"),
    [({}, None), ({"events_default": 50}, 50), ({"events": {"m.room.encrypted": 30}}, 30), ({"users_default": 10}, None)],
    ids=str,
)
async def test_power_is_given_back_to_what_a_message_needs(seat, room, levels, kept):
    server = Server({room: []}, closed=True)
    server.levels = levels | {"users": {MAKER: 100}}
    await look(server, seat)
    assert server.joined == [room]
    assert server.levels["users"].get(seat.user_id) == kept


async def test_a_level_that_it_had_before_is_kept(seat, room):
    server = Server({room: [state("m.room.power_levels", {"users": {seat.user_id: 75}})]}, closed=True)
    server.levels = {"users": {seat.user_id: 75}}
    await look(server, seat)
    assert server.levels["users"] == {seat.user_id: 75}


async def test_power_that_can_not_be_given_back_is_an_alarm_of_its_own_until_it_is(archive, seat, room):
    server = Server({room: []}, closed=True)
    server.fixed = True
    await look(server, seat)
    assert server.joined == [room]
    async with tenant_tx(archive.pool, seat.org) as tx:
        assert [row["kind"] for row in await tx.fetch(ALARMS, room)] == ["keeps-power"]
    server.fixed = False
    await look(server, seat)
    assert seat.user_id not in server.levels["users"]
    async with tenant_tx(archive.pool, seat.org) as tx:
        assert not await tx.fetch(ALARMS, room)


BOT, GHOST = "@whatsappbot:x", "@whatsapp_31600000101:x"
PORTALS = {
    "!in-scope:x": ({"officials": [MAKER]}, (BOT, GHOST)),
    "!out-of-scope:x": ({"officials": ["@or-lid:x"]}, (BOT, GHOST)),
    "!joined-by-one:x": ({"officials": ["@or-lid:x"]}, (BOT, GHOST, MAKER)),
    "!before-the-guard:x": (None, (BOT, GHOST, "@or-lid:x")),
    "!reports:x": ({"management": True}, (BOT, "@or-beheer:x")),
}


@pytest.mark.parametrize("scope", [Scope(officials=(MAKER,)), Scope(except_officials=("@or-*:x",))], ids=["one", "all but"])
async def test_of_a_bridge_s_rooms_those_of_officials_in_scope_are_joined_and_those_in_which_it_reports(seat, scope):
    rooms = {
        room: [state("m.room.create", {"nl.griffier.bridge": told} if told else {}) | {"sender": BOT}]
        for room, (told, _) in PORTALS.items()
    }
    # What a room of somebody else's says of itself is not believed.
    rooms["!forged:x"] = [state("m.room.create", {"nl.griffier.bridge": {"management": True}}) | {"sender": "@or-lid:x"}]
    server = Server(rooms, members={room: people for room, (_, people) in PORTALS.items()} | {"!forged:x": ("@or-lid:x", GHOST)})
    server.user_id = seat.user_id
    await Seating(server, seat, "token", scope, (seat.user_id,), (BOT, "@whatsapp_*:x")).look()
    assert set(server.joined) == {"!in-scope:x", "!joined-by-one:x", "!reports:x"}
